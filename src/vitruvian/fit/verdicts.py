"""What audits found, remembered per model, weights, device, versions and precision, so that none is made twice.

`VerdictStore` keeps one small JSON file. Quality is no part of the key: numbers are kept, judged when they are read, so
another `--quality` or a changed limit needs no new audit. A damaged file counts as empty: the audit is made again.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vitruvian.cache import cache_dir
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision
from vitruvian.fit.quality import AuditReport

FILE = "verdicts.json"
_FORMAT = 2
"""Grows with every change of the key, or of what a discrepancy is called or means."""
_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_LOCK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictKey:
    """What an audit's outcome depends on."""

    model: str
    weights_sha256: str
    """Empty for weights that were never a file: nothing is remembered of these."""
    device: str
    """Name of the device, not its number."""
    torch_version: str
    version: str
    """Of this program."""
    canvas_hw: tuple[int, int]
    """Height and width of what the network was given."""
    precision: Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictStore:
    """A file of verdicts. Safe between processes; a run never fails because it cannot be written."""

    path: Path

    @classmethod
    def of_user(cls) -> VerdictStore:
        """The store in this user's cache folder."""
        return cls(path=cache_dir() / FILE)

    def get(self, key: VerdictKey, *, crops: int = 1) -> AuditReport | None:
        """What was found, if it was found on at least that many crops."""
        report = self.entries().get(key)
        return report if report is not None and report.crops >= crops else None

    def put(self, key: VerdictKey, report: AuditReport) -> str:
        """Remember; gives a sentence for the user where that was not possible, else nothing."""
        if not key.weights_sha256:
            return ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
                self._write(self.entries() | {key: report})
        except (OSError, Timeout) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            return f"the audit's verdict could not be remembered ({why}); it will be made again in the next run"
        return ""

    def entries(self) -> dict[VerdictKey, AuditReport]:
        """All that is remembered; what cannot be read is left out."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            rows = list(document["verdicts"]) if document["format"] == _FORMAT else []
        except (OSError, *_DAMAGED):
            return {}
        found = {}
        for row in rows:
            try:
                key, report = _entry(row)
            except _DAMAGED:
                continue
            found[key] = report
        return found

    def clear(self) -> int:
        """Forget everything; gives how many verdicts there were.

        Raises:
            UsageError: the file cannot be removed.
        """
        count = len(self.entries())
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"got {self.path.name}, which cannot be removed ({error.strerror})") from error
        return count

    def _write(self, entries: Mapping[VerdictKey, AuditReport]) -> None:
        rows = [{"key": asdict(key), "report": _plain(asdict(report))} for key, report in entries.items()]
        text = json.dumps({"format": _FORMAT, "verdicts": rows}, indent=1, allow_nan=False)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=FILE, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _plain(value: Any) -> Any:
    """JSON has no number for what is not finite: null."""
    if isinstance(value, dict):
        return {key: _plain(inside) for key, inside in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _entry(row: Any) -> tuple[VerdictKey, AuditReport]:
    key, report = row["key"], row["report"]
    precision = Precision(dtype=key["precision"]["dtype"], islands=tuple(map(str, key["precision"]["islands"])))
    plain = {name: str(key[name]) for name in ("model", "weights_sha256", "device", "torch_version", "version")}
    discrepancies, mean = (
        {unit: math.nan if value is None else float(value) for unit, value in report[name].items()}
        for name in ("discrepancies", "mean")
    )
    height, width = map(int, key["canvas_hw"])
    return VerdictKey(**plain, canvas_hw=(height, width), precision=precision), AuditReport(
        discrepancies=discrepancies,
        mean=mean,
        non_finite=int(report["non_finite"]),
        crops=int(report["crops"]),
        reference_s=float(report["reference_s"]),
        candidate_s=float(report["candidate_s"]),
        error=str(report["error"]),
    )
