"""From a decoded frame to upright 8-bit RGB, with the colours that the file means.

In: PyAV's frame of any pixel format. Out: uint8 (H,W,3). Matrix and range come from the stream; where it says nothing,
the matrix is BT.709 from 720 lines or 1280 columns up and BT.601 below, as players take it. More than 8 bits are
rounded to 8; HDR curves are not mapped. Conversion of a 1920x1080 frame: 2 ms on one core, three bytes a pixel.
"""

# Shape suffixes: H W picture size, 3 = RGB, 4 = RGBA.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvian.errors import InputError
from vitruvian.media.colour import flatten_on_white
from vitruvian.media.video.library import pyav, words_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Codes of ISO/IEC 23091-2 (matrix coefficients, transfer characteristics) as FFmpeg stores them.
_BT709, _BT601 = 1, 5
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}
"""Matrix in the stream -> matrix of the converter. BT.2020 with constant luminance is taken as the usual BT.2020."""
_UNSTATED_MATRICES = frozenset({0, 2})
HDR_CURVES = {16: "PQ", 18: "HLG"}

_HD_LINES, _HD_COLUMNS = 720, 1280
_NEARLY_DEG = 0.02
"""Sine of the largest angle off a right one that still counts as right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What makes a stored picture upright: first transpose, then mirror."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def clockwise_deg(self) -> int:
        """The turn as an angle: 0, 90, 180, 270; a mirrored picture counts as turned before it is mirrored in x."""
        if self.transpose:
            return 270 if self.mirror_y else 90
        return 180 if self.mirror_y else 0

    @property
    def mirrored(self) -> bool:
        """Whether the picture is mirrored as well as turned."""
        return self.transpose ^ self.mirror_x ^ self.mirror_y

    def apply(self, image_HW3: np.ndarray) -> np.ndarray:
        """The upright picture, contiguous."""
        if self.transpose:
            image_HW3 = image_HW3.swapaxes(0, 1)
        if self.mirror_y:
            image_HW3 = image_HW3[::-1]
        if self.mirror_x:
            image_HW3 = image_HW3[:, ::-1]
        return np.ascontiguousarray(image_HW3)


def turn_of(matrix: Sequence[int]) -> Turn | None:
    """The turn that a display matrix asks for; None where it is not a multiple of 90 degrees.

    `matrix`: nine numbers a b u, c d v, x y w of ISO/IEC 14496-12, 16.16 fixed point: a pixel at (p, q) is shown at
    (a p + c q, b p + d q).
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(abs(b), abs(c)) <= straight * _NEARLY_DEG and straight:
        return Turn(mirror_x=a < 0, mirror_y=d < 0)
    if max(abs(a), abs(d)) <= crossed * _NEARLY_DEG and crossed:
        return Turn(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
    return None


def stored_turn(frame: VideoFrame) -> Turn | None:
    """The turn that a frame carries; no turn where it carries none, None where it is not a right angle."""
    side_data: Any = frame.side_data  # PyAV's types say dict; it is a list that also knows names.
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX":
            return turn_of(np.frombuffer(bytes(data), np.int32).tolist())
    return Turn()


def has_alpha(frame: VideoFrame) -> bool:
    """Whether pixels may be transparent; a palette may hold transparent colours."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


class UprightRgb:
    """Converts the frames of one stream; all come out in the size of the first."""

    def __init__(self, *, width: int, height: int, turn: Turn) -> None:
        """`width` and `height`: pixels of the stored picture, before the turn."""
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._width, self._height = width, height
        self._turn = turn
        self.resized = 0
        """Frames that had another size than the first."""

    def convert(self, frame: VideoFrame) -> np.ndarray:
        """uint8 (H,W,3), the caller's own. Raises `InputError` for pixels that cannot be converted."""
        self.resized += (frame.width, frame.height) != (self._width, self._height)
        transparent = has_alpha(frame)
        try:
            # One thread: the pictures are small, and the decoder has threads of its own.
            converted = self._reformatter.reformat(
                frame,
                width=self._width,
                height=self._height,
                format="rgba" if transparent else "rgb24",
                src_colorspace=self._matrix(frame),
                threads=1,
            )
        except pyav().FFmpegError as error:
            raise InputError(
                f"its pixels of kind {frame.format.name} cannot be converted to RGB ({words_of(error)}); convert the "
                "video, e.g. to H.264 in MP4"
            ) from None
        image = converted.to_ndarray()
        if transparent:
            image = image[..., :3] if image[..., 3].min() == 255 else flatten_on_white(image)
        return self._turn.apply(image)

    def _matrix(self, frame: VideoFrame) -> int | None:
        if frame.format.is_rgb or frame.format.has_palette:
            return None
        large = self._height >= _HD_LINES or self._width >= _HD_COLUMNS
        return _MATRICES.get(frame.colorspace, _BT709 if large else _BT601)


def unusual_colours(frame: VideoFrame) -> list[str]:
    """Notes on colours that are not shown as meant."""
    notes = []
    if frame.color_trc in HDR_CURVES:
        notes.append(f"HDR ({HDR_CURVES[frame.color_trc]}) is not mapped to the usual range: pictures look pale")
    if not frame.format.is_rgb and frame.colorspace not in _MATRICES and frame.colorspace not in _UNSTATED_MATRICES:
        notes.append("its colour matrix is an unusual one; colours are taken as BT.709 or BT.601")
    return notes
