"""Training canvases: rendered pictures cut, stretched, mixed, hidden in part and coloured, with exact boxes.

In: pictures, recipe, phase, number. Out: a `DetectorBatch` of tensors, a pure function of these. Every change is also
made to the map of pixel owners, and boxes are read from that map at the end; so they surround what is left to be seen.
Time: OpenCV, some 5 ms a canvas.
"""

# Shape suffixes: B canvases, G boxes at most, N cells, H W canvas, P persons, 4 = cx cy w h.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.models.detectors.nano import STRIDE
from vitruvian.training.detector.clutter import background_HW3, cover_HW, textured_HW3
from vitruvian.training.detector.looks import changed_HW3
from vitruvian.training.detector.pictures import Pictures
from vitruvian.training.detector.recipe import DetectorRecipe, Phase

PERSON, IGNORED = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorBatch:
    """Network input and targets."""

    canvas_BHW3: Tensor
    """uint8 RGB."""
    boxes_BG4: Tensor
    """Shares of the canvas between its outer edges."""
    kind_BG: Tensor
    """1 person, 2 a person too hidden to be taught, 0 nothing."""
    owner_BN: Tensor
    """1 + index of the box of the person seen at each cell's centre, 0 for none."""


@dataclass(kw_only=True, slots=True)
class _Canvas:
    """A picture under construction."""

    image_HW3: np.ndarray
    ids_HW: np.ndarray
    """Owner of each pixel: 1 + index into `expected`, 0 for none."""
    expected: list[float]
    """Pixels each person would cover here if nothing hid them."""


def make_batch(pictures: Pictures, recipe: DetectorRecipe, phase: Phase, number: int) -> DetectorBatch:
    """The batch of a number: the same for the same four arguments, unlike those of other numbers."""
    rng = np.random.default_rng([recipe.seed, number])
    canvases = [_make_canvas(pictures, rng, phase) for _ in range(recipe.batch)]
    targets = [boxes_of(canvas.ids_HW, np.array(canvas.expected), recipe) for canvas in canvases]
    most = max(1, *(len(boxes) for boxes, _ in targets))
    boxes_BG4 = np.zeros((len(canvases), most, 4), np.float32)
    kind_BG = np.zeros((len(canvases), most), np.int64)
    for row, (boxes_P4, kind_P) in enumerate(targets):
        boxes_BG4[row, : len(boxes_P4)], kind_BG[row, : len(kind_P)] = boxes_P4, kind_P
    owners = [_owners(canvas.ids_HW, len(canvas.expected)) for canvas in canvases]
    return DetectorBatch(
        canvas_BHW3=torch.from_numpy(np.stack([canvas.image_HW3 for canvas in canvases])),
        boxes_BG4=torch.from_numpy(boxes_BG4),
        kind_BG=torch.from_numpy(kind_BG),
        owner_BN=torch.from_numpy(np.stack(owners)),
    )


