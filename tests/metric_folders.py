"""Small folders of metric depth, laid out as KITTI, NYU and the plain layout are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training_folders import put_png

DRIVE = "2011_09_26_drive_0002_sync"
P_RECT_02 = "P_rect_02: 7.2e+02 0.0e+00 6.1e+02 4.4e+01 0.0e+00 7.3e+02 1.7e+02 2.1e-01 0.0 0.0 1.0 2.7e-03"
FOCAL_PX = 720.0


def picture(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """uint8 RGB noise."""
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), dtype=np.uint8)


def codes(size_hw: tuple[int, int], depth_m: float, per_m: float, holes: bool = True) -> np.ndarray:
    """uint16 codes of one depth, 0 in every second column."""
    codes_HW = np.full(size_hw, round(depth_m * per_m), np.uint16)
    if holes:
        codes_HW[:, ::2] = 0
    return codes_HW


def write_selection(folder: Path, count: int = 1, size_hw: tuple[int, int] = (60, 200)) -> Path:
    """KITTI's selection, 20 m everywhere."""
    for number in range(count):
        name = f"{DRIVE}_{{}}_{number:010d}_image_02"
        put_png(folder / "image" / f"{name.format('image')}.png", picture(size_hw, number))
        put_png(folder / "groundtruth_depth" / f"{name.format('groundtruth_depth')}.png", codes(size_hw, 20, 256))
        camera = folder / "intrinsics" / f"{name.format('image')}.txt"
        camera.parent.mkdir(parents=True, exist_ok=True)
        camera.write_text(f"{FOCAL_PX:e} 0.0 100.0 0.0 {FOCAL_PX:e} 30.0 0.0 0.0 1.0 \n", encoding="utf-8")
    return folder


def write_annotated(folder: Path, size_hw: tuple[int, int] = (60, 200)) -> Path:
    """KITTI's annotated depth beside raw pictures; the first raw picture has no depth, the last depth no picture."""
    raw = folder / "raw" / "2011_09_26"
    for number in (0, 5, 6):
        put_png(raw / DRIVE / "image_02" / "data" / f"{number:010d}.png", picture(size_hw, number))
    for number in (5, 6, 7):
        place = folder / "val" / DRIVE / "proj_depth" / "groundtruth" / "image_02"
        put_png(place / f"{number:010d}.png", codes(size_hw, 20, 256))
    (raw / "calib_cam_to_cam.txt").write_text(
        f"calib_time: 09-Jan-2012 13:57:47\n{P_RECT_02}\nP_rect_03: 1 2 3\n", encoding="utf-8"
    )
    return folder


def write_nyu(folder: Path, size_hw: tuple[int, int] = (480, 640)) -> Path:
    """Two rooms with a picture each, 3 m everywhere."""
    for number, room in enumerate(("bathroom", "kitchen_0004")):
        put_png(folder / room / f"rgb_{number:05d}.png", picture(size_hw, number))
        put_png(folder / room / f"sync_depth_{number:05d}.png", codes(size_hw, 3, 1000))
    return folder


def write_plain(folder: Path, per_m: float = 1000, count: int = 2, size_hw: tuple[int, int] = (40, 60)) -> Path:
    """The plain layout, 2 m everywhere, without intrinsics."""
    for number in range(count):
        put_png(folder / "images" / f"{number}.png", picture(size_hw, number))
        put_png(folder / "labels" / f"{number}.png", codes(size_hw, 2, per_m))
    return folder
