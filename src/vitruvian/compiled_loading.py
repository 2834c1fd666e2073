"""An artefact as a model: its manifest read, rebuilt for this machine where it was made for another, opened, planned.

In: a folder that an export wrote. Out: what `loading` needs to make a `Model` of it. Nothing of the folder runs before
manifest, machine, trust and hashes were looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.artefacts import trust as ledger
from vitruvian.artefacts.artefact import Artefact, device_for, open_artefact
from vitruvian.artefacts.compatibility import MismatchError, require_match
from vitruvian.artefacts.folder import check_files, is_whole
from vitruvian.artefacts.ladder import AUTO, RUNGS
from vitruvian.artefacts.manifest import WEIGHTS, Manifest, is_artefact, read_manifest
from vitruvian.artefacts.pictures import post_inside
from vitruvian.artefacts.wrapping import FINITE
from vitruvian.cache import cache_dir
from vitruvian.errors import RefusedError, UsageError
from vitruvian.exporting import export
from vitruvian.fit.decisions import Decision
from vitruvian.fit.precision import compute_types
from vitruvian.fit.quality import QUALITIES
from vitruvian.hardware import probe, target_here
from vitruvian.media.names import printable
from vitruvian.models.weight_files import sha256_of
from vitruvian.tasks.base import Provenance, Task
from vitruvian.tasks.inside import InsideTask
from vitruvian.weights import ROUNDED_KEY, FoundWeights

Rebuild = Literal["auto", "never"]


def check_rebuild(name: str) -> Rebuild:
    """The choice of this name.

    Raises:
        UsageError: there is none.
    """
    if name == "auto":
        return "auto"
    if name == "never":
        return "never"
    raise UsageError(f"got --rebuild {name}; expected auto or never; leave it out for auto")


@dataclass(frozen=True, kw_only=True)
class Source:
    """An artefact that belongs to this machine, not yet open."""

    folder: Path
    manifest: Manifest
    trust: bool
    spec: zoo.ModelSpec
    decisions: tuple[Decision, ...]
    device: str | None
    """torch device string that it belongs on; None: any will do."""

    @property
    def task(self) -> Task:
        """Pre- and post-processing of the artefact's own canvas."""
        task = self.spec.make_task()
        return InsideTask(task=task) if self.manifest.with_post else task

    @property
    def found(self) -> FoundWeights | None:
        """The weights beside the compiled file; None where they are inside it."""
        path = self.folder / WEIGHTS
        if WEIGHTS not in self.manifest.files:
            return None
        return FoundWeights(spec=self.spec, provenance=self.provenance, paths=(path,))

    @property
    def provenance(self) -> Provenance:
        """Where results come from: as the manifest says where this machine wrote it, else by the file that is there."""
        manifest = self.manifest
        known = self.trust or ledger.is_known(read_manifest(self.folder)[1])
        name = manifest.entry if WEIGHTS not in manifest.files else WEIGHTS
        return Provenance(
            model=manifest.model,
            weights_sha256=manifest.weights_sha256 if known else sha256_of(self.folder / name),
            licence=manifest.licence,
            rounded_to=manifest.network.get(ROUNDED_KEY, ""),
        )

    def checked_weights(self) -> FoundWeights:
        """The weights of an artefact that is nothing else.

        Raises:
            RefusedError: there are none, or they are not the file that was written.
        """
        check_files(self.folder, self.manifest.files)
        if self.found is None:
            raise RefusedError(
                f"got the artefact {self.folder.name} of weights alone, whose manifest names no {WEIGHTS}; "
                "expected one; export the model again: vitruvian export MODEL -o DIR"
            )
        return self.found

    def open(self, device: str, calls_at_once: int) -> Artefact:
        """The artefact on a device.

        Raises:
            RefusedError: not trusted, changed or damaged.
        """
        return open_artefact(self.folder, device=device, trust=self.trust, calls_at_once=calls_at_once)


class CompiledNetwork(nn.Module):
    """An open artefact in the place of a network."""

    def __init__(self, artefact: Artefact) -> None:
        super().__init__()
        self._artefact = artefact

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        return self._artefact(x)


def with_task(network: nn.Module, task: Task) -> nn.Module:
    """A plain network that gives what an artefact of this task gives."""
    return post_inside(network, task.task) if isinstance(task, InsideTask) else network


def rows_said_bad(raw: Mapping[str, Tensor]) -> dict[int, tuple[str, ...]]:
    """Pictures that a network with its post-processing inside calls not finite, for the engine."""
    bad = torch.nonzero(~raw[FINITE]).flatten().tolist()
    return {int(place): ("the network's output",) for place in bad}


