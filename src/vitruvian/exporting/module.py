"""Any module on its way into an artefact: precision by its numbers on noise, contracts from its example inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian import __version__
from vitruvian.artefacts.climb import Attempt, Climb
from vitruvian.artefacts.contract import BATCH, DTYPE_NAMES, Axis, TensorContract
from vitruvian.artefacts.examination import ModuleSubject
from vitruvian.artefacts.manifest import WEIGHTS, Manifest, StoredWeights
from vitruvian.artefacts.overflow import first_non_finite, islands_against_overflow
from vitruvian.artefacts.reuse import reusable_from
from vitruvian.artefacts.rung import Draft
from vitruvian.artefacts.wrapping import NamedOutputs
from vitruvian.errors import UsageError
from vitruvian.exporting.batches import verified_batches, with_range
from vitruvian.exporting.wish import ExportWish
from vitruvian.fit.parts import blocks_of
from vitruvian.fit.precision import Precision, apply_precision, compute_types
from vitruvian.fit.workload import Workload
from vitruvian.hardware import probe, target_here
from vitruvian.models.weight_files.writing import safetensors_pieces

SAMPLES = 7
"""Different inputs that artefacts are compared on."""
PLANNED = 16
"""Largest batch that is verified: nothing is known about the module's memory."""
NOISE = 0.1
"""Deviation of what is added to example inputs, as a share of theirs."""


def module_climb(
    module: nn.Module, example_inputs: tuple[Tensor, ...], wish: ExportWish, staging: Path
) -> tuple[Climb, tuple[str, ...]]:
    """Everything before the first rung; the module itself stays untouched.

    Raises:
        UsageError: example inputs without a common batch, or an option that only models of the catalogue have.
    """
    _check(module, example_inputs, wish)
    device = probe().device(wish.device or probe().default_device).device
    workload = Workload.from_module(module, example_inputs)
    plain = NamedOutputs(copy.deepcopy(module).eval().requires_grad_(False)).to(device).float()
    samples = _samples(example_inputs)
    reference = partial(_outputs, plain, device)
    _save(plain, staging)
    precision, attempts = _precision(plain, samples, device, wish)
    network = apply_precision(copy.deepcopy(plain), precision)
    batched = tuple(bool(tensor.ndim) for tensor in example_inputs)
    subject = ModuleSubject(samples=samples, reference=reference, batched=batched)
    sample = tuple(tensor.to(device) for tensor in subject.inputs([0, 1]))
    contracts = with_range(_contracts(example_inputs), network, sample, wish.max_batch)
    blocks = tuple(f"{NamedOutputs.prefix}{name}" for name in blocks_of(module, workload))
    outputs = _output_contracts(subject, next((contract.batch for contract in contracts if contract.batch), None))
    subject.rowed = frozenset(contract.name for contract in outputs if contract.batch)
    draft = Draft(
        name=type(module).__name__,
        module=network,
        inputs=contracts,
        sample=sample,
        precision=precision,
        device=device,
        prefix=NamedOutputs.prefix,
        blocks=blocks,
        calibration=tuple(tuple(tensor.to(device) for tensor in one) for one in samples),
    )
    climb = Climb(
        draft=draft,
        subject=subject,
        head=_head(draft, outputs, device),
        staging=staging,
        batches=verified_batches(contracts, PLANNED),
        threads=torch.get_num_threads(),
        quality="exact" if precision.dtype == "float32" else wish.quality,
        rounded_quality=wish.quality,
        module=module,
        reusable=reusable_from(wish.reuse, draft, trust=wish.trust),
        report=wish.report,
        attempts=attempts,
    )
    return climb, ()


def _check(module: nn.Module, example_inputs: tuple[Tensor, ...], wish: ExportWish) -> None:
    given = {
        "size": wish.size is not None,
        "dynamic_size": wish.dynamic_size,
        "with_post": wish.with_post,
        "check_on": wish.check_on is not None,
        "random_weights": wish.random_weights,
    }
    named = [name for name, is_given in given.items() if is_given]
    if named:
        raise UsageError(
            f"got {', '.join(named)} for a module of your own; expected none of them: nothing is known about its "
            "inputs but the examples; leave it out"
        )
    for tensor in example_inputs:
        if str(tensor.dtype).removeprefix("torch.") not in DTYPE_NAMES:
            raise UsageError(f"got an example input of {tensor.dtype}; expected one of {', '.join(DTYPE_NAMES)}")


def _samples(example_inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], ...]:
    """Inputs of batch 1 on the host: the examples' own rows, then the same with noise on what has fractions."""
    generator = torch.Generator().manual_seed(0)
    rows = next(tensor.shape[0] for tensor in example_inputs if tensor.ndim)
    found = []
    for index in range(SAMPLES):
        place = index % rows
        sample = [
            tensor.detach().cpu()[place : place + 1] if tensor.ndim else tensor.cpu() for tensor in example_inputs
        ]
        found.append(tuple(sample if index < rows else (_disturbed(tensor, generator) for tensor in sample)))
    return tuple(found)


