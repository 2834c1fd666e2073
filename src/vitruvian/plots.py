"""A line plot for reports: curves over time, horizontal levels, and lanes that say what went on below them.

Values -> uint8 RGB picture. Lines are OpenCV's, letters are Pillow's built-in typeface; no plotting library is needed.
Levels far above everything else are drawn beyond a break in the axis, so that the rest keeps its height.
"""

# Shape suffixes: H W picture size, 3 = RGB. All positions are pixels from the top left.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 34, 40)
FAINT: Colour = (120, 124, 134)
GRID: Colour = (229, 231, 235)
BLUE: Colour = (37, 99, 235)
GREEN: Colour = (21, 128, 61)
RED: Colour = (200, 30, 40)
AMBER: Colour = (180, 83, 9)
VIOLET: Colour = (124, 58, 180)

FAR = 1.6
"""A level this many times above everything else lies beyond the break."""
_SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Values over time, holding from each point to the next."""

    label: str
    colour: Colour
    points: Sequence[tuple[float, float]]
    """(time, value), times ascending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """A horizontal line with its name beside it."""

    label: str
    colour: Colour
    value: float
    dashed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """A row of blocks under the time axis."""

    label: str
    colour: Colour
    spans: Sequence[tuple[float, float]]
    """(begin, end) times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """What to draw."""

    title: str
    subtitle: str = ""
    time_label: str
    value_label: str
    curves: Sequence[Curve]
    levels: Sequence[Level] = ()
    lanes: Sequence[Lane] = ()
    value_text: Callable[[float], str] = "{:g}".format
    """How values are written at the axis and behind names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frame:
    """Where the axes lie and how values become pixels."""

    left: int
    right: int
    top: int
    bottom: int
    end_time: float
    top_value: float
    far: tuple[float, ...]
    """Values beyond the break, ascending."""
    far_step: int

    def x(self, time: float) -> float:
        return self.left + (self.right - self.left) * time / self.end_time

    def y(self, value: float) -> float:
        if value in self.far:
            return self.break_y - self.far_step * (0.75 + self.far.index(value))
        return self.bottom - (self.bottom - self.break_y) * min(value, self.top_value) / self.top_value

    @property
    def break_y(self) -> float:
        """Where the linear part of the axis ends: the top, unless something lies far above."""
        return self.top + self.far_step * (len(self.far) + (0.5 if self.far else 0.0))


def draw_chart(chart: Chart, size_wh: tuple[int, int] = (1600, 900)) -> np.ndarray:
    """The chart as uint8 RGB (H,W,3); letters and lines grow with the picture, which should be near 16:9.

    Raises:
        ValueError: a chart without any point.
    """
    if not any(curve.points for curve in chart.curves):
        raise ValueError("got a chart without a point; expected one or more; give a curve with points")
    width, height = size_wh
    unit = height / 45  # the height of a small letter's line
    frame = _frame(chart, size_wh, unit)
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    ticks = _ticks(frame.top_value)
    for value in ticks:
        _line(canvas, (frame.left, frame.y(value)), (frame.right, frame.y(value)), GRID, unit / 12)
    for curve in chart.curves:
        _fill_below(canvas, curve, frame)
        _draw_curve(canvas, curve, frame, unit)
    for level in chart.levels:
        _draw_level(canvas, level, frame, unit)
    _draw_axes(canvas, frame, unit)
    times = _ticks(frame.end_time)
    for time in times:
        _line(canvas, (frame.x(time), frame.bottom), (frame.x(time), frame.bottom + unit / 3), FAINT, unit / 12)
    for row, lane in enumerate(chart.lanes):
        _draw_lane(canvas, lane, frame, _lane_y(frame, row, unit), unit)
    return _letter(canvas, chart, frame, ticks, times, unit)


def _frame(chart: Chart, size_wh: tuple[int, int], unit: float) -> _Frame:
    width, height = size_wh
    value_text_px = max(_font(unit).getlength(chart.value_text(level.value)) for level in _named(chart))
    name_px = max(_font(unit * 1.15).getlength(level.label) for level in _named(chart))
    lane_px = max((_font(unit).getlength(lane.label) for lane in chart.lanes), default=0.0)
    near, far = _split([level.value for level in chart.levels], _highest(chart))
    return _Frame(
        left=round(max(5.2 * unit, lane_px + 2.2 * unit)),
        right=round(width - max(value_text_px, name_px) - 2.4 * unit),
        top=round((6.4 if chart.subtitle else 4.4) * unit),
        bottom=round(height - (3.9 + 1.9 * len(chart.lanes)) * unit),
        end_time=max(time for curve in chart.curves for time, _ in curve.points) or 1.0,
        top_value=(near or 1.0) * 1.12,
        far=far,
        far_step=round(3.4 * unit),
    )


def _highest(chart: Chart) -> float:
    return max(value for curve in chart.curves for _, value in curve.points)


def _split(levels: Sequence[float], highest: float) -> tuple[float, tuple[float, ...]]:
    """Highest value of the linear part, and the levels far above it."""
    near = highest
    ascending = sorted(set(levels))
    for index, value in enumerate(ascending):
        if value > FAR * near > 0:
            return near, tuple(ascending[index:])
        near = max(near, value)
    return near, ()


