"""The demonstration of `animate`: one rendered person moves as another does, without downloads or arguments.

In: a folder. Out: the picture, the driving video, the video made of them, all three side by side as a video and as a
sheet. Seeds are held out: the embedded networks never saw these persons.
"""

# Shape suffixes: F frames, H W frame, 3 = RGB.

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vitruvian.animating.road import animate
from vitruvian.animating.session import OnProgress
from vitruvian.animating.wish import AnimateJob, AnimateWish
from vitruvian.media.atomic import write_atomic
from vitruvian.media.png import encode_png
from vitruvian.media.video.joining import joined
from vitruvian.media.video.reading import read_frames
from vitruvian.media.video.writing import SegmentWriter
from vitruvian.tasks.drawing import side_by_side
from vitruvian.training.animation.clips import calm_clip, clip_views
from vitruvian.training.animation.recipe import DenoiserRecipe
from vitruvian.zoo import default_animation

RENDERED_HW = (384, 288)
FRAMES = 24
PERSON_SEED, DRIVING_SEED = 97_000_011, 97_000_024
PERSON, DRIVING, MADE, LOOK, SHEET = "person.png", "driving.mp4", "made.mp4", "look.mp4", "contact-sheet.png"
SHEET_COLUMNS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoAnimation:
    """What the demonstration made."""

    made: Path
    look: Path
    """Picture, driving video and result side by side."""
    sheet: Path


def run_demo_animate(
    out: Path, report: Callable[[str], None] = print, on_progress: OnProgress = lambda *_: None
) -> DemoAnimation:
    """Render a picture and a driving video, animate, and show all beside each other."""
    recipe = replace(DenoiserRecipe(), frames=FRAMES)
    person_HW3 = clip_views(calm_clip(recipe, PERSON_SEED, RENDERED_HW))[0].image_HW3
    write_atomic(out / PERSON, encode_png(person_HW3))
    driving = [view.image_HW3 for view in clip_views(calm_clip(recipe, DRIVING_SEED, RENDERED_HW))]
    times_s = [frame / recipe.fps for frame in range(FRAMES)]
    _write_video(driving, times_s, out / DRIVING)
    report(f"rendered {PERSON} and {DRIVING} -> {out}")
    job = AnimateJob(
        person=out / PERSON,
        driving=out / DRIVING,
        out=out / MADE,
        model=default_animation(),
        wish=AnimateWish(mode="overwrite"),
    )
    done = animate(job, on_progress=on_progress)
    report(f"animate: {done.frames} frames in {done.seconds:.0f} s -> {done.out}")
    with read_frames(out / MADE) as reader:
        made = [_as_high_as(frame.image_HW3, RENDERED_HW[0]) for frame in reader]
    rows = [np.concatenate(row, axis=1) for row in zip([person_HW3] * len(made), driving, made, strict=True)]
    _write_video(rows, times_s, out / LOOK)
    places = np.linspace(0, len(made) - 1, SHEET_COLUMNS).round().astype(int)
    images = [person_HW3, *(driving[place] for place in places), person_HW3, *(made[place] for place in places)]
    captions = ["picture", *(f"driving {place}" for place in places), "picture", *(f"made {place}" for place in places)]
    sheet_HW3 = side_by_side(images, captions, height=RENDERED_HW[0] // 2, columns=1 + SHEET_COLUMNS)
    write_atomic(out / SHEET, encode_png(sheet_HW3))
    return DemoAnimation(made=out / MADE, look=out / LOOK, sheet=out / SHEET)


def _write_video(images: Sequence[np.ndarray], times_s: Sequence[float], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, SegmentWriter(Path(folder), frames_per_segment=1 << 30) as writer:
        for image_HW3, time_s in zip(images, times_s, strict=True):
            writer.write(image_HW3, time_s)
        joined(writer.finish(), path)


def _as_high_as(image_HW3: np.ndarray, height: int) -> np.ndarray:
    width = round(image_HW3.shape[1] * height / image_HW3.shape[0])
    return cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_CUBIC)
