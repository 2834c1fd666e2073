"""Recordings kept on disk: one small JSON file each under the cache folder.

A file's name is a digest of everything the recording depends on: the workload, the traced knobs, the backend, torch's
version, the source of the network's classes and this tracer's own source; so nothing stale is ever read. A file that
cannot be read is no error: the trace is made anew and replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from vitruvian.cache import cache_dir
from vitruvian.fit.footprint.lines import Recording
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.workload import Workload

FOLDER = "footprints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One remembered prediction."""

    workload: str
    knobs: dict[str, object]
    backend: str
    torch_version: str
    path: Path


def digest_of(workload: Workload, module: nn.Module, knobs: Knobs, backend: str) -> str:
    """Names a recording by all it depends on. `module` is what the workload builds; only its classes matter."""
    document = {
        "key": workload.key,
        "islands": workload.islands,
        "offers": sorted(workload.knobs),
        "blocks": workload.blocks,
        "head": workload.head,
        "stages": [(stage.name, stage.repeats) for stage in workload.stages],
        "knobs": knobs.to_json(),
        "backend": backend,
        "torch": torch.__version__,
        "code": _source_digest(workload, module),
        "tracer": _tracer_digest(),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def load(digest: str) -> Recording | None:
    """The recording of this name, if there is a whole one."""
    try:
        document = json.loads(_path(digest).read_text(encoding="utf-8"))
        return Recording.from_json(document["recording"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged: traced again and replaced


def save(digest: str, recording: Recording, knobs: Knobs) -> None:
    """Keep a recording; readers see the old file or the whole new one.

    Raises:
        OSError: the cache folder cannot be written.
    """
    path = _path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "workload": recording.workload,
        "knobs": knobs.to_json(),
        "backend": recording.backend,
        "torch": torch.__version__,
        "recording": recording.to_json(),
    }
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    os.replace(temporary, path)


def entries() -> tuple[Entry, ...]:
    """What is remembered, by workload; damaged files are left out."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            entry = Entry(
                workload=document["workload"],
                knobs=document["knobs"],
                backend=document["backend"],
                torch_version=document["torch"],
                path=path,
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(entry)
    return tuple(sorted(found, key=lambda entry: (entry.workload, entry.path)))


def clear() -> int:
    """Forget everything; returns how many files went, damaged ones and remains of broken writes included."""
    paths = [*_folder().glob("*.json"), *_folder().glob("*.partial")]
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _folder() -> Path:
    return cache_dir() / FOLDER


def _path(digest: str) -> Path:
    return _folder() / f"{digest}.json"


def _source_digest(workload: Workload, module: nn.Module) -> str:
    """Of all files beside those that define the network's classes, its stages and its loss; torch's have a version."""
    calls = [stage.call for stage in workload.stages] + ([workload.loss] if workload.loss else [])
    functions = [call.func if isinstance(call, partial) else call for call in calls]
    names = {type(part).__module__ for part in module.modules()} | {call.__module__ for call in functions}
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names if name.partition(".")[0] != "torch"]
    folders = sorted({Path(file).parent for file in files if file})
    return _digest_of_files(tuple(str(path) for folder in folders for path in sorted(folder.glob("*.py"))))


@cache
def _digest_of_files(files: tuple[str, ...]) -> str:
    return hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in files)).hexdigest()


@cache
def _tracer_digest() -> str:
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *(here.parent / f"{name}.py" for name in ("apply", "low_rank", "parts", "precision"))]
    return _digest_of_files(tuple(str(file) for file in sorted(files)))
