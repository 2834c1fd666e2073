"""From names to plans, over the catalogue of machines: the promises of the planner on the real networks.

Footprints are traced once for all tests here, and remembered in a cache folder of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.fit.explain import plan_text
from vitruvian.fit.settings import parse_settings
from vitruvian.hardware import Cpu, Hardware
from vitruvian.hardware.catalogue import MACHINES
from vitruvian.planning import footprints_for, plan, workload_of

NORMAL_2B = zoo.find("sapiens-normal-2b").config.parameters


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRUVIAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def here(memory_gb: float = 24) -> Hardware:
    """A CPU like that of the project's own machine."""
    size = round(memory_gb * 1e9)
    support: dict[str, Any] = {"bf16": "native", "fp16": "native", "tf32": "none", "fp8": "none"}
    return Hardware(
        cpu=Cpu(name="CPU", cores=2, total_bytes=size, free_bytes=size, **support), accelerators=(), torch_version="0"
    )


@pytest.mark.parametrize(
    ("machine", "budget"),
    [
        ("rtx-3090", None),
        ("rtx-4090", None),
        ("rtx-4090", "24GB"),
        pytest.param(here(), "24GB", marks=pytest.mark.slow),
    ],
    ids=["rtx-3090", "rtx-4090", "rtx-4090 under 24 GB", "CPU under 24 GB"],
)
def test_2b_normals_are_fine_tuned_on_24_gb_at_full_size(machine: str | Hardware, budget: str | None) -> None:
    made = plan("sapiens-2b", train="normal", machine=machine, budget=budget)
    assert made.fits, plan_text(made)
    assert made.peak_bytes + made.margin_bytes <= made.budget_bytes <= 26e9
    assert made.knobs.input_hw == (1024, 768)
    assert made.knobs.patch_size == 16
    assert made.knobs.training is not None
    assert made.knobs.training.trainable == "all"
    assert made.knobs.micro_batch * made.knobs.training.accumulation == 16


def test_as_published_2b_normals_hold_what_arithmetic_says() -> None:
    """4 bytes a weight, a gradient, its bucket and the foreach copy; 8 of optimizer state."""
    made = plan("sapiens-2b", train="normal", machine="a100-80gb")
    rows = [row for row in made.rows if row.label.startswith("as published")]
    assert [row.knobs.micro_batch for row in rows] == [1, 2, 1, 2]
    footprints = footprints_for(workload_of("sapiens-2b", train="normal"), "cuda")
    for row in rows:
        phases = {phase.name: phase.fixed for phase in footprints(row.knobs).phases}
        for name, fixed in phases.items():
            parts = fixed.weights_bytes, fixed.gradients_bytes, fixed.optimizer_bytes
            per_parameter = (4, 8, 12) if name == "step" else (4, 4, 8)
            assert parts == pytest.approx([share * NORMAL_2B for share in per_parameter], rel=1e-3), name
        assert row.breakdown.activations_bytes > phases["forward"].activations_bytes
    fused, materialised = rows[1], rows[3]
    # Attention of 32 heads over 3072 x 3072 tokens in float32, kept for the backward pass in each of 48 blocks.
    kept_bytes = 2 * 32 * 3072**2 * 4 * 48
    assert materialised.breakdown.total_bytes - fused.breakdown.total_bytes == pytest.approx(kept_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("machine", "dtypes"),
    [
        ("t4", {"float16"}),
        ("gtx-1080", {"float32"}),
        ("cpu-8gb", {"float32", "bfloat16"}),
        ("rtx-4090", {"bfloat16"}),
    ],
)
def test_1b_segmentation_runs_where_it_can(machine: str, dtypes: set[str]) -> None:
    made = plan("sapiens-seg-1b", machine=machine)
    assert made.fits, plan_text(made)
    assert made.knobs.dtype in dtypes
    assert made.knobs.micro_batch >= 1
    assert made.items_per_s


@pytest.mark.parametrize("machine", ["rtx-4090", pytest.param(here(), marks=pytest.mark.slow)], ids=["rtx-4090", "CPU"])
def test_2b_training_does_not_fit_3_gb(machine: str | Hardware) -> None:
    made = plan("sapiens-2b", train="normal", machine=machine, budget="3GB")
    assert not made.fits
    assert made.missing_bytes == made.peak_bytes + made.margin_bytes - made.budget_bytes > 1e9
    assert made.smallest_machine in MACHINES
    assert all(not row.fits for row in made.rows)
    smallest = MACHINES[made.smallest_machine].accelerators[0]
    assert smallest.total_bytes >= made.peak_bytes