def boxes_of(ids_HW: np.ndarray, expected_P: np.ndarray, recipe: DetectorRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (P,4) of what is visible of each person in shares of the canvas, and their kind (P,).

    `expected_P` holds the pixels each person would cover if nothing hid them. Persons without a pixel are left out.
    """
    height, width = ids_HW.shape
    pixels_P = np.bincount(ids_HW.ravel(), minlength=len(expected_P) + 1)[1:]
    boxes, kinds = [], []
    for person in np.flatnonzero(pixels_P):
        x, y, w, h = cv2.boundingRect((ids_HW == person + 1).view(np.uint8))
        boxes.append(((x + w / 2) / width, (y + h / 2) / height, w / width, h / height))
        seen = pixels_P[person] >= recipe.least_share * expected_P[person] and min(w, h) >= recipe.least_side_px
        kinds.append(PERSON if seen else IGNORED)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(kinds, np.int64)


def _owners(ids_HW: np.ndarray, persons: int) -> np.ndarray:
    """1 + index of the box (in the order of `boxes_of`) of the person at each cell's centre, (N,)."""
    there = np.flatnonzero(np.bincount(ids_HW.ravel(), minlength=persons + 1)[1:])
    row_of_id = np.zeros(persons + 1, np.int64)
    row_of_id[there + 1] = np.arange(1, len(there) + 1)
    return row_of_id[ids_HW[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].ravel()]


def _make_canvas(pictures: Pictures, rng: np.random.Generator, phase: Phase) -> _Canvas:
    height, width = phase.canvas_hw
    empty = np.zeros((height, width, 3), np.uint8)
    canvas = _Canvas(image_HW3=empty, ids_HW=np.zeros((height, width), np.uint8), expected=[])
    draw = rng.random()
    if draw < phase.plain_share:
        _place(pictures, rng, canvas, (0, 0, width, height), whole=rng.random() < phase.whole_share)
    elif draw < phase.plain_share + phase.mosaic_share:
        for frame in _tiles(rng, width, height):
            _place(pictures, rng, canvas, frame, whole=rng.random() < 0.3)
    else:
        canvas.image_HW3 = background_HW3(rng, height, width)
        w, h = (int(side * factor) for side, factor in zip((width, height), rng.uniform(0.3, 0.9, 2), strict=True))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        _place(pictures, rng, canvas, (x, y, x + w, y + h), whole=rng.random() < 0.7, people_only=rng.random() < 0.5)
    if rng.random() < 0.3 * phase.disturbance:
        canvas.image_HW3 = np.where(canvas.ids_HW[..., None] > 0, canvas.image_HW3, background_HW3(rng, height, width))
    if rng.random() < 0.2 * phase.disturbance:
        _paste(pictures, rng, canvas)
    if rng.random() < 0.2 * phase.disturbance:
        _paint_people(rng, canvas)
    if rng.random() < 0.3 * phase.disturbance:
        hidden_HW = cover_HW(rng, height, width) > 0
        canvas.image_HW3[hidden_HW] = background_HW3(rng, height, width)[hidden_HW]
        canvas.ids_HW[hidden_HW] = 0
    if rng.random() < 0.5:
        canvas.image_HW3 = canvas.image_HW3[:, ::-1]
        canvas.ids_HW = canvas.ids_HW[:, ::-1]
    canvas.image_HW3 = np.ascontiguousarray(canvas.image_HW3)
    if rng.random() < phase.disturbance:
        canvas.image_HW3 = changed_HW3(rng, canvas.image_HW3)
    return canvas


def _tiles(rng: np.random.Generator, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Two to four frames x0, y0, x1, y1 that fill the canvas."""
    x, y = int(width * rng.uniform(0.25, 0.75)), int(height * rng.uniform(0.25, 0.75))
    kind = int(rng.integers(4))
    if kind == 0:
        return [(0, 0, x, height), (x, 0, width, height)]
    if kind == 1:
        return [(0, 0, width, y), (0, y, width, height)]
    return [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]


def _cut(
    pictures: Pictures, rng: np.random.Generator, frame_wh: tuple[int, int], *, whole: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random picture or a part of one at a frame's size: image, owners, and expected pixels of its persons."""
    index = int(rng.integers(len(pictures)))
    image_HW3, ids_HW = pictures.image_HW3(index), pictures.ids_HW(index)
    height, width = ids_HW.shape
    w, h = width, height
    if not whole:
        # Sides drawn apart from each other: the task squeezes pictures of any shape into one canvas.
        side = rng.uniform(0.35, 1.0)
        w, h = (max(16, int(full * min(1.0, side * rng.uniform(0.75, 1.33)))) for full in (width, height))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    how = cv2.INTER_AREA if rng.random() < 0.6 else cv2.INTER_LINEAR
    image = cv2.resize(image_HW3[y : y + h, x : x + w], frame_wh, interpolation=how)
    ids = cv2.resize(ids_HW[y : y + h, x : x + w], frame_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    scale = frame_wh[0] * frame_wh[1] / (w * h)
    expected_P = pictures.pixels_NP[index] / np.maximum(pictures.share_NP[index], 1e-3) * scale
    return image, ids, expected_P


def _place(
    pictures: Pictures,
    rng: np.random.Generator,
    canvas: _Canvas,
    frame: tuple[int, int, int, int],
    *,
    whole: bool,
    people_only: bool = False,
) -> None:
    """Put a picture, or only its persons, into a frame of the canvas."""
    x0, y0, x1, y1 = frame
    image, ids, expected_P = _cut(pictures, rng, (x1 - x0, y1 - y0), whole=whole)
    there = ids > 0
    own = np.where(there, ids + np.uint8(len(canvas.expected)), 0).astype(np.uint8)
    if people_only:
        canvas.image_HW3[y0:y1, x0:x1][there] = image[there]
        canvas.ids_HW[y0:y1, x0:x1][there] = own[there]
    else:
        canvas.image_HW3[y0:y1, x0:x1] = image
        canvas.ids_HW[y0:y1, x0:x1] = own
    canvas.expected.extend(expected_P.tolist())


def _paste(pictures: Pictures, rng: np.random.Generator, canvas: _Canvas) -> None:
    """Persons of another picture in front of those that are there."""
    height, width = canvas.ids_HW.shape
    w, h = (int(side * factor) for side, factor in zip((width, height), rng.uniform(0.3, 1.0, 2), strict=True))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    _place(pictures, rng, canvas, (x, y, x + w, y + h), whole=rng.random() < 0.7, people_only=True)


def _paint_people(rng: np.random.Generator, canvas: _Canvas) -> None:
    """A texture over all persons, so that smooth shading is not what tells them."""
    painted_HW3 = textured_HW3(rng, canvas.image_HW3, float(rng.uniform(5, 35)))
    canvas.image_HW3 = np.where(canvas.ids_HW[..., None] > 0, painted_HW3, canvas.image_HW3)