def _ticks(end: float, most: int = 7) -> list[float]:
    """Round values from 0 to at most `end`."""
    power = 10.0 ** math.floor(math.log10(end / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= end)
    return [step * index for index in range(int(end / step * (1 + 1e-9)) + 1)]


def _named(chart: Chart) -> list[Level]:
    """Everything that is named at the right: the levels, and each curve at its highest value."""
    peaks = [
        Level(label=curve.label, colour=curve.colour, value=max(value for _, value in curve.points))
        for curve in chart.curves
        if curve.points
    ]
    return [*chart.levels, *peaks]


def _steps(curve: Curve, frame: _Frame) -> np.ndarray:
    """Corner points (N,2) of a curve that holds each value until the next."""
    corners: list[tuple[float, float]] = []
    for (time, value), (later, _) in zip(curve.points, [*curve.points[1:], curve.points[-1]], strict=True):
        corners += [(frame.x(time), frame.y(value)), (frame.x(later), frame.y(value))]
    return np.array(corners)


def _fill_below(canvas: np.ndarray, curve: Curve, frame: _Frame) -> None:
    corners = _steps(curve, frame)
    area = np.vstack([corners, [corners[-1][0], frame.bottom], [corners[0][0], frame.bottom]])
    tinted = canvas.copy()
    cv2.fillPoly(tinted, [_fixed(area)], curve.colour, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(tinted, 0.13, canvas, 0.87, 0, dst=canvas)


def _draw_curve(canvas: np.ndarray, curve: Curve, frame: _Frame, unit: float) -> None:
    thickness = max(1, round(unit / 6))
    cv2.polylines(canvas, [_fixed(_steps(curve, frame))], False, curve.colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_level(canvas: np.ndarray, level: Level, frame: _Frame, unit: float) -> None:
    y = frame.y(level.value)
    if not level.dashed:
        _line(canvas, (frame.left, y), (frame.right, y), level.colour, unit / 6)
        return
    dash = 0.8 * unit
    for start in np.arange(frame.left, frame.right, 1.7 * dash):
        _line(canvas, (start, y), (min(start + dash, frame.right), y), level.colour, unit / 6)


def _draw_axes(canvas: np.ndarray, frame: _Frame, unit: float) -> None:
    _line(canvas, (frame.left, frame.bottom), (frame.right, frame.bottom), FAINT, unit / 10)
    _line(canvas, (frame.left, frame.top), (frame.left, frame.bottom), FAINT, unit / 10)
    if frame.far:
        # Two slanted strokes across the axis: what lies above is not to scale.
        for offset in (0.0, 0.5):
            y = frame.break_y - offset * unit
            _line(canvas, (frame.left - 0.5 * unit, y + 0.25 * unit), (frame.left + 0.5 * unit, y), PAPER, unit / 3)
            _line(canvas, (frame.left - 0.5 * unit, y + 0.25 * unit), (frame.left + 0.5 * unit, y), FAINT, unit / 10)


def _draw_lane(canvas: np.ndarray, lane: Lane, frame: _Frame, y: float, unit: float) -> None:
    for begin, end in lane.spans:
        # A gap of a pixel or two keeps neighbours apart.
        x0, x1 = round(frame.x(begin)), round(max(frame.x(end) - unit / 12, frame.x(begin) + unit / 8))
        cv2.rectangle(canvas, (x0, round(y - 0.5 * unit)), (x1, round(y + 0.5 * unit)), lane.colour, -1)


def _lane_y(frame: _Frame, row: int, unit: float) -> float:
    return frame.bottom + (3.0 + 1.9 * row) * unit


def _letter(
    canvas: np.ndarray, chart: Chart, frame: _Frame, ticks: Sequence[float], times: Sequence[float], unit: float
) -> np.ndarray:
    """The canvas with all its letters."""
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    small = _font(unit)
    pen.text((unit, 1.5 * unit), chart.title, INK, _font(1.7 * unit), anchor="lm")
    pen.text((unit, 3.5 * unit), chart.subtitle, FAINT, small, anchor="lm")
    pen.text((frame.left, frame.top - 0.9 * unit), chart.value_label, FAINT, small, anchor="lm")
    for value in ticks:
        pen.text((frame.left - 0.6 * unit, frame.y(value)), chart.value_text(value), FAINT, small, anchor="rm")
    for time in times:
        pen.text((frame.x(time), frame.bottom + 1.1 * unit), f"{time:g}", FAINT, small, anchor="mm")
    last_x = frame.x(times[-1])
    if last_x < frame.right - 0.5 * unit - small.getlength(f"{times[-1]:g}"):
        last_x = frame.right
    pen.text((last_x + 1.2 * unit, frame.bottom + 1.1 * unit), chart.time_label, FAINT, small, anchor="lm")
    for row, lane in enumerate(chart.lanes):
        pen.text((frame.left - 0.6 * unit, _lane_y(frame, row, unit)), lane.label, lane.colour, small, anchor="rm")
    named = sorted(_named(chart), key=lambda level: -level.value)
    for level, y in zip(named, _apart([frame.y(level.value) for level in named], 2.7 * unit), strict=True):
        x = frame.right + 0.9 * unit
        pen.text((x, y - 0.62 * unit), level.label, level.colour, _font(1.15 * unit), anchor="lm")
        pen.text((x, y + 0.62 * unit), chart.value_text(level.value), level.colour, small, anchor="lm")
    return np.asarray(picture)


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending positions moved as little as a few sweeps need to keep neighbours a gap apart."""
    placed = list(wanted)
    for _ in range(200):
        for index in range(len(placed) - 1):
            missing = gap - (placed[index + 1] - placed[index])
            if missing > 0:
                placed[index] -= missing / 2
                placed[index + 1] += missing / 2
    return placed


def _line(
    canvas: np.ndarray, start: tuple[float, float], end: tuple[float, float], colour: Colour, thickness: float
) -> None:
    points = _fixed(np.array([start, end]))
    cv2.polylines(canvas, [points], False, colour, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def _fixed(points_N2: np.ndarray) -> np.ndarray:
    """Positions in OpenCV's sixteenths of a pixel."""
    return np.rint(points_N2 * (1 << _SHIFT)).astype(np.int32)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
