"""One rung of the ladder after the other: build, open in a fresh process, verify, time; the first good one or the best.

In: a draft of the network, a subject to try it on, a folder with the weights. Out: attempts, each explained, and the
folder of the one that was taken. Building dominates: up to 40 s for native code.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from vitruvian.artefacts.examination import Candidate, Examined, Subject, examine, fastest
from vitruvian.artefacts.explanations import explain
from vitruvian.artefacts.folder import seal
from vitruvian.artefacts.ladder import AUTO, RUNGS
from vitruvian.artefacts.manifest import CONSTANTS, RUNNER_PREFIX, WEIGHTS, Backend, Manifest
from vitruvian.artefacts.reuse import STRUCTURE, structure_of
from vitruvian.artefacts.rung import Built, Draft, Rung
from vitruvian.errors import CheckFailedError, DoesNotFitError
from vitruvian.fit.quality import Quality, margins
from vitruvian.hardware import format_bytes, out_of_memory

LOGS, PICTURES = "logs", "pictures"
"""Folders of an artefact: what tools said, and the worst picture of each backend."""
RACE_ROUNDS = 7
SPARE_BYTES = 256 * 2**20
"""What compilers write beside the weights, with a margin."""
State = Literal["verified", "missed", "failed", "not here"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One rung that was tried."""

    backend: Backend
    state: State
    because: str
    """A sentence: what was measured, or what went wrong and what to rewrite."""
    build_s: float = 0.0
    size_bytes: int = 0
    """Of the files without the weights that lie beside them."""
    reused: bool = False
    """Whether the compiled file of another artefact was taken."""
    examined: Examined | None = None
    further: Mapping[str, Any] = field(default_factory=dict)
    """What was found on the user's own inputs."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for the manifest."""
        return {
            "backend": self.backend,
            "state": self.state,
            "because": self.because,
            "build_s": round(self.build_s, 2),
            "size_bytes": self.size_bytes,
            "reused": self.reused,
            **({} if self.examined is None else self.examined.to_json()),
            **({"further": dict(self.further)} if self.further else {}),
        }


