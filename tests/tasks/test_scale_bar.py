"""The bar has the map's own colours at the right heights, and says when metres rest on a guess."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vitruvian.tasks import drawing
from vitruvian.tasks.scale_bar import draw_metric_depth, ticks

SIZES = [(160, 160), (240, 320), (480, 640), (1080, 1920), (800, 200), (200, 800)]


def slope(hw: tuple[int, int], low: float = 2.0, high: float = 12.0) -> np.ndarray:
    """Farther from left to right, with as many pixels of each depth."""
    return np.tile(np.linspace(low, high, hw[1], dtype=np.float32), (hw[0], 1))


def panel_box(depth: np.ndarray, drawn: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what differs from the plain drawing."""
    rows, columns = np.nonzero((drawn != drawing.draw_depth(depth)).any(axis=2))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def inferno(nearness: np.ndarray) -> np.ndarray:
    """RGB (N,3) of 0 far .. 1 near."""
    levels = np.rint(nearness * 255).astype(np.uint8)[:, None]
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1]


@pytest.mark.parametrize("not_metric", [False, True])
@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_the_bar_lies_inside_at_the_right_edge(hw: tuple[int, int], not_metric: bool) -> None:
    depth = slope(hw)
    drawn = draw_metric_depth(depth, not_metric=not_metric)
    assert (drawn.shape, drawn.dtype) == ((*hw, 3), np.uint8)
    top, left, bottom, right = panel_box(depth, drawn)
    assert hw[1] / 2 < left < right < hw[1]
    assert 0 < top < bottom < hw[0]
    assert bottom - top > 0.5 * hw[0]
    assert hw[1] - right < 0.1 * hw[1]


@pytest.mark.parametrize("hw", [(240, 320), (480, 640)], ids=str)
def test_the_bar_runs_through_the_maps_colours_near_below(hw: tuple[int, int]) -> None:
    depth = slope(hw)
    drawn = draw_metric_depth(depth)
    top, left, bottom, right = panel_box(depth, drawn)
    panel = drawn[top:bottom, left:right]
    varied = [len(np.unique(panel[:, column], axis=0)) for column in range(panel.shape[1])]
    column = panel[:, int(np.argmax(varied))].astype(int)
    light = np.flatnonzero((column == drawing._INK).all(axis=1))
    bar = column[light[0] :]
    bar = bar[(bar != drawing._INK).any(axis=1)]
    bar = bar[: np.flatnonzero((bar == inferno(np.ones(1))[0]).all(axis=1))[-1] + 1]
    expected = inferno(np.linspace(0, 1, len(bar)))
    assert len(bar) > 0.5 * hw[0]
    assert np.abs(bar - expected).max() <= 4


def test_colours_are_those_of_the_plain_drawing() -> None:
    depth = slope((240, 320))
    depth[:50, :40] = np.nan
    drawn = draw_metric_depth(depth)
    np.testing.assert_array_equal(drawn[:, :160], drawing.draw_depth(depth)[:, :160])


def test_what_is_not_above_zero_has_no_colour_and_no_say_in_the_range() -> None:
    depth = slope((240, 320))
    holed = depth.copy()
    holed[:, :8] = 0
    holed[:8, 8:16] = -50
    drawn = draw_metric_depth(holed)
    assert (drawn[:, :8] == drawing.NO_VALUE_LEVEL).all()
    assert (drawn[:8, 8:16] == drawing.NO_VALUE_LEVEL).all()
    known = np.where(holed > 0, holed, np.nan)
    np.testing.assert_array_equal(drawn[:, :160], drawing.draw_depth(known)[:, :160])


@pytest.mark.parametrize("hw", [(160, 160), (480, 640), (800, 200), (200, 800)], ids=str)
def test_the_hint_stands_above_the_bar_only_where_asked_for(hw: tuple[int, int]) -> None:
    depth = slope(hw)

    def yellow(drawn: np.ndarray) -> np.ndarray:
        changed = (drawn != drawing.draw_depth(depth)).any(axis=2)
        return changed & (np.abs(drawn.astype(int) - (253, 224, 71)).max(axis=2) < 60)

    hinted = draw_metric_depth(depth, not_metric=True)
    top, _, bottom, _ = panel_box(depth, hinted)
    third = top + (bottom - top) // 3
    assert yellow(hinted)[top:third].sum() > yellow(draw_metric_depth(depth))[top:third].sum() + 20


@pytest.mark.parametrize("hw", [(159, 400), (400, 159), (1, 1), (3, 900), (159, 159)], ids=str)
def test_small_pictures_have_no_bar(hw: tuple[int, int]) -> None:
    depth = slope(hw)
    np.testing.assert_array_equal(draw_metric_depth(depth, not_metric=True), drawing.draw_depth(depth))


def test_labels_that_would_hide_the_picture_are_left_out() -> None:
    depth = slope((160, 160), 1e20, 3e20)
    np.testing.assert_array_equal(draw_metric_depth(depth), drawing.draw_depth(depth))


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_nothing_known_is_grey(value: float) -> None:
    assert (draw_metric_depth(np.full((200, 300), value, np.float32)) == drawing.NO_VALUE_LEVEL).all()


def test_a_wall_at_one_distance_gets_a_bar_from_there() -> None:
    depth = np.full((240, 320), 2, np.float32)
    drawn = draw_metric_depth(depth)
    assert (drawn[:, :160] == inferno(np.ones(1))[0]).all()
    assert (drawn[:, 160:] != drawn[0, 0]).any()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2, 12, [2, 4, 6, 8, 10, 12]),
        (1.9, 3.05, [2.0, 2.2, 2.4, 2.6, 2.8, 3.0]),
        (0.3, 0.72, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (20, 290, [50, 100, 150, 200, 250]),
        (0.55, 0.72, [0.55, 0.6, 0.65, 0.7]),
        (1, 8, [2, 4, 6, 8]),
        (5, 5, []),
        (5, 5.000000001, []),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_there_are_always_three_to_seven_ticks_inside_the_range() -> None:
    random = np.random.default_rng(4)
    for low, exponent in zip(random.uniform(0, 100, 500), random.uniform(-2, 2.5, 500), strict=True):
        high = low + 10**exponent
        found = ticks(low, high)
        steps = np.diff(found)
        assert 3 <= len(found) <= 7
        assert low - 1e-6 <= found[0] <= found[-1] <= high + 1e-6
        assert np.ptp(steps) < 1e-6
        assert f"{steps[0]:.0e}"[0] in "125"
        assert found[0] - steps[0] < low
        assert found[-1] + steps[0] > high
