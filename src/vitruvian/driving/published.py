"""The published source of poses: a person detector (YOLOX) and a whole-body network (RTMPose), two ONNX files.

Frames -> boxes -> 133 points a person. Both networks get batches: several frames, and persons of several frames, where
their files take more than one. The whole-body network dominates.
"""

# Shape suffixes: B rows of a batch, P persons, W = 133 points, R rows of the detector, X Y score bins, H W frame.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vitruvian.animation import person_boxes, whole_body
from vitruvian.driving.persons import FramePersons, nobody
from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.weight_files import sha256_of

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""A batch in, outputs in the order of the file."""
FRAMES, PERSONS = 8, 16
"""Rows of a call of the detector, and of the whole-body network, where the file leaves them open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxNetwork:
    """One ONNX file, opened."""

    run: Run
    batch: int | None
    """Rows that every call must have; None: any number."""

    def __call__(self, rows: Sequence[np.ndarray], most: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Outputs of each row, in order; a fixed batch is filled with the last row."""
        size = self.batch or most
        for start in range(0, len(rows), size):
            part = list(rows[start : start + size])
            padding = [part[-1]] * (size - len(part)) if self.batch else []
            outputs = self.run(np.stack(part + padding))
            yield from (tuple(output[place] for output in outputs) for place in range(len(part)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedPoses:
    """Detector and whole-body network; a `PoseSource`."""

    detector: OnnxNetwork
    whole_body: OnnxNetwork
    identity: str

    def persons(self, frames: Iterable[np.ndarray]) -> Iterator[FramePersons]:
        """Persons of frames, in order.

        As published, a frame without a box is looked at whole, as if one person filled it; whoever shows no body point
        there is nobody.
        """
        stream = iter(frames)
        while part := list(islice(stream, FRAMES)):
            yield from self._of_some(part)

    def _of_some(self, frames: Sequence[np.ndarray]) -> Iterator[FramePersons]:
        letterboxed = [person_boxes.letterboxed(frame_HW3) for frame_HW3 in frames]
        sizes = [(frame_HW3.shape[0], frame_HW3.shape[1]) for frame_HW3 in frames]
        boxes = [
            person_boxes.persons_of(rows_R85, size_hw)
            for (rows_R85, *_), size_hw in zip(self.detector(letterboxed, FRAMES), sizes, strict=True)
        ]
        crops = [[whole_body.crop_of(box_4) for box_4 in boxes_P4] for boxes_P4 in boxes]
        rows = [
            whole_body.network_input(whole_body.cut_out(frame_HW3, crop))
            for frame_HW3, of_frame in zip(frames, crops, strict=True)
            for crop in of_frame
        ]
        outputs = self.whole_body(rows, PERSONS)
        for size_hw, boxes_P4, of_frame in zip(sizes, boxes, crops, strict=True):
            of_crops = zip(of_frame, islice(outputs, len(of_frame)), strict=True)
            decoded = [whole_body.points_of(x_WX, y_WY, crop) for crop, (x_WX, y_WY) in of_crops]
            yield _frame(decoded, boxes_P4, size_hw)


def _frame(
    decoded: Sequence[tuple[np.ndarray, np.ndarray]], boxes_P4: np.ndarray, size_hw: tuple[int, int]
) -> FramePersons:
    found = FramePersons(
        points_PW2=np.stack([points_W2 for points_W2, _ in decoded]),
        scores_PW=np.stack([scores_W for _, scores_W in decoded]).astype(np.float64),
        boxes_P4=boxes_P4.astype(np.float64),
        size_hw=size_hw,
    )
    whole_frame = bool((boxes_P4 == (0, 0, size_hw[1], size_hw[0])).all())
    return nobody(size_hw) if whole_frame and not found.poses().seen_PB.any() else found


def open_published(
    detector: Path, whole: Path, *, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> PublishedPoses:
    """Open both files with ONNX Runtime.

    Raises:
        UsageError: ONNX Runtime is missing.
        RefusedError: a file that ONNX Runtime cannot read, or that is another network.
    """
    opened = {
        "a person detector": _opened(detector, (3, person_boxes.SIDE, person_boxes.SIDE), 1, providers),
        "a whole-body network": _opened(whole, (3, *whole_body.INPUT_HW), 2, providers),
    }
    first, second = opened.values()
    identity = f"{sha256_of(detector)}+{sha256_of(whole)}"
    return PublishedPoses(detector=first, whole_body=second, identity=identity)


def _opened(path: Path, shape: tuple[int, int, int], outputs: int, providers: Sequence[str]) -> OnnxNetwork:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "got no package onnxruntime; expected it for the published pose networks; run `pip install "
            "'vitruvian[animate]'`, or take the poses of a model such as sapiens-pose-1b"
        ) from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=list(providers))
    except Exception as error:  # the library has no base class of its own
        reason = str(error).splitlines()[0]
        raise RefusedError(
            f"got {path.name}, which ONNX Runtime cannot open ({reason}); fetch the file again"
        ) from error
    (entry,) = session.get_inputs()
    if tuple(entry.shape[1:]) != shape or len(session.get_outputs()) != outputs:
        raise RefusedError(
            f"got {path.name} with an input of {entry.shape} and {len(session.get_outputs())} outputs; expected "
            f"batches of {shape} and {outputs}; put the published file in its place"
        )
    fixed = entry.shape[0] if isinstance(entry.shape[0], int) else None
    return OnnxNetwork(run=lambda batch: session.run(None, {entry.name: batch}), batch=fixed)
