"""Families whose networks can be trained on data of one's own."""

from __future__ import annotations

from collections.abc import Mapping

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.finetuning.metric3d_trainee import METRIC3D_TRAINEE
from vitruvian.finetuning.sapiens_trainee import SAPIENS_TRAINEE
from vitruvian.finetuning.trainee import Trainee
from vitruvian.zoo.metric3d import METRIC3D
from vitruvian.zoo.sapiens import SAPIENS

TRAINEES: Mapping[str, Trainee] = {SAPIENS.name: SAPIENS_TRAINEE, METRIC3D.name: METRIC3D_TRAINEE}
"""By the family's name."""


def trainee_of(base: zoo.ModelSpec) -> Trainee:
    """How a base is trained.

    Raises:
        UsageError: it is of another family.
    """
    trainee = TRAINEES.get(base.family.name)
    if trainee is None:
        raise UsageError(
            f"got {base.name} to train; expected a Sapiens or Metric3D network; `vitruvian models` lists them"
        )
    return trainee
