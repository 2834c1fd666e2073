"""Pictures that come with the package: what the demonstration shows and audits look at."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def bundled_pictures() -> Path:
    """Folder with the demo pictures and their person boxes (`boxes.json`)."""
    return Path(str(resources.files("vitruvian").joinpath("data", "demo")))
