"""What is remembered on this machine between runs, by kind: how much, what of, and how to forget it.

Everything but consents to licences and the ledger of artefacts can be found out again; forgetting costs only time.
Weights lie in the hub client's own cache and are not touched here.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitruvian.artefacts import trust
from vitruvian.cache import cache_dir
from vitruvian.errors import UsageError
from vitruvian.fit import calibration, verdicts
from vitruvian.fit.footprint import store
from vitruvian.hardware import format_bytes
from vitruvian.hardware.remembered import FILE_NAME

CONSENTS = "licences"
LEDGER = "artefacts"
NAMED_ONLY = (CONSENTS, LEDGER)
"""Forgotten only where they are named: they cannot be found out again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One kind of thing that is remembered."""

    kind: str
    what: str
    place: str
    """File or folder, without the user's home folder."""
    files: int
    size_bytes: int
    entries: tuple[str, ...]
    """One line each, for people."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "kind": self.kind,
            "what": self.what,
            "place": self.place,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "entries": list(self.entries),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    what: str
    path: str
    """Below the cache folder."""
    entries: Callable[[], Sequence[str]]


def _footprint_lines() -> list[str]:
    counts = Counter((entry.workload, entry.backend) for entry in store.entries())
    return [f"{workload} on {backend}: {count}" for (workload, backend), count in sorted(counts.items())]


def _calibration_lines() -> list[str]:
    return [
        f"{one.device}, torch {one.torch_version}: {len(one.points)} runs; "
        + (", ".join(f"{mode} x{factor:g}" for mode, factor in one.factors().items()) or "none tells anything")
        for one in calibration.calibrations()
    ]


def _verdict_lines() -> list[str]:
    entries = verdicts.VerdictStore.of_user().entries()
    return [
        f"{key.model}, {key.precision} on {key.device}, torch {key.torch_version}: {report.crops} crops"
        for key, report in entries.items()
    ]


def _machine_lines() -> list[str]:
    return [f"{kind}: {name}" for kind, names in _document(FILE_NAME).items() for name in names]


def _artefact_lines() -> list[str]:
    return [f"{one.get('name', '?')}, {one.get('made', '?')}" for one in trust.entries().values()]


def _rebuilt_lines() -> list[str]:
    return sorted(path.parent.name for path in (cache_dir() / trust.REBUILT).glob("*/manifest.json"))


def _consent_lines() -> list[str]:
    return [f"{name}, {day}" for name, day in _document(f"{CONSENTS}.json").get("accepted", {}).items()]


def _document(name: str) -> Mapping[str, Mapping[str, Any]]:
    """A file of tables; empty where it is missing or damaged, which costs only what was in it."""
    try:
        document = json.loads((cache_dir() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    tables = document.items() if isinstance(document, dict) else ()
    return {key: value for key, value in tables if isinstance(value, dict)}


_KINDS: Mapping[str, _Kind] = {
    "footprints": _Kind(what="predicted memory of networks", path=store.FOLDER, entries=_footprint_lines),
    "calibration": _Kind(
        what="measured peaks that correct predictions", path=calibration.FILE, entries=_calibration_lines
    ),
    "verdicts": _Kind(what="audits of compute types", path=verdicts.FILE, entries=_verdict_lines),
    "machine": _Kind(what="rates, and whether a compiler works", path=FILE_NAME, entries=_machine_lines),
    "rebuilt": _Kind(
        what="artefacts of other machines, rebuilt for this one", path=trust.REBUILT, entries=_rebuilt_lines
    ),
    LEDGER: _Kind(
        what="artefacts that were made here and may run their code", path=trust.FILE, entries=_artefact_lines
    ),
    CONSENTS: _Kind(what="licences you accepted", path=f"{CONSENTS}.json", entries=_consent_lines),
}
KINDS = tuple(_KINDS)


def kept() -> tuple[Kept, ...]:
    """Everything that is remembered; kinds without anything too.

    Raises:
        UsageError: there is no folder to remember in.
    """
    found = []
    for name, kind in _KINDS.items():
        files = _files(kind)
        found.append(
            Kept(
                kind=name,
                what=kind.what,
                place=_shown(cache_dir() / kind.path),
                files=len(files),
                size_bytes=sum(path.stat().st_size for path in files),
                entries=tuple(kind.entries()),
            )
        )
    return tuple(found)


def forget(kinds: Sequence[str] = ()) -> dict[str, int]:
    """Remove what is remembered; files removed by kind. Without names: all that can be found out again.

    Raises:
        UsageError: no such kind, or a file that cannot be removed.
    """
    unknown = [name for name in kinds if name not in _KINDS]
    if unknown:
        raise UsageError(f"got {', '.join(unknown)}; expected some of {', '.join(_KINDS)}; `cache show` lists them")
    removed = {}
    for name in kinds or [name for name in _KINDS if name not in NAMED_ONLY]:
        files = _files(_KINDS[name])
        for path in files:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UsageError(
                    f"got {_shown(path)}, which cannot be removed ({error.strerror}); expected a file of yours; "
                    "remove it yourself, or set VITRUVIAN_CACHE to another folder"
                ) from error
        removed[name] = len(files)
    return removed


def _files(kind: _Kind) -> list[Path]:
    """The files of a kind, remains of broken writes included; locks stay, because others may hold them."""
    path = cache_dir() / kind.path
    if path.suffix:
        return [path] if path.is_file() else []
    return sorted(file for file in path.rglob("*") if file.is_file())


def _shown(path: Path) -> str:
    """A path without the user's home folder."""
    named = os.environ.get("VITRUVIAN_CACHE")
    if named and path.is_relative_to(Path(named).expanduser()):
        return str(Path("$VITRUVIAN_CACHE") / path.relative_to(Path(named).expanduser()))
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)  # not below it, or there is none


def kept_text(everything: Sequence[Kept]) -> str:
    """For a terminal."""
    parts = []
    for one in everything:
        size = f"{one.files} files, {format_bytes(one.size_bytes)}" if one.files else "nothing"
        parts += [f"{one.kind}: {one.what}; {size} ({one.place})", *(f"  {line}" for line in one.entries)]
    return "\n".join(parts)
