"""How well persons' keypoints agree with COCO truth: AP and AR by object keypoint similarity (OKS), and PCK.

True and found persons -> numbers. As in the published evaluation, found persons stand in the order of box score times
mean keypoint score, doubles are removed by OKS, and AP is the mean over OKS 0.5 to 0.95 of at most 20 persons a
picture; the package faster-coco-eval computes it. Memory: a picture's found persons squared, times keypoints.
"""

# Shape suffixes: P persons, Q other persons, K keypoints, 2 = x y, 3 = x y visibility, 4 = x0 y0 x1 y1.

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvian.errors import UsageError
from vitruvian.evaluation.pose_sets import FoundPersons, TruePersons
from vitruvian.tasks import metrics
from vitruvian.tasks.conventions import Points, unmapped
from vitruvian.tasks.labels import KeypointSet
from vitruvian.tasks.preprocess import BOX_PADDING

NMS_OKS = 0.9
"""Of found persons more alike than this only the one with the best score counts."""

CROP_ASPECT = 3 / 4
"""Width by height of the published crops, whose area the removal of doubles goes by."""

PCK_FRACTIONS = (0.05, 0.1)
"""Parts of the longer side of a person's box within which a keypoint counts as found."""

WHOLE = "whole"
METRICS = {
    "AP": "AP_all",
    "AP50": "AP_50",
    "AP75": "AP_75",
    "APm": "AP_medium",
    "APl": "AP_large",
    "AR": "AR_all",
    "AR50": "AR_50",
    "AR75": "AR_75",
    "ARm": "AR_medium",
    "ARl": "AR_large",
}
"""Our names of COCO's keypoint metrics and the package's; m and l: persons of 32 to 96 pixels squared, and larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseAccuracy:
    """What an evaluation found."""

    convention: str
    """Convention of the truth, in which everything was measured."""
    parts: Mapping[str, Mapping[str, float]]
    """Part of the body -> metric -> 0..1; NaN where the truth has no such person."""
    pck: Mapping[str, float]
    """Share of labelled keypoints found near enough, over all labelled persons; people not found are missed."""
    pictures: int
    persons: int
    """Persons of the truth with at least one labelled keypoint."""
    found: int
    doubles: int
    """Found persons removed as doubles of better ones."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; null for NaN once written."""
        return {
            "convention": self.convention,
            "pictures": self.pictures,
            "persons": self.persons,
            "found": self.found,
            "doubles_removed": self.doubles,
            "parts": {name: dict(values) for name, values in self.parts.items()},
            "pck": dict(self.pck),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """A table for people."""
        width = max((len(name) for name in self.parts), default=4)
        lines = [
            f"{self.pictures} pictures, {self.persons} persons, {self.found} found "
            f"({self.doubles} doubles left out), {self.convention}",
            " " * width + "".join(f"{name:>7}" for name in METRICS),
        ]
        for part, values in self.parts.items():
            cells = (f"{values[name]:7.3f}" if np.isfinite(values[name]) else f"{'-':>7}" for name in METRICS)
            lines.append(f"{part:<{width}}" + "".join(cells))
        lines.append(", ".join(f"{name} {value:.3f}" for name, value in self.pck.items()))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def check_available() -> None:
    """Raise `UsageError` where the package that computes AP is missing; call before a model runs."""
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise UsageError(
            'got no package faster-coco-eval; expected it for AP and AR; install it with: pip install "vitruvian[eval]"'
        )


def pose_accuracy(truth: TruePersons, found: FoundPersons, *, nms_oks: float | None = NMS_OKS) -> PoseAccuracy:
    """Measure found persons of any convention against the truth, in the truth's convention.

    A part of the body is measured if the found persons' convention has all of its keypoints; parts left out are noted.
    `nms_oks` None keeps doubles. `UsageError` if nothing can be measured, or without the package.
    """
    check_available()
    missing = set(unmapped(found.points.convention, truth.convention))
    parts, notes = _parts(truth.convention, found.points.convention, missing)
    points = found.points.to(truth.convention)
    there_K = np.array([name not in missing for name in truth.convention.names])
    kept_P = np.ones(len(found.image_P), bool)
    if nms_oks is not None:
        kept_P = without_doubles(found, points, there_K, nms_oks)
    return PoseAccuracy(
        convention=truth.convention.name,
        parts={name: _average_precision(truth, found, points, kept_P, members) for name, members in parts.items()},
        pck=_pck(truth, found, points, kept_P, there_K),
        pictures=len(truth.pictures),
        persons=int(truth.labelled_P.sum()),
        found=len(found.image_P),
        doubles=int((~kept_P).sum()),
        notes=notes,
    )


def _parts(truth: KeypointSet, found: KeypointSet, missing: set[str]) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """What can be measured, by name, and what cannot, in words."""
    parts = {name: list(members) for name, members in truth.groups.items()}
    if len(parts) > 1:
        parts[WHOLE] = list(range(truth.count))
    whole = {name: members for name, members in parts.items() if not missing & {truth.names[i] for i in members}}
    if not whole:
        raise UsageError(
            f"got results of {found.name} for a truth of {truth.name}; expected at least the keypoints of one part "
            f"({', '.join(parts)}); use a model with more keypoints or another truth"
        )
    left_out = [name for name in parts if name not in whole]
    if not left_out:
        return whole, ()
    return whole, (f"{', '.join(left_out)} not measured: {found.name} has {len(missing)} of their keypoints not",)


def oks(
    a_PK2: np.ndarray, b_QK2: np.ndarray, area_PQ: np.ndarray, sigmas_K: np.ndarray, counted_PK: np.ndarray
) -> np.ndarray:
    """Object keypoint similarity (P,Q), 0..1: mean over counted keypoints of exp(-d^2 / (2 (2 sigma)^2 area)).

    `area_PQ` is the persons' size in square pixels, `counted_PK` bool; 0 for persons of whom no keypoint counts. COCO's
    keypoint evaluation defines it.
    """
    squared_PQK = ((a_PK2[:, None] - b_QK2[None]) ** 2).sum(axis=-1)
    spread_K = (2 * sigmas_K) ** 2
    exponent_PQK = squared_PQK / spread_K / (area_PQ[..., None] + np.spacing(1)) / 2
    counted_P1K = counted_PK[:, None]
    return (np.exp(-exponent_PQK) * counted_P1K).sum(axis=-1) / np.maximum(counted_P1K.sum(axis=-1), 1)


def without_doubles(found: FoundPersons, points: Points, there_K: np.ndarray, threshold: float = NMS_OKS) -> np.ndarray:
    """bool (P,): best first, whoever is not more alike to someone kept than `threshold`, picture by picture.

    As published: over all keypoints that the model has (`there_K`), seen or not, with the mean area of the two crops.
    `points` are those of `found`, perhaps in another convention.
    """
    kept_P = np.zeros(len(found.image_P), bool)
    xy_PK2, sigmas_K = _located(points), np.array(points.convention.oks_sigmas)
    area_P = _crop_areas(found.boxes_P4)
    for number in np.unique(found.image_P):
        here = np.flatnonzero(found.image_P == number)
        here = here[np.argsort(-found.scores_P[here], kind="stable")]
        area_PP = (area_P[here, None] + area_P[None, here]) / 2
        alike_PP = oks(xy_PK2[here], xy_PK2[here], area_PP, sigmas_K, np.tile(there_K, (len(here), 1)))
        chosen: list[int] = []
        for place in range(len(here)):
            if not chosen or alike_PP[place, chosen].max() <= threshold:
                chosen.append(place)
        kept_P[here[chosen]] = True
    return kept_P


def _crop_areas(boxes_P4: np.ndarray) -> np.ndarray:
    """Area of the published crop round each box: a quarter larger, then grown to 3:4."""
    width_P, height_P = ((boxes_P4[:, 2:] - boxes_P4[:, :2]) * BOX_PADDING).T
    width_P = np.maximum(width_P, height_P * CROP_ASPECT)
    return width_P * width_P / CROP_ASPECT


def _located(points: Points) -> np.ndarray:
    """(P,K,2) with 0, 0 for keypoints without a location, as results files have them."""
    return np.where(points.valid_PK[..., None], points.xy_PK2, 0.0)


def _average_precision(
    truth: TruePersons, found: FoundPersons, points: Points, kept_P: np.ndarray, members: Sequence[int]
) -> dict[str, float]:
    """AP and AR of some keypoints, by name; NaN where the truth has no such person."""
    from faster_coco_eval import COCO, COCOeval_faster

    annotations = []
    for person, points_K3 in enumerate(truth.points_PK3[:, members]):
        x0, y0, x1, y1 = truth.boxes_P4[person].tolist()
        annotations.append(
            {
                "id": person + 1,  # 0 means unmatched
                "image_id": int(truth.image_P[person]),
                "category_id": 1,
                "keypoints": points_K3.ravel().tolist(),
                "num_keypoints": int((points_K3[:, 2] > 0).sum()),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": float(truth.area_P[person]),
                "iscrowd": int(truth.crowd_P[person]),
            }
        )
    xys_PK3 = np.concatenate([_located(points), points.scores_PK[..., None]], axis=-1)[:, members]
    results = [
        {
            "image_id": int(found.image_P[person]),
            "category_id": 1,
            "keypoints": xys_PK3[person].ravel().tolist(),
            "score": float(found.scores_P[person]),
        }
        for person in np.flatnonzero(kept_P)
    ]
    true_set = COCO(
        {
            "info": {},
            "images": [{"id": number} for number in truth.pictures],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": annotations,
        }
    )
    sigmas = [truth.convention.oks_sigmas[index] for index in members]
    run = COCOeval_faster(true_set, true_set.loadRes(results), iouType="keypoints", kpt_oks_sigmas=sigmas)
    run.run()
    values = run.stats_as_dict
    return {name: values[key] if values[key] >= 0 else float("nan") for name, key in METRICS.items()}


def _pck(
    truth: TruePersons, found: FoundPersons, points: Points, kept_P: np.ndarray, there_K: np.ndarray
) -> dict[str, float]:
    """Share of labelled keypoints near enough; each labelled person takes whom of those found is most alike."""
    people = np.flatnonzero(truth.labelled_P)
    matched_PK2 = np.full((len(people), truth.convention.count, 2), np.nan)
    sigmas_K = np.array(truth.convention.oks_sigmas)
    located_PK2 = _located(points)
    for number in np.unique(truth.image_P[people]):
        mine = np.flatnonzero(truth.image_P[people] == number)
        others = np.flatnonzero((found.image_P == number) & kept_P)
        true_PK3 = truth.points_PK3[people[mine]]
        area_PQ = np.repeat(truth.area_P[people[mine], None], len(others), axis=1)
        counted_PK = (true_PK3[..., 2] > 0) & there_K
        alike_PQ = oks(true_PK3[..., :2], located_PK2[others], area_PQ, sigmas_K, counted_PK)
        while alike_PQ.size and alike_PQ.max() > 0:
            row, column = np.unravel_index(alike_PQ.argmax(), alike_PQ.shape)
            matched_PK2[mine[row]] = points.xy_PK2[others[column]]
            alike_PQ[row], alike_PQ[:, column] = -1, -1
    visible_PK = (truth.points_PK3[people, :, 2] > 0) & there_K
    true_PK2, boxes_P4 = truth.points_PK3[people, :, :2], truth.boxes_P4[people]
    return {
        f"PCK@{fraction:g}": metrics.pck(matched_PK2, true_PK2, visible_PK, boxes_P4, fraction)
        for fraction in PCK_FRACTIONS
    }
