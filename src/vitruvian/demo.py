"""The bundled demonstration: four tasks on bundled pictures with the embedded networks, and one contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitruvian.bundled import bundled_pictures
from vitruvian.jobs import Job, Progress, run_job
from vitruvian.loading import load
from vitruvian.media.atomic import write_atomic
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry
from vitruvian.media.names import output_name
from vitruvian.media.png import encode_png
from vitruvian.tasks.drawing import side_by_side
from vitruvian.zoo import NANO_MODELS, SapiensTask

TASKS: tuple[SapiensTask, ...] = ("pose", "seg", "depth", "normal")
SHEET_FILE = "contact-sheet.png"
CELL_HEIGHT_PX = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """What the demonstration made."""

    sheet: Path
    jobs: dict[SapiensTask, Progress]


def run_demo(out: Path, report: Callable[[str], None] = print) -> DemoReport:
    """Run the four embedded networks over the bundled pictures into `out/<task>` and draw the contact sheet."""
    pictures = bundled_pictures()
    jobs: dict[SapiensTask, Progress] = {}
    for task in TASKS:
        model = load(NANO_MODELS[task])
        boxes = pictures / "boxes.json" if task == "pose" else None
        jobs[task] = run_job(model, Job(inputs=[str(pictures)], out=out / task, mode="overwrite", boxes=boxes))
        report(f"{task}: {jobs[task].done} pictures, {jobs[task].per_second:.1f}/s -> {out / task}")
    names = sorted(path.name for path in pictures.iterdir() if path.suffix in (".jpg", ".png"))
    write_atomic(out / SHEET_FILE, encode_png(_sheet(pictures, names, out)))
    return DemoReport(sheet=out / SHEET_FILE, jobs=jobs)


def _sheet(pictures: Path, names: list[str], out: Path) -> np.ndarray:
    """One row per picture: the picture, then each task's drawing."""
    images, captions = [], []
    for name in names:
        images += [_read(pictures / name), *(_read(_drawing(out, task, name)) for task in TASKS)]
        captions += [name, *TASKS]
    return side_by_side(images, captions, height=CELL_HEIGHT_PX, columns=1 + len(TASKS))


def _drawing(out: Path, task: str, name: str) -> Path:
    return out / task / f"{output_name(name)}.{task}.drawn.jpg"


def _read(path: Path) -> np.ndarray:
    return read_picture(Entry(name=path.name, path=path, payload=None, index=0)).image_HW3
