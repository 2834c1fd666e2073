"""Draw `docs/pictures/metric-depth.jpg`: held-out rendered places as the embedded network measures them.

Picture, true depth, measured depth in the same colours, normals, and the point cloud seen from above and beside.
"""

# Shape suffixes: H W picture, N points, 3 = RGB or x y z.

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from vitruvian.evaluation.metric_nano import held_out_views
from vitruvian.loading import load
from vitruvian.people import View
from vitruvian.predict import Model
from vitruvian.tasks import drawing
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.tasks.normal import CAMERA
from vitruvian.tasks.scale_bar import draw_metric_depth
from vitruvian.tasks.unprojection import Cloud
from vitruvian.zoo import DEFAULT_MODELS

TARGET = Path(__file__).parents[1] / "docs" / "pictures" / "metric-depth.jpg"
SHOWN = (1, 4, 6, 10)
"""Of the held-out places, landscape ones."""
TILE_HW = (216, 384)
YAW_DEG, PITCH_DEG = 35.0, 25.0
INK = np.uint8(24)


def seen_from_beside(cloud: Cloud, size_hw: tuple[int, int]) -> np.ndarray:
    """The cloud turned about its middle and looked at from farther away, nearest points last, uint8 RGB."""
    yaw, pitch = math.radians(YAW_DEG), math.radians(PITCH_DEG)
    about_y = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    middle_3 = np.median(cloud.points_N3, axis=0)
    turned_N3 = (cloud.points_N3 - middle_3) @ about_y.T @ about_x.T
    radius_m = float(np.percentile(np.linalg.norm(turned_N3, axis=1), 90))
    turned_N3[:, 2] += 2.2 * radius_m
    order_N = np.argsort(-turned_N3[:, 2])
    order_N = order_N[turned_N3[order_N, 2] > 0.1 * radius_m]
    height, width = size_hw
    scale = 1.1 * height
    column_N = (width / 2 + scale * turned_N3[order_N, 0] / turned_N3[order_N, 2]).astype(int)
    row_N = (height / 2 + scale * turned_N3[order_N, 1] / turned_N3[order_N, 2]).astype(int)
    drawn_HW3 = np.full((height, width, 3), INK)
    for down in range(2):
        for right in range(2):
            y_N, x_N = row_N + down, column_N + right
            inside_N = (y_N >= 0) & (y_N < height) & (x_N >= 0) & (x_N < width)
            drawn_HW3[y_N[inside_N], x_N[inside_N]] = cloud.colours_N3[order_N][inside_N]
    return drawn_HW3


def row_of(model: Model, view: View) -> list[np.ndarray]:
    """Tiles of one place, uint8 RGB."""
    (result,) = model(view.image_HW3, focal_px=view.camera.focal_px)
    assert isinstance(result, MetricDepth)
    normals = result.normals()
    assert normals is not None
    truth_HW = np.where(view.depth_m_HW > 0, view.depth_m_HW, np.nan)
    found_HW = np.where(result.depth_m_HW < result.reach_m, result.depth_m_HW, np.nan)
    return [
        enlarged(view.image_HW3),
        draw_metric_depth(enlarged(truth_HW)),
        draw_metric_depth(enlarged(found_HW)),
        enlarged(drawing.draw_normals(normals.normals_HW3, CAMERA.to_display)),
        seen_from_beside(result.cloud(), TILE_HW),
    ]


def enlarged(values: np.ndarray) -> np.ndarray:
    """A tile of the sheet."""
    return np.asarray(cv2.resize(values, TILE_HW[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def main() -> None:
    """Write the sheet."""
    model = load(DEFAULT_MODELS["depth"], dtype="float32")
    wanted = [view for view in held_out_views(60) if view.image_HW3.shape[1] > 1.3 * view.image_HW3.shape[0]]
    tiles = [tile for place in SHOWN for tile in row_of(model, wanted[place])]
    captions = ["picture", "true depth", "measured depth", "measured normals", "point cloud"] * len(SHOWN)
    sheet_HW3 = drawing.side_by_side(tiles, captions, height=TILE_HW[0], columns=5)
    cv2.imwrite(str(TARGET), sheet_HW3[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
