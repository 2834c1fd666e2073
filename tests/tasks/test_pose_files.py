"""Numbers in pose files: rounded like any other number, whichever way they are computed."""

from __future__ import annotations

import math

import numpy as np

from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose_files import pose_document


def test_numbers_are_those_of_rounding_one_by_one() -> None:
    """All at once, halves of the last decimal included; null for what is no number."""
    rng = np.random.default_rng(0)
    xy_PK2 = rng.normal(0, 700, (3, 17, 2)).astype(np.float32)
    xy_PK2[0] = np.round(xy_PK2[0] * 16) / 16  # 0.0625 lies between two thousandths
    xy_PK2[1, 4, 0] = np.nan
    scores_PK = rng.normal(0, 0.5, (3, 17)).astype(np.float32)
    scores_PK[2, :2] = np.inf, np.nan
    boxes_P4 = rng.uniform(0, 700, (3, 4)).astype(np.float32)
    document = pose_document({}, keypoint_set("coco17"), xy_PK2, scores_PK, boxes_P4, np.ones(3, np.float32))
    for person, found in enumerate(document["instances"]):
        xy = [[round(float(value), 3) for value in pair] for pair in xy_PK2[person]]
        assert found["keypoints"] == [pair if all(map(math.isfinite, pair)) else None for pair in xy]
        scores = [round(float(value), 5) for value in scores_PK[person]]
        assert found["scores"] == [value if math.isfinite(value) else None for value in scores]
        assert found["box_xyxy"] == [round(float(value), 3) for value in boxes_P4[person]]
