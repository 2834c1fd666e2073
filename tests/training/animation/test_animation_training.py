"""The trainings of the small animation network: clips, batches, losses, and weights that load as they were trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tiny_animation import TINY
from vitruvian.generation.decoding import LATENT_SCALE
from vitruvian.generation.weights import find_weights
from vitruvian.models.mimicmotion import NANO, NANO_PARAMETERS, PARTS, build_network
from vitruvian.people import KEYPOINT_NAMES
from vitruvian.training.animation.clips import Clips, calm_clip, clip_views
from vitruvian.training.animation.codec import codec_batch, codec_loss, folded_codec, trainable_codec
from vitruvian.training.animation.denoiser import denoiser_batch, denoiser_loss, found_points, trainable_denoiser
from vitruvian.training.animation.latents import CodedClips, coded_clips
from vitruvian.training.animation.recipe import CodecRecipe, DenoiserRecipe
from vitruvian.training.animation.weights import CODEC_NAME, WHOLE_NAME, read_codec, write_codec, write_whole

SIZE_HW = TINY.input_hw
CLIP_FRAMES = 6


@pytest.fixture(scope="module")
def clips() -> Clips:
    recipe = replace(CodecRecipe(), frames=CLIP_FRAMES)
    views = [clip_views(calm_clip(recipe, seed, SIZE_HW)) for seed in (1, 2)]
    return Clips(
        image_NFHW3=np.stack([[view.image_HW3 for view in one] for one in views]),
        keypoints_NFK3=np.stack([[view.keypoints_PK3[0] for view in one] for one in views]),
    )


def test_the_embedded_networks_are_as_large_as_is_said() -> None:
    sizes = [sum(weight.numel() for weight in build_network(part, NANO).parameters()) for part in PARTS]
    assert sum(sizes) == NANO_PARAMETERS
    assert 2 * NANO_PARAMETERS < 20_000_000, "in float16"


def test_no_group_of_the_embedded_networks_is_a_single_channel() -> None:
    """Such a group forgets its mean, and with all of them the colours."""
    for part in ("unet", "vae"):
        for module in build_network(part, NANO).modules():  # type: ignore[arg-type]
            if isinstance(module, torch.nn.GroupNorm):
                assert module.num_channels > module.num_groups


def test_clips_show_one_person_in_front_of_little_else(clips: Clips) -> None:
    for images_FHW3, keypoints_FK3 in zip(clips.image_NFHW3, clips.keypoints_NFK3, strict=True):
        height = np.ptp(keypoints_FK3[0, :, 1])
        assert height > 0.35 * SIZE_HW[0], "nose to ankles"
        assert np.abs(np.diff(images_FHW3.astype(int), axis=0)).mean() > 0.3, "somebody moves"
    assert clip_views(calm_clip(CodecRecipe(), 5, SIZE_HW))[3].image_HW3.shape == (*SIZE_HW, 3)
    with pytest.raises(ValueError, match="no clip in"):
        calm_clip(replace(CodecRecipe(), least_person=1.5), 5, SIZE_HW)


def learn(
    network: nn.Module, loss_of: Callable[[], tuple[Tensor, dict[str, float]]], *, lr: float, steps: int
) -> tuple[list[float], dict[str, float]]:
    """Losses of a few steps on one batch, and what the last one told."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    losses, told = [], {}
    for _ in range(steps):
        loss, told = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, told


def test_a_codec_learns_and_its_folded_weights_compute_the_same(clips: Clips, tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = replace(CodecRecipe(), frames=CLIP_FRAMES, batch=2, noise=0.0)
    network = trainable_codec(TINY)
    batch = codec_batch(clips, recipe, 0)
    assert torch.equal(batch.image_BHW3, codec_batch(clips, recipe, 0).image_BHW3)
    assert not torch.equal(batch.image_BHW3, codec_batch(clips, recipe, 1).image_BHW3)
    losses, told = learn(network, lambda: codec_loss(network, batch, recipe, autocast_bf16=False), lr=2e-3, steps=6)
    assert losses[-1] < 0.95 * losses[0]
    assert told["psnr_db"] > 0
    with torch.no_grad():
        frames_B3HW = batch.image_BHW3.permute(0, 3, 1, 2).float() / 127.5 - 1
        z = network.codec.encode(frames_B3HW).latent_dist.mode()  # type: ignore[operator, union-attr]
        network.get_buffer("middle_4").copy_(z.mean(dim=(0, 2, 3)))
        network.get_buffer("spread_4").copy_(z.std(dim=(0, 2, 3)))
        expected = network(frames_B3HW, 0.0)
        write_codec(network.state_dict(), TINY, tmp_path)
        codec = read_codec(tmp_path / CODEC_NAME, TINY)
        latents = codec.encode(frames_B3HW).latent_dist.mode()  # type: ignore[operator]
        found = codec.decode(latents, num_frames=len(latents)).sample  # type: ignore[operator]
    scaled = latents * LATENT_SCALE
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)
    assert (found - expected).abs().mean() < 0.02 * expected.std(), "frames are decoded one by one, in float16 weights"
    assert folded_codec(network.state_dict(), TINY).keys() == build_network("vae", TINY).state_dict().keys()


@torch.no_grad()
def test_a_codec_begins_with_the_colours_of_small_squares() -> None:
    torch.manual_seed(0)
    network = trainable_codec(NANO)
    colours_23 = torch.tensor([[0.6, -0.4, 0.1], [-0.7, 0.2, -0.9]])
    plain_23HW = colours_23[:, :, None, None].expand(-1, -1, 32, 32).contiguous()
    torch.testing.assert_close(network(plain_23HW, 0.0), plain_23HW, atol=0.1, rtol=0)
    halves_23HW = torch.cat([plain_23HW, plain_23HW.flip(0)], dim=3)
    apart = (network(halves_23HW, 0.0) - halves_23HW).abs()
    assert apart.mean() < 0.1
    assert apart.max() < 0.3


