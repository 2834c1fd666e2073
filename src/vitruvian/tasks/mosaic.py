"""One map of a picture from maps of its persons' crops.

Results of crops, in any order -> result at source size. Where crops overlap, a pixel belongs to the person in whose box
it lies nearest to the middle; where nobody is, there is no value. Beside the values 6 bytes a pixel are held, however
many persons there are.
"""

# Shape suffixes: H W source size, h w crop, 4 = x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitruvian.errors import UsageError
from vitruvian.tasks.base import Geometry, Region, Result
from vitruvian.tasks.gathering import only_one
from vitruvian.tasks.persons import MOST, Persons
from vitruvian.tasks.preprocess import BOX_PADDING, crop_rectangle

Blank = Callable[[], np.ndarray]
MapOf = Callable[[Result], np.ndarray]
Whole = Callable[[np.ndarray, Persons], Result]
ThereOf = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maps:
    """What is known of each pixel so far."""

    values: np.ndarray
    owner_HW: np.ndarray
    """uint16; 1 + place of the person it belongs to."""
    off_HW: np.ndarray
    """float32; how far from that person's centre it lies, see `_off_centre`."""

    @classmethod
    def of(cls, blank: np.ndarray) -> _Maps:
        size_hw = blank.shape[:2]
        return cls(values=blank, owner_HW=np.zeros(size_hw, np.uint16), off_HW=np.full(size_hw, np.inf, np.float32))

    def part(self, rows: slice, columns: slice) -> _Maps:
        """A window; writing there writes here."""
        there = rows, columns
        return _Maps(values=self.values[there], owner_HW=self.owner_HW[there], off_HW=self.off_HW[there])


class Mosaic:
    """Gathers the maps of one picture."""

    def __init__(self, blank: Blank, *, map_of: MapOf, whole: Whole, there: ThereOf | None = None) -> None:
        """`blank`: makes the map of a picture without persons, (H,W) or (H,W,C), which is filled in place.

        `map_of`: the map of a result; `whole`: the result of a filled map; `there`: map -> bool (h,w), the pixels of a
        crop that show a person at all; None: all of them.
        """
        self._blank, self._map_of, self._whole, self._there = blank, map_of, whole, there
        self._maps: _Maps | None = None
        self._regions: dict[int, Region] = {}
        self._of_picture: list[Result] = []

    def add(self, place: int, geometry: Geometry, results: Sequence[Result]) -> None:
        """Paste the map of one person where no other person is nearer; a result of the whole picture stays as it is."""
        (result,) = only_one(results)
        if geometry.region is None:
            self._of_picture.append(result)
            return
        if place >= MOST:
            raise UsageError(f"got more than {MOST} persons in one picture; expected fewer; split the boxes file")
        if self._maps is None:
            self._maps = _Maps.of(self._blank())
        x0, y0, x1, y1 = rectangle = crop_rectangle(geometry)
        maps, values = self._maps.part(slice(y0, y1), slice(x0, x1)), self._map_of(result)
        off_hw = _off_centre(geometry.region, rectangle)
        # Pixels between two persons go to the earlier one, whoever comes first.
        mine_hw = (off_hw < maps.off_HW) | ((off_hw == maps.off_HW) & (maps.owner_HW > place + 1))
        mine_hw &= off_hw <= BOX_PADDING
        if self._there is not None:
            mine_hw &= self._there(values)
        # Everything that can run out of memory is done: from here on a second call would do the same again.
        maps.values[mine_hw] = values[mine_hw]
        maps.owner_HW[mine_hw] = place + 1
        maps.off_HW[mine_hw] = off_hw[mine_hw]
        self._regions[place] = geometry.region

    def results(self) -> Sequence[Result]:
        """The whole picture's result, or the persons' in one."""
        if self._of_picture:
            return only_one(self._of_picture)
        maps = self._maps or _Maps.of(self._blank())
        regions = tuple(self._regions[place] for place in sorted(self._regions))
        return [self._whole(maps.values, Persons(regions=regions, owner_HW=maps.owner_HW))]


def _off_centre(region: Region, rectangle: tuple[int, int, int, int]) -> np.ndarray:
    """How far from a box's centre the pixels of a rectangle lie, 1 on the box's edges, float32 (h,w)."""
    left, top, right, bottom = region.box_xyxy
    x0, y0, x1, y1 = rectangle
    x_w = np.abs(np.arange(x0, x1) + 0.5 - (left + right) / 2) / ((right - left) / 2)
    y_h = np.abs(np.arange(y0, y1) + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
    return np.maximum.outer(y_h.astype(np.float32), x_w.astype(np.float32))
