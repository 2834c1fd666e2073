"""A contact sheet of training samples: pictures beside their targets, what has no value hatched, findings above.

In: decoded samples, one at a time. Out: small tiles, and a PNG of all. A tile takes about 0.5 MB.
"""

# Shape suffixes: P persons, H W picture size, h w tile size, 3 = RGB or x y z.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from vitruvian.datasets.coco_persons import PersonSample
from vitruvian.datasets.targets import IGNORE, Decoded
from vitruvian.media.atomic import write_atomic
from vitruvian.media.png import encode_png
from vitruvian.tasks import drawing
from vitruvian.tasks.id_drawing import draw_boxes
from vitruvian.tasks.labels import LABEL_SETS, KeypointSet, LabelSet, label_set
from vitruvian.tasks.normal import CAMERA, NormalFrame
from vitruvian.tasks.own_labels import labels_of

TILE_HEIGHT = 360
COLUMNS = 3
_GAP = 4
_STRIPE = (200, 60, 60)
"""Colour of the hatching."""


@dataclass(kw_only=True, slots=True)
class Sheet:
    """Tiles with their captions; some evenly spread samples, and the first ones with something wrong."""

    count: int = 12
    """Samples of either sort, at most."""
    tiles: list[np.ndarray] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    _wrong: int = 0

    def spread(self, of: int) -> frozenset[int]:
        """Places of the samples that are shown whatever they are."""
        return frozenset(np.linspace(0, max(0, of - 1), min(self.count, of)).round().astype(int).tolist())

    def add(self, tile_hw3: np.ndarray, caption: str, *, extra: bool) -> None:
        """Take a tile; an extra one, shown for what is wrong with it, only while there is room."""
        if extra and self._wrong >= self.count:
            return
        self._wrong += extra
        self.tiles.append(tile_hw3)
        self.captions.append(caption.encode("ascii", "replace").decode())

    def write(self, path: Path) -> None:
        """The sheet as PNG, whole or not at all; without any tile, an empty one that says so."""
        tiles = self.tiles or [np.zeros((TILE_HEIGHT, TILE_HEIGHT, 3), np.uint8)]
        captions = self.captions or ["no sample could be shown"]
        sheet_HW3 = drawing.side_by_side(tiles, captions, height=TILE_HEIGHT, columns=min(COLUMNS, len(tiles)))
        write_atomic(path, encode_png(sheet_HW3))


def dense_tile(decoded: Decoded, classes: int | None, frame: NormalFrame = CAMERA) -> np.ndarray:
    """Picture and target side by side, uint8 RGB; small, pixels without a value hatched."""
    step = max(1, decoded.image_HW3.shape[0] // TILE_HEIGHT)
    small = decoded.masked().target[::step, ::step]
    size_wh = small.shape[1], small.shape[0]
    image_hw3 = cv2.resize(decoded.image_HW3, size_wh, interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint8:
        shown = shown_classes(classes, small)
        drawn_hw3 = drawing.draw_labels(image_hw3, np.ascontiguousarray(small), shown)
        valid_hw = small < shown.count
    elif small.ndim == 2:
        drawn_hw3, valid_hw = drawing.draw_depth(small), np.isfinite(small)
    else:
        drawn_hw3, valid_hw = drawing.draw_normals(small, frame.to_display), np.isfinite(small).all(axis=2)
    return _beside(image_hw3, hatched(drawn_hw3, ~valid_hw))


def person_tile(image_HW3: np.ndarray, persons: Sequence[PersonSample], convention: KeypointSet) -> np.ndarray:
    """The picture, and the same with everyone's box and skeleton; covered keypoints are drawn, too."""
    scale = min(1.0, TILE_HEIGHT / image_HW3.shape[0])
    size_wh = max(1, round(image_HW3.shape[1] * scale)), max(1, round(image_HW3.shape[0] * scale))
    image_hw3 = cv2.resize(image_HW3, size_wh, interpolation=cv2.INTER_AREA)
    keypoints_PK3 = np.stack([person.keypoints_K3 for person in persons]).astype(np.float64)
    boxes_P4 = np.array([person.box_xyxy for person in persons]) * scale
    boxes = [(float(box[0]), float(box[1]), float(box[2]), float(box[3])) for box in boxes_P4]
    framed_hw3 = draw_boxes(image_hw3, boxes)
    labelled_PK = (keypoints_PK3[..., 2] > 0).astype(np.float64)
    drawn_hw3 = drawing.draw_pose(framed_hw3, keypoints_PK3[..., :2] * scale, labelled_PK, boxes_P4, convention)
    return _beside(image_hw3, drawn_hw3)


def shown_classes(classes: int | None, labels_HW: np.ndarray) -> LabelSet:
    """The known set of so many classes, or one with made-up colours that holds every label of the picture."""
    if classes in LABEL_SETS.values() and classes is not None:
        return label_set(classes)
    seen = labels_HW[labels_HW != IGNORE]
    return labels_of(max(classes or 1, int(seen.max()) + 1 if len(seen) else 1))


def hatched(image_HW3: np.ndarray, where_HW: np.ndarray) -> np.ndarray:
    """A copy with thin diagonal stripes there."""
    rows = np.arange(where_HW.shape[0])[:, None]
    columns = np.arange(where_HW.shape[1])
    striped_HW3 = image_HW3.copy()
    striped_HW3[where_HW & ((rows + columns) % 10 < 2)] = _STRIPE
    return striped_HW3


def _beside(left_hw3: np.ndarray, right_hw3: np.ndarray) -> np.ndarray:
    gap = np.zeros((left_hw3.shape[0], _GAP, 3), np.uint8)
    return np.concatenate((left_hw3, gap, right_hw3), axis=1)
