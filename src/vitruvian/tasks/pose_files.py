"""What a pose file says: our JSON document, and its lines in a COCO results file.

Arrays in source pixels -> plain JSON values. Small: a few kB per person.
"""

# Shape suffixes: P persons, K keypoints, 2 = x y, 4 = x0 y0 x1 y1.

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vitruvian.errors import InputError
from vitruvian.tasks.labels import KeypointSet, keypoint_set

FORMAT_VERSION = 1
"""Grows when a reader of `pose.json` would have to change."""

FRAME = "source pixels, x right, y down, centre of the top-left pixel is (0,0)"

COUNTED_SCORE = 0.2
"""Keypoints above this score make up a person's score, as in the published evaluation."""

WHOLE_BODY_FIELDS = {
    "keypoints": "body",
    "foot_kpts": "foot",
    "face_kpts": "face",
    "lefthand_kpts": "left_hand",
    "righthand_kpts": "right_hand",
}
"""Fields of whole-body truth and results files, in the order of the convention, and the keypoint groups they hold."""


def person_scores(scores_PK: np.ndarray) -> np.ndarray:
    """Mean score (P,) of each person's keypoints that score above 0.2; zero where none does."""
    counted_PK = scores_PK > COUNTED_SCORE
    total_P = np.where(counted_PK, scores_PK, 0).sum(axis=1, dtype=np.float64)
    return total_P / np.maximum(counted_PK.sum(axis=1), 1)


def pose_document(
    about: Mapping[str, Any],
    convention: KeypointSet,
    keypoints_PK2: np.ndarray,
    scores_PK: np.ndarray,
    boxes_P4: np.ndarray,
    box_scores_P: np.ndarray,
    ids_P: np.ndarray | None = None,
) -> dict[str, Any]:
    """The contents of `pose.json`: what it is about, the names of the keypoints once, and the persons.

    Per person: `id` where persons are followed (-1: unknown), `box_xyxy`, `box_score`, `score` (see `person_scores`),
    `keypoints` ([x, y], or null where there is no peak) and `scores`. Locations have three decimals, scores five.
    """
    instances = []
    for person, score in enumerate(person_scores(scores_PK)):
        seen_K = np.isfinite(keypoints_PK2[person]).all(axis=1).tolist()
        xy_K = np.round(keypoints_PK2[person].astype(np.float64), 3).tolist()
        instances.append(
            {
                **({} if ids_P is None else {"id": int(ids_P[person])}),
                "box_xyxy": _numbers(boxes_P4[person], 3),
                "box_score": _number(box_scores_P[person], 5),
                "score": _number(score, 5),
                "keypoints": [xy if seen else None for xy, seen in zip(xy_K, seen_K, strict=True)],
                "scores": _numbers(scores_PK[person], 5),
            }
        )
    return {
        "format": "vitruvian-pose",
        "version": FORMAT_VERSION,
        **about,
        "keypoint_names": list(convention.names),
        "instances": instances,
    }


def coco_results(document: Mapping[str, Any], image_id: int) -> list[dict[str, Any]]:
    """The persons of one `pose.json` document as entries of a COCO results list.

    Keypoints are flat x, y, score triples; score is box score times person score, as in the published evaluation. A
    whole-body convention is spread over the fields of its benchmark; a keypoint without a location is 0, 0, 0. A box or
    person whose score is null, since it was no number, counts as 0: the last of all.
    """
    if document.get("format") != "vitruvian-pose" or document.get("version") != FORMAT_VERSION:
        raise InputError(
            f"got a document of format {document.get('format')!r}, version {document.get('version')!r}; "
            f"expected vitruvian-pose, version {FORMAT_VERSION}; write it again with this program"
        )
    convention = keypoint_set(document["convention"])
    parts = WHOLE_BODY_FIELDS if convention.name == "wholebody133" else {"keypoints": None}
    entries = []
    for person in document["instances"]:
        triples = [
            [0.0, 0.0, 0.0] if xy is None or score is None else [*xy, score]
            for xy, score in zip(person["keypoints"], person["scores"], strict=True)
        ]
        entry: dict[str, Any] = {"image_id": image_id, "category_id": 1}
        for field, group in parts.items():
            members = range(convention.count) if group is None else convention.groups[group]
            entry[field] = [value for index in members for value in triples[index]]
        x0, y0, x1, y1 = person["box_xyxy"]
        entry["bbox"] = _numbers((x0, y0, x1 - x0, y1 - y0), 3)
        entry["score"] = _number((person["box_score"] or 0.0) * (person["score"] or 0.0), 5)
        entries.append(entry)
    return entries


def _number(value: float, decimals: int) -> float | None:
    """A rounded number; null for what JSON has no number for."""
    return round(float(value), decimals) if math.isfinite(value) else None


def _numbers(values: Any, decimals: int) -> list[float | None]:
    """Rounded numbers, all at once: one by one they take as long as a tenth of the network that made them."""
    rounded = np.round(np.asarray(values, np.float64), decimals).tolist()
    return [value if math.isfinite(value) else None for value in rounded]