@dataclass(kw_only=True)
class Climb:
    """One network on its way up (or down) the ladder."""

    draft: Draft
    subject: Subject
    head: Manifest
    """What is the same for every backend."""
    staging: Path
    """Holds the weights; every backend gets a folder in it."""
    batches: Sequence[int]
    threads: int
    quality: Quality | None
    """What an artefact must keep; None: nothing to judge by."""
    rounded_quality: Quality | None
    """The same for backends that round beyond the compute type."""
    module: nn.Module | None = None
    """For weights alone of a user's module."""
    unfit: str = ""
    """Why compiled code, which cannot take the network's own memory measures, does not fit; empty where it does."""
    reusable: Callable[[Rung], tuple[Path, Manifest] | None] = lambda rung: None
    """Another artefact whose compiled file serves this network, too."""
    further: Callable[[Candidate, Path], tuple[Sequence[str], Mapping[str, Any]]] | None = None
    """(open artefact, a place for a picture) -> why it is not good enough on the user's own inputs, and the numbers."""
    runner: Path | None = None
    """A program that is put beside files which need no torch."""
    report: Callable[[str], None] = lambda line: None
    attempts: list[Attempt] = field(default_factory=list)
    manifests: dict[Backend, Manifest] = field(default_factory=dict)

    def first(self, backends: Sequence[Backend]) -> Backend:
        """The first backend that is verified.

        Raises:
            CheckFailedError: none is.
        """
        for backend in backends:
            if self._tried(backend).state == "verified":
                return backend
        raise self._none()

    def best(self) -> Backend:
        """The fastest of the verified backends of `auto`, called in turn.

        Raises:
            CheckFailedError: none is verified.
        """
        good = [backend for backend in AUTO if self._tried(backend).state == "verified"]
        if not good:
            raise self._none()
        if len(good) == 1:
            return good[0]
        self.report(f"the fastest of {', '.join(good)}, called in turn")
        inputs = self.subject.inputs([place % self.subject.count for place in range(min(4, max(self.batches)))])
        with ExitStack() as stack:
            candidates = [stack.enter_context(self.candidate(backend)) for backend in good]
            return good[fastest(candidates, inputs, RACE_ROUNDS)]

    def folder(self, backend: Backend) -> Path:
        """Where a backend's files lie."""
        return self.staging / backend

    def _tried(self, backend: Backend) -> Attempt:
        rung = RUNGS[backend]
        missing = rung.missing(self.draft.device) or (self.unfit if backend != "eager" else "")
        if missing:
            attempt = Attempt(backend=backend, state="not here", because=missing)
        elif self.draft.precision.dtype not in rung.dtypes:
            because = f"takes {' or '.join(rung.dtypes)}, not {self.draft.precision.dtype}; name one with --dtype"
            attempt = Attempt(backend=backend, state="not here", because=because)
        else:
            attempt = self._built(rung)
        self.attempts.append(attempt)
        if attempt.state != "verified":
            self.report(f"{backend}: {attempt.because}")
        return attempt

    def _built(self, rung: Rung) -> Attempt:
        """Build and examine; what goes wrong becomes a sentence."""
        folder = self.folder(rung.name)
        folder.mkdir()
        started = time.perf_counter()
        try:
            self._require_space(folder)
            found = self.reusable(rung)
            self.report(f"{rung.name}: {'taking the compiled file over' if found else 'building'} ({rung.what})")
            built = _taken_over(*found, folder) if found else rung.build(self.draft, folder)
            build_s = time.perf_counter() - started
            manifest = self._sealed(rung, built, folder)
            size_bytes = sum(entry.size_bytes for name, entry in manifest.files.items() if name != WEIGHTS)
            self.report(f"{rung.name}: opened, run and compared in a fresh process")
            with self.candidate(rung.name) as candidate:
                examined = examine(candidate, self.subject, self.batches)
                misses: Sequence[str] = examined.misses(self._quality(rung))
                further: Mapping[str, Any] = {}
                if self.further is not None and not misses:
                    misses, further = self.further(candidate, self.staging / PICTURES / f"{rung.name}.png")
        except DoesNotFitError:
            raise  # the disk is full: the next backend would not fit either
        except Exception as error:  # compilers raise anything; every failure is explained and the next rung is tried
            return self._failed(rung, error, time.perf_counter() - started)
        return Attempt(
            backend=rung.name,
            state="missed" if misses else "verified",
            because="; ".join(misses) or self._numbers(examined, self._quality(rung)),
            build_s=build_s,
            size_bytes=size_bytes,
            reused=found is not None,
            examined=examined,
            further=further,
        )

    def _require_space(self, folder: Path) -> None:
        """A disk that fills up while torch writes ends the whole process, so it is looked at before."""
        wanted_bytes = 2 * (self.staging / WEIGHTS).stat().st_size + SPARE_BYTES
        free_bytes = shutil.disk_usage(folder).free
        if free_bytes < wanted_bytes:
            raise DoesNotFitError(
                f"got {format_bytes(free_bytes)} of free disk; expected {format_bytes(wanted_bytes)} for building one "
                "backend; free some, or choose a folder on another disk with -o"
            )

    def _sealed(self, rung: Rung, built: Built, folder: Path) -> Manifest:
        """Weights, constants and a manifest, as an artefact needs them to be opened."""
        if built.weights_outside:
            _link(self.staging / WEIGHTS, folder / WEIGHTS)
        if built.constants:
            _save(folder / CONSTANTS, built.constants)
        if self.runner is not None and rung.portable:
            shutil.copyfile(self.runner, folder / f"{RUNNER_PREFIX}{self.runner.name}")
        if built.log:
            _write_log(self.staging, rung.name, built.log)
        same = {STRUCTURE: structure_of(self.draft)} if built.entry and built.weights_outside else {}
        manifest = replace(
            self.head,
            backend=rung.name,
            entry=built.entry,
            weights=self.head.weights if built.weights_outside else None,
            options={**self.head.options, **built.options, **same},
        )
        manifest, _ = seal(folder, manifest)
        self.manifests[rung.name] = manifest
        return manifest

    def candidate(self, backend: Backend) -> Candidate:
        """A backend's artefact in a process of its own."""
        module = self.module if backend == "eager" else None
        return Candidate(folder=self.folder(backend), device=self.draft.device, threads=self.threads, module=module)

    def _failed(self, rung: Rung, error: Exception, seconds: float) -> Attempt:
        shutil.rmtree(self.folder(rung.name), ignore_errors=True)
        if out_of_memory(error):
            because = "memory ran out while it was built; free some, or export a smaller network"
        else:
            because = str(explain(error, backend=rung.name))
        _write_log(self.staging, rung.name, _traceback(error))
        return Attempt(backend=rung.name, state="failed", because=because, build_s=seconds)

    def _quality(self, rung: Rung) -> Quality | None:
        return self.rounded_quality if rung.rounds else self.quality

    def _numbers(self, examined: Examined, quality: Quality | None) -> str:
        if not examined.distances:
            return f"runs at batches {_listed(self.batches)}; there was no float32 to compare with"
        if quality is None:
            numbers = ", ".join(f"{unit} {value:.3g}" for unit, value in examined.distances.items())
        else:
            numbers = margins(examined.distances, quality)
        return f"within limits of float32 at batches {_listed(self.batches)}: {numbers}"

    def _none(self) -> CheckFailedError:
        tried = "; ".join(f"{attempt.backend}: {attempt.because}" for attempt in self.attempts)
        return CheckFailedError(
            f"got no artefact of {self.draft.name} that works ({tried}); expected one that keeps its numbers; "
            "mend what is named there, or take another --backend or --dtype"
        )


def _taken_over(folder: Path, manifest: Manifest, target: Path) -> Built:
    """The compiled file of another artefact."""
    _link(folder / manifest.entry, target / manifest.entry)
    constants: dict[str, Tensor] = {}
    if CONSTANTS in manifest.files:
        from safetensors.torch import load_file

        constants = load_file(folder / CONSTANTS)
    return Built(entry=manifest.entry, constants=constants, weights_outside=True, options=manifest.options)


def _link(source: Path, target: Path) -> None:
    """One file under two names, or a copy where the disk knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, path)


def _write_log(staging: Path, backend: Backend, text: str) -> None:
    folder = staging / LOGS
    folder.mkdir(exist_ok=True)
    with (folder / f"{backend}.log").open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def _listed(batches: Sequence[int]) -> str:
    return ", ".join(map(str, batches))
