"""Items per second, estimated from arithmetic, bytes moved and operator launches.

A batch takes the longer of its work on the device and the launching of its operators; work is arithmetic plus traffic,
which one device does one after the other in layers of this size. The shares of the peak rates are stated here; nothing
is measured, so rows of one table compare better than they predict.
"""

from __future__ import annotations

from vitruvian.fit.footprint.derive import STATE_8BIT_BYTES
from vitruvian.fit.footprint.values import Breakdown, Footprint
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.ladder import WEIGHT_BYTES
from vitruvian.hardware import Accelerator, Device, Rates

ARITHMETIC_SHARE = {"spec sheet": 0.5, "assumed": 0.5, "measured": 0.85}
"""Of the peak rate that whole transformer layers reach; a measured rate is a large matrix product's."""
BANDWIDTH_SHARE = 0.7
LAUNCH_S = {"cuda": 6e-6, "cpu": 3e-6, "mps": 20e-6, "xpu": 10e-6}
"""Host time per operator; a device that computes slower than this never waits for it."""
TRAINING_LAUNCH_FACTOR = {"none": 1.5, "blocks": 2.5, "selective": 3.6}
"""Autograd's bookkeeping per operator, by checkpointing: checkpointed blocks take 1.0 ms of the host's time each,
selectively checkpointed ones 2.0 ms (24 blocks of width 64 under autocast on one thread of a CPU), spread over the
operators of a 2b step."""
HOST_LINK_BYTES_S = ((9, 0, 40e9), (8, 0, 22e9), (0, 0, 11e9))
"""Effective speed to the host by CUDA compute capability: PCIe 5, 4 and 3; links between cards count as much, because
faster ones are not everywhere."""


def items_per_s(footprint: Footprint, knobs: Knobs, device: Device) -> float | None:
    """Items per second over all devices, to three digits; None where the device's rates are unknown."""
    rates = device.rates
    if rates is None:
        return None
    batch, training, held = knobs.micro_batch, knobs.training, _held(footprint)
    arithmetic_s = (
        footprint.flops_per_item * batch / (rates.tflops(knobs.dtype) * 1e12 * ARITHMETIC_SHARE[rates.source])
    )
    bandwidth = rates.bandwidth_gb_s * 1e9 * BANDWIDTH_SHARE
    # Weights are read once per call whatever the batch: it is what makes tiny batches slow on fast devices.
    traffic_s = (footprint.bytes_moved_per_item * batch + held.weights_bytes) / bandwidth
    launch_factor = TRAINING_LAUNCH_FACTOR[training.checkpointing] if training else 1
    launches_s = footprint.operators * LAUNCH_S.get(device.kind, 10e-6) * launch_factor
    pass_s = max(arithmetic_s + traffic_s, launches_s)
    if training is None:
        return _rounded(batch / pass_s)
    link = link_bytes_s(device)
    pass_s += _gather_bytes(held, training) / link
    # One optimizer step: gradients read, weights and state read and written.
    update_s = (3 * _trained_bytes(held, footprint.host_bytes, knobs) + 2 * held.optimizer_bytes) / bandwidth
    step_s = update_s + _step_transfer_bytes(held, footprint.host_bytes, training) / link
    at_once = 1 if device.kind == "cpu" else training.gpus  # processes on a CPU share its cores
    return _rounded(at_once * batch / (pass_s + step_s / training.accumulation))


def assumptions(rates: Rates) -> str:
    """What the estimates rest on, in a sentence."""
    return (
        f"items/s are estimates: {ARITHMETIC_SHARE[rates.source]:.0%} of the arithmetic ({rates.source}), "
        f"{BANDWIDTH_SHARE:.0%} of the memory's speed, PCIe to the host; compare rows, do not quote them"
    )


def _held(footprint: Footprint) -> Breakdown:
    """What stays from step to step; a phase may hold less of it."""
    phases = [phase.fixed for phase in footprint.phases]
    return Breakdown(
        weights_bytes=max(fixed.weights_bytes for fixed in phases),
        gradients_bytes=max(fixed.gradients_bytes for fixed in phases),
        optimizer_bytes=max(fixed.optimizer_bytes for fixed in phases),
    )


def _trained_bytes(held: Breakdown, host_bytes: int, knobs: Knobs) -> int:
    """Of all gradients; where they are dropped one by one, the state tells how many there were."""
    training = knobs.training
    if training is None or training.gradients == "kept":
        return held.gradients_bytes
    width = WEIGHT_BYTES[knobs.dtype] if training.precision == "pure" else 4
    state_width = STATE_8BIT_BYTES if training.optimizer == "adamw-8bit" else 2 * width
    return round((held.optimizer_bytes + host_bytes) / state_width * width)


def _step_transfer_bytes(held: Breakdown, host_bytes: int, training: TrainingKnobs) -> int:
    """Moved once per optimizer step: state in host memory there and back, gradients between copies."""
    reduced = 2 * held.gradients_bytes if training.parallel == "ddp" and training.gpus > 1 else 0
    return 2 * host_bytes + reduced


def _gather_bytes(held: Breakdown, training: TrainingKnobs) -> int:
    """Moved in each pass of sharded training: weights gathered forward and backward, gradients scattered."""
    if training.parallel != "fsdp":
        return 0
    return (2 * held.weights_bytes + held.gradients_bytes) * (training.gpus - 1)


def link_bytes_s(device: Device) -> float:
    """Effective speed to the host's memory."""
    capability = device.capability if isinstance(device, Accelerator) else None
    if capability is None:
        return HOST_LINK_BYTES_S[-1][2]
    return next(speed for major, minor, speed in HOST_LINK_BYTES_S if capability >= (major, minor))


def _rounded(value: float) -> float:
    """Three digits, so that equal ways compare equal."""
    return float(f"{value:.3g}")
