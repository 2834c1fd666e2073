"""Depth in metres as a picture with a scale: colours of `drawing.draw_depth` and a bar that says what they mean.

float32 metres in, uint8 RGB of the same size out. The bar costs nothing beside the colours.
"""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from vitruvian.tasks import drawing

MIN_SIDE_PX = 160
"""Smaller pictures get no bar."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND = (24, 24, 27)
_INK = (244, 244, 245)
_HINT_INK = (253, 224, 71)
_HINT = ("assumed", "lens")

_FEWEST, _MOST = 4, 6
_MAX_TICKS = 64


def draw_metric_depth(depth_m_HW: np.ndarray, *, not_metric: bool = False) -> np.ndarray:
    """INFERNO colours, near bright, grey where there is no value, with a bar in metres at the right edge.

    The bar goes from the nearest colour (below) to the farthest (above); what lies outside has the colours of its ends.
    It is left out of pictures that are too small for it, and where nothing has a value.

    Args:
        depth_m_HW: float32 (H,W) metres; not finite or not above 0: no value.
        not_metric: write "assumed lens" above the bar: the scale rests on a focal length that nobody measured.

    Returns:
        uint8 RGB (H,W,3).
    """
    shown_HW = depth_m_HW > 0
    limits_m = drawing.depth_limits(depth_m_HW, shown_HW)
    drawn_HW3 = drawing.draw_depth(depth_m_HW, shown_HW, limits=limits_m)
    if limits_m is None or min(depth_m_HW.shape) < MIN_SIDE_PX:
        return drawn_HW3
    bar = _Bar.fit(depth_m_HW.shape, limits_m, _HINT if not_metric else ())
    if bar is not None:
        bar.draw(drawn_HW3)
    return drawn_HW3


def ticks(low: float, high: float) -> list[float]:
    """Round values from low to high, 1, 2 or 5 times a power of ten apart, in rising order.

    4 to 6 of them where such a step exists, else 3 or 7; none where the range is empty or so narrow that numbers
    cannot tell its ends apart.
    """
    span = high - low
    if not (math.isfinite(span) and span > 1e-9 * max(abs(low), abs(high))):
        return []
    power = math.floor(math.log10(span))
    candidates = [_multiples(low, high, digit, exponent) for exponent in (power - 1, power) for digit in (1, 2, 5)]
    return min(candidates, key=lambda found: (max(_FEWEST - len(found), len(found) - _MOST, 0), -len(found)))


def _multiples(low: float, high: float, digit: int, exponent: int) -> list[float]:
    step = digit * 10.0**exponent
    # A limit that is itself a multiple counts, whatever the division rounds to.
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, max(0, -exponent)) for index in range(first, min(last, first + _MAX_TICKS) + 1)]


def _labels(values: Sequence[float]) -> list[str]:
    """With as many decimals as the step needs."""
    step = min(b - a for a, b in pairwise(values))
    decimals = max(0, -math.floor(math.log10(step) + 1e-6))
    return [f"{value:.{decimals}f} m" for value in values]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bar:
    """A panel with the bar inside a picture; lengths in pixels."""

    limits_m: tuple[float, float]
    ticks_m: Sequence[float]
    labels: Sequence[str]
    hint: Sequence[str]
    line: int
    """Height of a line of text; everything scales with it."""
    left: int
    top: int
    width: int
    """Of the panel."""
    bar_height: int

    @classmethod
    def fit(cls, hw: tuple[int, ...], limits_m: tuple[float, float], hint: Sequence[str]) -> _Bar | None:
        """The bar for a picture of this size, or None where it would cover too much of it."""
        height, width = hw
        values = ticks(*limits_m)
        if len(values) < 2:
            return None
        line = max(14, round(min(height, width) / 32))
        labels = _labels(values)
        inner = max(_text_width(label, line) for label in labels) + round(1.6 * line)
        inner = max([inner, *(_text_width(word, line) for word in hint)])
        panel_width = inner + line
        beside_bar = (2 + len(hint)) * line
        bar_height = min(round(0.6 * height), height - line - beside_bar)
        if panel_width > 0.45 * width or bar_height < (len(values) - 1) * line:
            return None
        left, top = width - panel_width - line // 2, (height - bar_height - beside_bar) // 2
        place = {"line": line, "left": left, "top": top, "width": panel_width, "bar_height": bar_height}
        return cls(limits_m=limits_m, ticks_m=values, labels=labels, hint=hint, **place)

    def draw(self, canvas: np.ndarray) -> None:
        """Onto the picture, in place."""
        line = self.line
        height = self.bar_height + (2 + len(self.hint)) * line
        panel = canvas[self.top : self.top + height, self.left : self.left + self.width]
        panel[:] = (panel * 0.2 + np.array(_BACKGROUND) * 0.8).astype(np.uint8)
        for row, word in enumerate(self.hint):
            middle = (self.width - _text_width(word, line)) // 2
            _text(panel, word, (middle, round((row + 1.05) * line)), line, _HINT_INK)
        bar_width = round(0.9 * line)
        right, top = self.width - line // 2, (1 + len(self.hint)) * line
        x = right - bar_width
        low, high = self.limits_m
        column_H = np.linspace(high, low, self.bar_height).astype(np.float32)
        colours_HW3 = drawing.draw_depth(np.repeat(column_H[:, None], bar_width, 1), limits=self.limits_m)
        edge = max(1, round(line / 20))
        corners = (x - edge, top - edge), (right - 1 + edge, top + self.bar_height - 1 + edge)
        cv2.rectangle(panel, *corners, _INK, -1)
        panel[top : top + self.bar_height, x:right] = colours_HW3
        for value, label in zip(self.ticks_m, self.labels, strict=True):
            y = top + round((high - value) / (high - low) * (self.bar_height - 1))
            cv2.line(panel, (x - edge - round(0.35 * line), y), (x - edge, y), _INK, edge)
            place = x - edge - round(0.6 * line) - _text_width(label, line), y + _cap_height(line) // 2
            _text(panel, label, place, line, _INK)


def _text_width(text: str, line: int) -> int:
    return int(cv2.getTextSize(text, _FONT, line / 38, _stroke(line))[0][0])


def _cap_height(line: int) -> int:
    return int(cv2.getTextSize("0", _FONT, line / 38, _stroke(line))[0][1])


def _stroke(line: int) -> int:
    return max(1, round(line / 20))


def _text(canvas: np.ndarray, text: str, origin_xy: tuple[int, int], line: int, ink: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, origin_xy, _FONT, line / 38, ink, _stroke(line), cv2.LINE_AA)
