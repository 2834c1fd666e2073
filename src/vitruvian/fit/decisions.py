"""Every automatic choice is a value that can be read, printed and stored in `run.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One choice made on the user's behalf."""

    what: str
    """What was decided: device, dtype, micro_batch, ..."""
    value: str | int | float | bool
    because: str
    """The reason in one clause."""
    measured: bool = False
    """Whether the reason rests on a measurement on this machine."""

    def __str__(self) -> str:
        return f"{self.what}: {self.value} ({self.because})"

    def to_json(self) -> dict[str, Any]:
        """Plain containers for `run.json`."""
        return asdict(self)
