"""Measures of detection against cases worked out by hand and the COCO library; the embedded detector above a floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vitruvian.errors import RefusedError, UsageError
from vitruvian.evaluation import detection
from vitruvian.evaluation.detection import Found, Sample
from vitruvian.zoo import PackagedFile
from vitruvian.zoo.detectors import NANO_SCORE

BOXES_P4 = np.array([[0, 0, 10, 20], [30, 0, 40, 20], [60, 0, 70, 20.0]])


def sample(boxes_P4: np.ndarray = BOXES_P4, counts: Sequence[bool] | None = None) -> Sample:
    count = len(boxes_P4)
    return Sample(
        image_HW3=np.zeros((100, 100, 3), np.uint8),
        boxes_P4=boxes_P4,
        share_P=np.linspace(0.2, 1.0, count),
        counts_P=np.ones(count, bool) if counts is None else np.array(counts),
    )


def found(boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> Found:
    return Found(boxes_D4=np.array(boxes, float).reshape(-1, 4), scores_D=np.array(scores, float), min_score=0.35)


@pytest.mark.parametrize(
    ("boxes", "scores", "expected"),
    [
        pytest.param(BOXES_P4, [0.9, 0.8, 0.7], 1.0, id="all"),
        pytest.param([], [], 0.0, id="none"),
        pytest.param(BOXES_P4[:1], [0.9], 34 / 101, id="one of three: recalls 0 to 0.33"),
        pytest.param([[80, 50, 90, 90], *BOXES_P4], [0.9, 0.8, 0.7, 0.6], 0.75, id="a wrong one first"),
        pytest.param([*BOXES_P4, [80, 50, 90, 90]], [0.9, 0.8, 0.7, 0.6], 1.0, id="a wrong one last"),
        pytest.param([*BOXES_P4[[0, 0, 1, 2]]], [0.9, 0.8, 0.7, 0.6], (34 + 67 * 0.75) / 101, id="one twice"),
    ],
)
def test_average_precision(boxes: Sequence[Sequence[float]], scores: Sequence[float], expected: float) -> None:
    assert detection.average_precision([sample()], [found(boxes, scores)], 0.5) == pytest.approx(expected)


def test_hidden_persons_neither_count_nor_punish() -> None:
    hidden = sample(counts=(True, True, False))
    for rows in ([0, 1], [0, 1, 2]):
        finds = found(BOXES_P4[rows], np.linspace(0.8, 0.9, len(rows)))
        assert detection.average_precision([hidden], [finds], 0.5) == 1.0


def random_case(rng: np.random.Generator) -> tuple[Sample, Found]:
    corner = rng.uniform(0, 60, (rng.integers(0, 6), 2))
    true = sample(np.concatenate([corner, corner + rng.uniform(10, 40, corner.shape)], axis=1))
    shaken = true.boxes_P4 + rng.normal(0, 2.5, true.boxes_P4.shape)
    extra_corner = rng.uniform(0, 60, (rng.integers(0, 4), 2))
    boxes = np.concatenate([shaken, np.concatenate([extra_corner, extra_corner + 20], axis=1)])
    order = rng.permutation(len(boxes))
    return true, found(boxes[order], np.sort(rng.uniform(0, 1, len(boxes)))[::-1])


def test_average_precision_is_cocos() -> None:
    library = pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(4)
    cases = [random_case(rng) for _ in range(30)]
    truth: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    results = []
    for index, (true, finds) in enumerate(cases, 1):
        truth["images"].append({"id": index, "width": 100, "height": 100})
        for x0, y0, x1, y1 in true.boxes_P4.tolist():
            box = [x0, y0, x1 - x0, y1 - y0]
            number = len(truth["annotations"]) + 1
            row = {"id": number, "image_id": index, "category_id": 1, "iscrowd": 0, "bbox": box}
            truth["annotations"].append({**row, "area": box[2] * box[3]})
        for (x0, y0, x1, y1), score in zip(finds.boxes_D4.tolist(), finds.scores_D.tolist(), strict=True):
            bbox = [x0, y0, x1 - x0, y1 - y0]
            results.append({"image_id": index, "category_id": 1, "bbox": bbox, "score": score})
    coco = library.COCO(truth)
    judge = library.COCOeval_faster(coco, coco.loadRes(results), iouType="bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    samples, finds = [case[0] for case in cases], [case[1] for case in cases]
    ours = [detection.average_precision(samples, finds, overlap) for overlap in detection.OVERLAPS_T]
    assert np.mean(ours) == pytest.approx(judge.stats[0], abs=1e-6)
    assert ours[0] == pytest.approx(judge.stats[1], abs=1e-6)


def test_recall_by_share_counts_persons_of_each_range() -> None:
    finds = found(BOXES_P4[[0, 2]], [0.9, 0.1])
    rows = detection.recall_by_share([sample()], [finds], (0.0, 0.5, 1.01))
    assert rows == [(1, 1.0), (2, 0.0)]


def test_false_finds_are_counted_from_a_score_on() -> None:
    assert detection.false_finds([found(BOXES_P4, [0.9, 0.5, 0.1]), found([], [])]) == 1.0


def test_held_out_pictures_repeat_and_their_boxes_hold_the_persons() -> None:
    first, again = (detection.held_out_samples(3, 2, 5)[2] for _ in range(2))
    assert np.array_equal(first.image_HW3, again.image_HW3)
    height, width = first.image_HW3.shape[:2]
    assert (first.boxes_P4 >= 0).all()
    assert (first.boxes_P4 <= (width, height, width, height)).all()
    assert first.counts_P.any()


def test_the_embedded_detector_finds_held_out_people() -> None:
    samples = detection.held_out_samples(24, 0, 8)
    finds = detection.find(detection.loaded(), [sample.image_HW3 for sample in samples])
    assert detection.average_precision(samples, finds, 0.5) > 0.6
    assert {found.min_score for found in finds} == {NANO_SCORE}


def test_a_detector_trained_here_is_measured_from_its_file(tmp_path: Path) -> None:
    embedded = PackagedFile(path="nano/detector.safetensors").locate()
    path, tensors = tmp_path / "blind.safetensors", load_file(embedded)
    blind = {**tensors, "logit.bias": torch.full_like(tensors["logit.bias"], -20)}
    with safe_open(embedded, "pt") as file:
        save_file(blind, path, metadata=file.metadata())
    model = detection.loaded(path)
    assert model.spec.name == "blind"
    finds = detection.find(model, [sample.image_HW3 for sample in detection.held_out_samples(2, 2, 4)])
    assert [len(found.scores_D) for found in finds] == [0, 0]


@pytest.mark.parametrize("stored", [None, "{", "[]", '{"input_hw": [256, 256]}'])
def test_detector_files_without_a_configuration_are_refused(tmp_path: Path, stored: str | None) -> None:
    tensors = load_file(PackagedFile(path="nano/detector.safetensors").locate())
    path = tmp_path / "other.safetensors"
    save_file(tensors, path, metadata=stored and {"vitruvian_config": stored})
    with pytest.raises(RefusedError, match=r"other\.safetensors with a 'vitruvian_config' that cannot be read"):
        detection.loaded(path)


def test_what_detects_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a detector"):
        detection.loaded("sapiens-seg-nano")