@pytest.fixture(scope="module")
def coded(clips: Clips) -> CodedClips:
    rng = np.random.default_rng(0)
    shape = (2, CLIP_FRAMES, 4, SIZE_HW[0] // 8, SIZE_HW[1] // 8)
    return CodedClips(clips=clips, latents_NF4hw=(rng.standard_normal(shape) / LATENT_SCALE).astype(np.float16))


RECIPE = replace(DenoiserRecipe(), frames=CLIP_FRAMES, batch=2)


def test_tiles_begin_with_their_reference_and_levels_are_those_of_a_run(coded: CodedClips) -> None:
    batch = denoiser_batch(coded, RECIPE, TINY, 3)
    tile = TINY.tile_frames
    assert batch.latents_BF4hw.shape == (2, tile, 4, 8, 8)
    assert batch.map_BF3HW.shape == (2, tile, 3, *SIZE_HW)
    assert batch.map_BF3HW.float().std() > 5
    assert torch.equal(batch.noise_BF4hw, denoiser_batch(coded, RECIPE, TINY, 3).noise_BF4hw)
    levels = torch.cat([denoiser_batch(coded, RECIPE, TINY, number).sigma_B for number in range(40)])
    assert TINY.scheduler.sigma_min <= levels.min() < 1
    assert 100 < levels.max() <= TINY.scheduler.sigma_max
    assert 0.35 < (levels > 20).float().mean() < 0.6, "12 of 25 published steps"
    kept = torch.cat([denoiser_batch(coded, replace(RECIPE, drop=0.5), TINY, number).kept_B for number in range(40)])
    assert 0.3 < kept.mean() < 0.7


def test_the_networks_learn_together(coded: CodedClips) -> None:
    torch.manual_seed(0)
    network = trainable_denoiser(TINY)
    batch = denoiser_batch(coded, replace(RECIPE, drop=0.0), TINY, 0)
    assert float(network.pose_net(batch.map_BF3HW.float()).abs().max()) == 0, "poses begin by saying nothing"
    losses, told = learn(network, lambda: denoiser_loss(network, batch, RECIPE, autocast_bf16=False), lr=3e-3, steps=8)
    assert losses[-1] < 0.95 * losses[0]
    assert "v_bare" not in told
    unused = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert all("image_encoder" in name or "attn2" in name for name in unused), unused


def test_what_is_dropped_does_not_matter(coded: CodedClips) -> None:
    torch.manual_seed(0)
    network = trainable_denoiser(TINY).eval()
    with torch.no_grad():
        network.pose_net.get_submodule("final_proj").weight.normal_()  # type: ignore[operator]
    batch = denoiser_batch(coded, RECIPE, TINY, 0)
    other = denoiser_batch(coded, RECIPE, TINY, 1)
    dropped = replace(batch, kept_B=torch.zeros(2))
    swapped = replace(dropped, map_BF3HW=other.map_BF3HW, reference_B3HW=other.reference_B3HW)
    with torch.no_grad():
        assert torch.equal(network(dropped, batch.noise_BF4hw), network(swapped, batch.noise_BF4hw))
        kept = replace(batch, kept_B=torch.ones(2))
        assert not torch.equal(
            network(kept, batch.noise_BF4hw), network(replace(kept, map_BF3HW=other.map_BF3HW), batch.noise_BF4hw)
        )


def test_points_are_as_wrong_as_found_ones(coded: CodedClips) -> None:
    rng = np.random.default_rng(0)
    keypoints_K3 = np.ones((len(KEYPOINT_NAMES), 3)) * (20.0, 30.0, 2.0)
    keypoints_K3[3, 2] = 0
    recipe = replace(RECIPE, missed=0.0, jitter=0.05)
    points_W2, scores_W = found_points(keypoints_K3, (100, 80), recipe, rng)
    assert scores_W[3] == 0
    assert (scores_W[[0, 1, 2, 4]] >= 0.75).all()
    assert scores_W[17:].max() == 0
    assert 2 < np.std(points_W2[:17] - (20, 30)) < 9


def test_written_weights_are_those_of_the_road(coded: CodedClips, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = trainable_denoiser(TINY)
    write_codec(trainable_codec(TINY).state_dict(), TINY, tmp_path)
    size = write_whole(network.state_dict(), tmp_path / CODEC_NAME, TINY, tmp_path)
    assert size == (tmp_path / WHOLE_NAME).stat().st_size
    found = find_weights(tmp_path / WHOLE_NAME)
    assert found.spec.config == TINY
    loaded = found.build("unet").network.state_dict()
    for key, value in network.unet.unet.state_dict().items():
        torch.testing.assert_close(loaded[key], value.half().float())


def test_latents_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: Clips) -> None:
    from vitruvian.training.animation import latents

    write_codec(trainable_codec(TINY).state_dict(), TINY, tmp_path)
    monkeypatch.setattr(latents, "rendered_clips", lambda *_, **__: clips)

    def coded_here() -> CodedClips:
        return coded_clips(
            RECIPE, tmp_path / "run", clips=tmp_path, codec=tmp_path / CODEC_NAME, config=TINY, workers=1, report=print
        )

    first = coded_here()
    assert first.latents_NF4hw.shape == (2, CLIP_FRAMES, 4, 8, 8)
    monkeypatch.setattr(latents, "_encode", None)
    np.testing.assert_array_equal(coded_here().latents_NF4hw, first.latents_NF4hw)
