"""Who drives, and what stands in frames where nobody is."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.driving.persons import POINTS, Choice, FramePersons, nobody, without_gaps
from vitruvian.errors import UsageError

SIZE_HW = (100, 200)
LEFT, RIGHT, LARGE = (10.0, 10.0, 30.0, 60.0), (150.0, 10.0, 170.0, 60.0), (60.0, 5.0, 120.0, 95.0)


def persons(*boxes: tuple[float, ...]) -> FramePersons:
    middles_P2 = np.array([[(x0 + x1) / 2, (y0 + y1) / 2] for x0, y0, x1, y1 in boxes])
    return FramePersons(
        points_PW2=np.repeat(middles_P2[:, None], POINTS, axis=1),
        scores_PW=np.ones((len(boxes), POINTS)),
        boxes_P4=np.array(boxes),
        size_hw=SIZE_HW,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("all", [RIGHT, LARGE, LEFT]),
        ("largest", [LARGE]),
        ("0", [LEFT]),
        ("2", [RIGHT]),
        ("3", []),
        ("148,0,180,70", [RIGHT]),
        ("190,90,195,95", []),
    ],
)
def test_who_drives(words: str, expected: list[tuple[float, ...]]) -> None:
    chosen = Choice.of(words).of_frame(persons(RIGHT, LARGE, LEFT))
    assert [tuple(box_4) for box_4 in chosen.boxes_P4] == expected
    assert len(chosen.points_PW2) == len(chosen.scores_PW) == len(expected)


def test_nobody_stays_nobody() -> None:
    assert Choice.of("largest").of_frame(nobody(SIZE_HW)).count == 0


@pytest.mark.parametrize("words", ["", "first", "-1", "1.5", "1,2,3", "5,5,1,9", "0,0,inf,9", "1,2,3,4,5"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match="got --person"):
        Choice.of(words)


def test_frames_without_a_person_keep_their_place() -> None:
    one, two = persons(LEFT), persons(RIGHT)
    clip = [nobody(SIZE_HW), nobody(SIZE_HW), one, nobody(SIZE_HW), two]
    held = list(without_gaps(clip, "hold"))
    assert held == [one, one, one, one, two]
    assert list(without_gaps(clip, "blank")) == clip
    assert [found.count for found in without_gaps([nobody(SIZE_HW)] * 3, "hold")] == [0, 0, 0]
    with pytest.raises(UsageError, match="got --missing drop"):
        list(without_gaps(clip, "drop"))  # type: ignore[arg-type]
