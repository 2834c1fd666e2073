"""From a recording to the footprint of knobs that need no trace: sharing, offload, 8-bit state, accumulation.

Sharded training (FSDP2 on the blocks and the root): each device holds its share of weights, gradients and state, and
whole: the block at work, the next one, gathered ahead, and everything outside the blocks; in the backward pass also the
whole gradients of one block and the buffer they are scattered from, and those outside the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vitruvian.fit.footprint.lines import Held, Line, RecordedPhase, Recording, upper_envelope
from vitruvian.fit.footprint.tracker import COLUMNS
from vitruvian.fit.footprint.values import Breakdown, Footprint, Phase
from vitruvian.fit.footprint.workspace import process_bytes
from vitruvian.fit.knobs import Knobs, TrainingKnobs

STATE_8BIT_BYTES = 2.07
"""Per trained parameter: two 8-bit moments and their scales by block (measured, torchao's AdamW8bit)."""

PIECE_ELEMENTS = 1 << 22
"""The most elements of a bfloat16 parameter that are updated together, as the training's optimizer splits them."""
ROUNDING_BYTES = 23
"""Scratch for each of them while a step is computed in float32 and rounded stochastically: weight, moments and noise in
32 bits, the result in both types, masks (measured: allocations of a step, torch 2.13 on a CPU)."""
UPDATES = ("step", "update")
"""Phases in which the optimizer works."""

Parts = dict[str, int]
Change = Callable[[str, Parts], Parts]
"""(phase, fixed parts by column) -> changed fixed parts; what grows with the batch is never changed."""


def footprint_of(recording: Recording, knobs: Knobs) -> Footprint:
    """The footprint of knobs whose traced part is this recording's."""
    held, training = recording.held, knobs.training
    change, host_bytes = _change(held, training, on_host=recording.backend == "cpu")
    process = process_bytes(recording.backend, train=training is not None)
    phases = tuple(phase for recorded in recording.phases for phase in _phases(recorded, change, process))
    return Footprint(
        workload=recording.workload,
        knobs=knobs,
        phases=phases,
        parameters=held.parameters,
        flops_per_item=recording.flops_per_item,
        bytes_moved_per_item=recording.bytes_moved_per_item,
        operators=recording.operators,
        host_bytes=host_bytes,
    )


def _phases(recorded: RecordedPhase, change: Change, process: int) -> list[Phase]:
    """One phase for each operator that is the peak at some batch."""
    fixed = [change(recorded.name, dict(zip(COLUMNS, line.fixed, strict=True))) for line in recorded.lines]
    heights = [(sum(parts.values()), sum(line.per_item)) for parts, line in zip(fixed, recorded.lines, strict=True)]
    return [_phase(recorded.name, fixed[at], recorded.lines[at], process) for at in upper_envelope(heights)]


def _phase(name: str, fixed: Parts, line: Line, process: int) -> Phase:
    return Phase(
        name=name,
        fixed=_breakdown(fixed) + Breakdown(process_bytes=process),
        per_item=_breakdown(dict(zip(COLUMNS, line.per_item, strict=True))),
        at_operator=line.operator,
    )


def _breakdown(parts: Parts) -> Breakdown:
    return Breakdown(
        weights_bytes=parts["weights"] + parts["casts"],
        gradients_bytes=parts["gradients"],
        optimizer_bytes=parts["optimizer"],
        activations_bytes=parts["activations"],
        workspace_bytes=parts["workspace"],
        results_bytes=parts["results"],
    )


def _change(held: Held, training: TrainingKnobs | None, *, on_host: bool) -> tuple[Change, int]:
    """What the analytic knobs do to the parts, and the host memory they take."""
    if training is None:
        return lambda phase, parts: parts, 0
    shares = training.gpus if training.parallel == "fsdp" else 1
    changes: list[Change] = []
    if training.accumulation > 1:
        changes.append(partial(_accumulated, held))
    state_bytes = held.optimizer_bytes
    if training.optimizer == "adamw-8bit":
        state_bytes = round(held.trained * STATE_8BIT_BYTES)
        changes.append(partial(_in_8_bits, held, state_bytes))
    host_bytes = 0
    if training.state == "host" and not on_host:
        host_bytes = -(-state_bytes // shares)
        changes.append(
            partial(_away, state_bytes, largest_bytes=state_bytes * held.largest_trained // max(1, held.trained))
        )
    if training.precision == "pure" and training.optimizer == "adamw":
        elements = min(PIECE_ELEMENTS, -(-held.largest_trained // shares))
        changes.append(partial(_rounded, elements * ROUNDING_BYTES))
    if training.parallel == "fsdp":
        # Weights are gathered in the compute type, so autocast finds nothing to copy.
        per_weight = 0.5 if training.precision == "autocast" else 1.0
        changes.append(partial(_sharded, held, shares, per_weight))
    elif training.parallel == "ddp":
        changes.append(partial(_bucketed, held))

    def change(phase: str, parts: Parts) -> Parts:
        for one in changes:
            parts = one(phase, parts)
        return parts

    return change, host_bytes


def _accumulated(held: Held, phase: str, parts: Parts) -> Parts:
    """From the second micro-batch on all gradients are there from the start."""
    return parts | {"gradients": max(parts["gradients"], held.gradients_bytes)}


def _in_8_bits(held: Held, state_bytes: int, phase: str, parts: Parts) -> Parts:
    """State in 8 bits; the step holds both moments of one parameter in float32."""
    parts = parts | {"optimizer": max(0, parts["optimizer"] - held.optimizer_bytes) + state_bytes}
    return parts | {"workspace": parts["workspace"] + 2 * 4 * held.largest_trained} if phase in UPDATES else parts


def _away(state_bytes: int, phase: str, parts: Parts, *, largest_bytes: int) -> Parts:
    """State on the host; the step brings it parameter by parameter, one coming while another is worked on."""
    coming = 2 * largest_bytes if phase in UPDATES else 0
    return parts | {"optimizer": max(0, parts["optimizer"] - state_bytes) + coming}


def _rounded(scratch_bytes: int, phase: str, parts: Parts) -> Parts:
    """bfloat16 weights; the step computes in float32, piece by piece."""
    return parts | {"workspace": parts["workspace"] + scratch_bytes} if phase in UPDATES else parts


def _bucketed(held: Held, phase: str, parts: Parts) -> Parts:
    """A copy of all gradients in buckets, made when training begins."""
    return parts | {"gradients": parts["gradients"] + held.gradients_bytes}


def _sharded(held: Held, shares: int, per_weight: float, phase: str, parts: Parts) -> Parts:
    """See the module's docstring."""
    gathered = whole_gradients = 0
    if phase != "step":
        gathered = 2 * held.block_bytes + held.outside_bytes
    if phase == "backward":
        whole_gradients = 2 * held.block_gradients_bytes + held.outside_gradients_bytes
    return parts | {
        "weights": -(-parts["weights"] // shares) + round(gathered * per_weight),
        "casts": 0,
        "gradients": -(-parts["gradients"] // shares) + round(whole_gradients * per_weight),
        "optimizer": -(-parts["optimizer"] // shares),
    }
