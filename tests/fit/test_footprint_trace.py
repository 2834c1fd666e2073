"""Predicted memory against sizes computed on paper, and against traces at other batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fit.small_networks import DEPTH, WIDTH, Stack, transformer_workload, workload_of
from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.fit.footprint import record as recording
from vitruvian.fit.footprint.trace import trace
from vitruvian.fit.footprint.tracker import in_granules
from vitruvian.fit.footprint.values import Breakdown, Footprint, Phase
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Stage, TensorSpec, Workload

WEIGHTS = DEPTH * WIDTH * WIDTH * 4
ITEM = WIDTH * 4
"""Bytes of one item between two layers of the stack."""
LINEARITY_REL = 0.01


def by_name(footprint: Footprint, name: str) -> Phase:
    return next(phase for phase in footprint.phases if phase.name == name)


def training(**fields: Any) -> Knobs:
    return Knobs(training=TrainingKnobs(**fields))


def test_inference_of_a_stack_holds_weights_input_and_two_results() -> None:
    footprint = trace(workload_of(Stack(), WIDTH), Knobs())
    (phase,) = footprint.phases
    assert replace(phase.fixed, process_bytes=0) == Breakdown(weights_bytes=WEIGHTS)
    assert phase.per_item == Breakdown(activations_bytes=3 * ITEM)
    assert phase.fixed.process_bytes > 0
    assert footprint.parameters == DEPTH * WIDTH * WIDTH
    assert footprint.flops_per_item == 2 * DEPTH * WIDTH * WIDTH
    assert footprint.operators == DEPTH
    assert footprint.bytes_moved_per_item == 2 * DEPTH * ITEM, (
        "read and written by each layer; weights are no activations"
    )


def test_training_of_a_stack() -> None:
    footprint = trace(workload_of(Stack(), WIDTH), training())
    state = 2 * WEIGHTS + DEPTH * 512  # two moments, and a step counter of one granule each
    forward, backward, step = (by_name(footprint, name) for name in ("forward", "backward", "step"))
    assert forward.fixed.weights_bytes == backward.fixed.weights_bytes == step.fixed.weights_bytes == WEIGHTS
    assert forward.fixed.optimizer_bytes == backward.fixed.optimizer_bytes == step.fixed.optimizer_bytes == state
    # Every layer keeps its input for the backward pass; the last result lives until the loss is there.
    assert forward.per_item.activations_bytes == (DEPTH + 1) * ITEM
    assert forward.fixed.gradients_bytes == 0
    assert step.fixed.gradients_bytes == WEIGHTS
    assert footprint.flops_per_item == (3 * DEPTH - 1) * 2 * WIDTH * WIDTH, "the input needs no gradient"


def test_released_gradients_are_there_one_at_a_time() -> None:
    workload = workload_of(Stack(), WIDTH)
    kept, released = trace(workload, training()), trace(workload, training(gradients="released"))
    assert [phase.name for phase in released.phases] == ["forward", "update", "backward"]
    for phase in released.phases:
        assert phase.fixed.gradients_bytes <= WEIGHTS // DEPTH
    assert by_name(released, "update").fixed.gradients_bytes == WEIGHTS // DEPTH
    state = by_name(kept, "forward").fixed.optimizer_bytes
    assert by_name(released, "forward").fixed.optimizer_bytes == state
    assert by_name(released, "update").fixed.optimizer_bytes < state + WEIGHTS // DEPTH
    assert kept.peak_bytes(1) - released.peak_bytes(1) > 0.7 * WEIGHTS
    assert released.flops_per_item == kept.flops_per_item


def test_foreach_holds_one_more_copy_of_the_parameters_in_the_step() -> None:
    fused, foreach = (
        by_name(trace(workload_of(Stack(), WIDTH), training(optimizer=name)), "step").fixed.optimizer_bytes
        for name in ("adamw", "adamw-foreach")
    )
    assert foreach - fused == WEIGHTS


def test_pure_training_halves_everything_and_autocast_adds_copies() -> None:
    workload = workload_of(Stack(), WIDTH)
    pure = by_name(trace(workload, Knobs(dtype="bfloat16", training=TrainingKnobs(precision="pure"))), "step").fixed
    assert (pure.weights_bytes, pure.gradients_bytes) == (WEIGHTS // 2, WEIGHTS // 2)
    assert pure.optimizer_bytes == WEIGHTS + DEPTH * 512
    mixed = trace(workload, Knobs(dtype="bfloat16", training=TrainingKnobs(precision="autocast")))
    assert by_name(mixed, "forward").fixed.weights_bytes == WEIGHTS + WEIGHTS // 2
    assert by_name(mixed, "step").fixed.weights_bytes == WEIGHTS
    assert by_name(mixed, "step").fixed.gradients_bytes == WEIGHTS


def test_what_is_frozen_has_neither_gradients_nor_state_nor_kept_inputs() -> None:
    workload = transformer_workload()
    everything, head = (by_name(trace(workload, training(trainable=part)), "step") for part in ("all", "head"))
    head_bytes = 4 * (64 * 8 + 8)
    assert head.fixed.gradients_bytes == 512 * (-(-64 * 8 * 4 // 512) + 1)
    assert head.fixed.optimizer_bytes < 2 * head_bytes + 4 * 512
    assert head.fixed.weights_bytes == everything.fixed.weights_bytes
    forward_all, forward_head = (
        by_name(trace(workload, training(trainable=part)), "forward") for part in ("all", "head")
    )
    assert forward_head.per_item.activations_bytes < forward_all.per_item.activations_bytes / 3


def test_checkpointing_trades_activations_for_arithmetic() -> None:
    workload = transformer_workload(depth=8)
    plain, checkpointed = trace(workload, training()), trace(workload, training(checkpointing="blocks"))
    assert checkpointed.peak_bytes(64) < plain.peak_bytes(64)
    assert checkpointed.flops_per_item > 1.2 * plain.flops_per_item
    assert by_name(checkpointed, "forward").per_item.total_bytes < by_name(plain, "forward").per_item.total_bytes / 3


def test_materialised_attention_is_quadratic() -> None:
    def per_item(attention: str, tokens: int) -> int:
        knobs = training(attention=attention)
        return by_name(trace(transformer_workload(tokens=tokens), knobs), "forward").per_item.activations_bytes

    fused, materialised = (
        per_item(attention, 2048) / per_item(attention, 1024) for attention in ("fused", "materialised")
    )
    assert fused == pytest.approx(2, rel=0.01)
    assert materialised > 3


@pytest.mark.parametrize("fields", [{}, {"checkpointing": "blocks"}, {"trainable": "lora"}, None], ids=str)
def test_predictions_are_linear_in_the_batch(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any] | None) -> None:
    knobs = Knobs() if fields is None else training(**fields)
    workload = zoo.find("sapiens-seg-nano").workload
    predicted = trace(workload, knobs)
    monkeypatch.setattr(recording, "BATCHES", (5, 6))
    traced = trace(workload, knobs)
    assert predicted.peak_bytes(5) == pytest.approx(traced.peak_bytes(5), rel=LINEARITY_REL)
    assert replace(predicted.at(5), process_bytes=0).total_bytes > 0
    assert predicted.flops_per_item == pytest.approx(traced.flops_per_item, rel=LINEARITY_REL)


class TwoPeaks(nn.Module):
    """A peak of fixed size (a table is copied) before one that grows with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(64, 1024))

    def forward(self, x: Tensor) -> Tensor:
        total = (self.table * 2).sum()
        return torch.cat([x, x, x], dim=1) * total


