"""The latents and frames of one clip: networks, noise, steps, and another way where memory gives out.

In: poses, a plan, the files of the networks. Out: latents, each step's on disk before the next begins, then frames.
"""

# Shape suffixes: F frames, N frames of a chunk, T frames of a tile, H W frame, h w latents, D width of the embedding,
# 3 = RGB, 4 = latent channels.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitruvian.animating.plan import ClipPlan, ClipPlanner
from vitruvian.animating.poses import PosedClip
from vitruvian.animating.session import Session
from vitruvian.animating.state import KEPT, ClipState, store
from vitruvian.animating.way import Way
from vitruvian.animation.tiles import even_tiles
from vitruvian.errors import CheckFailedError, DoesNotFitError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.precision import Precision
from vitruvian.generation.conditioning import time_ids
from vitruvian.generation.denoised import Clip, denoised
from vitruvian.generation.denoising import Conditions, first_latents, schedule_of
from vitruvian.generation.presets import FRAME_RATE_ID, MOTION
from vitruvian.generation.stages import ISLANDS, Stages, stored_features
from vitruvian.generation.strategy import Pilot
from vitruvian.generation.weights import FoundAnimation
from vitruvian.hardware import Dtype, free_caches, freed_memory_kept, heap_free_bytes
from vitruvian.models.mimicmotion import build_scheduler
from vitruvian.models.mimicmotion.config import LATENT_STRIDE
from vitruvian.videos.workplace import Workplace

WIDER: dict[Dtype, Dtype] = {"float16": "bfloat16", "bfloat16": "float32"}
"""What a type that gives no numbers is followed by."""


