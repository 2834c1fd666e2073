"""How benchmarks of metric depth are measured, as data: what a code means, what counts, how far, which camera.

Plain values; nothing is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitruvian.errors import InputError
from vitruvian.tasks.intrinsics_files import Intrinsics


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """The part of a picture that counts; the ends do not belong to it."""

    rows: tuple[float, float]
    columns: tuple[float, float]
    of_hw: tuple[int, int] | None
    """Size of the only pictures it is for, in pixels; None: `rows` and `columns` are shares of any picture."""

    def inside(self, size_hw: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns that count. Shares become pixels as `int(share * side)`: cut off, not rounded.

        Raises:
            InputError: a picture of another size.
        """
        if self.of_hw is None:
            sides = zip((self.rows, self.columns), size_hw, strict=True)
            rows, columns = (slice(int(low * side), int(high * side)) for (low, high), side in sides)
            return rows, columns
        if size_hw != self.of_hw:
            raise InputError(
                f"is {size_hw[1]} x {size_hw[0]}; expected {self.of_hw[1]} x {self.of_hw[0]}, the size that the "
                "protocol's crop is for; take the original pictures, or --protocol none"
            )
        return slice(*map(int, self.rows)), slice(*map(int, self.columns))


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthProtocol:
    """One way to measure metric depth."""

    name: str
    metres_per_code: float | None = None
    """Of 16-bit PNG; code 0 is no value. None: millimetres, or what a file of this program says."""
    cap_m: float | None = None
    """True depth beyond it does not count, found depth is limited to it."""
    crop: Crop | None = None
    intrinsics: Intrinsics | None = None
    """The camera of all pictures, where the data set has one."""

    def inside(self, size_hw: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a picture that count; see `Crop.inside`."""
        return self.crop.inside(size_hw) if self.crop else (slice(None), slice(None))

    @property
    def in_words(self) -> str:
        """Name, crop and cap, for reports."""
        if self.crop is None:
            part = "whole pictures"
        else:
            (top, bottom), (left, right) = self.crop.rows, self.crop.columns
            of = "their size" if self.crop.of_hw is None else "{} x {}".format(*self.crop.of_hw)
            part = f"rows {top:g} to {bottom:g}, columns {left:g} to {right:g} of {of}"
        return f"{self.name}: {part}, " + ("no cap" if self.cap_m is None else f"up to {self.cap_m:g} m")


AS_STORED = DepthProtocol(name="none")
"""Whole pictures, all distances, in what the files say."""

KITTI = DepthProtocol(
    name="kitti",
    metres_per_code=1 / 256,
    cap_m=80.0,
    crop=Crop(rows=(0.3324, 0.9135), columns=(0.0360, 0.9640), of_hw=None),
)
"""Driving; each picture's camera is in its folder."""

NYU = DepthProtocol(
    name="nyu",
    metres_per_code=1 / 1000,
    cap_m=10.0,
    crop=Crop(rows=(45, 471), columns=(41, 601), of_hw=(480, 640)),
    intrinsics=Intrinsics(fx_px=518.8579, fy_px=519.4696, cx_px=325.5824, cy_px=253.7362, size_wh=(640.0, 480.0)),
)
"""Rooms; one camera took all pictures."""

PROTOCOLS: Mapping[str, DepthProtocol] = {protocol.name: protocol for protocol in (KITTI, NYU, AS_STORED)}
"""All by name."""
