"""Footprints of any knobs: from memory, from disk, or traced, in a child process where that is safer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from vitruvian.errors import UsageError, VitruvianError
from vitruvian.fit.footprint import store
from vitruvian.fit.footprint.derive import footprint_of
from vitruvian.fit.footprint.isolate import CHILD, UnreadableError, explained
from vitruvian.fit.footprint.lines import Recording
from vitruvian.fit.footprint.record import BATCHES, STREAMED_BATCHES, record, resized, traced
from vitruvian.fit.footprint.values import Footprint, Footprints
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import TensorSpec, Workload
from vitruvian.hardware import Dtype, probe


def footprints_of(workload: Workload, backend: str = "cpu") -> Footprints:
    """A function from knobs to the workload's footprint on a kind of device; asks for each trace once.

    Knobs that differ only in what needs no trace (optimizer state, sharding, accumulation, micro-batch) share one.
    Workloads with a `key` are remembered on disk, too. Inference of those is traced in this process; everything else in
    a child process where the network can be carried there.

    Raises (when called):
        UsageError: the knobs ask for what the network does not have.
        TraceFailedError: the network does not run on shapes alone, or ended the process that traced it.
    """
    memo: dict[Knobs, tuple[Recording, tuple[str, ...]]] = {}

    def footprints(knobs: Knobs) -> Footprint:
        key = traced(knobs)
        if key not in memo:
            memo[key] = _remembered(workload, key, backend) if workload.key else _traced(workload, key, backend)
        recording, remarks = memo[key]
        return replace(footprint_of(recording, knobs), remarks=remarks)

    return footprints


def footprint(
    module: nn.Module,
    example_inputs: Tensor | tuple[Tensor, ...],
    train: bool = False,
    *,
    dtype: Dtype = "float32",
    knobs: Knobs | None = None,
    backend: str | None = None,
) -> Footprint:
    """What any module takes, without running it: peak bytes by part and phase, linear in the batch.

    Args:
        module: on any device; neither it nor its memory is touched.
        example_inputs: positional arguments; their first axis is the batch. Shapes and types matter, values do not.
        train: a training step with fused AdamW and the sum of all outputs as loss, instead of inference.
        dtype: compute type; in training the weights stay float32 and it is the one of autocast.
        knobs: everything in detail; then `train` and `dtype` must be left alone.
        backend: kind of device (cpu, cuda, ...) whose operators' workspace is counted; None: this machine's default.

    Raises:
        UsageError: example inputs without a common batch, or knobs given twice.
        TraceFailedError: the module does not run on shapes alone.
    """
    if knobs is not None and (train or dtype != "float32"):
        raise UsageError("got knobs together with train or dtype; expected one of both; set them inside the knobs")
    if knobs is None:
        precision = TrainingKnobs(precision="float32" if dtype == "float32" else "autocast")
        knobs = Knobs(dtype=dtype, training=precision if train else None)
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    backend = backend or probe().default_device.partition(":")[0]
    return footprints_of(Workload.from_module(module, inputs), backend)(knobs)


def _remembered(workload: Workload, knobs: Knobs, backend: str) -> tuple[Recording, tuple[str, ...]]:
    digest = store.digest_of(workload, resized(workload, knobs).build(), knobs, backend)
    recording = store.load(digest)
    if recording is not None:
        return recording, ()
    recording, remarks = _traced(workload, knobs, backend)
    try:
        store.save(digest, recording, knobs)
    except OSError as error:
        remarks = (*remarks, f"the prediction is not remembered: {error.strerror or error}")
    return recording, remarks


def _traced(workload: Workload, knobs: Knobs, backend: str) -> tuple[Recording, tuple[str, ...]]:
    what = f"{workload.name} ({'training' if knobs.training else 'inference'})"
    if workload.key and knobs.training is None:
        return _here(what, workload, knobs, backend), ()
    try:
        return CHILD.call(what, record, _portable(workload), knobs, backend), ()
    except UnreadableError as error:
        remark = (
            f"traced in this process, which a crash of the network would end: it cannot be sent to another ({error})"
        )
        return _here(what, workload, knobs, backend), (remark,)


def _here(what: str, workload: Workload, knobs: Knobs, backend: str) -> Recording:
    try:
        return record(workload, knobs, backend)
    except VitruvianError:
        raise
    except Exception as error:  # the network is anyone's code
        raise explained(what, f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Kept:
    """A `build` that can be pickled: copies of a module on meta."""

    module: nn.Module

    def __call__(self) -> nn.Module:
        return copy.deepcopy(self.module)


@dataclass(frozen=True, slots=True)
class _Table:
    """An `inputs` that can be pickled: the batch sizes that are traced."""

    specs: Mapping[int, dict[str, TensorSpec]]

    def __call__(self, batch: int) -> dict[str, TensorSpec]:
        return self.specs[batch]


def _portable(workload: Workload) -> Workload:
    """The workload without closures; those of the catalogue have none."""
    if workload.key:
        return workload
    table = _Table({batch: workload.inputs(batch) for batch in {*BATCHES, *STREAMED_BATCHES}})
    return replace(workload, build=_Kept(workload.build()), inputs=table)