@dataclass(kw_only=True)
class Making:
    """Latents of a clip: networks, noise, steps."""

    session: Session
    found: FoundAnimation
    posed: PosedClip
    planner: ClipPlanner
    plan: ClipPlan
    work: Workplace
    started: ClipState | None

    @property
    def frames_all(self) -> int:
        return len(self.posed.clip)

    def latents(self) -> Tensor:
        """After the last step; goes on from what is stored, and in another way where memory gives out."""
        wish = self.session.wish
        if self.started is not None and self.started.steps >= wish.steps_taken:
            return self.started.latents_F4hw
        while True:
            try:
                with self._memory():
                    latents_F4hw = self._denoised()
                free_caches(self.session.device)  # hooks that stream weights hold them in a cycle
                return latents_F4hw
            except DoesNotFitError as error:
                following = self.planner.after(self.plan.way)
                if following is None:
                    raise
                self._change(following, str(error))
            except _NoNumbersError as error:
                wider = WIDER.get(self.plan.way.dtype)
                if wider is None:
                    said = f"{error}; expected numbers; the weights may be damaged: fetch them again"
                    raise CheckFailedError(said) from error
                self._change(self.planner.plan_of(replace(self.plan.way, dtype=wider)), str(error))

    def _change(self, plan: ClipPlan, because: str) -> None:
        step = self.started.steps if self.started else 0
        value = f"{plan.way.measures}, tiles of {plan.way.tile}, {plan.way.dtype}, from step {step + 1} on"
        self.session.decisions.append(Decision(what="plan_changed", value=value, because=because, measured=True))
        self.plan = plan

    def _denoised(self) -> Tensor:
        session, wish, way = self.session, self.session.wish, self.plan.way
        stages = self.stages()
        noise_13HW, noise_T4hw = self._noise(way)
        with session.stage("conditioning"):
            context_11D = stages.embedding(self.posed.reference_HW3)
            image_14hw = stages.image_latents(self.posed.reference_HW3, noise_13HW, 0.0)
        scheduler = build_scheduler(self.found.spec.config.scheduler)
        schedule = schedule_of(scheduler, wish.steps_taken)
        tiles = even_tiles(self.frames_all, way.tile, way.overlap)
        scales = self._guidance()
        with ExitStack() as stack:
            pose_of = self._pose_features(stages, stack)
            stack.enter_context(session.stage("denoising"))
            predict = stack.enter_context(stages.denoiser(context_11D))
            clip = Clip(
                predict=predict,
                scheduler=scheduler,
                schedule=schedule,
                conditions=Conditions(
                    context_11D=context_11D,
                    image_14hw=image_14hw,
                    time_ids_13=time_ids(FRAME_RATE_ID, MOTION, 0.0, device=session.device),
                    pose_of=pose_of,
                    guidance_F=scales,
                ),
                tiles=tiles,
                interval=wish.guided,
                device=session.device,
            )
            pilot = Pilot(
                wish=wish.guidance,
                needed_bytes=self.plan.step_bytes(),
                free_bytes=self._free_bytes,
                decisions=session.decisions,
            )
            first = self.started.steps if self.started else 0
            latents = (
                self.started.latents_F4hw
                if self.started
                else first_latents(noise_T4hw, self.frames_all, schedule.first_scale)
            )
            session.on_progress("denoising", first, len(schedule.steps))
            return denoised(clip, latents.to(session.device), pilot, first=first, on_step=self._heard)

    def _heard(self, steps: int, latents_F4hw: Tensor) -> None:
        """Keep what a step gave."""
        if not bool(latents_F4hw.isfinite().all()):
            raise _NoNumbersError(f"got latents that are no numbers after step {steps} in {self.plan.way.dtype}")
        document = self.plan.way.to_json()
        self.started = ClipState(
            steps=steps, latents_F4hw=latents_F4hw.cpu(), way={name: document[name] for name in KEPT}
        )
        store(self.work, self.started)
        self.session.on_progress("denoising", steps, self.session.wish.steps_taken)

    def stages(self) -> Stages:
        """The networks, in the way's types."""
        way = self.plan.way
        return Stages(
            found=self.found,
            device=self.session.device,
            precision=_precision(way),
            codec=Precision(dtype=way.codec),
            encoder=Precision(dtype=way.encoder),
            measures=way.measures,
        )

    @property
    def can_decode_fewer(self) -> bool:
        """Whether less memory is left to try: the user did not insist on a number of frames, and it is above one."""
        return self.plan.way.decode_chunk > 1 and "decode_chunk" not in self.session.wish.knobs

    def decode_fewer(self, because: str) -> None:
        """Half as many frames at once from here on."""
        way = self.plan.way
        chunk = way.decode_chunk // 2
        fewer = replace(way, decode_chunk=chunk, decode_overlap=min(way.decode_overlap, chunk - 1))
        if "freed" not in self.session.wish.knobs:
            fewer = replace(fewer, freed="returned")
        self.session.decisions.append(Decision(what="decode_chunk", value=chunk, because=because, measured=True))
        self.plan = replace(self.plan, way=fewer)

    def codec_types(self) -> Iterator[Precision]:
        """The way's, then float32 where that is another."""
        yield Precision(dtype=self.plan.way.codec)
        if self.plan.way.codec != "float32":
            yield Precision()

    def frames(self, latents_F4hw: Tensor, precision: Precision) -> Iterator[np.ndarray]:
        """uint8 RGB (H,W,3), the reference's own first."""
        way = self.plan.way
        stages = replace(self.stages(), codec=precision)
        latents = latents_F4hw.to(self.session.device)
        with self._memory():
            for chunk_NHW3 in stages.frames(latents, way.decode_chunk, way.decode_overlap):
                yield from chunk_NHW3

    def _free_bytes(self) -> int:
        """What a step may take: what is free, and what was kept for it."""
        kept = heap_free_bytes() if self.plan.way.freed == "kept" else 0
        return self.session.free_bytes() + kept

    def _memory(self) -> AbstractContextManager[object]:
        return freed_memory_kept() if self.plan.way.freed == "kept" else nullcontext()

    def _noise(self, way: Way) -> tuple[Tensor, Tensor]:
        """Of the reference, then of a tile: drawn on the processor, so that a seed means the same on every device."""
        generator = torch.Generator().manual_seed(self.session.wish.seed)
        height, width = self.posed.size_hw
        h, w = height // LATENT_STRIDE, width // LATENT_STRIDE
        channels = self.found.spec.config.vae.latent_channels
        reference_13HW = torch.randn((1, 3, height, width), generator=generator)
        return reference_13HW, torch.randn((way.tile, channels, h, w), generator=generator)

    def _guidance(self) -> Tensor:
        first, last = self.session.wish.scales
        return torch.linspace(first, last, self.frames_all).to(self.session.device)

    def _pose_features(self, stages: Stages, stack: ExitStack) -> Callable[[Sequence[int]], Tensor]:
        session, way = self.session, self.plan.way
        strength = session.wish.pose_strength
        if way.features == "recomputed":
            of_maps = stack.enter_context(stages.pose_network(strength))
            return lambda frames: of_maps([self._map_of(frame) for frame in frames])
        with session.stage("pose features"), stages.pose_network(strength) as of_maps:
            return stored_features(
                of_maps, self._map_of, self.frames_all, device=session.device, on_device=way.features == "device"
            )

    def _map_of(self, frame: int) -> np.ndarray:
        wish, side = self.session.wish, self.found.spec.config.pose_canvas
        return self.posed.clip.pose_map(frame, self.posed.size_hw, canvas_side=side, hands=wish.hands, face=wish.face)


class _NoNumbersError(Exception):
    """A type gave values that are no numbers."""


def _precision(way: Way) -> Precision:
    return Precision() if way.dtype == "float32" else Precision(dtype=way.dtype, islands=ISLANDS)