def test_a_peak_that_moves_with_the_batch_is_found_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = workload_of(TwoPeaks(), 1024)
    predicted = trace(workload, Knobs())
    assert [phase.at_operator for phase in predicted.phases] == ["aten.sum", "aten.mul"]
    for batch in (1, 4, 100):
        monkeypatch.setattr(recording, "BATCHES", (batch, batch + 1))
        assert predicted.peak_bytes(batch) == trace(workload, Knobs()).peak_bytes(batch), batch
    weights, item = 64 * 1024 * 4, 1024 * 4
    process = predicted.at(1).process_bytes
    assert predicted.peak_bytes(1) == process + 2 * weights + item + 512  # and the sum
    assert predicted.peak_bytes(100) == process + weights + 512 + 7 * 100 * item


def encode(module: nn.Module, given: Any) -> dict[str, Tensor]:
    return {"code": module.layers[0](given["x"])}  # type: ignore[index]


def refine(module: nn.Module, given: Any) -> dict[str, Tensor]:
    return {"code": F.relu(module.layers[1](given["code"]))}  # type: ignore[index]


def staged(repeats: int) -> Workload:
    return Workload(
        name="staged",
        build=lambda: Stack(depth=2).to("meta"),
        inputs=lambda batch: {"x": TensorSpec(shape=(batch, WIDTH))},
        stages=(Stage(name="encode", call=encode), Stage(name="refine", call=refine, repeats=repeats)),
    )


