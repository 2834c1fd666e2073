"""The poses that drive a video: 134 points a person, in shares of the frame.

133 whole-body points (COCO: 17 body, 6 feet, 68 face, 21 a hand) -> 134 points in the layout that pose maps are drawn
from: 18 body points in OpenPose's order (the neck is made of the shoulders), feet, face, left hand, right hand.
"""

# Shape suffixes: P persons, J = 134 points, B = 18 body points, 2 = x y.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POINTS = 134
BODY, FACE = slice(0, 18), slice(24, 92)
LEFT_HAND, RIGHT_HAND = slice(92, 113), slice(113, 134)
SEEN = 0.3
"""A score above this means that a point is there (published)."""
_SHOULDERS = (5, 6)
_NECK = 17
_TO = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17)
_FROM = (17, 6, 8, 10, 7, 9, 12, 14, 16, 13, 15, 2, 1, 4, 3)
"""Body points that change places after the neck was put at 17."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrivePoses:
    """The persons of one frame."""

    points_PJ2: np.ndarray
    """float64 (P,134,2), x and y in shares of the frame's width and height."""
    scores_PJ: np.ndarray
    """float64 (P,134); raw, may exceed 1."""
    seen_PB: np.ndarray
    """bool (P,18); which body points are there."""

    @property
    def persons(self) -> int:
        """How many."""
        return len(self.points_PJ2)

    def moved(self, scale_xy: tuple[float, float], shift_xy: tuple[float, float]) -> DrivePoses:
        """Every point times a scale plus a shift."""
        points_PJ2 = self.points_PJ2 * np.array(scale_xy) + np.array(shift_xy)
        return DrivePoses(points_PJ2=points_PJ2, scores_PJ=self.scores_PJ, seen_PB=self.seen_PB)


def drive_poses(points_px_P133_2: np.ndarray, scores_P133: np.ndarray, size_hw: tuple[int, int]) -> DrivePoses:
    """Whole-body points of one frame in the layout of pose maps.

    Args:
        points_px_P133_2: float (P,133,2) pixels of the frame.
        scores_P133: float (P,133).
        size_hw: the frame's height and width.
    """
    points_PJ2 = np.insert(points_px_P133_2.astype(np.float64), _NECK, 0.0, axis=1)
    points_PJ2[:, _NECK] = points_px_P133_2[:, list(_SHOULDERS)].mean(axis=1)
    scores_PJ = np.insert(scores_P133.astype(np.float64), _NECK, 0.0, axis=1)
    scores_PJ[:, _NECK] = (scores_P133[:, list(_SHOULDERS)] > SEEN).all(axis=1)
    for array in (points_PJ2, scores_PJ):
        array[:, list(_TO)] = array[:, list(_FROM)]
    points_PJ2 = points_PJ2 / np.array([size_hw[1], size_hw[0]], np.float64)
    return DrivePoses(points_PJ2=points_PJ2, scores_PJ=scores_PJ, seen_PB=scores_PJ[:, BODY] > SEEN)
