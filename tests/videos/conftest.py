"""A clip of two rendered persons, as pictures and as a file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vitruvian.people import random_clip, render

FRAMES, FPS = 14, 10


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    clip = random_clip(90_000_001, persons=2, frames=FRAMES, fps=FPS, height=96, width=128)
    return [render(scene).image_HW3 for scene in clip]


@pytest.fixture
def clip(tmp_path: Path, pictures: list[np.ndarray]) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path
