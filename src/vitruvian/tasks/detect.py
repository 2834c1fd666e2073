"""Persons in a picture: canvas in, boxes with scores out.

Picture -> canvas (aspect not kept) -> one logit and one box per query or cell -> `Detections` in source pixels. Works
for networks that answer once per person (RT-DETR and its kin) and for those that need suppression of doubles.
"""

# Shape suffixes: B pictures, N queries or cells, C classes, D kept candidates, P persons, 4 = cx cy w h or x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.boxes import overlaps, suppressed
from vitruvian.errors import UsageError
from vitruvian.tasks import preprocess
from vitruvian.tasks.base import Geometry, Provenance, Region, Result, Sink
from vitruvian.tasks.dense import about_result, check_array, describe
from vitruvian.tasks.gathering import InTurn, only_one
from vitruvian.tasks.id_drawing import draw_boxes

MOST = 300
"""Candidates of a picture that are looked at; more persons than that are not told apart at the canvas' size anyway."""

FAINT_SCORE = 0.1
"""Candidates below are forgotten. Those between this and the task's own threshold are no persons by themselves, but
whoever follows persons over a video may recognise one who is half hidden."""

COMPARED_SCORE = 0.4
"""Persons that an audit looks for on the other side: far enough above thresholds that rounding cannot cost them."""

FORMAT_VERSION = 1
"""Grows when a reader of `detect.json` would have to change."""

FRAME = "source pixels, x right, y down, (0,0) is the outer corner of the top-left pixel"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Detections(Result):
    """Persons of one picture, the most certain first."""

    kind: ClassVar[str] = "detect"
    formats: ClassVar[tuple[str, ...]] = ("json", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("json", "draw")

    boxes_P4: np.ndarray
    """float32 x0, y0, x1, y1 in source pixels between the outer edges of pixels, inside the picture."""
    scores_P: np.ndarray
    """float32 confidence, 0..1, descending; those below `min_score` are only for whoever follows persons."""
    min_score: float
    """From here on a candidate counts as a person."""
    source_hw: tuple[int, int]
    """Height and width of the picture."""

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.boxes_P4, "boxes_P4", np.float32, 2)
        check_array(self.scores_P, "scores_P", np.float32, 1)
        if self.boxes_P4.shape != (len(self.scores_P), 4):
            raise ValueError(f"got boxes_P4 {self.boxes_P4.shape}; expected {(len(self.scores_P), 4)}")

    @property
    def regions(self) -> tuple[Region, ...]:
        """The persons; candidates below the threshold are left out."""
        return tuple(region for region in self.candidates if region.score >= self.min_score)

    @property
    def candidates(self) -> tuple[Region, ...]:
        """Everything that was found, faint candidates too."""
        return tuple(
            Region(box_xyxy=(float(x0), float(y0), float(x1), float(y1)), score=float(score))
            for (x0, y0, x1, y1), score in zip(self.boxes_P4, self.scores_P, strict=True)
        )

    def about(self) -> dict[str, Any]:
        """Model, licence and frame. JSON-able."""
        return about_result(self, self.source_hw, persons=len(self.regions), min_score=self.min_score, frame=FRAME)

    def line(self) -> dict[str, Any]:
        """The persons as in `detect.json`."""
        return {"persons": self._persons()}

    def draw(self) -> np.ndarray:
        """The picture with a frame round every person, uint8 RGB (H,W,3)."""
        return draw_boxes(self.source_image(), [region.box_xyxy for region in self.regions])

    def write(self, sink: Sink) -> None:
        """`detect.json` ([{box_xyxy, score}]) and `detect.drawn.jpg`."""
        if sink.wants("json"):
            head = {"format": "vitruvian-detect", "version": FORMAT_VERSION}
            sink.write_json("detect.json", {**head, **self.about(), "persons": self._persons()})
        if sink.wants("draw"):
            sink.write_picture("detect.drawn.jpg", self.draw(), self.about())

    def _persons(self) -> list[dict[str, Any]]:
        return [
            {"box_xyxy": [round(value, 3) for value in region.box_xyxy], "score": round(region.score, 5)}
            for region in self.regions
        ]


