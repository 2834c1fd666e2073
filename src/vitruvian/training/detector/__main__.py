"""Reproduce the nano detector: render synthetic people, train, write RUN/detector.safetensors.

One process a core is fastest on a CPU:
`torchrun --standalone --nproc-per-node 2 -m vitruvian.training.detector RUN`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from vitruvian.models.detectors.nano import NANO_DETECTOR
from vitruvian.training.detector.batches import make_batch
from vitruvian.training.detector.network import trainable_detector
from vitruvian.training.detector.objective import detector_loss
from vitruvian.training.detector.pictures import rendered_pictures
from vitruvian.training.detector.recipe import DetectorRecipe
from vitruvian.training.detector.weights import write_weights
from vitruvian.training.job import read_arguments, train

train_detector = partial(
    train,
    rendered=rendered_pictures,
    network=lambda: trainable_detector(NANO_DETECTOR),
    batch_of=lambda pictures, recipe, step, number: make_batch(pictures, recipe, recipe.phase(step), number),
    loss=detector_loss,
    write=lambda average, run: write_weights(average, NANO_DETECTOR, run / "detector.safetensors"),
)

if __name__ == "__main__":
    recipe, options = read_arguments("vitruvian.training.detector", __doc__, DetectorRecipe())
    if options["start_from"]:
        recipe = replace(recipe, late_from=0.0)  # the first phase is for weights that know nothing
    train_detector(recipe, **options)
