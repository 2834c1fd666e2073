"""The compute type of the denoising network is measured: small calls in it and in float32, compared.

In: files of the networks, candidates. Out: the first candidate that keeps the limits of a quality, with the reason.
Verdicts are remembered. Seconds for the published network, and its weights in float32 once: on the device where they
fit, else on the host.
"""

# Shape suffixes: F frames, D context width, C features, h w latents.

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitruvian import __version__
from vitruvian.animating.wish import AnimateWish
from vitruvian.fit.decisions import Decision
from vitruvian.fit.precision import Precision, apply_precision, check_dtype, compute_types
from vitruvian.fit.quality import AuditReport, margins, mean, worst
from vitruvian.fit.verdicts import VerdictKey, VerdictStore
from vitruvian.generation.conditioning import time_ids
from vitruvian.generation.presets import FRAME_RATE_ID, MOTION
from vitruvian.generation.stages import ISLANDS
from vitruvian.generation.weights import FoundAnimation
from vitruvian.hardware import Device, Dtype, free_caches, free_memory_now, out_of_memory
from vitruvian.models.mimicmotion import PosedUnet, SchedulerConfig
from vitruvian.models.mimicmotion.config import LATENT_STRIDE

LEVELS = (700.0, 20.0, 1.0, 0.05)
"""Noise levels that are looked at, from the beginning of a run to its end, as far as a model's own reach."""
FRAMES, SIZE_HW = 2, (320, 192)
"""Of the calls: spatial layers see every frame alone, and what a type rounds does not depend on how many there are."""
ROOM = 1.5
"""Times the weights in float32 that must be free for them to be looked at on the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeChoice:
    """The type to compute in."""

    dtype: Dtype
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()


def candidates_of(wish: AnimateWish, device: Device) -> tuple[Dtype, ...]:
    """Types to try, best first: the user's, float32 for exact results, else those that the device has instructions for.

    On a processor that is float32 alone: convolutions in smaller types gain little there.
    """
    if wish.dtype is not None:
        return (check_dtype(wish.dtype),)
    if wish.quality == "exact" or device.kind == "cpu":
        return ("float32",)
    return compute_types(device)


def audited_type(
    found: FoundAnimation,
    wish: AnimateWish,
    device: Device,
    *,
    torch_version: str,
    store: VerdictStore,
    report: Callable[[str], None],
) -> TypeChoice:
    """The first candidate within the limits of the wish's quality; float32 where none is.

    A type that the user insists on is taken all the same, with a warning.
    """
    decisions: list[Decision] = []
    notes: list[str] = []
    for dtype in candidates_of(wish, device):
        if dtype == "float32":
            because = "asked for" if wish.dtype else "what is left" if decisions else "what the device computes best in"
            break
        precision = Precision(dtype=dtype, islands=ISLANDS)
        key = VerdictKey(
            model=found.provenance.model,
            weights_sha256=found.provenance.weights_sha256,
            device=device.name,
            torch_version=torch_version,
            version=__version__,
            canvas_hw=SIZE_HW,
            precision=precision,
        )
        seen = store.get(key)
        if seen is None:
            report(f"audit of {dtype} against float32")
            seen = _compared(found, precision, device.device)
            if note := store.put(key, seen):
                notes.append(note)
        misses = seen.misses(wish.quality)
        if not misses:
            because = margins(seen.discrepancies, wish.quality)
            decisions.append(Decision(what="dtype", value=dtype, because=because, measured=True))
            return TypeChoice(dtype=dtype, decisions=tuple(decisions), notes=tuple(notes))
        said = "; ".join(misses)
        if wish.dtype:
            decisions.append(Decision(what="dtype", value=dtype, because=f"asked for, although {said}", measured=True))
            warning = f"warning: {dtype} was asked for, but it does not keep --quality {wish.quality}: {said}"
            return TypeChoice(dtype=dtype, decisions=tuple(decisions), notes=(*notes, warning))
        decisions.append(Decision(what="dtype_turned_down", value=dtype, because=said, measured=True))
    decisions.append(Decision(what="dtype", value="float32", because=because, measured=bool(decisions)))
    return TypeChoice(dtype="float32", decisions=tuple(decisions), notes=tuple(notes))


def _compared(found: FoundAnimation, precision: Precision, device: str) -> AuditReport:
    """Float32 first, so that one network is in memory at a time."""
    weights_bytes = 4 * found.spec.parameters
    roomy = free_memory_now(device)[1] > ROOM * weights_bytes
    reference, reference_s = _answers(found, Precision(), device if roomy else "cpu")
    try:
        candidate, candidate_s = _answers(found, precision, device)
    except (RuntimeError, TypeError, ValueError) as error:  # what operators raise for types they do not take
        if out_of_memory(error):
            raise
        return AuditReport(error=str(error).strip().splitlines()[0][:200])
    rows = [
        {"relative_l2": float((one - true).norm() / true.norm())}
        for one, true in zip(candidate, reference, strict=True)
    ]
    return AuditReport(
        discrepancies=worst(rows),
        mean=mean(rows),
        non_finite=sum(int((~one.isfinite()).sum()) for one in candidate),
        crops=len(reference),
        reference_s=reference_s,
        candidate_s=candidate_s,
    )


@torch.no_grad()
def _answers(found: FoundAnimation, precision: Precision, device: str) -> tuple[list[Tensor], float]:
    """v of the network at every level, float32 on the host, and the seconds of the fastest call."""
    loaded = found.build("unet", device=device, dtype_of=precision.dtype_of)
    network = PosedUnet(apply_precision(loaded.network, precision))
    answers, seconds = [], []
    for level in _levels(found.spec.config.scheduler):
        arguments = [value.to(device) for value in _call(found, level)]
        began = time.perf_counter()
        answers.append(network(*arguments).float().cpu())
        seconds.append(time.perf_counter() - began)
    del network, loaded
    free_caches(device)
    return answers, min(seconds)


def _levels(scheduler: SchedulerConfig) -> list[float]:
    return sorted({min(max(level, scheduler.sigma_min), scheduler.sigma_max) for level in LEVELS}, reverse=True)


def _call(found: FoundAnimation, level: float) -> Sequence[Tensor]:
    """Noise in the places of everything that a call is given, as wide as it would be."""
    config = found.spec.config
    generator = torch.Generator().manual_seed(round(level * 100))
    h, w = (side // LATENT_STRIDE for side in SIZE_HW)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    latents = config.vae.latent_channels
    wide = (level * level + 1) ** 0.5
    noisy = (noise(1, FRAMES, latents, h, w) + level * noise(1, FRAMES, latents, h, w)) / wide
    image = noise(1, 1, latents, h, w).expand(-1, FRAMES, -1, -1, -1) / config.vae.scaling_factor
    return (
        torch.cat([noisy, image], dim=2),
        0.25 * torch.tensor(level).log(),
        noise(1, 1, config.unet.cross_attention_dim),
        time_ids(FRAME_RATE_ID, MOTION, 0.0),
        0.1 * noise(1, FRAMES, config.pose_features, h, w),
    )
