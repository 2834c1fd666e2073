"""Draw `docs/pictures/people.jpg`: random synthetic people as networks see them, and the labels of a few."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vitruvian.people import View, random_scene, render
from vitruvian.tasks.drawing import draw_depth, draw_normals
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.normal import CAMERA

TARGET = Path(__file__).parents[1] / "docs" / "pictures" / "people.jpg"
FIRST_SEED = 3100
COLUMNS, ROWS, LABELLED = 12, 3, 3
HEIGHT, WIDTH = 256, 192


def labels_of(view: View) -> list[np.ndarray]:
    """The picture, its parts, depth and normals, uint8 RGB."""
    person_HW = view.person_ids_HW > 0
    parts = np.asarray(label_set(28).palette, np.uint8)[view.part_labels_HW]
    return [
        view.image_HW3,
        parts,
        draw_depth(view.depth_m_HW, person_HW),
        draw_normals(view.normals_HW3, CAMERA.to_display),
    ]


def main() -> None:
    """Rows of pictures, then rows of pictures with their labels."""
    views = [
        render(random_scene(FIRST_SEED + i, persons=1 + (i % 5 == 4), height=HEIGHT, width=WIDTH))
        for i in range(COLUMNS * ROWS)
    ]
    rows = [[view.image_HW3 for view in views[start : start + COLUMNS]] for start in range(0, len(views), COLUMNS)]
    rows.append([tile for view in views[:LABELLED] for tile in labels_of(view)])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    cv2.imwrite(str(TARGET), cv2.resize(sheet[..., ::-1], None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
