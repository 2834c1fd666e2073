"""Reproduce the nano networks: render synthetic people, train jointly, write the weight files into RUN/weights.

One process a core is fastest on a CPU: `torchrun --standalone --nproc-per-node 2 -m vitruvian.training.nano RUN`.
"""

from __future__ import annotations

from functools import partial

from vitruvian.training.job import read_arguments, train
from vitruvian.training.nano.batches import make_batch
from vitruvian.training.nano.network import JointNetwork
from vitruvian.training.nano.objective import joint_loss
from vitruvian.training.nano.pictures import rendered_pictures
from vitruvian.training.nano.recipe import NanoRecipe
from vitruvian.training.nano.weights import write_weights

train_nano = partial(
    train,
    rendered=rendered_pictures,
    network=JointNetwork,
    batch_of=lambda pictures, recipe, step, number: make_batch(pictures, recipe, number),
    loss=joint_loss,
    write=lambda average, run: write_weights(average, run / "weights"),
)

if __name__ == "__main__":
    recipe, options = read_arguments("vitruvian.training.nano", __doc__, NanoRecipe())
    train_nano(recipe, **options)
