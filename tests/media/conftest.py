"""Small pictures in every form, and child processes that see the same package."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitruvian
from vitruvian.media.items import Entry


@pytest.fixture
def child_env() -> dict[str, str]:
    """Environment in which a child process imports the package under test, wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(Path(vitruvian.__file__).parents[1])}


@pytest.fixture
def picture_HW3() -> np.ndarray:
    """uint8 RGB (40,60,3): smooth, so that JPEG keeps it nearly, and different in every corner and channel."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, (x + y) * 2 + 20], axis=-1).astype(np.uint8)


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Encode an array or a Pillow picture: `encode(picture, "PNG", **options)`."""

    def encoded(picture: np.ndarray | Image.Image, format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encoded


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., Entry]:
    """Write bytes as a file and give its entry: `entry(data, "a.jpg")`."""

    def made(data: bytes, name: str = "a.png") -> Entry:
        path = tmp_path / name
        path.write_bytes(data)
        return Entry(name=name, path=path, payload=None, index=0)

    return made
