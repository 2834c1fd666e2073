"""What a user wants of an export, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitruvian.fit.quality import Quality
from vitruvian.hardware import Dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportWish:
    """What was asked for; None leaves it to the export."""

    dtype: Dtype | None
    max_batch: int | Literal["auto"] | None
    """None: no largest batch."""
    size: tuple[int, int] | None
    dynamic_size: bool
    with_post: bool
    check_on: Path | None
    reuse: Path | None
    quality: Quality
    islands: tuple[str, ...]
    device: str | None
    budget_bytes: int | None
    random_weights: bool
    trust: bool
    accept_licence: tuple[str, ...]
    ask: Callable[[str], bool] | None
    report: Callable[[str], None]
