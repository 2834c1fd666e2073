"""The demonstration of `animate`: a drawn person moves as another one does, with the embedded network.

In: nothing. Out: a picture of one person, a clip of another, the video of the first moving like the second, and a
sheet and a video of it all to look at. Drawing both persons and decoding dominate.
"""

# Shape suffixes: F frames, H W frame, 3 = RGB.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from vitruvian import zoo
from vitruvian.animating.road import animate
from vitruvian.animating.session import OnProgress
from vitruvian.animating.wish import AnimateJob, AnimateWish
from vitruvian.media.atomic import write_atomic
from vitruvian.media.png import encode_png
from vitruvian.media.video.clips import write_clip
from vitruvian.media.video.reading import read_frames
from vitruvian.models.mimicmotion import NANO
from vitruvian.people import render
from vitruvian.tasks.drawing import side_by_side
from vitruvian.training.animation.clips import calm_clip
from vitruvian.training.animation.recipe import DenoiserRecipe

PERSON_SEED, DRIVING_SEED = 97_000_052, 97_000_042
"""Of persons that no training saw; both face the viewer."""
DRAWN_HW = (384, 288)
FRAMES, SHOWN = 24, 6
RECIPE = replace(DenoiserRecipe(), frames=FRAMES, calm=DenoiserRecipe().calm * NANO.input_hw[0] / DRAWN_HW[0])
"""As calm, at the network's size, as what it was trained on."""
CELL_HEIGHT_PX = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimateDemo:
    """What the demonstration made."""

    video: Path
    beside: Path
    """Picture, driving video and made video in one frame."""
    sheet: Path


def run_demo_animate(
    out: Path, *, report: Callable[[str], None] = print, on_progress: OnProgress = lambda *_: None
) -> AnimateDemo:
    """Draw two persons, let the first move as the second does, and show it.

    Raises:
        UsageError: the video extra is missing, the folder cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    person_HW3, drive_F = _drawn(PERSON_SEED, 1)[0], _drawn(DRIVING_SEED, FRAMES)
    person, driving, made = out / "person.png", out / "driving.mp4", out / "made.mp4"
    write_atomic(person, encode_png(person_HW3))
    write_clip(driving, ((image_HW3, number / RECIPE.fps) for number, image_HW3 in enumerate(drive_F)))
    report(f"drew a person and a clip of another: {person}, {driving}")
    wish = AnimateWish(mode="overwrite")
    done = animate(
        AnimateJob(person=person, driving=driving, out=made, model=zoo.NANO_ANIMATION_NAME, wish=wish),
        on_progress=on_progress,
    )
    report(f"{done.frames} frames in {done.seconds:.0f} s -> {made}")
    frames_F = [(frame.image_HW3, frame.time_s) for frame in read_frames(made)]
    demo = AnimateDemo(video=made, beside=out / "look.mp4", sheet=out / "contact-sheet.png")
    write_clip(demo.beside, _beside(person_HW3, drive_F, frames_F))
    write_atomic(demo.sheet, encode_png(_sheet(person_HW3, drive_F, [image_HW3 for image_HW3, _ in frames_F])))
    return demo


def _drawn(seed: int, frames: int) -> list[np.ndarray]:
    """The first frames of a clip."""
    scenes = islice(calm_clip(RECIPE, seed, DRAWN_HW), frames)
    return [render(scene, supersample=2).image_HW3 for scene in scenes]


def _beside(
    person_HW3: np.ndarray, drive_F: Sequence[np.ndarray], made_F: Sequence[tuple[np.ndarray, float]]
) -> Iterator[tuple[np.ndarray, float]]:
    for drive_HW3, (made_HW3, time_s) in zip(drive_F, made_F, strict=True):
        larger_HW3 = cv2.resize(made_HW3, DRAWN_HW[::-1], interpolation=cv2.INTER_CUBIC)
        yield np.concatenate([person_HW3, drive_HW3, larger_HW3], axis=1), time_s


def _sheet(person_HW3: np.ndarray, drive_F: Sequence[np.ndarray], made_F: Sequence[np.ndarray]) -> np.ndarray:
    """Two rows: what drives, and what was made below it."""
    shown = np.linspace(0, len(made_F) - 1, SHOWN).round().astype(int)
    images = [person_HW3, *(drive_F[index] for index in shown), person_HW3, *(made_F[index] for index in shown)]
    captions = ["this person", *(f"moves so, {index}" for index in shown), "", *(f"made, {index}" for index in shown)]
    return side_by_side(images, captions, height=CELL_HEIGHT_PX, columns=1 + SHOWN)
