"""A pose model of this project as a source of poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitruvian.animation.drive_poses import FACE, LEFT_HAND, RIGHT_HAND
from vitruvian.driving.of_model import ModelPoses, of_pose
from vitruvian.errors import UsageError
from vitruvian.loading import load
from vitruvian.tasks.base import Provenance
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose import Pose

SIZE_HW = (60, 80)


def pose_of(name: str, persons: int = 2) -> Pose:
    convention = keypoint_set(name)
    rng = np.random.default_rng(2)
    count = convention.count
    scores_P = np.linspace(0.3, 0.9, persons).astype(np.float32)
    return Pose(
        provenance=Provenance(model="m", weights_sha256="", licence=""),
        keypoints_PK2=rng.uniform(5, 50, (persons, count, 2)).astype(np.float32),
        scores_PK=np.full((persons, count), 0.8, np.float32),
        valid_PK=np.ones((persons, count), bool),
        boxes_P4=np.tile(np.array([[0, 0, 50, 50]], np.float32), (persons, 1)),
        box_scores_P=scores_P,
        source_hw=SIZE_HW,
        convention=convention,
    )


def test_whole_body_points_stay_as_they_are_surest_person_first() -> None:
    pose = pose_of("wholebody133")
    found = of_pose(pose)
    np.testing.assert_array_equal(found.points_PW2, pose.keypoints_PK2[::-1])
    np.testing.assert_allclose(found.scores_PW, 0.8, rtol=1e-6)
    assert found.size_hw == SIZE_HW


@pytest.mark.parametrize("name", ["coco17", "sapiens308"])
def test_what_a_model_does_not_know_is_blank(name: str) -> None:
    poses = of_pose(pose_of(name, persons=1)).poses()
    assert poses.seen_PB.all()
    known = name == "sapiens308"
    for part in (LEFT_HAND, RIGHT_HAND):
        assert (poses.scores_PJ[0, part] > 0).all() == known
    assert (poses.scores_PJ[0, FACE] > 0).sum() == (10 if known else 0)


def test_a_point_that_is_not_valid_is_not_there() -> None:
    pose = pose_of("wholebody133", persons=1)
    valid_PK = pose.valid_PK.copy()
    valid_PK[0, 9] = False
    keypoints_PK2 = np.where(valid_PK[..., None], pose.keypoints_PK2, np.nan).astype(np.float32)
    found = of_pose(replace(pose, valid_PK=valid_PK, keypoints_PK2=keypoints_PK2))
    assert found.scores_PW[0, 9] == 0
    assert np.isfinite(found.points_PW2).all()


def test_the_embedded_network_is_a_source() -> None:
    source = ModelPoses(model=load("sapiens-pose-nano", dtype="float32"))
    frames = [np.full((64, 48, 3), level, np.uint8) for level in (0, 255)]
    found = list(source.persons(frames))
    assert [one.size_hw for one in found] == [(64, 48)] * 2
    assert source.identity.startswith("sapiens-pose-nano+")
    assert source.identity.count("+") == 2


def test_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got sapiens-seg-nano \(seg\) to find poses"):
        ModelPoses(model=load("sapiens-seg-nano", dtype="float32"))
