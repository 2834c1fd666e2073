"""Ways to run, in order of preference: first what leaves the numbers alone, then what alters them, then the crop.

In: what is wanted and the device. Out: rungs in tiers; within a tier speed decides, a later tier is looked at only when
no rung of the earlier ones fits. The patch size is never chosen: no other value keeps the pretrained configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from vitruvian.errors import UsageError
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.measures import label_of, price_of
from vitruvian.fit.plan_values import PlanJob
from vitruvian.fit.precision import usable_types
from vitruvian.hardware import DTYPES, Accelerator, Device, Dtype

CROPS = (1.0, 0.75, 0.5)
"""Shares of the network's own picture size, tried in this order when nothing else fits (training only)."""
PARTIAL_TIER, CROP_TIERS = 4, 100
"""From this tier on only a part of the network learns (inference has fewer tiers); each smaller picture size starts a
hundred further."""
WEIGHT_BYTES: Mapping[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
EMULATED = "a type that this device only emulates: slow"
SMALL_PARAMETERS = 50_000_000
"""Networks below this are small: their single operations take less than a millisecond, and their maps fit a cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One way to run, micro-batch and accumulation still open."""

    knobs: Knobs
    tier: int
    """0: same numbers as published within the audit's tolerance; higher: altered more, or slower without gain."""
    label: str
    price: str


def rungs(job: PlanJob, device: Device) -> tuple[tuple[Rung, ...], ...]:
    """All ways to run, in groups that share a picture size; within a group by tier.

    Raises:
        UsageError: a fixed knob has no such name.
    """
    dtypes = job.dtypes or usable_types(device)
    native = replace(Knobs(), input_hw=job.input_hw, patch_size=job.patch_size)
    groups = []
    for crop, hw in enumerate(_crops(job)):
        ways = _training(job, device, dtypes) if job.train else _inference(job, device, dtypes)
        group: dict[Knobs, Rung] = {}
        for tier, dtype, training, chunked, remark in ways:
            start = replace(native, dtype=dtype, training=training, chunked_head=chunked, input_hw=hw)
            knobs = with_fixed(start, job.fixed)
            rung = Rung(
                knobs=knobs,
                tier=tier + CROP_TIERS * crop,
                label=label_of(knobs, job.input_hw, job.patch_size),
                price=price_of(knobs, job.input_hw, remark),
            )
            group.setdefault(knobs, rung)
        groups.append(tuple(group.values()))
    return tuple(groups)


def with_fixed(knobs: Knobs, fixed: Mapping[str, Any]) -> Knobs:
    """Knobs with the user's own settings in place; training settings say nothing about inference.

    Raises:
        UsageError: no knob of that name.
    """
    general = {field.name for field in fields(Knobs)} - {"training"}
    special = {field.name for field in fields(TrainingKnobs)}
    unknown = set(fixed) - general - special
    if unknown:
        raise UsageError(
            f"got the knob {sorted(unknown)[0]!r}; expected one of {', '.join(sorted(general | special))}; "
            "`vitruvian plan --help` explains them"
        )
    training = knobs.training
    if training is not None:
        training = replace(training, **{name: value for name, value in fixed.items() if name in special})
    changed = replace(knobs, **{name: value for name, value in fixed.items() if name in general}, training=training)
    if training is not None and "float32" in (training.precision, changed.dtype):
        return replace(changed, dtype="float32", training=replace(training, precision="float32"))
    return changed


def least_bytes(parameters: int, knobs: Knobs) -> tuple[int, int, int]:
    """Weights, gradients and optimizer state on the device that no other knob can avoid."""
    training = knobs.training
    if training is None:
        return parameters * WEIGHT_BYTES[knobs.dtype], 0, 0
    width = WEIGHT_BYTES[knobs.dtype] if training.precision == "pure" else 4
    shards = training.gpus if training.parallel == "fsdp" else 1
    weights = parameters * width // shards
    if training.trainable != "all":
        return weights, 0, 0
    gradients = 0 if training.gradients == "released" else weights
    state = 0 if training.state == "host" else 2 if training.optimizer == "adamw-8bit" else 2 * width
    return weights, gradients, parameters * state // shards


def thrift(knobs: Knobs) -> tuple[int, ...]:
    """Smaller for ways that need less memory, by construction; the micro-batch plays no part."""
    training = knobs.training
    if training is None:
        return WEIGHT_BYTES[knobs.dtype], -knobs.chunked_head
    return (
        ("head", "lora", "half", "all").index(training.trainable),
        WEIGHT_BYTES[knobs.dtype] if training.precision == "pure" else 4,
        0 if training.parallel == "fsdp" else 1,
        0 if training.state == "host" else 1 if training.optimizer == "adamw-8bit" else 2,
        0 if training.gradients == "released" else 1,
        ("blocks", "selective", "none").index(training.checkpointing),
    )


def needs_no_more(one: Knobs, other: Knobs) -> bool:
    """Whether one way needs no more memory than the other in any respect; False where nobody can say."""
    if (one.input_hw, one.patch_size) != (other.input_hw, other.patch_size):
        return False
    if one.training is not None and other.training is not None:
        parts = {one.training.trainable, other.training.trainable}
        if parts == {"lora", "half"}:  # fewer weights, or fewer blocks with activations
            return False
    return all(mine <= its for mine, its in zip(thrift(one), thrift(other), strict=True))


_Way = tuple[int, Dtype, TrainingKnobs | None, bool, str]


def _crops(job: PlanJob) -> Iterator[tuple[int, int] | None]:
    if job.input_hw is None or not job.train or "crop" not in job.offers or {"input_hw", "patch_size"} & set(job.fixed):
        yield job.input_hw
        return
    patch = job.patch_size or job.stride or 1
    for share in CROPS:
        height, width = (max(patch, round(side * share) // patch * patch) for side in job.input_hw)
        yield height, width


def _inference(job: PlanJob, device: Device, dtypes: tuple[Dtype, ...]) -> Iterator[_Way]:
    best = dtypes[0]
    for place, dtype in enumerate(dtypes):
        if place and job.dtypes is None and WEIGHT_BYTES[dtype] >= WEIGHT_BYTES[best]:
            continue  # float32 after a native half type needs more memory, not less
        remark = EMULATED if device.support(dtype) == "emulated" else ""
        for later, chunked in enumerate(_heads(job, device)):
            yield 2 * place + later, dtype, None, chunked, remark


def strips_are_faster(parameters: int, kind: str) -> bool:
    """Whether a head that can work in strips is better off that way on a kind of device.

    On a CPU strips stay in its cache: heads of large networks are two to four times as fast, with a quarter of the
    memory (`benchmarks/head.py`). Small heads fit the cache whole, and elsewhere nothing was measured.
    """
    return parameters >= SMALL_PARAMETERS and kind == "cpu"


def _heads(job: PlanJob, device: Device) -> tuple[bool, ...]:
    """Whether the head works in strips, the better way first; a tier each, because every way costs a trace."""
    if "chunked_head" not in job.offers:
        return (False,)
    return (True,) if strips_are_faster(job.parameters or 0, device.kind) else (False, True)


def _training(job: PlanJob, device: Device, dtypes: tuple[Dtype, ...]) -> Iterator[_Way]:
    dtype: Dtype = dtypes[0]
    if job.fixed.get("gradients") == "released" and dtype == "float16":
        dtype = "float32"  # float16's loss scaling needs all gradients at once
    if dtype == "float32" and job.fixed.get("precision") in ("autocast", "pure"):
        dtype = "bfloat16"
    base = TrainingKnobs(precision="float32" if dtype == "float32" else "autocast", gpus=job.gpus)
    host = isinstance(device, Accelerator) and not device.shares_host_memory
    pure = _pure_type(job, device, dtypes)
    pure_remark = EMULATED if pure is not None and device.support(pure) == "emulated" else ""
    # The way between is offered where everything learns: each costs a trace.
    recomputed = ("none", "selective", "blocks") if "blocks" in job.offers else ("none",)

    def ways(tier: int, start: TrainingKnobs, compute: Dtype, *, offload: bool, remark: str = "") -> Iterator[_Way]:
        # torchao cannot round bfloat16 weights that are sharded.
        cannot_shard = (start.precision, start.optimizer) == ("pure", "adamw-8bit")
        for parallel in ("none",) if job.gpus == 1 else ("ddp",) if cannot_shard else ("ddp", "fsdp"):
            for state in ("device", "host") if offload and host else ("device",):
                for checkpointing in recomputed if start.trainable == "all" else recomputed[::2]:
                    turned: dict[str, Any] = {"parallel": parallel, "state": state, "checkpointing": checkpointing}
                    yield tier, compute, replace(start, **turned), False, remark

    yield from ways(0, base, dtype, offload=True)
    yield from ways(1, replace(base, optimizer="adamw-8bit"), dtype, offload=False)
    if pure is not None:
        start = replace(base, precision="pure")
        yield from ways(2, start, pure, offload=True, remark=pure_remark)
        yield from ways(3, replace(start, optimizer="adamw-8bit"), pure, offload=False, remark=pure_remark)
    for tier, trainable in ((PARTIAL_TIER, "lora"), (PARTIAL_TIER + 2, "half"), (PARTIAL_TIER + 4, "head")):
        if ("head" if trainable == "head" else "blocks") not in job.offers:
            continue
        part: dict[str, Any] = {"trainable": trainable}
        yield from ways(tier, replace(base, **part), dtype, offload=False)
        if pure is not None:
            start = replace(base, precision="pure", **part)
            yield from ways(tier + 1, start, pure, offload=False, remark=pure_remark)


def _pure_type(job: PlanJob, device: Device, dtypes: tuple[Dtype, ...]) -> Dtype | None:
    """bfloat16 where it can be had at all: float16 weights lose small updates whatever the rounding."""
    allowed = job.dtypes or DTYPES
    return "bfloat16" if "bfloat16" in allowed and device.bf16 != "none" else None
