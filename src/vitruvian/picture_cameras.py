"""The cameras behind the pictures of one run: found for each, counted, and told.

Pictures in, `Camera` values out; afterwards a decision for `run.json`, and a warning where a focal length was assumed.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

from vitruvian.fit.decisions import Decision
from vitruvian.media.items import Item
from vitruvian.tasks.cameras import ASSUMED_FOCAL, Camera, CameraWish


class PictureCameras:
    """Finds a picture's camera: what the user says, else its own EXIF data, else an assumption."""

    def __init__(self, wish: CameraWish) -> None:
        self._wish = wish
        self._found: Counter[str] = Counter()
        self._turn = Lock()

    def __call__(self, item: Item) -> Camera:
        """The camera of a picture or a frame; `InputError` where what was said cannot be of it."""
        source_hw = item.image_HW3.shape[0], item.image_HW3.shape[1]
        camera = self.wish_for(item).camera(source_hw, name=item.stream or item.name, focal_35mm=item.focal_35mm)
        with self._turn:
            self._found[camera.source] += 1
        return camera

    def wish_for(self, item: Item) -> CameraWish:
        """What is said about the camera of a picture; folders of samples have one for each."""
        return self._wish

    @property
    def assumed(self) -> int:
        """Pictures whose focal length nobody knows."""
        return self._found["assumed"]

    def decision(self) -> Decision | None:
        """Where the cameras came from; None: no picture was looked at."""
        if not self._found:
            return None
        value = ", ".join(f"{count} {source}" for source, count in sorted(self._found.items()))
        return Decision(what="cameras", value=value, because=self.warning() or "every picture's focal length is known")

    def warning(self) -> str | None:
        """What a user must know; None: every camera is known."""
        if not self.assumed:
            return None
        return (
            f"{self.assumed} without a known camera: a focal length of {ASSUMED_FOCAL:g} x the longer side was "
            "assumed, so their metres are not metric; give --focal-px, --fov-deg or --intrinsics"
        )
