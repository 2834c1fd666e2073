"""The user's own pictures: crops to compare on, the stages of the comparison, and the worst one drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.artefacts.examination import Candidate, examine_more
from vitruvian.artefacts.pictures import PictureSubject
from vitruvian.audit import Crop
from vitruvian.errors import UsageError
from vitruvian.fit.quality import Quality
from vitruvian.media.items import Item
from vitruvian.media.listing import list_inputs
from vitruvian.media.read_ahead import read_ahead
from vitruvian.tasks.base import Task

STAGES = (1, 8, 64)
"""One picture tells most; each further stage is looked at only where the one before was good enough."""


@dataclass(frozen=True, kw_only=True)
class PictureCrop(Crop):
    """A crop with the picture it shows whole."""

    image_HW3: np.ndarray
    name: str


def crops_of(place: Path, task: Task, count: int) -> tuple[PictureCrop, ...]:
    """Whole pictures from a place, as many as are wanted; what cannot be read is left out.

    Raises:
        UsageError: none can be read.
    """
    crops: list[PictureCrop] = []
    for item in read_ahead(list_inputs([place], recursive=False), workers=1, ahead=2):
        if isinstance(item, Item):
            canvas_HW3, geometry = task.prepare(item.image_HW3, None)
            crops.append(
                PictureCrop(canvas_HW3=canvas_HW3, geometry=geometry, image_HW3=item.image_HW3, name=item.name)
            )
        if len(crops) == count:
            break
    if not crops:
        raise UsageError(f"got --check-on {place.name} without a readable picture; expected pictures; name a folder")
    return tuple(crops)


def further_check(
    subject: PictureSubject, place: Path, largest: int, quality: Quality | None
) -> Callable[[Candidate, Path], tuple[Sequence[str], Mapping[str, Any]]] | None:
    """What a climb does with each artefact that did well: the user's own pictures, in stages.

    Args:
        subject: With the user's crops first.
        place: Where they come from, for messages.
        largest: Batch of a call.
        quality: What must be kept; None: only numbers are wanted.
    """
    own = [crop for crop in subject.crops if isinstance(crop, PictureCrop)]
    if not own or subject.reference is None:
        return None
    narrowed = replace(subject, crops=own, reference=subject.reference[: len(own)])

    def check(candidate: Candidate, picture: Path) -> tuple[Sequence[str], Mapping[str, Any]]:
        found = examine_more(candidate, narrowed, STAGES, largest, lambda seen: seen.misses(quality))
        worst = own[found.worst_place]
        numbers = {"pictures": found.inputs, "distances": dict(found.distances), "worst": worst.name}
        if not (subject.meaningless or found.non_finite):
            ran = candidate.run(narrowed.inputs([found.worst_place]), [0], 0.0)
            outputs = {name: value[0] for name, value in ran.rows.items()}
            _draw(picture, narrowed.drawn(found.worst_place, outputs, worst.image_HW3))
            numbers["drawn"] = f"{picture.parent.name}/{picture.name}"
        return [f"{miss} (on {worst.name} of {place.name})" for miss in found.misses(quality)], numbers

    return check


def _draw(path: Path, image_HW3: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image_HW3).save(path)
