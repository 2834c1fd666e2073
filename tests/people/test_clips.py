"""Clips keep their people and move smoothly."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.people import random_clip, render
from vitruvian.people.person import joints_of, world_bones


def test_same_people_and_place_throughout() -> None:
    clip = random_clip(3, persons=2, frames=6)
    assert len(clip) == 6
    scenes = list(clip)
    for scene in scenes[1:]:
        assert scene.camera is scenes[0].camera
        assert scene.room is scenes[0].room
        for person, first in zip(scene.persons, scenes[0].persons, strict=True):
            assert person.physique == first.physique
            assert person.materials == first.materials


@pytest.mark.parametrize("seed", range(6))
def test_joints_move_at_human_speed(seed: int) -> None:
    clip = random_clip(seed, persons=2, frames=10, fps=12.0)
    for index in range(2):
        places = np.array([joints_of(s.persons[index], world_bones(s.persons[index])).world_m_K3 for s in clip])
        speed_m_s = np.linalg.norm(np.diff(places, axis=0), axis=2) * clip.fps
        assert speed_m_s.max() < 12.0
        assert speed_m_s.max() > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_two_walkers_pass_each_other(seed: int) -> None:
    clip = random_clip(seed, persons=2, frames=12)
    first, last = clip[0], clip[-1]
    gap = [s.persons[0].position_m_3[0] - s.persons[1].position_m_3[0] for s in (first, last)]
    assert gap[0] * gap[1] < 0


def test_frames_render_with_stable_ids() -> None:
    clip = random_clip(1, persons=1, frames=3)
    views = [render(scene) for scene in clip]
    overlap = (views[0].person_ids_HW == 1) & (views[1].person_ids_HW == 1)
    assert overlap.sum() > 0.2 * (views[0].person_ids_HW == 1).sum()


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="one or more frames"):
        random_clip(0, frames=0)