def test_stages_have_peaks_of_their_own_and_hand_on_what_they_made() -> None:
    once, often = trace(staged(1), Knobs()), trace(staged(10), Knobs())
    assert [phase.name for phase in once.phases] == ["encode", "refine"]
    product = 2 * WIDTH * WIDTH
    assert (once.flops_per_item, often.flops_per_item) == (2 * product, 11 * product)
    assert (once.operators, often.operators) == (3, 21)
    encoding, refining = once.phases
    assert encoding.per_item == Breakdown(activations_bytes=2 * ITEM)
    # The input, what was encoded (a result by then), the product and what comes out of the activation.
    assert refining.per_item == Breakdown(activations_bytes=3 * ITEM, results_bytes=ITEM)
    assert often.peak_bytes(1000) == once.peak_bytes(1000), "a later code takes the place of an earlier one"


def test_several_stages_cannot_be_trained() -> None:
    with pytest.raises(UsageError, match="2 stages to train"):
        trace(staged(1), training())


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(UsageError, match="without a parameter that learns"):
        trace(workload_of(nn.ReLU(), 4), training())


def test_another_size_needs_a_network_that_has_one() -> None:
    with pytest.raises(UsageError, match="one size only"):
        trace(workload_of(Stack(), WIDTH), Knobs(input_hw=(8, 8)))
    spec = zoo.find("sapiens-seg-nano")
    assert spec.workload.input_hw is not None
    half = (spec.workload.input_hw[0] // 2, spec.workload.input_hw[1])
    smaller, whole = trace(spec.workload, Knobs(input_hw=half)), trace(spec.workload, Knobs())
    assert smaller.at(8).activations_bytes == pytest.approx(whole.at(8).activations_bytes / 2, rel=0.05)


def test_a_smaller_patch_takes_more() -> None:
    workload = zoo.find("sapiens-pretrain-nano").workload
    assert workload.patch_size == 16
    eight, sixteen = (trace(workload, replace(training(), patch_size=patch)) for patch in (8, 16))
    assert eight.flops_per_item > 3.5 * sixteen.flops_per_item
    assert eight.at(16).activations_bytes > 3 * sixteen.at(16).activations_bytes


class Tied(nn.Module):
    """Weights used twice, a buffer, a plain tensor, and a recurrent layer, which lists its weights twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(128, 128, bias=False), nn.Linear(128, 128, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("table", torch.zeros(128))
        self.plain = torch.zeros(128)
        self.recurrent = nn.GRU(128, 128, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(self.second(self.first(x + self.table + self.plain)))[0]


@pytest.mark.parametrize("knobs", [Knobs(), training()], ids=["infer", "train"])
def test_tied_weights_count_once_and_all_kinds_of_tensors_come_along(knobs: Knobs) -> None:
    footprint = trace(workload_of(Tied(), 4, 128), knobs)
    gru = 2 * 3 * 128 * 128 + 2 * 3 * 128
    assert footprint.parameters == 128 * 128 + gru
    assert footprint.phases[0].fixed.weights_bytes == 4 * (footprint.parameters + 2 * 128)


class Strips(nn.Module):
    """Works in larger strips on an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.device_kind = "cpu"

    def forward(self, x: Tensor) -> Tensor:
        return x + x.new_zeros(1000 if self.device_kind == "cpu" else 100_000).sum()


def test_parts_that_size_their_buffers_by_the_device_are_told_which_one_is_meant() -> None:
    on_cpu, elsewhere = (trace(workload_of(Strips(), 4), Knobs(), kind).at(1) for kind in ("cpu", "cuda"))
    assert elsewhere.activations_bytes - on_cpu.activations_bytes == in_granules(4 * 100_000) - in_granules(4 * 1000)


def test_float16_and_islands_are_counted_in_their_types() -> None:
    workload = transformer_workload()
    single, half = (
        trace(workload, Knobs(dtype=dtype)).phases[0].fixed.weights_bytes for dtype in ("float32", "float16")
    )
    head = 512 * 4 + 512
    assert half < 0.55 * single
    assert half > (single - head) / 2 + head - 512 * 8, "the head stays in float32"


@pytest.mark.parametrize(("name", "hw"), [("sapiens-seg-0.3b", (1024, 768))])
def test_a_published_network_needs_neither_weights_nor_time(name: str, hw: tuple[int, int]) -> None:
    footprint = trace(zoo.find(name).workload, Knobs())
    breakdown = footprint.at(1)
    config = zoo.find(name).config
    assert breakdown.weights_bytes == pytest.approx(4 * config.parameters, rel=1e-3)
    last_stage = 768 * (hw[0] // 2) * (hw[1] // 2) * 4
    assert breakdown.activations_bytes > 2 * last_stage
    assert breakdown.workspace_bytes >= last_stage
    # 0.93 + 0.46 + 0.97 T multiply-accumulates, linear layers, attention and head, as derived from the widths.
    assert footprint.flops_per_item == pytest.approx(2 * (0.93 + 0.46 + 0.97) * 1e12, rel=0.01)
