"""How well a person detector finds synthetic people it never saw: precision, recall by visible share, false finds.

Held-out seeds -> pictures with boxes of what is visible; those and found boxes -> numbers. Boxes are x0, y0, x1, y1
between the outer edges of pixels (0 is the left edge of the first column), as COCO's. Rendering dominates: some 60 ms a
picture.

`python -m vitruvian.evaluation.detection [--pictures N] [--detector NAME|FILE]` prints the table of a
detector, the embedded one if none is named, and one JSON line.
"""

# Shape suffixes: P true persons, D found boxes, T overlap thresholds, H W picture or canvas, 4 = box.

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vitruvian import zoo
from vitruvian.boxes import overlaps
from vitruvian.errors import UsageError
from vitruvian.loading import load
from vitruvian.people import render
from vitruvian.predict import Model
from vitruvian.tasks.detect import Detections
from vitruvian.training.detector.pictures import shaped_scene, visible_shares
from vitruvian.training.detector.recipe import DetectorRecipe

OVERLAPS_T = np.linspace(0.5, 0.95, 10)
"""Thresholds of COCO's AP@0.5:0.95."""
_RECALLS_R = np.linspace(0, 1, 101)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A picture and its persons."""

    image_HW3: np.ndarray
    boxes_P4: np.ndarray
    share_P: np.ndarray
    """Visible share of each person's outline inside the picture, 0..1."""
    counts_P: np.ndarray
    """True where missing the person is a mistake and finding it is not; hardly visible persons are neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Boxes of one picture, best first."""

    boxes_D4: np.ndarray
    scores_D: np.ndarray
    min_score: float
    """From here on a box counts as a person; average precision looks at all."""


def held_out_samples(pictures: int, fewest: int, most: int, *, first: int = 0) -> list[Sample]:
    """Held-out pictures with `fewest` to `most` persons in all the recipe's shapes."""
    recipe = DetectorRecipe()
    return [_sample(recipe, recipe.held_out_seed + first + index, fewest, most) for index in range(pictures)]


def _sample(recipe: DetectorRecipe, seed: int, fewest: int, most: int) -> Sample:
    rng = np.random.default_rng([seed, 13])
    scene = shaped_scene(recipe, seed, int(rng.integers(fewest, most + 1)), float(rng.choice(recipe.aspects)))
    view = render(scene)
    _, share_P = visible_shares(scene, view)
    there_P = np.isfinite(view.boxes_P4).all(axis=1)
    boxes_P4 = view.boxes_P4[there_P].reshape(-1, 4).astype(np.float64)
    boxes_P4[:, 2:] += 1  # from centres of the outermost pixels to their outer edges
    side_P = (boxes_P4[:, 2:] - boxes_P4[:, :2]).min(axis=1, initial=np.inf)
    return Sample(
        image_HW3=view.image_HW3,
        boxes_P4=boxes_P4,
        share_P=share_P[there_P],
        counts_P=(share_P[there_P] >= recipe.least_share) & (side_P >= recipe.least_side_px),
    )


def loaded(name: str | Path = zoo.DEFAULT_MODELS["detect"]) -> Model:
    """A detector of the catalogue, or of a file, in float32 on the CPU.

    Raises:
        UsageError: no such name, or it detects nothing.
        RefusedError: a file that holds no detector.
    """
    model = load(name, dtype="float32", device="cpu")
    if model.spec.task != "detect":
        raise UsageError(f"got {name}, a {model.spec.task} model; expected a detector; `vitruvian models` lists them")
    return model


def find(model: Model, images: Sequence[np.ndarray]) -> list[Found]:
    """What a detector finds on the road that pictures of users take; what it forgets there is not found here."""
    return [
        Found(boxes_D4=found.boxes_P4, scores_D=found.scores_P, min_score=found.min_score)
        for found in model(images)
        if isinstance(found, Detections)
    ]


