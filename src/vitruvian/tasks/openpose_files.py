"""Persons as an OpenPose JSON document, for the many programs that read one.

Points in source pixels -> plain JSON values. Small: a few kB per person.
"""

# Shape suffixes: P persons, K keypoints, 2 = x y.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vitruvian.tasks.conventions import Points, unmapped
from vitruvian.tasks.labels import keypoint_set

VERSION = 1.3
"""Of OpenPose's JSON; since 1.3 `person_id` is a list of one number, -1 where unknown."""

BODIES = ("openpose18", "openpose25")

PUPILS = 2
"""OpenPose's face has 68 points and two pupils, which no convention of ours has together with the 68."""

_PARTS = {"face_keypoints_2d": "face", "hand_left_keypoints_2d": "left_hand", "hand_right_keypoints_2d": "right_hand"}
"""Fields and the whole-body groups with the same points in the same order."""


def openpose_document(
    about: Mapping[str, Any], body: Points, source: Points, ids_P: np.ndarray | None = None
) -> dict[str, Any]:
    """The contents of `pose.openpose.json`.

    Args:
        about: model, licence and so on; stands under `vitruvian`, which readers of OpenPose's files pass over.
        body: the persons; in another convention than OpenPose's they are converted to its 25 points.
        source: the same persons as the network gave them; hands and face are written where it has all their points.
        ids_P: number of each person, -1 unknown; None: nobody follows.

    Every list is x, y, confidence, x, y, ...: source pixels, centre of the top-left pixel at (0,0), three decimals;
    confidence is the score clipped to 0..1. A keypoint without a location is 0, 0, 0.
    """
    if body.convention.name not in BODIES:
        body = body.to(keypoint_set("openpose25"))
    pose = _triples(body.xy_PK2, body.scores_PK, body.valid_PK)
    parts = _parts(source)
    people = []
    for person, triples in enumerate(pose):
        people.append(
            {
                "person_id": [-1 if ids_P is None else int(ids_P[person])],
                "pose_keypoints_2d": triples,
                **{field: rows[person] if rows else [] for field, rows in parts.items()},
                **{f"{name}_keypoints_3d": [] for name in ("pose", "face", "hand_left", "hand_right")},
            }
        )
    return {"version": VERSION, "people": people, "vitruvian": dict(about)}


def _parts(source: Points) -> dict[str, list[list[float]]]:
    """Field -> flat triples of each person; nothing for a part of which the source lacks a point."""
    whole = keypoint_set("wholebody133")
    missing = set(unmapped(source.convention, whole))
    points = source.to(whole) if source.convention.name != whole.name else source
    found: dict[str, list[list[float]]] = {}
    for field, group in _PARTS.items():
        members = list(whole.groups[group])
        if missing & {whole.names[index] for index in members}:
            found[field] = []
            continue
        rows = _triples(points.xy_PK2[:, members], points.scores_PK[:, members], points.valid_PK[:, members])
        padding = [0.0, 0.0, 0.0] * PUPILS if group == "face" else []
        found[field] = [row + padding for row in rows]
    return found


def _triples(xy_PK2: np.ndarray, scores_PK: np.ndarray, valid_PK: np.ndarray) -> list[list[float]]:
    """Flat x, y, confidence of each person."""
    usable_PK = valid_PK & np.isfinite(xy_PK2).all(axis=-1) & np.isfinite(scores_PK)
    xyc_PK3 = np.empty((*xy_PK2.shape[:2], 3), np.float64)
    xyc_PK3[..., :2] = xy_PK2.astype(np.float64).round(3)
    xyc_PK3[..., 2] = np.clip(scores_PK, 0, 1).astype(np.float64).round(5)
    return np.where(usable_PK[..., None], xyc_PK3, 0.0).reshape(len(xyc_PK3), 3 * xyc_PK3.shape[1]).tolist()
