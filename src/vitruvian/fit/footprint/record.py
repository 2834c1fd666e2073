"""Runs a workload once on fake tensors and keeps what its memory depends on.

In: a workload and knobs. Out: a `Recording`: for each phase the operators that can be its peak, as lines in the batch,
and what analytic knobs (sharding, offload, 8-bit state, accumulation) need to know. No weights, no device. Two passes,
at batches that differ by one: 2 and 3, because operators take other ways at batch 1 (copies that become views) and are
exact lines beyond; a 2b training step takes 2 seconds and 0.4 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from vitruvian.errors import UsageError
from vitruvian.fit.apply import apply_knobs, loss_of
from vitruvian.fit.footprint.lines import Held, RecordedPhase, Recording, lines_of
from vitruvian.fit.footprint.tracker import Timeline, Tracker, in_granules, tensors_of
from vitruvian.fit.footprint.workspace import scratch_bytes
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Workload

BATCHES, STREAMED_BATCHES = (2, 3), (1, 2)
"""Batch sizes that are traced; a head that works item by item costs a pass for each."""


def traced(knobs: Knobs) -> Knobs:
    """The knobs without what needs no trace of its own; equal ones share a recording."""
    training = knobs.training
    if training is not None:
        plain = TrainingKnobs()
        training = replace(
            training,
            optimizer="adamw-foreach" if training.optimizer == "adamw-foreach" else "adamw",
            state=plain.state,
            accumulation=plain.accumulation,
            gpus=plain.gpus,
            parallel=plain.parallel,
        )
    return replace(knobs, micro_batch=1, training=training)


def resized(workload: Workload, knobs: Knobs) -> Workload:
    """The workload at the knobs' picture and patch size.

    Raises:
        UsageError: it has one size only and another one is asked for.
    """
    hw, patch = knobs.input_hw or workload.input_hw, knobs.patch_size or workload.patch_size
    if (hw, patch) == (workload.input_hw, workload.patch_size):
        return workload
    multiple = patch or workload.stride
    if workload.resized is None or hw is None or multiple is None:
        raise UsageError(
            f"got another picture or patch size for {workload.name}, which has one size only; expected none; make the "
            "module for that size instead"
        )
    return workload.resized(hw, multiple)


def record(workload: Workload, knobs: Knobs, backend: str = "cpu") -> Recording:
    """Trace a workload under `traced(knobs)`.

    Raises:
        UsageError: the knobs ask for what the network does not have, or it has several stages and is to be trained.
    """
    knobs = traced(knobs)
    workload = resized(workload, knobs)
    module = workload.build()
    applied = apply_knobs(module, workload, knobs)
    with FakeTensorMode(allow_non_fake_inputs=True):
        materialise(module)
        _tell_device(module, backend)
        run = _Run(workload, knobs, backend, module)
        batches = run.batches
        timelines = run.training() if knobs.training is not None else run.inference()
    first, second = timelines
    per_item = second.launches - first.launches
    return Recording(
        workload=workload.name,
        phases=tuple(RecordedPhase(name=name, lines=lines) for name, lines in lines_of(first, second, batches)),
        held=_held(module, applied.blocks, run.trained, run.optimizer_bytes),
        flops_per_item=max(0.0, second.flops - first.flops),
        bytes_moved_per_item=max(0.0, second.bytes_moved - first.bytes_moved),
        operators=max(1, first.launches - per_item * (batches[0] - 1)),
        backend=backend,
    )


def _held(module: nn.Module, names: tuple[str, ...], trained: list[nn.Parameter], optimizer_bytes: int) -> Held:
    blocks = [module.get_submodule(name) for name in names]
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    outside = [parameter for parameter in module.parameters() if id(parameter) not in inside]
    block = list(max(blocks, key=lambda one: _nbytes(one.parameters())).parameters()) if blocks else []
    return Held(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        trained=sum(parameter.numel() for parameter in trained),
        largest_trained=max((parameter.numel() for parameter in trained), default=0),
        weights_bytes=_nbytes(module.parameters()),
        gradients_bytes=_nbytes(trained),
        optimizer_bytes=optimizer_bytes,
        block_bytes=_nbytes(block),
        block_gradients_bytes=_nbytes(one for one in block if one.requires_grad),
        outside_bytes=_nbytes(outside),
        outside_gradients_bytes=_nbytes(one for one in outside if one.requires_grad),
    )


def _nbytes(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.nbytes for parameter in parameters)


def _tell_device(module: nn.Module, backend: str) -> None:
    """Fake tensors say that they lie on the CPU; parts that size their buffers by the device ask `device_kind`."""
    for part in module.modules():
        if hasattr(part, "device_kind"):
            part.device_kind = backend  # type: ignore[assignment]


def materialise(module: nn.Module) -> nn.Module:
    """Replace every tensor on meta by an undefined one on the CPU, in place; tied ones stay tied.

    `Module.to_empty` unties weights and forgets plain tensor attributes.
    """
    made: dict[int, Tensor] = {}
    for part in module.modules():
        places: tuple[dict[str, Any], ...] = (part._parameters, part._buffers, vars(part))
        for held in places:
            for key, value in list(held.items()):
                # Recurrent layers list their weights a second time.
                held[key] = [_on_cpu(one, made) for one in value] if type(value) is list else _on_cpu(value, made)
    return module


def _on_cpu(tensor: Any, made: dict[int, Tensor]) -> Any:
    if not isinstance(tensor, Tensor) or tensor.device.type != "meta":
        return tensor
    if id(tensor) not in made:
        made[id(tensor)] = _empty_on_cpu(tensor)
    return made[id(tensor)]


def _empty_on_cpu(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


class _Run:
    """One module on fake tensors, run at the batches to be traced."""

    def __init__(self, workload: Workload, knobs: Knobs, backend: str, module: nn.Module) -> None:
        self.workload, self.knobs, self.module = workload, knobs, module
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.scratch: Callable[..., int] = partial(scratch_bytes, backend)
        self.optimizer_bytes = 0
        self.batches = STREAMED_BATCHES if knobs.chunked_head else BATCHES

    def inference(self) -> tuple[Timeline, Timeline]:
        """Every stage is a phase.

        Results of a stage live to the end of the run; those of one that returns a mapping are given to later ones
        beside the inputs, under their names, until others take these names.
        """
        first, second = (self._infer(batch) for batch in self.batches)
        return first, second

    def _infer(self, batch: int) -> Timeline:
        tracker = Tracker(self.scratch)
        given: dict[str, Any] = self._inputs(batch)
        tracker.count(tensors_of(self.module), "weights")
        tracker.count(given.values(), "activations")
        kept: list[Any] = []
        with torch.no_grad(), tracker:
            for stage in self.workload.stages:
                # Beyond the second time nothing new is alive; only the work goes on.
                for turn in range(min(stage.repeats, 2)):
                    tracker.times = stage.repeats - 1 if turn else 1
                    with tracker.phase(stage.name):
                        result = stage.call(self.module, given)
                    tracker.count((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), "results")
                    if isinstance(result, Mapping):
                        given |= result
                    else:
                        kept.append(result)
                    del result
        return tracker.timeline

    def training(self) -> tuple[Timeline, Timeline]:
        """Forward, backward and step at both batches; the optimizer has its state before."""
        if len(self.workload.stages) != 1:
            raise UsageError(
                f"got {self.workload.name} with {len(self.workload.stages)} stages to train; expected one stage; train "
                "the network of one stage"
            )
        if not self.trained:
            raise UsageError(
                f"got {self.workload.name} without a parameter that learns; expected some; thaw what is to be trained"
            )
        optimizer = self._optimizer()
        for parameter in self.trained:
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.optimizer_bytes = sum(in_granules(tensor.nbytes) for tensor in _state(optimizer))
        first, second = (self._step(batch, optimizer) for batch in self.batches)
        return first, second

    def _optimizer(self) -> torch.optim.Optimizer:
        assert self.knobs.training is not None
        foreach = self.knobs.training.optimizer == "adamw-foreach"
        return torch.optim.AdamW(self.trained, foreach=foreach, fused=not foreach)

    def _step(self, batch: int, optimizer: torch.optim.Optimizer) -> Timeline:
        assert self.knobs.training is not None
        released = self.knobs.training.gradients == "released"
        tracker = Tracker(self.scratch)
        given = self._inputs(batch)
        tracker.count(tensors_of(self.module), "weights")
        tracker.count(_state(optimizer), "optimizer")
        tracker.count(given.values(), "activations")
        with tracker, _gradients_noted(self.trained, tracker, optimizer if released else None):
            with tracker.phase("forward"):
                loss = self._loss(given)
            with tracker.phase("backward"):
                loss.backward()
            del loss
            if not released:
                with tracker.phase("step", new="optimizer"):
                    optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return tracker.timeline

    def _loss(self, given: dict[str, Any]) -> Tensor:
        (stage,) = self.workload.stages
        outputs = stage.call(self.module, given)
        return loss_of(self.workload, outputs)

    def _inputs(self, batch: int) -> dict[str, Any]:
        """Undefined inputs of the types the workload states; casting them is the network's work, here as in a run."""
        return {name: spec.empty("cpu") for name, spec in self.workload.inputs(batch).items()}


def _state(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(list(optimizer.state.values())) if isinstance(leaf, Tensor)]


@contextmanager
def _gradients_noted(
    parameters: list[nn.Parameter], tracker: Tracker, releasing: torch.optim.Optimizer | None
) -> Iterator[None]:
    """Count each gradient as one from the moment it is whole; `releasing` applies it at once and it is dropped."""
    norms: list[Tensor] = []  # kept to the end of the backward pass, as a run keeps them

    def note(parameter: Tensor) -> None:
        if parameter.grad is None:
            return
        tracker.count([parameter.grad], "gradients")
        if releasing is not None:
            with tracker.phase("update", new="optimizer"), torch.no_grad():
                norms.append(parameter.grad.float().norm())
                _step_alone(releasing, parameter)
            parameter.grad = None

    handles = [parameter.register_post_accumulate_grad_hook(note) for parameter in parameters]
    yield
    for handle in handles:
        handle.remove()


def _step_alone(optimizer: torch.optim.Optimizer, parameter: Tensor) -> None:
    """Update one parameter of an optimizer with one group."""
    (group,) = optimizer.param_groups
    optimizer.param_groups = [{**group, "params": [parameter]}]
    optimizer.step()
    optimizer.param_groups = [group]
