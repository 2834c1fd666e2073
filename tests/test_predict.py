"""The road: order, batching across pictures, regions, failures, results that save themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vitruvian as vt
from vitruvian import predict
from vitruvian.errors import InputError, RefusedError, UsageError
from vitruvian.media.items import Item
from vitruvian.media.listing import list_inputs
from vitruvian.predict import Model, Road
from vitruvian.tasks.base import Region


@pytest.fixture(scope="module")
def pose() -> Model:
    return vt.load("sapiens-pose-nano", device="cpu", micro_batch=4, detector="none")


def pictures(count: int, sizes: Sequence[tuple[int, int]] = ((60, 40), (33, 71))) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]


def test_results_come_in_input_order_at_source_size() -> None:
    given = pictures(7)
    results = list(vt.load("sapiens-seg-nano", device="cpu")(given))
    assert [result.origin.index for result in results] == list(range(7))  # type: ignore[union-attr]
    assert [result.labels_HW.shape for result in results] == [image.shape[:2] for image in given]  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ["pose", "seg", "depth", "normal"])
def test_the_batch_size_does_not_change_results(task: str) -> None:
    given = pictures(5)
    found = []
    for micro_batch in (1, 3, 8):
        model = vt.load(f"sapiens-{task}-nano", device="cpu", dtype="float32", micro_batch=micro_batch, detector="none")
        found.append(list(model(given)))
    for others in found[1:]:
        for first, second in zip(found[0], others, strict=True):
            far = model.task.discrepancy(first, second)
            share = far.pop("label_share", 1.0)
            assert share >= 0.999
            assert max(far.values(), default=0.0) <= 1e-2, far


class Counting(nn.Module):
    """Passes through and notes the batch sizes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.sizes = inner, []  # type: ignore[var-annotated]

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        self.sizes.append(len(x))
        return self.inner(x)


def test_persons_of_all_pictures_fill_batches_together(pose: Model) -> None:
    counting = Counting(pose.runner.network)
    model = replace(pose, runner=replace(pose.runner, network=counting))
    persons = [3, 0, 2, 5]

    def regions_of(item: Item) -> list[Region]:
        return [Region(box_xyxy=(1.0, 2.0, 30.0, 40.0))] * persons[item.index]

    results = list(model(pictures(4), regions_of=regions_of))
    assert [len(result.scores_PK) for result in results] == persons  # type: ignore[attr-defined]
    assert sorted(counting.sizes) == [2, 4, 4], "tails run as they are, nothing is padded"


def test_a_bad_picture_fails_alone(pose: Model, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), pictures(1)[0])
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    seen = []
    with pytest.raises(InputError, match=r"1 input.*bad\.jpg"):
        for result in pose(tmp_path):
            seen.append(result.origin.name)  # type: ignore[union-attr]
    assert seen == ["good.png"]


def test_a_result_saves_itself_into_a_folder(pose: Model, tmp_path: Path) -> None:
    (result,) = pose(pictures(1)[0])
    result.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "array_000000.pose.drawn.jpg",
        "array_000000.pose.json",
    ]


def test_the_per_source_hook_sees_pictures_in_order(pose: Model) -> None:
    seen: list[int] = []

    def hook(finished: predict.Finished) -> predict.Finished:
        seen.append(finished.item.index)
        return finished

    road = Road(model=pose, per_source=hook)
    list(road.run(list_inputs(pictures(6), recursive=False), deliver=lambda finished: finished))
    assert seen == list(range(6))


def test_the_flip_test_averages_and_is_for_pose_only(pose: Model) -> None:
    image = pictures(1)[0]
    (plain,), (averaged,) = list(pose(image)), list(pose(image, flip_test=True))
    assert not np.array_equal(plain.scores_PK, averaged.scores_PK)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="expected pose"):
        list(vt.load("sapiens-seg-nano", device="cpu")(image, flip_test=True))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("sapiens-pose-nan", UsageError, "sapiens-pose-nano"),
        ("sapiens-seg-1b-lip20", UsageError, "never published"),
        ("nowhere.pth", UsageError, "no file"),
        ("sapiens-seg-1b", RefusedError, "accept-licence"),
    ],
)
def test_loading_says_what_is_wrong(
    name: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path))
    with pytest.raises(error, match=message):
        vt.load(name, device="cpu")


def test_a_device_that_is_not_here_is_named() -> None:
    with pytest.raises(UsageError, match="expected one of cpu"):
        vt.load("sapiens-pose-nano", device="cuda:7")


def test_choices_are_explained() -> None:
    model = vt.load("sapiens-pose-nano", whole_if_nobody=True)
    road = Road(model=model)
    list(road.run(list_inputs(pictures(2), recursive=False), deliver=lambda finished: finished))
    decisions = {decision.what: decision for decision in (*model.loading_decisions, *road.decisions())}
    assert decisions.keys() >= {"device", "micro_batch", "dtype", "detector", "detector dtype"}
    assert all(decision.because for decision in decisions.values())


def test_interrupting_the_consumer_ends_the_threads(pose: Model) -> None:
    stream = pose(pictures(40))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() >= 1
