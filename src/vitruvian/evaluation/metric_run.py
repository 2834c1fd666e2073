"""How depth in metres is held against a folder: protocol, alignment, logarithms, and the camera behind each picture.

A folder that was found and what the user asked for -> a tally, the samples as they are to be read, and their cameras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vitruvian.datasets.depth_protocols import AS_STORED, DepthProtocol
from vitruvian.datasets.layouts import Sample
from vitruvian.datasets.metric_layouts import MetricFound, protocol_named
from vitruvian.errors import UsageError
from vitruvian.evaluation.metric_accuracy import ALIGNMENTS, LOG_BASES, Alignment, LogBase, MetricTally
from vitruvian.media.items import Item
from vitruvian.picture_cameras import PictureCameras
from vitruvian.tasks.cameras import CameraWish


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricWish:
    """What a user says about the measurement of metres."""

    protocol: DepthProtocol | None = None
    """None: what the folder is of."""
    alignment: Alignment = "none"
    log_base: LogBase = "e"


USUAL = MetricWish()


def wish_of(protocol: str | None, alignment: str, log_base: str) -> MetricWish:
    """Of the options' words; `UsageError` for others."""
    align = next((one for one in ALIGNMENTS if one == alignment), None)
    base = next((one for one in LOG_BASES if one == log_base), None)
    if align is None:
        raise UsageError(f"got --align {alignment}; expected {', '.join(ALIGNMENTS)}; name one of them")
    if base is None:
        raise UsageError(f"got --log-base {log_base}; expected e, or 10 as in the published program; name one of them")
    return MetricWish(protocol=None if protocol is None else protocol_named(protocol), alignment=align, log_base=base)


class SampleCameras(PictureCameras):
    """The cameras of samples: what the folder or the protocol says, else EXIF, else an assumption."""

    def __init__(self, found: MetricFound, samples: Sequence[Sample], protocol: DepthProtocol) -> None:
        super().__init__(CameraWish())
        self._found_in, self._samples, self._protocol = found, samples, protocol

    def wish_for(self, item: Item) -> CameraWish:
        """`InputError` where the picture's own file of a camera cannot be used."""
        return CameraWish(table=self._found_in.camera(self._samples[item.index], self._protocol))


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSetting:
    """What is measured, and by what."""

    tally: MetricTally
    samples: tuple[Sample, ...]
    cameras: PictureCameras


def metric_setting(found: MetricFound, wish: MetricWish, chosen: Sequence[Sample]) -> MetricSetting:
    """A folder, the user's wish, and the samples of the folder to measure on together."""
    protocol = wish.protocol or found.own or AS_STORED
    samples = found.read_as(protocol, chosen)

    tally = MetricTally(protocol=protocol, alignment=wish.alignment, log_base=wish.log_base)
    return MetricSetting(tally=tally, samples=samples, cameras=SampleCameras(found, samples, protocol))


def camera_notes(sources: Counter[str]) -> list[str]:
    """What a reader must know about the cameras of the measured pictures, counted by who said so."""
    assumed, exif = sources["assumed"], sources["EXIF"]
    notes = []
    if exif:
        notes.append(f"{exif} of {sources.total()} pictures have their focal length from EXIF alone")
    if assumed:
        notes.append(
            f"{assumed} of {sources.total()} pictures have no known camera, their focal length was assumed: their "
            "metres are no measurement"
        )
    return notes
