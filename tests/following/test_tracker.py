"""Ids stay with people: while they walk, cross, are missed or half covered; and runs can be repeated."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.following.tracker import Tracker, TrackerSettings

RATE = 25.0
Frame = tuple[np.ndarray, np.ndarray]


def person(x: float, y: float = 100.0, height: float = 100.0) -> list[float]:
    """A standing person's box around a point."""
    return [x - 0.2 * height, y - 0.5 * height, x + 0.2 * height, y + 0.5 * height]


def frame(*xs: float, scores: list[float] | None = None) -> Frame:
    return np.array([person(x) for x in xs]).reshape(-1, 4), np.array(scores or [0.9] * len(xs))


def followed(frames: list[Frame], rate: float = RATE, settings: TrackerSettings | None = None) -> list[list[int]]:
    tracker = Tracker(rate, settings)
    return [tracker.update(boxes, scores).tolist() for boxes, scores in frames]


def crossing(rate: float = RATE, seconds: float = 2.0) -> list[Frame]:
    """Two people walk through each other's place, in boxes that a detector shakes a little."""
    rng = np.random.default_rng(3)
    frames = []
    for t in np.arange(0, seconds, 1 / rate):
        boxes, scores = frame(60 + 90 * t, 240 - 90 * t)
        frames.append((boxes + rng.normal(0, 1.0, boxes.shape), scores))
    return frames


def apart(frames: list[Frame]) -> list[bool]:
    """Whether the two are more than a tenth of a body apart: nobody can tell boxes that coincide."""
    return [abs(boxes[0, 0] - boxes[1, 0]) > 10 for boxes, _ in frames]


@pytest.mark.parametrize("rate", [50.0, 25.0, 12.5, 6.25])
@pytest.mark.parametrize("turned", [False, True])
def test_people_who_cross_keep_their_ids(rate: float, turned: bool) -> None:
    """In whatever order a detector lists them."""
    frames = crossing(rate)
    given = [(b[::-1], s[::-1]) if turned and t % 2 else (b, s) for t, (b, s) in enumerate(frames)]
    for t, (ids, clear) in enumerate(zip(followed(given, rate), apart(frames), strict=True)):
        assert not clear or ids == ([2, 1] if turned and t % 2 else [1, 2])


def test_someone_hidden_while_crossing_gets_the_id_back() -> None:
    whole = crossing()
    hides = [abs(boxes[0, 0] - boxes[1, 0]) < 25 for boxes, _ in whole]
    ids = followed([(b[:1], s[:1]) if hidden else (b, s) for (b, s), hidden in zip(whole, hides, strict=True)])
    assert sum(hides) > 5
    for seen, hidden, clear in zip(ids, hides, apart(whole), strict=True):
        assert not clear or seen == ([1] if hidden else [1, 2])


def test_new_people_are_known_from_their_second_frame_on() -> None:
    ids = followed([frame(100), frame(102, 300), frame(104, 300), frame(106, 300)])
    assert ids == [[1], [1, -1], [1, 2], [1, 2]]


def test_a_false_box_of_one_frame_uses_up_no_id() -> None:
    ids = followed([frame(100), frame(100, 300), frame(100), frame(100, 500), frame(100, 500)])
    assert ids == [[1], [1, -1], [1], [1, -1], [1, 2]]


def test_unsure_detections_keep_an_id_but_give_none() -> None:
    unsure = [0.9, 0.2]
    ids = followed([frame(100, 300), frame(101, 301, scores=unsure), frame(102, 302, scores=unsure)])
    assert ids == [[1, 2]] * 3
    assert followed([frame(100, 300, scores=unsure)] * 3) == [[1, -1]] * 3
    assert followed([frame(100), frame(100, scores=[0.05])]) == [[1], [-1]]


@pytest.mark.parametrize(("gap_s", "expected"), [(1.0, 1), (1.8, 1), (2.5, -1)])
def test_who_is_away_too_long_is_someone_new(gap_s: float, expected: int) -> None:
    nobody = [frame()] * round(gap_s * RATE)
    ids = followed([frame(100)] * 10 + nobody + [frame(100)] * 2)
    assert ids[len(nobody) + 10] == [expected]
    assert ids[-1] == [1 if expected == 1 else 2]


def test_ids_are_never_used_again() -> None:
    nobody = [frame()] * round(3 * RATE)
    ids = followed([frame(100, 300)] + nobody + [frame(100, 300)] * 2)
    assert ids[0] == [1, 2]
    assert ids[-1] == [3, 4]


def test_people_may_be_missing_from_the_first_frames() -> None:
    assert followed([frame(), frame(), frame(100), frame(100)]) == [[], [], [-1], [1]]


def test_feeding_the_same_again_gives_the_same() -> None:
    frames = crossing()
    first = Tracker(RATE)
    before = [first.update(*one).tolist() for one in frames]
    second = Tracker(RATE)
    for one in frames[:20]:
        second.update(*one)
    assert [second.update(*one).tolist() for one in frames[20:]] == before[20:]


def test_trackers_do_not_share_ids() -> None:
    one, other = Tracker(RATE), Tracker(RATE)
    assert one.update(*frame(100, 300)).tolist() == other.update(*frame(100, 300)).tolist() == [1, 2]


def test_times_take_the_place_of_the_frame_rate() -> None:
    frames, times_s = crossing(), np.arange(50) / RATE
    kept = [0, 1, 2, 3, 5, 8, 9, 13, 14, 15, 19, 22, 23, 27, 30, 31, 35, 36, 40, 44, 48]
    tracker = Tracker(RATE)
    assert all(tracker.update(*frames[t], time_s=float(times_s[t])).tolist() == [1, 2] for t in kept)


def test_ids_are_int64_also_of_nobody() -> None:
    tracker = Tracker(RATE)
    assert tracker.update(*frame(1)).dtype == tracker.update(*frame()).dtype == np.int64


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf])
def test_a_frame_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="frame_rate"):
        Tracker(rate)


def test_wrong_frames_are_refused_and_change_nothing() -> None:
    tracker = Tracker(RATE)
    tracker.update(*frame(100), time_s=1.0)
    for boxes, scores, time_s in (
        (frame(100)[0], np.array([0.9, 0.9]), 2.0),
        (frame(100)[0], np.array([np.nan]), 2.0),
        (frame(100)[0] * np.nan, np.array([0.9]), 2.0),
        (*frame(100), 1.0),
        (*frame(100), np.nan),
    ):
        with pytest.raises(UsageError, match="expected"):
            tracker.update(boxes, scores, time_s=time_s)
    assert tracker.update(*frame(100), time_s=1.04).tolist() == [1]
