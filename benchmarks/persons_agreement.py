"""How far apart two ways find persons and keypoints: from the files of both to a few numbers.

Reads the published flow's JSON and ours, of pictures and of a clip.
"""

# Shape suffixes: P persons, K keypoints, 3 = x y score, 4 = x0 y0 x1 y1.

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.tasks.detect import overlaps
from vitruvian.tasks.pose import COMPARED_SCORE

SAME_PERSON = 0.9
"""Boxes of two ways that overlap so much are the same person."""

Persons = list[tuple[list[float], np.ndarray]]
"""Box and (K,3) x, y, score of each person of one picture."""


def persons_in(out: Path) -> dict[str, Persons]:
    """The persons of every picture or frame in the files of either way."""
    found = {path.name: _persons(json.loads(path.read_text())) for path in sorted(out.rglob("*.pose.json"))}
    for path in out.rglob("*.pose.jsonl"):
        for index, line in enumerate(path.read_text().splitlines()):
            found[f"{index:08d}"] = _persons(json.loads(line))
    return found


def _persons(document: dict[str, Any]) -> Persons:
    if "instance_info" in document:
        rows = document["instance_info"]
        return [(row["bbox"], np.column_stack([row["keypoints"], row["keypoint_scores"]])) for row in rows]
    persons = []
    for row in document.get("instances", document.get("persons", ())):
        xy = [point or (np.nan, np.nan) for point in row["keypoints"]]
        persons.append((row["box_xyxy"], np.column_stack([xy, row["scores"]]).astype(np.float64)))
    return persons


def same_persons(first: dict[str, Persons], second: dict[str, Persons]) -> float:
    """Share of all persons that both ways found, by overlap of their boxes."""
    shared = total = 0
    for name in first.keys() | second.keys():
        a_P4, b_P4 = (
            np.array([box for box, _ in found.get(name, ())], np.float64).reshape(-1, 4) for found in (first, second)
        )
        total += len(a_P4) + len(b_P4)
        if len(a_P4) and len(b_P4):
            same = overlaps(a_P4, b_P4) >= SAME_PERSON
            shared += int(same.any(axis=0).sum()) + int(same.any(axis=1).sum())
    return round(shared / total, 4) if total else 1.0


def distances(first: dict[str, Persons], second: dict[str, Persons]) -> dict[str, Any]:
    """Source pixels between keypoints that score enough, of persons whose boxes were given."""
    found: list[float] = []
    persons = 0
    for name in second:
        for (_, one_K3), (_, other_K3) in zip(first[name], second[name], strict=True):
            compared_K = np.minimum(one_K3[:, 2], other_K3[:, 2]) > COMPARED_SCORE
            found += np.linalg.norm((one_K3 - other_K3)[compared_K, :2], axis=1).tolist()
            persons += 1
    if not found:
        return {"persons": persons, "keypoints": 0}
    median, p90, p99 = (round(float(value), 3) for value in np.quantile(found, (0.5, 0.9, 0.99)))
    return {"persons": persons, "keypoints": len(found), "median_px": median, "p90_px": p90, "p99_px": p99}
