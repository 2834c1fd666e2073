"""Reproduce mimicmotion-nano: render clips of persons, train its image codec, then its denoising network.

One process a core is fastest on a CPU, for one training after the other:
`torchrun --standalone --nproc-per-node 2 -m vitruvian.training.animation codec RUN`, then `... denoiser RUN`,
which writes RUN/animation.safetensors.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from vitruvian.models.mimicmotion import NANO
from vitruvian.training.animation.clips import rendered_clips
from vitruvian.training.animation.codec import codec_batch, codec_loss, trainable_codec
from vitruvian.training.animation.denoiser import denoiser_batch, denoiser_loss, trainable_denoiser
from vitruvian.training.animation.latents import coded_clips
from vitruvian.training.animation.recipe import CodecRecipe, DenoiserRecipe
from vitruvian.training.animation.weights import CODEC_NAME, write_codec, write_whole
from vitruvian.training.job import read_arguments, train

CODEC, DENOISER = "codec", "denoiser"

train_codec = partial(
    train,
    rendered=partial(rendered_clips, size_hw=NANO.input_hw),
    network=lambda: trainable_codec(NANO),
    batch_of=lambda clips, recipe, step, number: codec_batch(clips, recipe, number),
    loss=codec_loss,
    write=lambda average, run: write_codec(average, NANO, run),
)


def train_denoiser(recipe: DenoiserRecipe, run: Path, **options: object) -> None:
    """The second training, in a folder below that of the first."""
    codec = run / CODEC_NAME
    train(
        recipe,
        run / DENOISER,
        rendered=partial(coded_clips, clips=run / "pictures", codec=codec, config=NANO),
        network=lambda: trainable_denoiser(NANO),
        batch_of=lambda clips, recipe, step, number: denoiser_batch(clips, recipe, NANO, number),
        loss=denoiser_loss,
        write=lambda average, _: write_whole(average, codec, NANO, run),
        **options,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    what = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in (CODEC, DENOISER) else ""
    if not what:
        raise SystemExit(f"got no training; expected {CODEC} or {DENOISER} before the folder")
    if what == CODEC:
        codec_recipe, options = read_arguments(f"vitruvian.training.animation {CODEC}", __doc__, CodecRecipe())
        train_codec(codec_recipe, **options)
    else:
        recipe, options = read_arguments(f"vitruvian.training.animation {DENOISER}", __doc__, DenoiserRecipe())
        train_denoiser(recipe, options.pop("run"), **options)
