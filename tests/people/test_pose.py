"""Joint angles: limits, mirroring, and where limbs go."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.people.pose import LIMITS_DEG, POSE_NAMES, mirrored, pose_from_degrees
from vitruvian.people.pose_library import random_pose
from vitruvian.people.skeleton import Bone, Physique, lengths_of, pose_bones

ADULT = Physique(height_m=1.75)


def test_random_poses_stay_within_joint_limits() -> None:
    low, high = np.deg2rad(np.array([LIMITS_DEG[name] for name in POSE_NAMES])).T
    for seed in range(60):
        angles = random_pose(np.random.default_rng(seed)).angles_rad_J
        assert (angles >= low - 1e-9).all()
        assert (angles <= high + 1e-9).all()


def test_unknown_joint_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        pose_from_degrees({"tail_wag": 10})


def test_standing_height_and_ground() -> None:
    bones = pose_bones(ADULT, pose_from_degrees({}))
    crown_m = bones.origin_m_B3[Bone.HEAD][1] - 0.9 * ADULT.head_m
    assert -crown_m == pytest.approx(ADULT.height_m, abs=0.04)
    assert bones.origin_m_B3[Bone.LEFT_FOOT][1] == pytest.approx(-lengths_of(ADULT).ankle, abs=0.01)


def test_left_is_at_positive_x_and_limbs_bend_the_right_way() -> None:
    bones = pose_bones(ADULT, pose_from_degrees({"elbow_flex": 90, "knee_flex": 60, "left_shoulder_abduct": 90}))
    place = bones.origin_m_B3
    assert place[Bone.LEFT_FOREARM][0] - place[Bone.LEFT_UPPER_ARM][0] > 0.25
    assert place[Bone.RIGHT_FOREARM][1] - place[Bone.RIGHT_UPPER_ARM][1] > 0.25
    assert place[Bone.RIGHT_HAND][2] < place[Bone.RIGHT_FOREARM][2] - 0.2, "forearm goes forward (-z)"
    assert place[Bone.LEFT_FOOT][2] > place[Bone.LEFT_SHANK][2] + 0.2, "shank goes backward (+z)"


def test_mirrored_pose_mirrors_the_skeleton() -> None:
    pose = random_pose(np.random.default_rng(5))
    first, second = pose_bones(ADULT, pose).origin_m_B3, pose_bones(ADULT, mirrored(pose)).origin_m_B3
    flipped = second * (-1, 1, 1)
    np.testing.assert_allclose(first[Bone.LEFT_HAND], flipped[Bone.RIGHT_HAND], atol=1e-9)
    np.testing.assert_allclose(first[Bone.RIGHT_FOOT], flipped[Bone.LEFT_FOOT], atol=1e-9)
    np.testing.assert_allclose(first[Bone.HEAD], flipped[Bone.HEAD], atol=1e-9)


def test_nothing_sinks_into_the_ground() -> None:
    for seed in range(30):
        bones = pose_bones(ADULT, random_pose(np.random.default_rng(seed)))
        assert bones.origin_m_B3[:, 1].max() <= 0.02