NO_MEAN, BYTE_RANGE = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)
"""Detectors take colours from 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectTask:
    """Detection of persons."""

    name: ClassVar[str] = "detect"
    result: ClassVar[type[Result]] = Detections

    input_hw: tuple[int, int]
    """Canvas height and width."""
    person: int = 0
    """Class of persons among the network's logits."""
    min_score: float = 0.3
    """From here on a candidate counts (the published pose programs' threshold)."""
    overlap: float | None = None
    """Intersection over union from which on the less certain of two boxes is dropped; None: the network answers once
    for each person."""

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """The whole picture on the canvas, aspect not kept, areas averaged where it shrinks; `UsageError` for a region.

        Done on the host: pictures of one batch differ in size, canvases do not, and 1/20 of the bytes travels.
        """
        if region is not None:
            raise UsageError("got a region for a detector; expected the whole picture; leave the boxes out")
        preprocess.check_picture(image_HW3)
        height, width = self.input_hw
        shrinks = image_HW3.shape[0] > height or image_HW3.shape[1] > width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        canvas = cv2.resize(image_HW3, (width, height), interpolation=how)
        return canvas, preprocess.whole_geometry(image_HW3, self.input_hw)

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """uint8 canvases -> float32 (B,3,h,w) in 0..1 on their device."""
        return preprocess.normalise(canvas_BHW3, mean_rgb=NO_MEAN, std_rgb=BYTE_RANGE)

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B,N) or (B,N,C) and boxes (B,N,4) as cx, cy, w, h shares of the canvas -> the best candidates.

        Returns:
            "scores" float32 (B,D) descending, "boxes" float32 (B,D,4) as x0, y0, x1, y1 shares, D = min(N, 300).
        """
        logits, boxes_BN4 = raw["logits"].float(), raw["boxes"].float()
        logits_BN = logits[..., self.person] if logits.ndim == 3 else logits
        scores_BD, best_BD = logits_BN.sigmoid().topk(min(MOST, logits_BN.shape[1]), dim=1)
        boxes_BD4 = boxes_BN4.gather(1, best_BD[..., None].expand(-1, -1, 4))
        centre, half = boxes_BD4[..., :2], boxes_BD4[..., 2:] / 2
        corners_BD4 = torch.cat([centre - half, centre + half], dim=2).clamp(0, 1)
        return {"scores": scores_BD, "boxes": corners_BD4}

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing beside the candidates."""
        return {}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made, and which candidates are persons."""
        outputs = {
            "logits": "float32 (B,N) or (B,N,C): before the sigmoid, of every candidate and, where there are, class",
            "boxes": "float32 (B,N,4): centre x, centre y, width, height as shares of the canvas; with post-processing "
            "inside (B,D,4): left, top, right, bottom",
            "scores": "float32 (B,D), with post-processing inside: certainty, descending, 0 to 1",
        }
        return {
            "canvas_hw": list(self.input_hw),
            "canvas": "the whole picture, resized to the canvas, areas averaged where it shrinks, aspect not kept",
            **preprocess.normalisation(NO_MEAN, BYTE_RANGE),
            "outputs": outputs,
            "person_class": self.person,
            "min_score": self.min_score,
            "suppressed_from_overlap": self.overlap,
        }

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Detections]:
        """The persons of one picture."""
        height, width = geometry.source_hw
        scores_D = tensors["scores"].cpu().numpy()
        boxes_D4 = tensors["boxes"].cpu().numpy() * np.array([width, height, width, height], np.float32)
        there_D = (scores_D >= FAINT_SCORE) & (boxes_D4[:, 2:] > boxes_D4[:, :2]).all(axis=1)
        scores_P, boxes_P4 = scores_D[there_D], boxes_D4[there_D]
        if self.overlap is not None:
            kept = suppressed(boxes_P4, self.overlap)
            scores_P, boxes_P4 = scores_P[kept], boxes_P4[kept]
        return [
            Detections(
                provenance=provenance,
                boxes_P4=boxes_P4.astype(np.float32),
                scores_P=scores_P.astype(np.float32),
                min_score=self.min_score,
                source_hw=geometry.source_hw,
            )
        ]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> InTurn:
        """The one result of the picture."""
        return InTurn(only_one)

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """Share of the persons that either result is certain of which the other has, too, overlapping by 90 %."""
        first, second = _as_detections(a), _as_detections(b)
        found = [_found_again(first, second), _found_again(second, first)]
        sure = sum(len(one) for one in found)
        return {"person_share": sum(int(one.sum()) for one in found) / sure if sure else 1.0}


def _found_again(wanted: Detections, given: Detections) -> np.ndarray:
    sure_P4 = wanted.boxes_P4[wanted.scores_P >= COMPARED_SCORE]
    return np.asarray((overlaps(sure_P4, given.boxes_P4) >= 0.9).any(axis=1))


def _as_detections(result: Result) -> Detections:
    if not isinstance(result, Detections):
        raise UsageError(f"got a {result.kind} result; expected detections; pass results of the detect task")
    return result
