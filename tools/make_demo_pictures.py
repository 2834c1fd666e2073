"""Make the bundled demo pictures: four synthetic scenes; the NASA portrait beside them is kept as it is.

`python tools/make_demo_pictures.py` writes JPEGs and `boxes.json` (COCO-free: name -> [x0, y0, x1, y1, score]) into
`src/vitruvian/data/demo`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vitruvian.people import random_scene, render

FOLDER = Path(__file__).parents[1] / "src" / "vitruvian" / "data" / "demo"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One scene, chosen by eye among random seeds."""

    seed: int
    persons: int
    framing: str


PICTURES = {
    "one.jpg": Picture(seed=6008, persons=1, framing="full"),
    "near.jpg": Picture(seed=6007, persons=1, framing="upper"),
    "two.jpg": Picture(seed=6013, persons=2, framing="full"),
    "three.jpg": Picture(seed=6018, persons=3, framing="full"),
}
SIDE = 512
PORTRAIT = "astronaut.jpg"
PORTRAIT_BOX = [48, 0, 420, 512, 1.0]
"""The person in the portrait, drawn by hand."""


def main() -> None:
    """Render, encode and write."""
    boxes: dict[str, list[list[float]]] = {PORTRAIT: [PORTRAIT_BOX]}
    for name, picture in PICTURES.items():
        scene = random_scene(
            picture.seed,
            persons=picture.persons,
            height=SIDE,
            width=SIDE,
            framing=picture.framing,  # type: ignore[arg-type]
        )
        view = render(scene, supersample=2, effects=False)
        cv2.imwrite(str(FOLDER / name), view.image_HW3[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        boxes[name] = [[*np.round(box, 1).tolist(), 1.0] for box in view.boxes_P4 if np.isfinite(box).all()]
    (FOLDER / "boxes.json").write_text(json.dumps(boxes, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
