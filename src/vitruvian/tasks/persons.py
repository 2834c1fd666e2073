"""Persons of one picture that were looked at one by one, and whose pixels are whose.

Boxes, scores and numbers of the persons beside a map of owners at source size (2 bytes a pixel).
"""

# Shape suffixes: P persons, H W source size, 4 = x0 y0 x1 y1.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvian.tasks.base import Region
from vitruvian.tasks.id_drawing import frame_persons

MOST = 2**16 - 1
"""Persons a map of owners can tell apart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Persons:
    """Who is in a picture and where."""

    regions: tuple[Region, ...]
    """In the order given."""
    owner_HW: np.ndarray
    """uint16; 1 + place of the person a pixel's value comes from, 0 where it comes from nobody."""

    @property
    def boxes_P4(self) -> np.ndarray:
        """float32 x0, y0, x1, y1 in source pixels."""
        return np.array([region.box_xyxy for region in self.regions], np.float32).reshape(-1, 4)

    @property
    def ids_P(self) -> np.ndarray:
        """int64 numbers of persons that are followed; -1: not followed."""
        return np.array([-1 if region.id is None else region.id for region in self.regions], np.int64)

    def document(self) -> list[dict[str, Any]]:
        """Owner's code, box, score and, where followed, number of each person. JSON-able."""
        entries: list[dict[str, Any]] = []
        for code, region in enumerate(self.regions, 1):
            box = [round(value, 3) for value in region.box_xyxy]
            entry = {"code": code, "box_xyxy": box, "score": round(region.score, 5)}
            entries.append(entry if region.id is None else {**entry, "id": region.id})
        return entries

    def frame(self, canvas_HW3: np.ndarray) -> np.ndarray:
        """Draw everyone's box, with the number where followed, into a picture; the picture."""
        frame_persons(canvas_HW3, self.ids_P, self.boxes_P4)
        return canvas_HW3