def artefact_source(
    folder: Path,
    *,
    device: str | None,
    trust: bool,
    rebuild: Rebuild,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Source | None:
    """The artefact in a folder, or one rebuilt from its weights; None: the folder holds none.

    `accept_licence`, `ask` and `report` are for weights that a rebuild has to fetch again.

    Raises:
        UsageError: an artefact of a user's own module.
        RefusedError: a bad manifest, or another machine's artefact that may not or cannot be rebuilt.
    """
    folder = folder.absolute()  # `.` has no name
    if not is_artefact(folder):
        return None
    manifest, data = read_manifest(folder)
    if not manifest.task:
        raise UsageError(
            f"got the artefact {folder.name} of {printable(manifest.model)}, a module of somebody's own; expected a "
            "model of the catalogue; use vitruvian.open_artefact, which gives back a function of tensors"
        )
    wanted = device_for(manifest, device)
    try:
        require_match(RUNGS[manifest.backend], manifest.target, target_here(wanted), folder.name, manifest.source)
    except MismatchError as mismatch:
        if rebuild == "never":
            raise
        other = _Other(folder=folder, manifest=manifest, data=data, trust=trust, device=wanted, mismatch=mismatch)
        return _rebuilt(other, {"accept_licence": accept_licence, "ask": ask, "report": report})
    return _source(folder, manifest, trust, wanted, ())


def _source(folder: Path, manifest: Manifest, trust: bool, device: str, decisions: Sequence[Decision]) -> Source:
    return Source(
        folder=folder,
        manifest=manifest,
        trust=trust,
        spec=replace(_spec_of(folder, manifest), name=manifest.model, licence=manifest.licence).at_size(
            manifest.canvas_hw
        ),
        decisions=(
            *decisions,
            Decision(
                what="backend",
                value=manifest.backend,
                because=f"the artefact {folder.name}, exported in {manifest.precision}",
                measured=True,
            ),
        ),
        device=device if "device" in RUNGS[manifest.backend].bonds else None,
    )


def _spec_of(folder: Path, manifest: Manifest) -> zoo.ModelSpec:
    spec = zoo.spec_of_file(folder / WEIGHTS, {}, manifest.network)
    if spec.task != manifest.task:
        raise RefusedError(
            f"got the artefact {folder.name} for {printable(manifest.task)}, whose network is one for {spec.task}; "
            "expected one and the same; export the model again: vitruvian export MODEL -o DIR"
        )
    return spec


@dataclass(frozen=True, kw_only=True)
class _Other:
    """An artefact of another machine."""

    folder: Path
    manifest: Manifest
    data: bytes
    """Of the manifest."""
    trust: bool
    device: str
    """torch device string that it shall run on here."""
    mismatch: MismatchError

    def identity(self, manifest: Manifest) -> Manifest:
        """The rebuilt artefact's manifest with the names of this one: it is the same model."""
        mine = self.manifest
        known = self.trust or ledger.is_known(self.data)
        return replace(
            manifest,
            model=mine.model,
            licence=mine.licence,
            source=mine.source,
            weights_sha256=mine.weights_sha256 if known else manifest.weights_sha256,
        )


def _rebuilt(other: _Other, access: Mapping[str, Any]) -> Source:
    """The same network exported for this machine, into the cache; found there the next time."""
    here = target_here(other.device)
    key = hashlib.sha256(other.data + repr(here).encode()).hexdigest()[:16]
    plain_name = re.sub(r"[^0-9A-Za-z._-]", "_", other.manifest.model)[:64]
    target = cache_dir() / ledger.REBUILT / f"{plain_name}-{key}"
    because = str(other.mismatch).removeprefix("got ").partition("; expected")[0]
    decision = Decision(what="artefact", value="rebuilt", because=because)
    made = _made_earlier(target)
    if made is None:
        access["report"](f"rebuilding for this machine: {because}")
        source = _weights_of(other)
        made = export(source, out=target, overwrite=True, **access, **_as_it_was(other)).manifest
    return _source(target, other.identity(made), False, other.device, (decision,))


def _made_earlier(target: Path) -> Manifest | None:
    """What an earlier call rebuilt; None where there is nothing, or something that was not left alone."""
    if not is_artefact(target):
        return None
    try:
        manifest, data = read_manifest(target)
    except RefusedError:
        return None
    return manifest if ledger.is_known(data) and is_whole(target, manifest.files) else None


def _weights_of(other: _Other) -> str | Path:
    """Where the weights are to be had again: in the folder, if they are what the manifest says, or by name."""
    folder, manifest = other.folder, other.manifest
    if WEIGHTS in manifest.files:
        check_files(folder, {WEIGHTS: manifest.files[WEIGHTS]})
        return folder / WEIGHTS
    known = zoo.MODELS.get(manifest.source)
    if known is None:
        raise other.mismatch
    return known.name


def _as_it_was(other: _Other) -> dict[str, Any]:
    """The options of the first export, as far as this machine can keep them."""
    manifest = other.manifest
    native = compute_types(probe().device(other.device))
    own_hw = _spec_of(other.folder, manifest).config.input_hw
    largest = manifest.batch_range[1]
    quality = manifest.report.get("quality")
    return {
        "backend": "auto" if manifest.backend in AUTO else manifest.backend,
        "device": other.device,
        "dtype": manifest.precision.dtype if manifest.precision.dtype in native else None,
        "max_batch": "auto" if largest is None else max(2, largest),
        "size": None if manifest.canvas_hw == own_hw else manifest.canvas_hw,
        "dynamic_size": manifest.any_size,
        "with_post": manifest.with_post,
        "quality": quality if quality in QUALITIES else "balanced",
    }