def _disturbed(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point() or not tensor.ndim:
        return tensor
    size = tensor.float().std(correction=0).item() or tensor.float().abs().mean().item() or 1.0
    noise = torch.randn(tensor.shape, generator=generator) * (NOISE * size)
    return (tensor.float() + noise).to(tensor.dtype)


def _contracts(example_inputs: tuple[Tensor, ...]) -> tuple[TensorContract, ...]:
    batch = Axis(name=BATCH)
    return tuple(
        TensorContract(
            name=f"input_{index}",
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=(batch, *tensor.shape[1:]) if tensor.ndim else (),
        )
        for index, tensor in enumerate(example_inputs)
    )


@torch.inference_mode()
def _outputs(module: nn.Module, device: str, *inputs: Tensor) -> dict[str, Tensor]:
    """What a module gives for inputs on the host, on the host."""
    return {name: value.cpu() for name, value in module(*(tensor.to(device) for tensor in inputs)).items()}


def _precision(
    plain: nn.Module, samples: Sequence[tuple[Tensor, ...]], device: str, wish: ExportWish
) -> tuple[Precision, list[Attempt]]:
    """The type that was asked for, with more float32 islands where it overflows, or the next one that gives numbers."""
    asked = Precision(
        dtype=wish.dtype or "float32", islands=tuple(f"{NamedOutputs.prefix}{one}" for one in wish.islands)
    )
    attempts: list[Attempt] = []
    if asked.dtype == "float32":
        return Precision(), attempts
    native = [dtype for dtype in compute_types(probe().device(device)) if dtype == "bfloat16" != asked.dtype]
    for precision in (asked, *(Precision(dtype=dtype, islands=asked.islands) for dtype in native)):
        broken = _broken(plain, samples, device, precision)
        if broken is None:
            return precision, attempts
        inputs, because = broken
        saved = islands_against_overflow(lambda: copy.deepcopy(plain), precision, inputs)
        if saved is not None and _broken(plain, samples, device, saved) is None:
            kept = ", ".join(name.removeprefix(NamedOutputs.prefix) for name in saved.islands)
            attempts.append(_left(precision, f"{because}; kept in float32 now: {kept}"))
            wish.report(attempts[-1].because)
            return saved, attempts
        attempts.append(_left(precision, because))
        wish.report(because)
    return Precision(), attempts


def _left(precision: Precision, because: str) -> Attempt:
    """A precision that was not taken, in the place of a rung: none was built in it."""
    return Attempt(backend="eager", state="failed", because=f"{precision}: {because}")


def _broken(
    plain: nn.Module, samples: Sequence[tuple[Tensor, ...]], device: str, precision: Precision
) -> tuple[tuple[Tensor, ...], str] | None:
    """Inputs for which a precision leaves its range, and where; None where it does not."""
    network = apply_precision(copy.deepcopy(plain), precision)
    for sample in samples:
        inputs = tuple(tensor.to(device) for tensor in sample)
        found = first_non_finite(network, inputs)
        if found is not None:
            return inputs, found.sentence(precision.dtype, NamedOutputs.prefix)
    return None


def _save(plain: NamedOutputs, staging: Path) -> None:
    """Weights under every name that they have: what is shared is written twice."""
    with (staging / WEIGHTS).open("wb") as file:
        for piece in safetensors_pieces(plain.state_dict(), {"made_by": f"vitruvian {__version__}"}):
            file.write(piece)


def _head(draft: Draft, outputs: tuple[TensorContract, ...], device: str) -> Manifest:
    kept = tuple(name for name, value in draft.module.state_dict().items() if value.dtype == torch.float32)
    return Manifest(
        model=draft.name,
        task="",
        licence="unknown (a module of your own)",
        weights_sha256="",
        source="",
        backend="eager",
        precision=draft.precision,
        inputs=draft.inputs,
        outputs=outputs,
        target=target_here(device),
        files={},
        weights=StoredWeights(kept_float32=kept),
        blocks=draft.blocks,
        version=__version__,
    )


def _output_contracts(subject: ModuleSubject, batch: Axis | None) -> tuple[TensorContract, ...]:
    """By what the module gives for one input and for two."""
    one = subject.reference(*subject.inputs([0]))
    try:
        two = subject.reference(*subject.inputs([0, 1]))
    except Exception:  # whatever it is, every backend will meet and explain it
        two = {name: torch.cat([value, value]) if value.ndim else value for name, value in one.items()}
    if {name: value.ndim for name, value in one.items()} != {name: value.ndim for name, value in two.items()}:
        raise UsageError(
            "got a module that gives other outputs for a batch of two than for one; expected the same ones with the "
            "same number of axes; wrap it in a module that does"
        )
    return tuple(
        TensorContract(
            name=name,
            dtype=str(value.dtype).removeprefix("torch."),
            shape=tuple(_side(name, place, *sides, batch) for place, sides in enumerate(_pairs(value, two[name]))),
        )
        for name, value in one.items()
    )


def _pairs(one: Tensor, two: Tensor) -> Iterator[tuple[int, int]]:
    return zip(one.shape, two.shape, strict=True)


def _side(name: str, place: int, of_one: int, of_two: int, batch: Axis | None) -> int | Axis:
    """A row for each input, a fixed length, or one that grows in a way of its own."""
    if place == 0 and batch is not None and (of_one, of_two) == (1, 2):
        return batch
    return of_one if of_one == of_two else Axis(name=f"{name}_{place}")
