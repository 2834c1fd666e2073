"""The rendered clips as latents of the trained codec, on disk beside what their poses are drawn from.

In: clips and the codec. Out: memory-mapped arrays. Time: encoding once, about 50 ms a frame and core in bfloat16.
"""

# Shape suffixes: N clips, F frames, H W frame, h w latents, 3 = RGB, 4 = latent channels, K keypoints.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from vitruvian.hardware import probe
from vitruvian.models.mimicmotion import MimicMotionConfig
from vitruvian.models.weight_files import sha256_of
from vitruvian.training.animation.clips import Clips, rendered_clips
from vitruvian.training.animation.recipe import DenoiserRecipe
from vitruvian.training.animation.weights import read_codec


@dataclass(frozen=True, kw_only=True, slots=True)
class CodedClips:
    """Frames and keypoints of all clips, latents of the first of them."""

    clips: Clips
    latents_NF4hw: np.ndarray
    """float16, the middle of the codec's distribution, not scaled."""

    def __len__(self) -> int:
        return len(self.latents_NF4hw)


def coded_clips(
    recipe: DenoiserRecipe,
    folder: Path,
    *,
    clips: Path,
    codec: Path,
    config: MimicMotionConfig,
    workers: int,
    report: Callable[[str], None] = print,
) -> CodedClips:
    """The recipe's clips with their latents, encoding what is not on disk yet.

    Args:
        recipe: of the training.
        folder: for latents.
        clips: folder of the pictures, shared with the codec's training.
        codec: the file with the codec; latents of another are dropped.
        config: of the networks.
        workers: processes that may be started to render; one reads only.
        report: hears how it goes.
    """
    drawn = rendered_clips(recipe, clips, size_hw=config.input_hw, workers=workers, report=report)
    count = min(recipe.coded, len(drawn))
    path = folder / f"latents_{sha256_of(codec)[:12]}_{count}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _encode(drawn, count, codec, config, partial)
        partial.replace(path)
        report(f"encoded {count} clips")
    return CodedClips(clips=drawn, latents_NF4hw=np.load(path, mmap_mode="r"))


@torch.no_grad()
def _encode(clips: Clips, count: int, codec: Path, config: MimicMotionConfig, path: Path) -> None:
    cpu = probe().cpu
    torch.set_num_threads(cpu.cores)
    # Errs by less than a hundredth of the latents' spread, a tenth of the noise that the codec was trained with.
    dtype = torch.bfloat16 if cpu.bf16 == "native" else torch.float32
    network = read_codec(codec, config).to(dtype)
    latent_hw = tuple(side // 8 for side in config.input_hw)
    shape = (count, clips.image_NFHW3.shape[1], config.vae.latent_channels, *latent_hw)
    latents_NF4hw = open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    for index in range(count):
        images_F3HW = torch.from_numpy(clips.image_NFHW3[index].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents_F4hw = network.encode(images_F3HW.to(dtype)).latent_dist.mode()  # type: ignore[operator]
        latents_NF4hw[index] = latents_F4hw.float().numpy()
    latents_NF4hw.flush()
