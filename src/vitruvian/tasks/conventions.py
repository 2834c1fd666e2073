"""Keypoints of one convention as another, by name: what is the same point, what is made of two, what is missing.

Points of a source convention -> points of a target. Whatever has no source is invalid, never guessed. Some ten
microseconds a person.
"""

# Shape suffixes: P persons, J source keypoints, K target keypoints, 2 = x y.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitruvian.tasks.labels import KeypointSet

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")

SAME_POINT: Mapping[str, Mapping[str, str]] = {
    "sapiens308": {
        # Counted from the tip, so the third joint is the first of the whole-body convention.
        **{f"{side}_{finger}_third_joint": f"{side}_{finger}1" for side in ("left", "right") for finger in _FINGERS},
        # A point of its own, set by annotators; OpenPose's neck is the middle of the shoulders.
        "neck": "neck_of_sapiens308",
        # Points of the 68-point face mark-up with the same definition. Its jaw, brows, lids, bridge and nostrils are
        # samples along curves, its eye corners single points where this convention has the ends of two lash lines.
        "tip_of_nose": "face-30",
        "bottom_center_of_nose": "face-33",
        "r_outer_corner_of_mouth": "face-48",
        "center_of_cupid_bow": "face-51",
        "l_outer_corner_of_mouth": "face-54",
        "center_of_lower_outer_lip": "face-57",
        "r_inner_corner_of_mouth": "face-60",
        "center_of_upper_inner_lip": "face-62",
        "l_inner_corner_of_mouth": "face-64",
        "center_of_lower_inner_lip": "face-66",
    }
}
"""Names of a convention that mean what another name means elsewhere; all other names mean the same everywhere."""

MADE_OF: Mapping[str, tuple[str, str]] = {
    "neck": ("left_shoulder", "right_shoulder"),
    "mid_hip": ("left_hip", "right_hip"),
    "left_hand_root": ("left_wrist", "left_wrist"),
    "right_hand_root": ("right_wrist", "right_wrist"),
}
"""Where the source lacks the point itself: the point half-way between these two."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """Keypoints of the persons of one picture in some convention."""

    convention: KeypointSet
    xy_PK2: np.ndarray
    """Source pixels; NaN where not valid."""
    scores_PK: np.ndarray
    valid_PK: np.ndarray

    def to(self, target: KeypointSet) -> Points:
        """The same persons in another convention; what it has no source for is NaN, score 0, not valid.

        A point made of two lies half-way and has the lower of their scores; it is valid if both are. A point with one
        source is copied.
        """
        source_K2 = sources(self.convention, target)
        there_K = source_K2[:, 0] >= 0
        first_K, second_K = np.where(there_K[:, None], source_K2, 0).T
        valid_PK = self.valid_PK[:, first_K] & self.valid_PK[:, second_K] & there_K
        middle_PK2 = (self.xy_PK2[:, first_K] + self.xy_PK2[:, second_K]) / 2
        scores_PK = np.where(there_K, np.minimum(self.scores_PK[:, first_K], self.scores_PK[:, second_K]), 0)
        return Points(
            convention=target,
            xy_PK2=np.where(valid_PK[..., None], middle_PK2, np.nan).astype(self.xy_PK2.dtype),
            scores_PK=scores_PK.astype(self.scores_PK.dtype),
            valid_PK=valid_PK,
        )


def sources(source: KeypointSet, target: KeypointSet) -> np.ndarray:
    """int64 (K,2): the two source keypoints each target keypoint lies between; one twice for a copy, -1 for none."""
    renamed = SAME_POINT.get(source.name, {})
    place = {renamed.get(name, name): index for index, name in enumerate(source.names)}
    rows = []
    for name in target.names:
        meaning = SAME_POINT.get(target.name, {}).get(name, name)
        pair = (meaning, meaning) if meaning in place else MADE_OF.get(meaning, (meaning, meaning))
        found = tuple(place.get(part, -1) for part in pair)
        rows.append(found if min(found) >= 0 else (-1, -1))
    return np.array(rows, np.int64).reshape(-1, 2)


def unmapped(source: KeypointSet, target: KeypointSet) -> tuple[str, ...]:
    """Names of the target's keypoints that the source has nothing for."""
    return tuple(name for name, (first, _) in zip(target.names, sources(source, target), strict=True) if first < 0)
