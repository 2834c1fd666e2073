"""The kind of training that makes the embedded networks of people: one trunk, four heads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from vitruvian.finetuning.nano_kind import NanoKind
from vitruvian.finetuning.recipe import Recipe
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens.config import NANO_BACKBONE
from vitruvian.training.nano.batches import blank_joint_batch, joint_batch, sample_of
from vitruvian.training.nano.network import JointNetwork
from vitruvian.training.nano.objective import JointObjective, by_task
from vitruvian.training.nano.pictures import rendered_pictures
from vitruvian.training.nano.recipe import NanoRecipe
from vitruvian.training.nano.weights import LICENCE, write_weights
from vitruvian.zoo.sapiens import SAPIENS
from vitruvian.zoo.spec import picture_inputs

JOINT = "joint.safetensors"
"""The best weights so far: of all heads together, no model to run."""
NANO_TRAINING = Recipe(
    steps=4000,
    batch_size=32,
    lr=8e-4,
    schedule="cosine",
    warmup=150,
    weight_decay=0.05,
    layer_decay=1.0,
    average=0.999,
    seed=NanoRecipe().seed,
    validation_limit=64,
    corrupt_limit=0,
)


def joint_workload() -> Workload:
    """A training step of the joint network."""
    return Workload(
        name="nano, training all tasks",
        build=blank_network,
        inputs=partial(picture_inputs, NANO_BACKBONE.input_hw),
        blocks=("backbone.layers.*",),
        loss=_blank_loss,
        input_hw=NANO_BACKBONE.input_hw,
    )


def blank_network() -> nn.Module:
    """The joint network on meta."""
    with torch.device("meta"):
        return JointNetwork()


def _blank_loss(outputs: Mapping[str, Tensor]) -> Tensor:
    raw_BKhw = outputs["pose"]
    batch = blank_joint_batch(len(raw_BKhw), raw_BKhw.device)
    return torch.stack([term.mean for term in JointObjective(recipe=NanoRecipe()).losses(outputs, batch)]).sum()


def _network(seed: int) -> nn.Module:
    return JointNetwork()


def _objective(recipe: NanoRecipe) -> JointObjective:
    return JointObjective(recipe=recipe)


JOINT_NANO = NanoKind(
    task="nano",
    what="one trunk and four heads",
    pictures=NanoRecipe,
    training=NANO_TRAINING,
    workload=joint_workload,
    network=_network,
    objective=_objective,
    stack=joint_batch,
    family=SAPIENS,
    rendered=rendered_pictures,
    sample=sample_of,
    held_out_sample=sample_of,
    parts=by_task,
    best=JOINT,
    metadata={"licence": LICENCE},
    write_weights=write_weights,
    licence=LICENCE,
    picture_bytes=750_000,
    sample_bytes=750_000,
)
