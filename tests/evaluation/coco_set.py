"""Rendered people as a tiny COCO set, and results with known accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vitruvian.people import View, random_scene, render


def some_views(count: int = 2, persons: int = 2) -> list[View]:
    """Pictures of standing and sitting people, 192x256."""
    return [render(random_scene(seed, persons=persons, height=192, width=256)) for seed in range(100, 100 + count)]


def write_coco_set(folder: Path, views: Sequence[View], annotations: str = "annotations.json") -> dict[str, Any]:
    """`000000000001.png`, ... and their annotations in a folder; returns the annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    for number, view in enumerate(views, 1):
        name = f"{number:012d}.png"
        assert cv2.imwrite(str(folder / name), view.image_HW3[..., ::-1])
        height, width = view.image_HW3.shape[:2]
        document["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for person, (points_K3, box_4) in enumerate(zip(view.keypoints_PK3, view.boxes_P4, strict=True)):
            if np.isfinite(box_4).all():
                area = int((view.person_ids_HW == person + 1).sum())
                document["annotations"].append(
                    annotation(len(document["annotations"]) + 1, number, points_K3, box_4, area)
                )
    (folder / annotations).write_text(json.dumps(document), encoding="utf-8")
    return document


def annotation(number: int, image_id: int, points_K3: np.ndarray, box_4: np.ndarray, area: float) -> dict[str, Any]:
    """One person as COCO writes it: 0, 0, 0 for keypoints that are not labelled."""
    labelled_K3 = np.where(points_K3[:, 2:] > 0, points_K3, 0).astype(np.float64)
    x0, y0, x1, y1 = map(float, box_4)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "keypoints": labelled_K3.ravel().tolist(),
        "num_keypoints": int((labelled_K3[:, 2] > 0).sum()),
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
        "area": float(area),
        "iscrowd": 0,
    }


def results_of(document: Mapping[str, Any], *, shift_px: float = 0.0, score: float = 0.9) -> list[dict[str, Any]]:
    """Results that are the truth itself, moved to the right by some pixels."""
    results = []
    for entry in document["annotations"]:
        points_K3 = np.reshape(entry["keypoints"], (-1, 3)).copy()
        points_K3[:, 0] += shift_px
        points_K3[:, 2] = 1
        results.append(
            {
                "image_id": entry["image_id"],
                "category_id": 1,
                "keypoints": points_K3.ravel().tolist(),
                "bbox": entry["bbox"],
                "score": score,
            }
        )
    return results
