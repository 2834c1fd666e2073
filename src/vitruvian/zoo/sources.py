"""Where weight files lie: in this package, on the user's disk, on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from vitruvian.hub import RemoteFile

OWN_LICENCE = "apache-2.0"
WEIGHTS_NAME = "model.safetensors"
"""Of the one weight file in a repository on the hub, or a folder like one."""
UNKNOWN_LICENCE = "unknown (a file of your own)"


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedFile:
    """A weight file inside this package, by path under `vitruvian/data`."""

    path: str

    def locate(self) -> Path:
        """Where it lies on disk."""
        return Path(str(resources.files("vitruvian").joinpath("data", self.path)))


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A weight file of the user's."""

    path: Path


WeightSource = PackagedFile | LocalFile | RemoteFile
