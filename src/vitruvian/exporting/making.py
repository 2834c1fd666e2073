"""From a model to an artefact: plan, weights, compute type, the ladder of backends, one folder that describes itself.

In: a catalogue name, a weight file, or any module with example inputs. Out: an `Exported` and its folder, which
`vitruvian.load` and `vitruvian.open_artefact` open. Building native code dominates: 10 to 40 s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from torch import Tensor, nn

from vitruvian.artefacts import trust as ledger
from vitruvian.artefacts.artefact import Artefact, open_artefact
from vitruvian.artefacts.climb import LOGS, PICTURES, Attempt, Climb
from vitruvian.artefacts.folder import empty, move_into, seal, staged
from vitruvian.artefacts.ladder import AUTO, RUNGS, check_backend
from vitruvian.artefacts.manifest import Backend, Manifest
from vitruvian.errors import CheckFailedError, UsageError
from vitruvian.exporting.module import module_climb
from vitruvian.exporting.network import network_climb
from vitruvian.exporting.wish import ExportWish
from vitruvian.fit.precision import check_dtype
from vitruvian.fit.quality import check_quality
from vitruvian.hardware import DTYPES, Dtype, parse_size

BEST: Literal["best"] = "best"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An artefact that was made."""

    folder: Path
    manifest: Manifest
    attempts: tuple[Attempt, ...]
    """Every backend that was tried, in order."""
    notes: tuple[str, ...] = ()

    @property
    def backend(self) -> Backend:
        """The one that was taken."""
        return self.manifest.backend

    def open(self, *, device: str | None = None, module: nn.Module | None = None) -> Artefact:
        """The artefact, ready to be called with tensors."""
        return open_artefact(self.folder, device=device, module=module)


