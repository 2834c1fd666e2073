"""Small folders of training data: rendered people, and arrays that a test spoils."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitruvian.media.png import encode_png
from vitruvian.people import View, random_scene, render


def people(count: int, first: int = 40) -> list[View]:
    """Pictures 256 x 192 of one whole person each."""
    scenes = (random_scene(seed, height=256, width=192, framing="full") for seed in range(first, first + count))
    return [render(scene) for scene in scenes]


def put_png(path: Path, array: np.ndarray, palette_N3: np.ndarray | None = None) -> Path:
    """Write a PNG of uint8 or uint16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(array, palette_N3=palette_N3))
    return path


def put_npy(path: Path, array: np.ndarray) -> Path:
    """Write a `.npy` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def write_dense_set(folder: Path, task: str, views: list[View]) -> Path:
    """The published layout of depth and normals, the plain one of labels."""
    for number, view in enumerate(views):
        stem = f"{number:04d}"
        person_HW = view.part_labels_HW > 0
        put_png(folder / "images" / f"{stem}.png", view.image_HW3)
        if task == "seg":
            put_png(folder / "labels" / f"{stem}.png", view.part_labels_HW)
            continue
        put_png(folder / "masks" / f"{stem}.png", (person_HW * 255).astype(np.uint8))
        if task == "depth":
            put_npy(folder / "depths" / f"{stem}.npy", view.depth_m_HW)
        else:
            put_npy(folder / "normals" / f"{stem}.npy", view.normals_HW3)
    return folder


def ball(side: int = 65, radius: float = 26.0) -> np.ndarray:
    """float32 (side,side,3) normals of a ball in the middle, in camera axes; NaN beside it."""
    middle = (side - 1) / 2
    y_HW, x_HW = (np.indices((side, side)) - middle) / radius
    inside_HW = x_HW**2 + y_HW**2 < 1
    z_HW = -np.sqrt(np.where(inside_HW, 1 - x_HW**2 - y_HW**2, np.nan))
    return np.where(inside_HW[..., None], np.stack((x_HW, y_HW, z_HW), axis=2), np.nan).astype(np.float32)
