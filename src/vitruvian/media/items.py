"""The values that flow through the road: something to read, something read, and something that could not be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One input that was found and not read yet."""

    name: str
    """Relative path with its extension, `/` between the parts; never absolute, unique in a run."""
    path: Path | None
    """Where to read it; None where `payload` holds it."""
    payload: bytes | np.ndarray | None
    """An encoded picture (standard input) or an array handed in by the caller."""
    index: int
    """Place in the run, from 0; failures count too."""
    sequence: str | None = None
    """Pattern of numbered pictures (`frames/%06d.png`) that are the frames of one video."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One decoded picture, or later one frame of a stream."""

    name: str
    """The entry's name."""
    index: int
    """The entry's place in the run."""
    time_s: float | None
    """Time inside a stream in seconds; None for a single picture."""
    stream: str | None
    """Name of the stream this is a frame of; None for a single picture."""
    image_HW3: np.ndarray
    """uint8 RGB, upright, contiguous. An array handed in as (H,W,3) is passed on without a copy."""
    size_bytes: int
    """Encoded size of a file, or the size of an array in memory."""
    modified_ns: int
    """Modification time of a file in ns since 1970; a checksum where there is no file, so that content still tells."""
    focal_35mm: float | None = None
    """35 mm equivalent focal length in millimetres, where the file has it."""
    notes: tuple[str, ...] = ()
    """What was done to the picture that a user may not expect, e.g. `first of several frames`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An input that could not be used; the others go on."""

    name: str
    """The name the input has or would have had."""
    index: int
    """Its place in the run."""
    reason: str
    """One line that says why, without private paths."""
