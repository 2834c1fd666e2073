"""The published networks as a source of poses: batches over frames and persons, files that are no such networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitruvian import weights, zoo
from vitruvian.animation import person_boxes, whole_body
from vitruvian.driving.published import FRAMES, PERSONS, OnnxNetwork, PublishedPoses, open_published
from vitruvian.driving.sources import open_source
from vitruvian.errors import RefusedError
from vitruvian.generation.weights import Access

ROWS = sum((person_boxes.SIDE // stride) ** 2 for stride in person_boxes.STRIDES)
LAST_STRIDE = person_boxes.STRIDES[-1]


class Detector:
    """Finds as many persons as the frame's upper left pixel says, side by side, of 96 pixels."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        self.batches.append(len(batch))
        rows_BR85 = np.zeros((len(batch), ROWS, 85), np.float32)
        for place, canvas in enumerate(batch):
            for person in range(int(canvas[0, 0, 0])):
                row = ROWS - (person_boxes.SIDE // LAST_STRIDE) ** 2 + 3 * person
                rows_BR85[place, row, :6] = (1.5, 1.5, np.log(3), np.log(3), 1.0, 0.9 - 0.1 * person)
        return [rows_BR85]


class WholeBody:
    """Puts every point at the same place of the crop; surely where `score` says so."""

    def __init__(self, score: float = 1.0) -> None:
        self.batches: list[int] = []
        self.score = score

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        self.batches.append(len(batch))
        height, width = whole_body.INPUT_HW
        x = np.zeros((len(batch), 133, 2 * width), np.float32)
        y = np.zeros((len(batch), 133, 2 * height), np.float32)
        x[:, :, width], y[:, :, height] = self.score, self.score
        return [x, y]


def source(detector: Detector, whole: WholeBody, batch: int | None = None) -> PublishedPoses:
    return PublishedPoses(
        detector=OnnxNetwork(run=detector, batch=batch), whole_body=OnnxNetwork(run=whole, batch=batch), identity="x"
    )


def frame(persons: int) -> np.ndarray:
    return np.full((640, 640, 3), persons, np.uint8)


def test_models_that_bring_no_such_networks_ask_for_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def path_of(source: object, report: object) -> Path:
        asked.append(source)
        (tmp_path / "none.onnx").write_bytes(b"no network")
        return tmp_path / "none.onnx"

    monkeypatch.setattr(weights, "path_of", path_of)
    with pytest.raises(RefusedError, match=r"none\.onnx"):
        open_source("published", zoo.find_animation(zoo.NANO_ANIMATION_NAME), Access(), device="cpu")
    assert asked == [file.source for file in zoo.POSE_FILES]


def test_persons_of_many_frames_share_batches() -> None:
    detector, whole = Detector(), WholeBody()
    counts = [2, 1, 3, 1, 2, 3, 1, 3, 1]
    found = list(source(detector, whole).persons(frame(count) for count in counts))
    assert [one.count for one in found] == counts
    assert detector.batches == [FRAMES, len(counts) - FRAMES]
    assert whole.batches == [PERSONS, 1]
    for one in found:
        middle_P2 = (one.boxes_P4[:, :2] + one.boxes_P4[:, 2:]) / 2
        np.testing.assert_allclose(one.points_PW2, np.repeat(middle_P2[:, None], 133, axis=1), atol=0.5)
        assert (np.diff(one.boxes_P4[:, 0]) > 0).all()


def test_a_fixed_batch_is_filled_and_gives_the_same() -> None:
    detector, whole = Detector(), WholeBody()
    frames = [frame(count) for count in (1, 2, 1)]
    free = list(source(Detector(), WholeBody()).persons(frames))
    fixed = list(source(detector, whole, batch=2).persons(frames))
    assert (detector.batches, whole.batches) == ([2, 2], [2, 2])
    for one, other in zip(free, fixed, strict=True):
        np.testing.assert_array_equal(one.points_PW2, other.points_PW2)


def test_a_frame_without_a_box_is_looked_at_whole_and_may_show_nobody() -> None:
    (someone,) = source(Detector(), WholeBody()).persons([frame(0)])
    assert someone.boxes_P4.tolist() == [[0, 0, 640, 640]]
    (nobody,) = source(Detector(), WholeBody(score=0.1)).persons([frame(0)])
    assert (nobody.count, nobody.size_hw) == (0, (640, 640))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yolox_l.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(RefusedError, match=r"got yolox_l\.onnx, which ONNX Runtime cannot open"):
        open_published(path, path)
