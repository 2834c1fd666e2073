"""Networks that take other pictures without patches to choose: what planners crop to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from vitruvian.errors import UsageError
from vitruvian.fit.footprint.record import resized
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.ladder import rungs
from vitruvian.fit.plan_values import PlanJob
from vitruvian.fit.workload import Workload
from vitruvian.hardware.catalogue import find_machine
from vitruvian.zoo.spec import picture_inputs


def workload(input_hw: tuple[int, int], stride: int = 28) -> Workload:
    return Workload(
        name="net",
        build=lambda: nn.Conv2d(3, 1, 1, device=torch.device("meta")),
        inputs=lambda batch: picture_inputs(input_hw, batch),
        input_hw=input_hw,
        stride=stride,
        resized=workload,
    )


def test_crops_are_multiples_of_the_stride() -> None:
    job = PlanJob(train=True, offers=frozenset({"crop"}), input_hw=(616, 1064), stride=28)
    device = find_machine("a100-80gb").device("cuda:0")
    crops = [group[0].knobs.input_hw for group in rungs(job, device)]
    assert crops == [(616, 1064), (448, 784), (308, 532)]


def test_a_workload_is_resized_by_its_stride() -> None:
    plain = workload((56, 84))
    assert resized(plain, Knobs()) is plain
    small = resized(plain, Knobs(input_hw=(28, 56)))
    assert (small.input_hw, small.stride, small.patch_size) == ((28, 56), 28, None)
    with pytest.raises(UsageError, match="one size only"):
        resized(replace(plain, stride=None), Knobs(input_hw=(28, 56)))