def export(
    model: str | Path | nn.Module,
    example_inputs: tuple[Tensor, ...] | None = None,
    *,
    out: str | Path,
    backend: str = "auto",
    dtype: str | None = None,
    max_batch: int | str | None = "auto",
    size: tuple[int, int] | None = None,
    dynamic_size: bool = False,
    with_post: bool = False,
    check_on: str | Path | None = None,
    reuse: str | Path | None = None,
    quality: str = "balanced",
    islands: Collection[str] = (),
    device: str | None = None,
    budget: int | str | None = None,
    random_weights: bool = False,
    overwrite: bool = False,
    trust: bool = False,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write a model as an artefact: compiled where that works, verified against float32, with a manifest.

    Args:
        model: a catalogue name, the path of a weight file, or any module.
        example_inputs: for a module, its tensor arguments; their first axis is the batch.
        out: a new folder.
        backend: auto (first of aoti, export, eager that is verified), best (the fastest of them), or one by name.
        dtype: compute type to insist on; None: chosen and checked, float32 for a module.
        max_batch: of a call; auto: the largest whose tensors stay below 2^31 elements; None or "none": no end.
        size: canvas height and width; None: the network's own.
        dynamic_size: height and width may change from call to call.
        with_post: put normalisation and post-processing inside: bytes of canvases in, finished tensors out.
        check_on: folder of pictures to compare on as well, 1, 8, then 64.
        reuse: artefact of the same network with other weights, whose compiled file is taken over.
        quality: how far results may be from float32: exact, balanced or fast.
        islands: for a module, names of parts that stay in float32.
        device: torch device string; None: the first accelerator, else the CPU.
        budget: bytes or text such as `12GB` that the process may take; None: what is free.
        random_weights: noise instead of the published weights, for measurements.
        overwrite: replace an artefact that is there.
        trust: run the code of `reuse` although it was not made here.
        accept_licence, ask, report: as for `vitruvian.load`.

    Raises:
        VitruvianError: unknown option or folder in use (2), memory or disk too small (4), refused (5), or no backend
            that keeps the numbers (6), by exit code.
    """
    return _Asked(**locals()).made()


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The arguments of `export`."""

    model: str | Path | nn.Module
    example_inputs: tuple[Tensor, ...] | None
    out: str | Path
    backend: str
    dtype: str | None
    max_batch: int | str | None
    size: tuple[int, int] | None
    dynamic_size: bool
    with_post: bool
    check_on: str | Path | None
    reuse: str | Path | None
    quality: str
    islands: Collection[str]
    device: str | None
    budget: int | str | None
    random_weights: bool
    overwrite: bool
    trust: bool
    accept_licence: Collection[str]
    ask: Callable[[str], bool] | None
    report: Callable[[str], None]

    def made(self) -> Exported:
        """The artefact."""
        chosen, out = _check_backend(self.backend), Path(self.out)
        wish = self._wish(chosen)
        with staged(out, overwrite=self.overwrite) as staging:
            climb, notes, taken = _climbed(self.model, self.example_inputs, wish, chosen, staging)
            attempts = [attempt.to_json() for attempt in climb.attempts]
            move_into(climb.folder(taken), staging, keep=(LOGS, PICTURES))
            report_of = {**climb.head.report, "attempts": attempts}
            manifest, data = seal(staging, replace(climb.manifests[taken], report=report_of))
        note = ledger.remember(data, out.name)
        notes = (*notes, *((note,) if note else ()))
        return Exported(folder=out, manifest=manifest, attempts=tuple(climb.attempts), notes=notes)

    def _wish(self, chosen: Literal["auto", "best"] | Backend) -> ExportWish:
        """What was asked, checked."""
        return ExportWish(
            dtype=_only_type(chosen) if self.dtype is None else check_dtype(self.dtype),
            max_batch=_check_max_batch(self.max_batch),
            size=self.size,
            dynamic_size=self.dynamic_size,
            with_post=self.with_post,
            check_on=None if self.check_on is None else Path(self.check_on),
            reuse=None if self.reuse is None else Path(self.reuse),
            quality=check_quality(self.quality),
            islands=tuple(self.islands),
            device=self.device,
            budget_bytes=parse_size(self.budget) if isinstance(self.budget, str) else self.budget,
            random_weights=self.random_weights,
            trust=self.trust,
            accept_licence=tuple(self.accept_licence),
            ask=self.ask,
            report=self.report,
        )


def _climbed(
    model: str | Path | nn.Module,
    example_inputs: tuple[Tensor, ...] | None,
    wish: ExportWish,
    chosen: Literal["auto", "best"] | Backend,
    staging: Path,
) -> tuple[Climb, tuple[str, ...], Backend]:
    """The ladder climbed; again in float32 where no backend keeps its numbers in a type that nobody insisted on."""
    if isinstance(model, nn.Module):
        climb, notes = module_climb(model, _checked(example_inputs), wish, staging)
    else:
        climb, notes = network_climb(model, wish, staging)
    try:
        return climb, notes, climb.best() if chosen == BEST else climb.first(_backends(chosen))
    except CheckFailedError as error:
        if wish.dtype is not None or climb.draft.precision.dtype == "float32":
            raise
        note = f"{climb.draft.precision} did not do: {error}"
        wish.report(f"{note}; once more in float32")
        empty(staging)
        again = replace(wish, dtype="float32")
        climb, notes, taken = _climbed(model, example_inputs, again, chosen, staging)
        return climb, (*notes, note), taken


def _backends(chosen: Literal["auto", "best"] | Backend) -> Sequence[Backend]:
    return AUTO if chosen in ("auto", "best") else (cast(Backend, chosen),)


def _checked(example_inputs: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
    if example_inputs is None:
        raise UsageError("got a module without example inputs; expected a tuple of tensors; pass example_inputs")
    return example_inputs


def _check_backend(name: str) -> Literal["auto", "best"] | Backend:
    if name in ("auto", "best"):
        return "auto" if name == "auto" else BEST
    return check_backend(name)


def _only_type(chosen: Literal["auto", "best"] | Backend) -> Dtype | None:
    """float32 for a backend that was named and does not take every type; else the choice is free."""
    named = None if chosen in ("auto", BEST) else RUNGS[cast(Backend, chosen)]
    return None if named is None or set(DTYPES) <= set(named.dtypes) else "float32"


def _check_max_batch(value: int | str | None) -> int | Literal["auto"] | None:
    if value is None or value == "none":
        return None
    if value == "auto":
        return "auto"
    try:
        count = int(value)
    except ValueError:
        count = 0
    if count < 2:
        raise UsageError(
            f"got --max-batch {value}; expected a number from 2, or none; leave it out for the largest that works"
        )
    return count
