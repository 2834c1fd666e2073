"""A Metric3D v2 network of 56x84 pixels, and pictures whose depth is known."""

from __future__ import annotations

import numpy as np

from vitruvian.models.metric3d import Metric3dConfig, RefinerConfig, VitConfig
from vitruvian.training.metric.samples import MetricPicture

DECODER = RefinerConfig(quarter_width=4, seventh_width=8, shared_width=6, hidden=8, steps=2, anchors=16, normal_width=8)
TINY = Metric3dConfig(
    encoder=VitConfig(width=16, depth=2, heads=2, mlp_width=32, grid=3), decoder=DECODER, input_hw=(56, 84)
)


def slope(height: int, width: int, focal_px: float = 200.0) -> MetricPicture:
    """Depth grows by 1 cm a row and 1 mm a column from 1 m on; normals lean right; the picture tells rows and
    columns."""
    rows, columns = np.mgrid[:height, :width]
    image_HW3 = np.stack([rows % 256, columns % 256, np.full_like(rows, 7)], axis=2).astype(np.uint8)
    normals_HW3 = np.broadcast_to(np.array([0.6, 0.0, -0.8], np.float32), (height, width, 3))
    depth_m_HW = (1 + 0.01 * rows + 0.001 * columns).astype(np.float32)
    return MetricPicture(image_HW3=image_HW3, depth_m_HW=depth_m_HW, focal_px=focal_px, normals_HW3=normals_HW3)
