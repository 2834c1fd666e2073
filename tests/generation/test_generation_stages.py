"""The stages of a clip with the tiny networks: what each gives, in which type, and that its network goes."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tiny_animation import TINY, prefixed
from tolerances import ANIMATION_CALL_ABS
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.generation.denoised import Clip, Interval, denoised
from vitruvian.generation.denoising import Conditions, first_latents, schedule_of
from vitruvian.generation.stages import ISLANDS, Stages, stored_features
from vitruvian.generation.strategy import Pilot
from vitruvian.generation.weights import FoundAnimation, find_weights
from vitruvian.models.mimicmotion import PARTS, build_scheduler
from vitruvian.zoo import animation_metadata

FRAMES, SIDE = 5, 64
BFLOAT16 = Precision(dtype="bfloat16", islands=ISLANDS)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> FoundAnimation:
    path = tmp_path_factory.mktemp("weights") / "mimicmotion-nano.safetensors"
    save_file(prefixed(*PARTS), path, metadata=animation_metadata(TINY, "apache-2.0"))
    return find_weights(path)


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def map_of(frame: int) -> np.ndarray:
    return np.random.default_rng(frame).integers(0, 256, (3, SIDE, SIDE), np.uint8)


def latents_of(stages: Stages) -> torch.Tensor:
    """Two steps from the same noise."""
    scheduler = build_scheduler(TINY.scheduler)
    schedule = schedule_of(scheduler, 2)
    noise = torch.randn(4, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(3))
    context_11D = stages.embedding(picture())
    with stages.pose_network() as of_maps:
        pose_of = stored_features(of_maps, map_of, FRAMES, device=stages.device, on_device=False)
    with stages.denoiser(context_11D) as network:
        clip = Clip(
            predict=network,
            scheduler=scheduler,
            schedule=schedule,
            conditions=Conditions(
                context_11D=context_11D,
                image_14hw=stages.image_latents(picture(), torch.zeros(1, 3, SIDE, SIDE), 0.0),
                time_ids_13=torch.tensor([[6.0, 127.0, 0.0]]),
                pose_of=pose_of,
                guidance_F=torch.full((FRAMES,), 2.0),
            ),
            tiles=[[0, 1, 2, 3], [0, 2, 3, 4]],
            interval=Interval(),
            device=stages.device,
        )
        pilot = Pilot(wish="sequential", needed_bytes={"sequential": 0, "batched": 0}, free_bytes=lambda: 1)
        return denoised(clip, first_latents(noise, FRAMES, schedule.first_scale), pilot, on_step=lambda *heard: None)


def test_what_the_stages_give(found: FoundAnimation) -> None:
    stages = Stages(found=found, device="cpu")
    assert stages.embedding(picture()).shape == (1, 1, TINY.image_encoder.projection_dim)
    latents = stages.image_latents(picture(), torch.zeros(1, 3, SIDE, SIDE), 0.0)
    assert (latents.shape, latents.dtype) == ((1, 4, SIDE // 8, SIDE // 8), torch.float32)
    with stages.pose_network() as of_maps, stages.pose_network(0.5) as half_of_maps:
        kept = stored_features(of_maps, map_of, 11, device="cpu", on_device=False)
        assert kept.features_FChw.shape == (11, TINY.pose_features, SIDE // 8, SIDE // 8)
        torch.testing.assert_close(kept([9, 2]), of_maps([map_of(9), map_of(2)]))
        torch.testing.assert_close(half_of_maps([map_of(9)])[0], kept.features_FChw[9] / 2)


def test_a_clip_from_noise_to_frames(found: FoundAnimation) -> None:
    stages = Stages(found=found, device="cpu")
    latents = latents_of(stages)
    assert torch.isfinite(latents).all()
    chunks = list(stages.frames(latents, 3, 1))
    frames = np.concatenate(chunks)
    assert [len(chunk) for chunk in chunks] == [2, 3]
    assert (frames.shape, frames.dtype) == ((FRAMES, SIDE, SIDE, 3), np.uint8)


def test_a_smaller_type_computes_near_the_same(found: FoundAnimation) -> None:
    wide = latents_of(Stages(found=found, device="cpu"))
    narrow = latents_of(Stages(found=found, device="cpu", precision=BFLOAT16))
    assert narrow.dtype == torch.float32
    apart = (wide - narrow).abs().mean() / wide.abs().mean()
    assert ANIMATION_CALL_ABS < apart < 0.1


def test_noise_levels_are_not_rounded(found: FoundAnimation) -> None:
    loaded = found.build("unet", dtype_of=BFLOAT16.dtype_of).network
    types = {f"unet.{name}": weight.dtype for name, weight in apply_precision(loaded, BFLOAT16).named_parameters()}
    assert types["unet.time_embedding.linear_1.weight"] == torch.float32
    assert types["unet.conv_in.weight"] == torch.bfloat16


def test_weights_go_with_their_stage_whoever_holds_the_network(found: FoundAnimation) -> None:
    stages = Stages(found=found, device="cpu")
    context_11D = stages.embedding(picture())
    with stages.denoiser(context_11D) as predict:
        weights = list(predict._unet.parameters())  # type: ignore[attr-defined]
        assert sum(weight.numel() for weight in weights) > 0
    assert sum(weight.numel() for weight in weights) == 0


def test_a_network_goes_with_its_stage(found: FoundAnimation) -> None:
    stages = Stages(found=found, device="cpu")
    stages.embedding(picture())
    frames = stages.frames(torch.zeros(4, 4, 8, 8), 2, 0)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    gc.collect()
    alive = [one for one in gc.get_objects() if isinstance(one, nn.Module) and "Temporal" in type(one).__name__]
    assert alive == []
