"""What a step takes on this CPU is what planners predict for its knobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fit.small_networks import Transformer, workload_of
from fit.test_footprint_measured import allocations
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.footprint.trace import trace
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.training import careful_adamw
from vitruvian.training.losses import LossSum
from vitruvian.training.optimizers import make_optimizer
from vitruvian.training.parameter_groups import parameter_groups
from vitruvian.training.step import TrainingStep

BATCH, TOKENS, WIDTH, DEPTH = 4, 48, 128, 6
SHARE = 0.025
"""As for the bare passes that `fit` predicts."""


def made_bytes(breakdown: Breakdown) -> int:
    """Everything but the process and operators' workspace."""
    parts = replace(breakdown, process_bytes=0, workspace_bytes=0)
    return parts.total_bytes


def predicted_and_measured(knobs: Knobs, **fields: Any) -> tuple[int, int]:
    """Bytes beyond weights, state and the first micro-batch's input."""
    assert knobs.training is not None
    module = Transformer(DEPTH, WIDTH)
    workload = replace(workload_of(module, TOKENS, WIDTH), blocks=("layers.*",), head=("head",))
    footprint = trace(workload, knobs)
    applied = apply_knobs(module, workload, knobs)
    groups = parameter_groups(module, applied.blocks, weight_decay=0.1, layer_decay=0.9)
    step = TrainingStep[torch.Tensor](
        module=module,
        optimizer=make_optimizer(groups, knobs.training, 1e-3),
        knobs=knobs,
        losses_of=lambda network, x: [LossSum(total=network(x).float().sum(), count=torch.tensor(8.0))],
        items_of=len,
        counts_of=lambda x: torch.tensor([8.0]),
        **fields,
    )
    batches = [torch.randn(BATCH, TOKENS, WIDTH) for _ in range(knobs.training.accumulation)]
    step(batches)  # makes the state
    with allocations() as peak_bytes:
        step(batches)
    state = [value for held in step.optimizer.state.values() for value in held.values()]
    held = sum(tensor.nbytes for tensor in (*module.parameters(), *state, batches[0]))
    predicted = max(made_bytes(phase.fixed) + BATCH * made_bytes(phase.per_item) for phase in footprint.phases)
    return predicted - held, peak_bytes()


@pytest.mark.parametrize(
    ("dtype", "fields"),
    [
        ("float32", {}),
        ("float32", {"accumulation": 3}),
        ("float32", {"checkpointing": "selective", "accumulation": 2}),
        ("bfloat16", {"precision": "autocast", "checkpointing": "blocks"}),
        ("bfloat16", {"precision": "pure"}),
        ("float32", {"trainable": "lora"}),
    ],
    ids=str,
)
def test_knobs_take_what_is_predicted(monkeypatch: pytest.MonkeyPatch, dtype: Any, fields: dict[str, Any]) -> None:
    monkeypatch.setattr(careful_adamw, "PIECE", 1 << 12)  # scratch that networks of real size do not notice
    predicted, measured = predicted_and_measured(Knobs(dtype=dtype, training=TrainingKnobs(**fields)))
    assert measured == pytest.approx(predicted, rel=SHARE)


def test_released_gradients_take_less_by_all_but_the_largest() -> None:
    knobs = Knobs(training=TrainingKnobs(checkpointing="blocks"))
    _, whole = predicted_and_measured(knobs, clip_norm=None)
    _, released = predicted_and_measured(knobs, clip_norm=None, release_gradients=True)
    sizes = [parameter.nbytes for parameter in Transformer(DEPTH, WIDTH).parameters()]
    assert whole - released > 0.5 * (sum(sizes) - max(sizes))
