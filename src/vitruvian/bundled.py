"""What comes with the package: pictures that demonstrations show and audits look at, programs for other machines."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def bundled_pictures() -> Path:
    """Folder with the demo pictures and their person boxes (`boxes.json`)."""
    return Path(str(resources.files("vitruvian").joinpath("data", "demo")))


def bundled_runner(name: str) -> Path:
    """A program of one file that needs no more than NumPy, ONNX Runtime and Pillow."""
    return Path(str(resources.files("vitruvian").joinpath("data", "runners", name)))
