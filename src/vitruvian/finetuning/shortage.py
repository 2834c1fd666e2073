"""What to do when memory gives out in training: the next knobs that need less and learn the same.

In: knobs and predictions. Out: knobs. Fewer samples at a time cost nothing but speed, since gradients are accumulated
to the same batch; then blocks are computed twice; then the optimizer's state goes to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from vitruvian.errors import DoesNotFitError
from vitruvian.fit.knobs import Knobs


def smaller_knobs(
    knobs: Knobs, batch_size: int, predicted_bytes: Callable[[Knobs], int], *, has_blocks: bool, on_host: bool
) -> Knobs:
    """The mildest change that is predicted to need less.

    Args:
        knobs: those that memory gave out under.
        batch_size: samples of an optimizer step.
        predicted_bytes: peak under some knobs.
        has_blocks: whether the network has blocks that can be computed twice.
        on_host: whether the device is the host, whose memory nothing can be moved to.

    Raises:
        DoesNotFitError: nothing is left that learns the same.
    """
    least = predicted_bytes(knobs)
    for candidate in _candidates(knobs, batch_size, has_blocks=has_blocks, on_host=on_host):
        if predicted_bytes(candidate) < least:
            return candidate
    raise DoesNotFitError(
        "memory gave out, and every measure that learns the same is taken: one sample at a time, blocks computed "
        "twice; expected more memory, or another way to learn; what was saved is kept: begin a new training with "
        "optimizer=adamw-8bit, precision=pure, trainable=lora or a smaller crop, from this folder with --model RUN "
        "if its weights are of use"
    )


def changes(old: Knobs, new: Knobs) -> str:
    """What differs between two sets of knobs, in words."""
    before, now = old.to_json(), new.to_json()
    return ", ".join(f"{key} {before[key]} -> {now[key]}" for key in now if before[key] != now[key])


def _candidates(knobs: Knobs, batch_size: int, *, has_blocks: bool, on_host: bool) -> Iterator[Knobs]:
    training = knobs.training
    assert training is not None
    if knobs.micro_batch > 1 and training.gradients == "kept":
        micro_batch = knobs.micro_batch // 2
        steps = math.ceil(batch_size / (micro_batch * training.gpus))
        yield replace(knobs, micro_batch=micro_batch, training=replace(training, accumulation=steps))
    changes: list[dict[str, Any]] = []
    if has_blocks and training.checkpointing != "blocks":
        changes.append({"checkpointing": "blocks"})
    if not on_host and training.state == "device" and training.optimizer == "adamw" and training.parallel != "fsdp":
        changes.append({"state": "host"})
    for change in changes:
        yield replace(knobs, training=replace(training, **change))
