"""A task whose network finishes by itself: bytes in, the rest as ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from tasks.sinks import PROVENANCE
from vitruvian.artefacts.pictures import post_inside
from vitruvian.errors import UsageError
from vitruvian.running.runner import averaging
from vitruvian.tasks.base import Geometry, Region, Task
from vitruvian.tasks.inside import InsideTask
from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.tasks.pose import PoseTask
from vitruvian.tasks.seg import SegTask

PICTURE = np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8)


@dataclass
class Heard:
    """Stands in for a task: remembers what it was asked."""

    name: str = "seg"
    input_hw: tuple[int, int] = (64, 48)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, what: str) -> Any:
        def answer(*args: Any) -> Any:
            self.asked.append((what, *args))
            return f"answer to {what}"

        return answer


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("prepare", ("picture", "region")),
        ("constants", ()),
        ("finish", ("tensors", "geometry", "provenance")),
        ("gather", ((3, 4), "provenance")),
        ("discrepancy", ("one", "other")),
    ],
)
def test_what_is_outside_the_network_is_asked_of_the_task(method: str, args: tuple[Any, ...]) -> None:
    heard: Any = Heard()
    assert getattr(InsideTask(task=heard), method)(*args) == f"answer to {method}"
    assert heard.asked == [(method, *args)]


def test_what_is_inside_is_not_done_again() -> None:
    heard: Any = Heard()
    inside = InsideTask(task=heard)
    canvas = torch.zeros(2, 64, 48, 3, dtype=torch.uint8)
    raw = {"logits": canvas, "finite": canvas}
    assert inside.network_input(canvas) is canvas
    assert inside.finish_tensors(raw) == raw
    assert inside.finish_tensors(raw) is not raw
    assert inside.ready_tensors(raw) == {}
    assert (inside.name, inside.input_hw) == ("seg", (64, 48))
    assert heard.asked == []


class Network(torch.nn.Module):
    """Heat maps or logits that depend on the picture."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name, self.channels = name, channels

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4)
        return {self.name: small * torch.linspace(-1, 1, self.channels).reshape(1, -1, 1, 1)}


@pytest.mark.parametrize(
    ("task", "network"),
    [
        (SegTask(labels=label_set("lip20"), input_hw=(64, 48)), Network("logits", 20)),
        (PoseTask(keypoints=keypoint_set("coco17"), input_hw=(64, 48)), Network("heatmaps", 17)),
    ],
)
def test_results_are_those_of_the_plain_road(task: Task, network: Network) -> None:
    assert road(task, network) == road(InsideTask(task=task), post_inside(network, task))


def road(task: Task, network: torch.nn.Module) -> list[bytes]:
    canvas, geometry = task.prepare(PICTURE, None)
    raw = network(task.network_input(torch.from_numpy(canvas)[None]))
    finished = {name: value[0] for name, value in task.finish_tensors(raw).items()}
    (result,) = task.finish(finished, geometry, PROVENANCE)
    arrays = {name: getattr(result, name) for name in result.__dataclass_fields__}
    return [name.encode() + value.tobytes() for name, value in arrays.items() if isinstance(value, np.ndarray)]


def test_regions_reach_the_task() -> None:
    task = PoseTask(keypoints=keypoint_set("coco17"), input_hw=(64, 48))
    region = Region(box_xyxy=(3, 4, 20, 30), score=0.5)
    inside: tuple[np.ndarray, Geometry] = InsideTask(task=task).prepare(PICTURE, region)
    plain = task.prepare(PICTURE, region)
    assert inside[1] == plain[1]
    assert np.array_equal(inside[0], plain[0])


def test_mirror_images_cannot_be_averaged_behind_the_end() -> None:
    task = PoseTask(keypoints=keypoint_set("coco17"))
    averaging(task)
    with pytest.raises(UsageError, match="flip test for an artefact with its post-processing inside"):
        averaging(InsideTask(task=task))
