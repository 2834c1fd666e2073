"""The rendered clips as latents of the trained codec, on disk beside what their poses are drawn from.

In: clips and the codec. Out: memory-mapped arrays. Time: encoding once, about 10 ms a frame and core.
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
    """Frames, latents and keypoints of all clips."""

    clips: Clips
    latents_NF4hw: np.ndarray
    """float16, the middle of the codec's distribution, not scaled."""

    def __len__(self) -> int:
        return len(self.clips)


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
    path = folder / f"latents_{sha256_of(codec)[:12]}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _encode(drawn, codec, config, partial)
        partial.replace(path)
        report(f"encoded {len(drawn)} clips")
    return CodedClips(clips=drawn, latents_NF4hw=np.load(path, mmap_mode="r"))


@torch.no_grad()
def _encode(clips: Clips, codec: Path, config: MimicMotionConfig, path: Path) -> None:
    torch.set_num_threads(probe().cpu.cores)
    network = read_codec(codec, config)
    latent_hw = tuple(side // 8 for side in config.input_hw)
    shape = (*clips.image_NFHW3.shape[:2], config.vae.latent_channels, *latent_hw)
    latents_NF4hw = open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    for index in range(len(clips)):
        images_F3HW = torch.from_numpy(np.asarray(clips.image_NFHW3[index])).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents_NF4hw[index] = network.encode(images_F3HW).latent_dist.mode().numpy()  # type: ignore[operator]
    latents_NF4hw.flush()
