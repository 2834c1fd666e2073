"""From a name to a plan: what a published network, a weight file or any module takes on a machine, and what fits.

Nothing is loaded and no accelerator is needed: footprints are traced without weights. A way to run that was never
traced on this machine takes seconds, one that was takes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from torch import Tensor, nn

from vitruvian.errors import UsageError
from vitruvian.fit.calibration import load_calibration
from vitruvian.fit.footprint import footprints_of
from vitruvian.fit.footprint.ahead import Ahead
from vitruvian.fit.footprint.values import Footprint, Footprints
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan import make_plan, smallest_machine
from vitruvian.fit.plan_values import Objective, Offer, Plan, PlanJob
from vitruvian.fit.presets import published_training
from vitruvian.fit.settings import EFFECTIVE, without_batch
from vitruvian.fit.workload import Workload
from vitruvian.hardware import DTYPES, Hardware, measured_rates, probe
from vitruvian.hardware.catalogue import MACHINES, find_machine
from vitruvian.hardware.sizes import parse_size
from vitruvian.models.sapiens import SapiensConfig
from vitruvian.training.metric.stepped import refiner_of
from vitruvian.training.metric.workload import metric_tuning_workload
from vitruvian.training.workload import RECIPE_BATCH, trainable_spec, training_workload
from vitruvian.weights import spec_of
from vitruvian.zoo import ModelSpec
from vitruvian.zoo.metric3d import METRIC3D, metric3d_config

Known = TypeVar("Known")

UPSAMPLED_HW = (1080, 1920)
"""Picture size that the published inference code is assumed to enlarge its outputs to."""


def plan(
    model: str | Path | None = None,
    *,
    module: nn.Module | None = None,
    example_inputs: tuple[Tensor, ...] | None = None,
    train: str | bool | None = None,
    machine: str | Hardware | None = None,
    budget: int | str | None = None,
    gpus: int = 1,
    device: str | None = None,
    dtype: str | None = None,
    batch: int | None = None,
    objective: str = "throughput",
    settings: Mapping[str, Any] | None = None,
    beside_bytes: int = 0,
    workload: Workload | None = None,
) -> Plan:
    """What a model takes on a machine, what fits and what that costs.

    Args:
        model: a catalogue name, the path of a weight file, or for training `sapiens-2b` and the like: the pretrained
            encoder with a fresh head.
        module: any module instead, with its tensor arguments in `example_inputs` (first axis: the batch).
        train: the task to train for (pose, seg, depth, normal); True for a module or workload; None: inference.
        machine: a catalogue name or a `Hardware`; None: this machine.
        budget: bytes or text such as `24GB`; None: what is free on the device.
        gpus: devices to train on together.
        device: torch device string; None: the machine's first.
        dtype: the compute type to use; None: by the device's native support.
        batch: inference: items per call; training: items per optimizer step (default: the published recipe's).
        objective: throughput, or latency: one item per call.
        settings: knobs to keep, as `vitruvian.fit.settings.parse_settings` reads them.
        beside_bytes: what lies on the device beside the network all the time, in every way to run: pictures of a
            loader on a CPU, an averaged copy of the weights.
        workload: a network described by the caller, instead of a model or module: another number of classes.

    Raises:
        UsageError: no such model, machine, device, task or knob, or knobs that exclude each other.
        RefusedError: a file that is no weight file of a known network.
    """
    workload = workload_of(model, module=module, example_inputs=example_inputs, train=train, workload=workload)
    settings = dict(settings or {})
    dtype = settings.pop("dtype", dtype)
    job = replace(
        _job_of(workload),
        train=bool(train),
        device=device,
        budget_bytes=parse_size(budget) if isinstance(budget, str) else budget,
        gpus=gpus,
        batch=settings.get(EFFECTIVE, batch) or _recipe_batch(train),
        dtypes=None if dtype is None else (_one_of(DTYPES, "compute type", dtype),),
        objective=_one_of(get_args(Objective), "objective", objective),
        fixed=without_batch(settings),
        upsampled_bytes_per_item=0 if train else _upsampled_bytes(model),
    )
    hardware = machine_of(machine)
    if machine is None:
        hardware = with_rates(hardware, device or hardware.default_device)
    return _made(workload, job, hardware, measured_here=machine is None, beside_bytes=beside_bytes)


def _job_of(workload: Workload) -> PlanJob:
    """What the network itself says of a job."""
    return PlanJob(
        offers=offers_of(workload),
        input_hw=workload.input_hw,
        patch_size=workload.patch_size,
        stride=workload.stride,
        parameters=_parameters(workload),
        published=bool(workload.key),
    )


def _made(workload: Workload, job: PlanJob, hardware: Hardware, *, measured_here: bool, beside_bytes: int) -> Plan:
    if beside_bytes < 0:
        raise UsageError(f"got beside_bytes={beside_bytes}; expected 0 or more; leave it out for none")
    device = job.device or hardware.default_device
    kind = hardware.device(device).kind
    alike = {
        name: machine for name, machine in MACHINES.items() if (machine.default_device == "cpu") == (kind == "cpu")
    }
    others = {name: machine for name, machine in MACHINES.items() if name not in alike}
    slow = job.train and kind == "cpu"  # nobody buys a larger processor to train on
    calibration = load_calibration(hardware.device(device).name) if measured_here else None
    # Training traces take seconds each; the published ones are known to be wanted, so they run beside the others.
    published = published_training(job) if job.train and job.published else ()
    ahead = Ahead(workload, [_plain(rung.knobs, workload) for rung in published], kind)
    footprints = _beside(footprints_for(workload, kind, ahead), beside_bytes)
    try:
        made = make_plan(footprints, job, hardware, calibration, {} if slow else alike)
    finally:
        ahead.close()
    if made.fits or made.smallest_machine or kind != "cpu":
        return made
    elsewhere = _beside(footprints_for(workload, "cuda"), beside_bytes)
    return replace(made, smallest_machine=smallest_machine(elsewhere, job, others))


def footprints_for(workload: Workload, kind: str, ahead: Ahead | None = None) -> Footprints:
    """Footprints of a workload on a kind of device; its own sizes, spelt out, are those that others remember."""
    of = footprints_of(workload, kind)

    def footprints(knobs: Knobs) -> Footprint:
        plain = _plain(knobs, workload)
        if ahead is not None:
            ahead.wait(plain)
        return replace(of(plain), knobs=knobs)

    return footprints


def _beside(plain: Footprints, beside_bytes: int) -> Footprints:
    return lambda knobs: plain(knobs).with_beside(beside_bytes)


def _plain(knobs: Knobs, workload: Workload) -> Knobs:
    hw = None if knobs.input_hw == workload.input_hw else knobs.input_hw
    patch = None if knobs.patch_size == workload.patch_size else knobs.patch_size
    return replace(knobs, input_hw=hw, patch_size=patch)


def machine_of(machine: str | Hardware | None) -> Hardware:
    """The machine of a catalogue name, the value itself, or this machine.

    Raises:
        UsageError: no such name.
    """
    if machine is None:
        return probe()
    return find_machine(machine) if isinstance(machine, str) else machine


def with_rates(hardware: Hardware, device: str) -> Hardware:
    """This machine with the rates of one device, measured where they are not remembered (0.4 s).

    Raises:
        UsageError: there is no such device.
    """
    chosen = hardware.device(device)
    if chosen.rates is not None:
        return hardware
    rates = measured_rates(chosen.device)
    if chosen is hardware.cpu:
        return replace(hardware, cpu=replace(hardware.cpu, rates=rates))
    gpus = tuple(replace(gpu, rates=rates) if gpu is chosen else gpu for gpu in hardware.accelerators)
    return replace(hardware, accelerators=gpus)


def workload_of(
    model: str | Path | None,
    *,
    module: nn.Module | None = None,
    example_inputs: tuple[Tensor, ...] | None = None,
    train: str | bool | None = None,
    workload: Workload | None = None,
) -> Workload:
    """What a planner sees of a name, a file or a module; a workload is what it sees.

    Raises:
        UsageError: none or several of model, module and workload, no such name or task.
    """
    given = sum(one is not None for one in (model, module, workload))
    if given != 1:
        raise UsageError(f"got {given} of model, module and workload; expected one; try plan('sapiens-seg-1b')")
    if workload is not None:
        return workload
    if module is not None:
        return Workload.from_module(module, example_inputs or ())
    assert model is not None
    if not train:
        return spec_of(model).workload
    if train is True:
        raise UsageError("got train=True with a model's name; expected the task: train='normal'")
    spec = trainable_spec(model)
    if spec.family.name == METRIC3D.name:
        return _metric_training(spec, train)
    return training_workload(spec, train)  # type: ignore[arg-type]


def _metric_training(spec: ModelSpec, train: str) -> Workload:
    """Depth and normals are taught together, so there is one task."""
    if train != "depth":
        raise UsageError(
            f"got --train {train} for {spec.name}; expected --train depth, which teaches depth and normals; say so"
        )
    config = metric3d_config(spec)
    refiner_of(config)
    return metric_tuning_workload(spec.name, config)


def _one_of(known: tuple[Known, ...], what: str, text: str) -> Known:
    for value in known:
        if value == text:
            return value
    raise UsageError(f"got the {what} {text!r}; expected one of {', '.join(map(str, known))}")


def offers_of(workload: Workload) -> frozenset[Offer]:
    offers: dict[Offer, object] = {
        "chunked_head": "chunked_head" in workload.knobs,
        "blocks": workload.blocks,
        "head": workload.head,
        "crop": workload.resized,
    }
    return frozenset(name for name, there in offers.items() if there)


def _recipe_batch(train: str | bool | None) -> int | None:
    return RECIPE_BATCH.get(train) if isinstance(train, str) else None  # type: ignore[call-overload]


def _upsampled_bytes(model: str | Path | None) -> int:
    config = None if model is None else spec_of(model).config
    head = config.head if isinstance(config, SapiensConfig) else None
    if head is None or head.kind == "pose":
        return 0  # heat maps are decoded at their own size
    return 4 * head.channels * UPSAMPLED_HW[0] * UPSAMPLED_HW[1]


def _parameters(workload: Workload) -> int:
    return sum(parameter.numel() for parameter in workload.build().parameters())
