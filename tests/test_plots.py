"""Charts: values land where the axes say, names do not cover each other, far levels go beyond the break."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vitruvian.plots import BLUE, GREEN, INK, RED, Chart, Colour, Curve, Lane, Level, _apart, _split, _ticks, draw_chart


def chart(**changes: object) -> Chart:
    values = {
        "title": "memory",
        "subtitle": "of a run",
        "time_label": "seconds",
        "value_label": "bytes",
        "curves": [Curve(label="measured", colour=BLUE, points=[(0.0, 1.0), (5.0, 2.0), (10.0, 2.0)])],
        "levels": [Level(label="budget", colour=INK, value=3.0), Level(label="naive", colour=RED, value=20.0)],
        "lanes": [Lane(label="network", colour=GREEN, spans=[(2.0, 4.0), (6.0, 8.0)])],
    }
    return Chart(**{**values, **changes})  # type: ignore[arg-type]


def rows_of(picture: np.ndarray, colour: Colour, columns: slice) -> np.ndarray:
    """Rows in which most of these columns have a colour."""
    same = (np.abs(picture[:, columns].astype(int) - colour) < 40).all(axis=2)
    return np.flatnonzero(same.mean(axis=1) > 0.5)


def test_levels_stand_above_the_curve_in_the_order_of_their_values() -> None:
    picture = draw_chart(chart(levels=[*chart().levels, Level(label="predicted", colour=GREEN, value=2.5)]))
    assert picture.shape == (900, 1600, 3)
    middle = slice(600, 900)
    naive, budget, predicted, measured = (
        int(rows_of(picture, colour, middle).mean()) for colour in (RED, INK, GREEN, BLUE)
    )
    assert naive < budget < predicted < measured, "rows count from the top"


def test_linear_values_are_to_scale_and_the_far_one_is_not() -> None:
    levels = [Level(label=str(value), colour=INK, value=value) for value in (2.0, 2.5, 3.0)]
    picture = draw_chart(chart(levels=[*levels, Level(label="naive", colour=RED, value=20.0)], curves=[flat(1.0)]))
    rows = rows_of(picture, INK, slice(600, 900))
    three, two_and_half, two = (int(group.mean()) for group in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1))
    assert two - two_and_half == pytest.approx(two_and_half - three, abs=2)
    naive = int(rows_of(picture, RED, slice(600, 900)).mean())
    assert three - naive < 17 * (two - three), "17 units to scale would be far higher"


def flat(value: float) -> Curve:
    return Curve(label="measured", colour=BLUE, points=[(0.0, value), (10.0, value)])


def test_lanes_are_below_the_axis_at_their_times() -> None:
    picture = draw_chart(chart())
    green = (np.abs(picture.astype(int) - GREEN) < 10).all(axis=2)
    lane = green[int(np.flatnonzero(green.mean(axis=1) > 0.1)[0]) + 3]
    filled = np.flatnonzero(lane[200:]) + 200  # right of the lane's name
    begins, ends = filled[0], filled[-1]
    assert begins > 200
    gap = np.flatnonzero(np.diff(filled) > 20)
    assert len(gap) == 1, "two blocks"
    assert (filled[gap[0]] - begins) == pytest.approx(ends - filled[gap[0] + 1], abs=3), "of one length"


@pytest.mark.parametrize(
    ("levels", "highest", "near", "far"),
    [
        ([3.0, 20.0], 2.0, 3.0, (20.0,)),
        ([3.0, 4.0], 2.0, 4.0, ()),
        ([20.0, 22.0, 3.0], 2.0, 3.0, (20.0, 22.0)),
        ([], 2.0, 2.0, ()),
    ],
)
def test_the_break_lies_below_what_is_far_above_the_rest(
    levels: list[float], highest: float, near: float, far: tuple[float, ...]
) -> None:
    assert _split(levels, highest) == (near, far)


@pytest.mark.parametrize("end", [0.7, 3.36e9, 186.0, 10.0])
def test_ticks_are_few_and_round(end: float) -> None:
    ticks = _ticks(end)
    assert 3 <= len(ticks) <= 8
    assert ticks[0] == 0
    assert end - (ticks[1] - ticks[0]) < ticks[-1] <= end * (1 + 1e-9)


def test_names_are_moved_apart() -> None:
    placed = _apart([100.0, 101.0, 102.0, 300.0], 40.0)
    assert all(later - earlier > 39.9 for earlier, later in itertools.pairwise(placed))
    assert placed[3] == 300.0


def test_a_chart_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="without a point"):
        draw_chart(chart(curves=[Curve(label="measured", colour=BLUE, points=[])]))
