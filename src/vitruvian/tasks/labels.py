"""Keypoint conventions and segmentation classes: names, mirror tables, skeletons and colours.

Key or count -> a frozen value, read once from the package's data files (some ten kB each) and cached.
"""

# Shape suffixes: K keypoints, N classes, 3 = RGB.

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from vitruvian.errors import UsageError

KEYPOINT_SETS: Mapping[str, int] = {"coco17": 17, "wholebody133": 133, "sapiens308": 308}
"""Keypoint conventions of networks and how many keypoints, channels of the head, each has."""

CONVENTIONS: Mapping[str, int] = {**KEYPOINT_SETS, "openpose18": 18, "openpose25": 25}
"""Conventions that results can be in. Those of no network are found by name alone: 25 channels are no proof."""

LABEL_SETS: Mapping[str, int] = {"body28": 28, "lip20": 20, "face19": 19}
"""Known segmentation label sets and how many classes each has (background included)."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeypointSet:
    """One keypoint convention; every table is in the order of the network's channels."""

    name: str
    """coco17, wholebody133, sapiens308, openpose18 or openpose25."""
    names: tuple[str, ...]
    """Name of each keypoint; left and right are the person's own."""
    flip_indices: tuple[int, ...]
    """Entry i is the channel that takes the place of channel i in a mirrored picture; an involution."""
    links: tuple[tuple[int, int], ...]
    """Pairs of keypoints joined by a line of the skeleton."""
    link_colours: tuple[Colour, ...]
    """RGB 0..255 of each link."""
    keypoint_colours: tuple[Colour, ...]
    """RGB 0..255 of each keypoint."""
    oks_sigmas: tuple[float, ...]
    """Spread of human annotation per keypoint, relative to the person's size (object keypoint similarity).
    NaN where nobody measured it: OpenPose's neck and mid hip."""
    upper_body: tuple[int, ...]
    """Keypoints above the hips, for half-body augmentation."""
    groups: Mapping[str, tuple[int, ...]]
    """Keypoints by body part: body, foot, face, left_hand, right_hand, ..."""

    def __post_init__(self) -> None:
        count = len(self.names)
        for field in ("flip_indices", "keypoint_colours", "oks_sigmas"):
            if len(getattr(self, field)) != count:
                raise ValueError(f"got {len(getattr(self, field))} {field} for {count} keypoints of {self.name}")
        if any(self.flip_indices[other] != here for here, other in enumerate(self.flip_indices)):
            raise ValueError(f"got flip_indices of {self.name} that do not undo themselves; expected an involution")
        if len(self.links) != len(self.link_colours) or any(max(link) >= count for link in self.links):
            raise ValueError(f"got links of {self.name} without a colour each, or to keypoints beyond {count}")

    @property
    def count(self) -> int:
        """Number of keypoints, the channels of a heat-map head."""
        return len(self.names)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSet:
    """One set of segmentation classes; class 0 is the background."""

    name: str
    """body28, lip20 or face19."""
    names: tuple[str, ...]
    """Name of each class; left and right are the person's own."""
    palette: tuple[Colour, ...]
    """RGB 0..255 of each class."""
    flip_pairs: tuple[tuple[int, int], ...]
    """Classes that trade places in a mirrored picture."""
    class_weights: tuple[float, ...] | None
    """Weight of each class in the published training loss; None where it was unweighted."""

    def __post_init__(self) -> None:
        if len(self.palette) != len(self.names) or len(self.class_weights or self.names) != len(self.names):
            raise ValueError(f"got {len(self.palette)} colours or weights for {len(self.names)} classes of {self.name}")

    @property
    def count(self) -> int:
        """Number of classes with the background, the channels of a segmentation head."""
        return len(self.names)

    @property
    def palette_N3(self) -> np.ndarray:
        """The palette as uint8 RGB (N,3)."""
        return np.array(self.palette, np.uint8)

    @property
    def flip_indices(self) -> tuple[int, ...]:
        """Entry i is the class that takes the place of class i in a mirrored picture."""
        table = list(range(self.count))
        for left, right in self.flip_pairs:
            table[left], table[right] = right, left
        return tuple(table)


def keypoint_set(key: str | int) -> KeypointSet:
    """The keypoint convention of this name, or the network's with so many keypoints; `UsageError` lists what exists."""
    return _load_keypoint_set(_resolve(key, CONVENTIONS if isinstance(key, str) else KEYPOINT_SETS, "keypoints"))


def label_set(key: str | int) -> LabelSet:
    """The label set of this name or with this many classes; `UsageError` lists what exists."""
    return _load_label_set(_resolve(key, LABEL_SETS, "classes"))


def _resolve(key: str | int, known: Mapping[str, int], unit: str) -> str:
    for name, count in known.items():
        if key in (name, count):
            return name
    listing = ", ".join(f"{name} ({count} {unit})" for name, count in known.items())
    raise UsageError(f"got {key!r}; expected one of {listing}; use one of these names or counts")


def _frozen(value: Any) -> Any:
    """JSON lists as tuples, all the way down, so that a set can be shared and hashed."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


def _read(name: str, wanted: set[str]) -> dict[str, Any]:
    text = (resources.files("vitruvian") / "data" / "labels" / f"{name}.json").read_text(encoding="utf-8")
    return {key: _frozen(value) for key, value in json.loads(text).items() if key in wanted}


@cache
def _load_keypoint_set(name: str) -> KeypointSet:
    table = _read(name, {field.name for field in fields(KeypointSet)})
    table["oks_sigmas"] = tuple(math.nan if sigma is None else sigma for sigma in table["oks_sigmas"])
    return KeypointSet(**table)


@cache
def _load_label_set(name: str) -> LabelSet:
    return LabelSet(**_read(name, {field.name for field in fields(LabelSet)}))