def test_a_smaller_patch_raises_the_peak() -> None:
    made = plan("sapiens-seg-0.3b", machine="rtx-4090", batch=1, settings={"patch_size": 8})
    remark = next(remark for remark in made.remarks if remark.startswith("patch_size=8"))
    assert "raises the peak" in remark
    assert "crop=768x576" in remark
    same_crop = [row for row in made.rows if row.knobs == replace(made.knobs, patch_size=row.knobs.patch_size)]
    peaks = {row.knobs.patch_size: row.breakdown.total_bytes for row in same_crop}
    assert peaks[8] > peaks[16] > peaks[32]


def test_any_module_can_be_planned() -> None:
    module = nn.Sequential(nn.Linear(1000, 4000), nn.ReLU(), nn.Linear(4000, 10))
    example = (torch.zeros(1, 1000),)
    inference = plan(module=module, example_inputs=example, machine="rtx-4090")
    assert inference.fits
    assert inference.knobs.patch_size is None
    training = plan(module=module, example_inputs=example, machine="rtx-4090", train=True)
    assert training.fits
    assert training.breakdown.optimizer_bytes > 0


def test_what_lies_beside_the_network_is_in_every_row() -> None:
    arguments: dict[str, Any] = {"train": "normal", "machine": "rtx-4090", "batch": 4}
    plain = plan("sapiens-nano", **arguments)
    beside = plan("sapiens-nano", **arguments, beside_bytes=10**9)
    assert len(beside.rows) == len(plain.rows)
    for row, before in zip(beside.rows, plain.rows, strict=True):
        assert row.breakdown.results_bytes == before.breakdown.results_bytes + 10**9
    assert beside.peak_bytes == plain.peak_bytes + 10**9


def test_a_workload_of_the_callers_is_planned_as_a_name_is() -> None:
    workload = workload_of("sapiens-nano", train="normal")
    made = plan(workload=workload, train=True, machine="rtx-4090", batch=4)
    assert made == plan("sapiens-nano", train="normal", machine="rtx-4090", batch=4)
    mine = plan(workload=replace(workload, name="mine", key=""), train=True, machine="rtx-4090", batch=4)
    assert mine.workload == "mine"
    assert mine.knobs == made.knobs
    assert not any(row.label.startswith("as published") for row in mine.rows), "nobody published it"


@pytest.mark.slow
def test_metric_depth_is_planned_as_it_is_fine_tuned() -> None:
    made = plan("metric3d-nano", train="depth", machine="rtx-4090")
    assert made.fits
    assert made.knobs.training is not None
    assert made.knobs.micro_batch * made.knobs.training.accumulation == 16


def test_what_metric_networks_are_not_taught_is_said() -> None:
    with pytest.raises(UsageError, match="--train depth, which teaches depth and normals"):
        plan("metric3d-nano", train="normal", machine="rtx-4090")
    with pytest.raises(UsageError, match=r"a Metric3D v1 network .* expected v2"):
        plan("metric3d-convnext-tiny", train="depth", machine="rtx-4090")


def test_released_gradients_are_taken_when_asked_for() -> None:
    made = plan(
        "sapiens-nano", train="normal", machine="rtx-4090", batch=4, settings=parse_settings(["gradients=released"])
    )
    assert made.fits
    assert made.knobs.training is not None
    assert (made.knobs.micro_batch, made.knobs.training.accumulation) == (4, 1)
    assert any(decision.what == "gradients" for decision in made.decisions)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"model": "sapiens-seg-9b"},
        {"model": "sapiens-seg-1b", "machine": "commodore-64"},
        {"model": "sapiens-seg-1b", "machine": "t4", "dtype": "float8"},
        {"model": "sapiens-seg-1b", "machine": "t4", "objective": "beauty"},
        {"model": "sapiens-seg-1b", "machine": "t4", "train": "dancing"},
        {"model": "sapiens-seg-1b", "machine": "t4", "train": True},
        {"model": "sapiens-seg-1b", "machine": "t4", "budget": "some"},
        {"model": "sapiens-seg-1b", "machine": "t4", "gpus": 2},
        {"model": "sapiens-seg-nano", "workload": zoo.find("sapiens-seg-nano").workload},
        {"model": "sapiens-seg-nano", "machine": "t4", "beside_bytes": -1},
    ],
    ids=lambda case: "-".join(case) + str([v for v in case.values() if isinstance(v, (str, int))]),
)
def test_what_cannot_be_planned_is_explained(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plan(**arguments)
