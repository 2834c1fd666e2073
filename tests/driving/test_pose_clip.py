"""Poses of a clip: kept on disk, filled, brought to another person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from vitruvian.driving.clip import found_persons, pose_clip
from vitruvian.driving.persons import POINTS, Choice, FramePersons, nobody
from vitruvian.errors import InputError
from vitruvian.media.video.values import Frame

SIZE_HW = (120, 160)


def person(
    scale: float = 1.0, shift_xy: tuple[float, float] = (0.0, 0.0), size_hw: tuple[int, int] = SIZE_HW
) -> FramePersons:
    rng = np.random.default_rng(1)
    points_W2 = rng.uniform(20, 80, (POINTS, 2)) * scale + shift_xy
    low_2, high_2 = points_W2.min(axis=0), points_W2.max(axis=0)
    return FramePersons(
        points_PW2=points_W2[None],
        scores_PW=np.ones((1, POINTS)),
        boxes_P4=np.concatenate([low_2, high_2])[None],
        size_hw=size_hw,
    )


@dataclass
class Known:
    """Knows the persons of each frame beforehand."""

    answers: list[FramePersons]
    identity: str = "known"
    asked: int = field(default=0, init=False)

    def persons(self, frames: Iterable[np.ndarray]) -> Iterator[FramePersons]:
        for answer, _ in zip(self.answers, frames, strict=True):
            self.asked += 1
            yield answer


def frames() -> Iterator[Frame]:
    for number in range(3):
        yield Frame(number=number, time_s=0.04 * number, image_HW3=np.zeros((*SIZE_HW, 3), np.uint8))


def never() -> Iterator[Frame]:
    raise AssertionError("the clip was opened")


def test_a_clip_is_looked_at_once(tmp_path: Path) -> None:
    known = Known([person(), nobody(SIZE_HW), person(shift_xy=(5, 0))])
    first = found_persons(known, frames, ["a.mp4", 1], folder=tmp_path)
    again = found_persons(known, never, ["a.mp4", 1], folder=tmp_path)
    assert (first.known_before, again.known_before, known.asked) == (False, True, 3)
    assert first.times_s == again.times_s == (0.0, 0.04, 0.08)
    for one, other in zip(first.persons, again.persons, strict=True):
        assert one.size_hw == other.size_hw
        for name in ("points_PW2", "scores_PW", "boxes_P4"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_another_clip_or_source_is_looked_at_anew(tmp_path: Path) -> None:
    known = Known([person()] * 3)
    found_persons(known, frames, ["a.mp4", 1], folder=tmp_path)
    assert not found_persons(known, frames, ["a.mp4", 2], folder=tmp_path).known_before
    other = Known([person()] * 3, identity="other")
    assert not found_persons(other, frames, ["a.mp4", 1], folder=tmp_path).known_before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not whole", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes | None) -> None:
    known = Known([person()] * 3)
    found_persons(known, frames, ["a.mp4"], folder=tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    assert not found_persons(known, frames, ["a.mp4"], folder=tmp_path).known_before
    assert found_persons(known, never, ["a.mp4"], folder=tmp_path).known_before


def test_the_clip_takes_the_references_size_and_place() -> None:
    reference = person(scale=0.5, shift_xy=(30, 10))
    clip = pose_clip([person(), nobody(SIZE_HW), person()], reference, size_hw=SIZE_HW, choice=Choice())
    assert (len(clip), clip.blank) == (4, 0)
    for poses in clip.poses:
        np.testing.assert_allclose(poses.points_PJ2, reference.poses().points_PJ2, atol=1e-9)
    np.testing.assert_allclose(clip.alignment.scale_xy, 0.5)


def test_blank_frames_stay_blank() -> None:
    clip = pose_clip([nobody(SIZE_HW), person()], person(), size_hw=SIZE_HW, choice=Choice(), missing="blank")
    assert [poses.persons for poses in clip.poses] == [1, 0, 1]
    assert clip.blank == 1
    assert not clip.pose_map(1, (64, 96)).any()
    drawn = clip.pose_map(2, (64, 96))
    assert drawn.shape == (3, 64, 96)
    assert drawn.any()
    assert (clip.pose_map(2, (64, 96), hands=False, face=False) != drawn).any()


def test_nobody_at_all_is_an_error_of_the_clip() -> None:
    with pytest.raises(InputError, match="shows nobody who could drive in 2 frames"):
        pose_clip([nobody(SIZE_HW)] * 2, person(), size_hw=SIZE_HW, choice=Choice())
    with pytest.raises(InputError, match="shows nobody whose pose was found"):
        pose_clip([person()], nobody(SIZE_HW), size_hw=SIZE_HW, choice=Choice())
