"""The persons of a frame as 133 whole-body points, whoever found them, and which of them shall drive.

Plain arrays. A frame where nobody was found keeps its place and says so.
"""

# Shape suffixes: P persons, W = 133 points (COCO whole body), 2 = x y, 4 = x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from vitruvian.animation.drive_poses import DrivePoses, drive_poses
from vitruvian.boxes import overlaps
from vitruvian.errors import UsageError

POINTS = 133
Missing = Literal["hold", "blank"]
"""A frame without a person: the pose before it, or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FramePersons:
    """The persons of one frame, surest first; without any nobody was found."""

    points_PW2: np.ndarray
    """float64 pixels of the frame."""
    scores_PW: np.ndarray
    """float64; 0 where there is no point."""
    boxes_P4: np.ndarray
    """float64 pixels of the frame."""
    size_hw: tuple[int, int]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.points_PW2)

    def only(self, index: int) -> FramePersons:
        """One of them alone."""
        kept = slice(index, index + 1)
        return FramePersons(
            points_PW2=self.points_PW2[kept],
            scores_PW=self.scores_PW[kept],
            boxes_P4=self.boxes_P4[kept],
            size_hw=self.size_hw,
        )

    def resized(self, size_hw: tuple[int, int]) -> FramePersons:
        """The same persons in a frame of another size."""
        scale_2 = np.array([size_hw[1] / self.size_hw[1], size_hw[0] / self.size_hw[0]])
        return FramePersons(
            points_PW2=self.points_PW2 * scale_2,
            scores_PW=self.scores_PW,
            boxes_P4=self.boxes_P4 * np.tile(scale_2, 2),
            size_hw=size_hw,
        )

    def poses(self) -> DrivePoses:
        """In the layout of pose maps."""
        return drive_poses(self.points_PW2, self.scores_PW, self.size_hw)


class PoseSource(Protocol):
    """What finds persons and their points."""

    @property
    def identity(self) -> str:
        """Which networks and weights these are; poses of another identity are found anew."""

    def persons(self, frames: Iterable[np.ndarray]) -> Iterator[FramePersons]:
        """Of uint8 RGB frames (H,W,3), in order; a few frames are held at a time."""


def nobody(size_hw: tuple[int, int]) -> FramePersons:
    """A frame without persons."""
    return FramePersons(
        points_PW2=np.zeros((0, POINTS, 2)),
        scores_PW=np.zeros((0, POINTS)),
        boxes_P4=np.zeros((0, 4)),
        size_hw=size_hw,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which persons of a frame drive."""

    who: Literal["all", "largest"] | int = "all"
    """All of them as published, the largest, or one by its place from left to right, from 0."""
    box_xyxy: tuple[float, float, float, float] | None = None
    """Whoever overlaps this box most, in pixels of the frame; goes before `who`."""

    @classmethod
    def of(cls, words: str) -> Choice:
        """From `all`, `largest`, a number or `x0,y0,x1,y1`.

        Raises:
            UsageError: something else.
        """
        if words in ("all", "largest"):
            return cls(who="all" if words == "all" else "largest")
        try:
            numbers = [float(word) for word in words.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) == 1 and numbers[0] >= 0 and numbers[0] == int(numbers[0]):
            return cls(who=int(numbers[0]))
        if len(numbers) == 4 and np.isfinite(numbers).all() and numbers[0] < numbers[2] and numbers[1] < numbers[3]:
            return cls(box_xyxy=(numbers[0], numbers[1], numbers[2], numbers[3]))
        raise UsageError(
            f"got --person {words}; expected all, largest, a number from 0 (the leftmost), or a box x0,y0,x1,y1"
        )

    def of_frame(self, found: FramePersons) -> FramePersons:
        """Those of a frame who drive; nobody where the choice is not there."""
        if not found.count or (self.who == "all" and self.box_xyxy is None):
            return found
        index = self._index(found)
        return nobody(found.size_hw) if index is None else found.only(index)

    def _index(self, found: FramePersons) -> int | None:
        boxes_P4 = found.boxes_P4
        if self.box_xyxy is not None:
            shared_P = overlaps(np.array([self.box_xyxy]), boxes_P4)[0]
            return int(shared_P.argmax()) if shared_P.max() > 0 else None
        if isinstance(self.who, int):
            order = np.argsort(boxes_P4[:, [0, 2]].mean(axis=1), kind="stable")
            return int(order[self.who]) if self.who < len(order) else None
        return int(np.prod(boxes_P4[:, 2:] - boxes_P4[:, :2], axis=1).argmax())


def without_gaps(frames: Iterable[FramePersons], missing: Missing) -> Iterator[FramePersons]:
    """Every frame keeps its place: where nobody is, the persons before (`hold`; before the first, the first) or nobody.

    Frames before the first person wait for it.
    """
    if missing not in get_args(Missing):
        raise UsageError(f"got --missing {missing}; expected {' or '.join(get_args(Missing))}")
    waiting = 0
    last: FramePersons | None = None
    size_hw = (0, 0)
    for found in frames:
        size_hw = found.size_hw
        if found.count or missing == "blank":
            last = found
            yield from [found] * (waiting + 1)
            waiting = 0
        elif last is not None:
            yield last
        else:
            waiting += 1
    yield from [nobody(size_hw)] * waiting