def matched(sample: Sample, found: Found, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """What each found box is (D,): 1 right, 0 wrong, -1 not counted; and which persons were found (P,).

    As COCO does: best scores choose first, each takes the free person it overlaps most, those that count before those
    that do not; a person is taken once.
    """
    verdict_D = np.zeros(len(found.boxes_D4), np.int64)
    taken_P = np.zeros(len(sample.boxes_P4), bool)
    overlap_DP = overlaps(found.boxes_D4, sample.boxes_P4)
    for index, overlap_P in enumerate(overlap_DP):
        for counts in (True, False):
            free_P = np.where((sample.counts_P == counts) & ~taken_P, overlap_P, -1.0)
            if len(free_P) and free_P.max() >= overlap:
                taken_P[free_P.argmax()] = True
                verdict_D[index] = 1 if counts else -1
                break
    return verdict_D, taken_P & sample.counts_P


def average_precision(samples: Sequence[Sample], finds: Sequence[Found], overlap: float) -> float:
    """COCO's average precision at one overlap: mean over 101 recalls of the best precision at that recall or beyond."""
    verdicts = np.concatenate([matched(s, f, overlap)[0] for s, f in zip(samples, finds, strict=True)])
    scores = np.concatenate([found.scores_D for found in finds])
    counted = verdicts >= 0
    right = verdicts[counted][np.argsort(-scores[counted], kind="stable")] == 1
    persons = sum(int(sample.counts_P.sum()) for sample in samples)
    if persons == 0:
        return float("nan")
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place_R = np.searchsorted(hits / persons, _RECALLS_R, side="left")
    return float(np.mean([precision[place] if place < len(precision) else 0.0 for place in place_R]))


def recall_by_share(
    samples: Sequence[Sample], finds: Sequence[Found], edges: Sequence[float]
) -> list[tuple[int, float]]:
    """Per range of visible shares: persons, and the part of them that is found (overlap 0.5) with enough certainty."""
    found_P = np.concatenate([matched(s, _certain(f), 0.5)[1] for s, f in zip(samples, finds, strict=True)])
    share_P = np.concatenate([sample.share_P for sample in samples])
    counts_P = np.concatenate([sample.counts_P for sample in samples])
    rows = []
    for low, high in pairwise(edges):
        inside_P = counts_P & (share_P >= low) & (share_P < high)
        rows.append((int(inside_P.sum()), float(found_P[inside_P].mean()) if inside_P.any() else float("nan")))
    return rows


def false_finds(finds: Sequence[Found]) -> float:
    """Mean number of boxes that count as persons; of pictures without persons all are false."""
    return float(np.mean([len(_certain(found).scores_D) for found in finds]))


def _certain(found: Found) -> Found:
    kept_D = found.scores_D >= found.min_score
    return replace(found, boxes_D4=found.boxes_D4[kept_D], scores_D=found.scores_D[kept_D])


def evaluate(model: Model, pictures: int) -> dict[str, float]:
    """All numbers of a detector over `pictures` held-out pictures for each range of person counts."""
    row: dict[str, float] = {}
    groups = {"0-8": (0, 8, 0), "0-2": (0, 2, 100_000), "3-8": (3, 8, 200_000), "9-20": (9, 20, 300_000)}
    for name, (fewest, most, first) in groups.items():
        samples = held_out_samples(pictures, fewest, most, first=first)
        finds = find(model, [sample.image_HW3 for sample in samples])
        row[f"AP@0.5, {name} persons"] = average_precision(samples, finds, 0.5)
        if name == "0-8":
            row["AP@0.5:0.95, 0-8 persons"] = float(
                np.mean([average_precision(samples, finds, overlap) for overlap in OVERLAPS_T])
            )
            edges = (0.1, 0.3, 0.5, 0.75, 1.01)
            for low, (persons, recall) in zip(edges, recall_by_share(samples, finds, edges), strict=False):
                row[f"recall of persons visible from {low:.0%} ({persons})"] = recall
    empty = held_out_samples(max(20, pictures // 4), 0, 0, first=400_000)
    row["false finds per empty picture"] = false_finds(find(model, [sample.image_HW3 for sample in empty]))
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m vitruvian.evaluation.detection")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument(
        "--detector", default=zoo.DEFAULT_MODELS["detect"], help="name of the catalogue or weight file [%(default)s]"
    )
    arguments = parser.parse_args()
    model = loaded(arguments.detector)
    started = time.perf_counter()
    found = evaluate(model, arguments.pictures)
    print("| measure | value |\n|---|---|")
    for measure, value in found.items():
        print(f"| {measure} | {value:.3f} |")
    print(json.dumps({**found, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
