"""Poses of a driving video from a pose model of this project: 133 points as they are, others as far as they go.

Points that a model does not know (17: hands, face, feet; 308: most of the face) have score 0 and are not drawn.
"""

# Shape suffixes: P persons, W = 133 points, 2 = x y.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from vitruvian.driving.persons import FramePersons
from vitruvian.errors import UsageError
from vitruvian.predict import Model
from vitruvian.tasks.conventions import Points
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose import Pose

WHOLE_BODY = "wholebody133"
FRAMES = 16
"""Held at once, so that the model can make batches over them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPoses:
    """A pose model with its detector; a `PoseSource`."""

    model: Model

    def __post_init__(self) -> None:
        """Raises `UsageError` for a model of another task."""
        if self.model.spec.task != "pose":
            raise UsageError(
                f"got {self.model.spec.name} ({self.model.spec.task}) to find poses; expected a pose model such as "
                "sapiens-pose-1b; name one"
            )

    @property
    def identity(self) -> str:
        """Model and detector with their weights."""
        finder = self.model.finder
        hashes = [one.provenance.weights_sha256 for one in (self.model, *((finder,) if finder else ()))]
        return "+".join([self.model.spec.name, *hashes])

    def persons(self, frames: Iterable[np.ndarray]) -> Iterator[FramePersons]:
        """Persons of frames, in order."""
        stream = iter(frames)
        while part := list(islice(stream, FRAMES)):
            for pose in self.model(part):
                assert isinstance(pose, Pose)
                yield of_pose(pose)


def of_pose(pose: Pose) -> FramePersons:
    """A result as whole-body points, the surest person first."""
    whole = Points(
        convention=pose.convention, xy_PK2=pose.keypoints_PK2, scores_PK=pose.scores_PK, valid_PK=pose.valid_PK
    )
    if pose.convention.name != WHOLE_BODY:
        whole = whole.to(keypoint_set(WHOLE_BODY))
    order = np.argsort(-pose.box_scores_P, kind="stable")
    valid_PW = whole.valid_PK[order]
    return FramePersons(
        points_PW2=np.where(valid_PW[..., None], whole.xy_PK2[order], 0).astype(np.float64),
        scores_PW=np.where(valid_PW, whole.scores_PK[order], 0).astype(np.float64),
        boxes_P4=pose.boxes_P4[order].astype(np.float64),
        size_hw=pose.source_hw,
    )
