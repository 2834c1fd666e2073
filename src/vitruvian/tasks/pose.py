"""Keypoints of persons: crop in, heat maps through the network, (K,3) numbers per person out.

Picture and box -> canvas -> heat maps (B,K,h,w) -> `Pose` in source pixels. Heat maps (60 MB per person for 308
keypoints) never leave the device they were made on; x, y and score of each keypoint do.
"""

# Shape suffixes: P persons, B crops, K keypoints, h w heat-map size, 2 = x y, 3 = x y score, 4 = x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks import decode, drawing, metrics, preprocess
from vitruvian.tasks.base import Geometry, Provenance, Region, Result, Sink
from vitruvian.tasks.conventions import Points, unmapped
from vitruvian.tasks.dense import about_result, check_array, describe, raw_map
from vitruvian.tasks.gathering import InTurn
from vitruvian.tasks.id_drawing import draw_ids
from vitruvian.tasks.labels import KeypointSet, keypoint_set
from vitruvian.tasks.openpose_files import openpose_document
from vitruvian.tasks.pose_files import FRAME, pose_document

COMPARED_SCORE = 0.3
"""Keypoints with a lower score are not compared in audits; the published drawings leave them out, too."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Pose(Result):
    """Keypoints of all persons of one picture."""

    kind: ClassVar[str] = "pose"
    formats: ClassVar[tuple[str, ...]] = ("json", "coco", "csv", "openpose", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("json", "draw")
    bytes_per_pixel: ClassVar[int] = 6

    keypoints_PK2: np.ndarray
    """float32 x, y in source pixels, the centre of the top-left pixel is (0,0); NaN where not valid."""
    scores_PK: np.ndarray
    """float32 peak of each heat map: about 0..1, can lie a little outside."""
    valid_PK: np.ndarray
    """bool; False where the heat map shows no peak at all (score <= 0)."""
    boxes_P4: np.ndarray
    """float32 x0, y0, x1, y1 of the boxes that were asked for, in source pixels."""
    box_scores_P: np.ndarray
    """float32 confidence of each box, 0..1."""
    source_hw: tuple[int, int]
    """Height and width of the picture."""
    convention: KeypointSet
    """Which keypoints these are, and their order."""
    ids_P: np.ndarray | None = None
    """int64 number of each person, the same through a stream; -1 where unknown, None where nobody follows."""
    converted_from: Pose | None = None
    """The keypoints that the network gave, where these are its in another convention."""

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.keypoints_PK2, "keypoints_PK2", np.float32, 3)
        check_array(self.scores_PK, "scores_PK", np.float32, 2)
        check_array(self.valid_PK, "valid_PK", np.bool_, 2)
        check_array(self.boxes_P4, "boxes_P4", np.float32, 2)
        persons, keypoints = len(self.boxes_P4), self.convention.count
        expected = {
            "keypoints_PK2": (persons, keypoints, 2),
            "scores_PK": (persons, keypoints),
            "valid_PK": (persons, keypoints),
            "boxes_P4": (persons, 4),
            "box_scores_P": (persons,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"got {name} {getattr(self, name).shape}; expected {shape}")
        if self.ids_P is not None:
            check_array(self.ids_P, "ids_P", np.int64, 1)
            if len(self.ids_P) != persons:
                raise ValueError(f"got {len(self.ids_P)} ids_P of {persons} persons; expected one each")

    @property
    def points(self) -> Points:
        """Where the keypoints are, without persons' boxes and numbers."""
        return Points(
            convention=self.convention, xy_PK2=self.keypoints_PK2, scores_PK=self.scores_PK, valid_PK=self.valid_PK
        )

    def converted(self, name: str) -> Pose:
        """The same persons in another convention; this very pose if it is in it already.

        Args:
            name: sapiens308, wholebody133, coco17, openpose18 or openpose25; `UsageError` for another.

        By name, see `vitruvian.tasks.conventions`: keypoints that this convention has nothing for are NaN with score 0
        and named in `about()["unmapped"]`.
        """
        target = keypoint_set(name)
        if target.name == self.convention.name:
            return self
        points = self.points.to(target)
        return replace(
            self,
            keypoints_PK2=points.xy_PK2,
            scores_PK=points.scores_PK,
            valid_PK=points.valid_PK,
            convention=target,
            converted_from=self,
        )

    def about(self) -> dict[str, Any]:
        """Model, licence, convention and frame; after a conversion also from what, and what is missing. JSON-able."""
        more: dict[str, Any] = {"convention": self.convention.name}
        if self.converted_from is not None:
            source = self.converted_from.convention
            more |= {"converted_from": source.name, "unmapped": list(unmapped(source, self.convention))}
        return about_result(self, self.source_hw, **more, persons=len(self.boxes_P4), frame=FRAME)

    def draw(self) -> np.ndarray:
        """The picture with every person's skeleton, uint8 RGB (H,W,3); those that are followed with their number."""
        canvas_HW3 = drawing.draw_pose(
            self.source_image(), self.keypoints_PK2, self.scores_PK, self.boxes_P4, self.convention, COMPARED_SCORE
        )
        if self.ids_P is not None:
            draw_ids(canvas_HW3, self.ids_P, self.points, self.boxes_P4, COMPARED_SCORE)
        return canvas_HW3

    def line(self) -> dict[str, Any]:
        """The persons as in `pose.json`; names and frame stand beside the lines."""
        return {"persons": self.document()["instances"]}

    def document(self) -> dict[str, Any]:
        """The contents of `pose.json`."""
        return pose_document(
            self.about(),
            self.convention,
            self.keypoints_PK2,
            self.scores_PK,
            self.boxes_P4,
            self.box_scores_P,
            self.ids_P,
        )

    def openpose(self) -> dict[str, Any]:
        """The contents of `pose.openpose.json`; hands and face of a converted pose come from what it was made of."""
        source = self if self.converted_from is None else self.converted_from
        return openpose_document(self.about(), self.points, source.points, self.ids_P)

    def write(self, sink: Sink) -> None:
        """`pose.json`, `pose.openpose.json`, `pose.drawn.jpg`; a run's COCO and CSV files are gathered at its end."""
        if any(map(sink.wants, ("json", "coco", "csv"))):
            sink.write_json("pose.json", self.document())
        if sink.wants("openpose"):
            sink.write_json("pose.openpose.json", self.openpose())
        if sink.wants("draw"):
            sink.write_picture("pose.drawn.jpg", self.draw(), self.about())


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseTask:
    """Top-down keypoints: one crop per person; without boxes the whole picture is taken as one person."""

    name: ClassVar[str] = "pose"
    result: ClassVar[type[Result]] = Pose

    keypoints: KeypointSet
    """The convention the network was trained for."""
    input_hw: tuple[int, int] = (1024, 768)
    """Canvas height and width the network was made for."""

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """Crop one person; `InputError` for a bad picture or box."""
        return preprocess.crop_person(image_HW3, region, self.input_hw)

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """uint8 canvases -> normalised float32 (B,3,h,w) on their device."""
        return preprocess.normalise(canvas_BHW3)

    def average_mirrored(self, raw: Mapping[str, Tensor], raw_of_mirrored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw outputs of the inputs and of the inputs mirrored left to right -> raw outputs of the flip test."""
        heat_BKhw = raw_map(raw, "heatmaps", self.keypoints.count)
        mirrored_BKhw = raw_map(raw_of_mirrored, "heatmaps", self.keypoints.count)
        return {"heatmaps": decode.flip_average(heat_BKhw, mirrored_BKhw, self.keypoints.flip_indices)}

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"heatmaps": (B,K,h,w)} -> {"points": float32 (B,K,3)}: x, y in canvas pixels (NaN: none) and peak value."""
        heat_BKhw = raw_map(raw, "heatmaps", self.keypoints.count)
        return {"points": decode.decode_heatmaps(heat_BKhw, self.input_hw)}

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing beside the points."""
        return {}

    def constants(self) -> dict[str, Any]:
        """How a canvas is cut out, and what the points are."""
        outputs = {
            "heatmaps": "float32 (B,K,h,w)",
            "points": "float32 (B,K,3), with post-processing inside: x, y in canvas pixels (NaN: none) and peak value",
        }
        return {
            "canvas_hw": list(self.input_hw),
            "canvas": "one person: the box times `box_padding`, grown to the canvas' aspect; w, h are its size, cx, cy "
            "its centre, W, H the canvas; x' = (x - cx + w/2) (W-1)/w, y' = (y - cy + h/2) (H-1)/h; bilinear, zeros "
            "outside",
            "box_padding": preprocess.BOX_PADDING,
            **preprocess.normalisation(),
            "outputs": outputs,
            "source": "x = x' / W * w + cx - w/2, y = y' / H * h + cy - h/2",
            "keypoints": list(self.keypoints.names),
        }

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Pose]:
        """The `Pose` of one person in source pixels."""
        points_K3 = tensors["points"].cpu().numpy()
        xy_K2 = decode.to_source(points_K3[:, :2], geometry.centre_xy, geometry.size_wh, geometry.canvas_hw)
        region = geometry.region
        height, width = geometry.source_hw
        box = region.box_xyxy if region else (0, 0, width, height)
        return [
            Pose(
                provenance=provenance,
                keypoints_PK2=xy_K2.astype(np.float32)[None],
                scores_PK=points_K3[None, :, 2].astype(np.float32),
                valid_PK=np.isfinite(xy_K2).all(axis=1)[None],
                boxes_P4=np.array([box], np.float32),
                box_scores_P=np.array([region.score if region else 1.0], np.float32),
                ids_P=None if region is None or region.id is None else np.array([region.id], np.int64),
                source_hw=geometry.source_hw,
                convention=self.keypoints,
            )
        ]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> InTurn:
        """All persons of a picture in one pose, in the regions' order."""
        return InTurn(partial(self.join, source_hw=source_hw, provenance=provenance))

    def join(self, results: Sequence[Result], source_hw: tuple[int, int], provenance: Provenance) -> Sequence[Pose]:
        """All persons of one picture in one `Pose`, in the order given; no persons give an empty one."""
        poses = [_as_pose(result) for result in results]
        ids = [p.ids_P for p in poses if p.ids_P is not None]
        count = self.keypoints.count
        return [
            Pose(
                provenance=provenance,
                keypoints_PK2=np.concatenate([np.zeros((0, count, 2), np.float32), *(p.keypoints_PK2 for p in poses)]),
                scores_PK=np.concatenate([np.zeros((0, count), np.float32), *(p.scores_PK for p in poses)]),
                valid_PK=np.concatenate([np.zeros((0, count), np.bool_), *(p.valid_PK for p in poses)]),
                boxes_P4=np.concatenate([np.zeros((0, 4), np.float32), *(p.boxes_P4 for p in poses)]),
                box_scores_P=np.concatenate([np.zeros(0, np.float32), *(p.box_scores_P for p in poses)]),
                ids_P=np.concatenate(ids) if ids else None,
                source_hw=source_hw,
                convention=self.keypoints,
            )
        ]

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """How far keypoints are apart where either scores above 0.3, in pixels of the network's input.

        `px_median`, `px_p90` and `px_max` over keypoints, `score_max` the largest change of any score. Not in source
        pixels: heat maps are a fixed share of the network's input, so the same error would count eight times as much
        on a picture eight times as large. Nine in ten, because a keypoint between two equal peaks may choose the other.
        """
        first, second = _as_pose(a), _as_pose(b)
        if first.scores_PK.shape != second.scores_PK.shape:
            raise UsageError(
                f"got poses of {first.scores_PK.shape} and {second.scores_PK.shape} persons and keypoints; "
                "expected the same picture and boxes; compare results of one run each"
            )
        source_px_PK = metrics.distances_px(first.keypoints_PK2, second.keypoints_PK2)
        compared_PK = np.maximum(first.scores_PK, second.scores_PK) > COMPARED_SCORE
        distances = (source_px_PK * self._input_px_per_source_px(second)[:, None])[compared_PK]
        change = float(np.abs(first.scores_PK - second.scores_PK).max(initial=0.0))
        if not len(distances):  # faint or no keypoints
            return {"px_median": 0.0, "px_p90": 0.0, "px_max": 0.0, "score_max": change}
        return {
            "px_median": float(np.median(distances)),
            "px_p90": float(
                np.percentile(distances, 90, method="lower")
            ),  # no interpolation: a distance can be infinite
            "px_max": float(distances.max()),
            "score_max": change,
        }

    def _input_px_per_source_px(self, pose: Pose) -> np.ndarray:
        """(P,) scale of each person's crop."""
        boxes = [Region(box_xyxy=(float(x0), float(y0), float(x1), float(y1))) for x0, y0, x1, y1 in pose.boxes_P4]
        crops = [preprocess.crop_geometry(pose.source_hw, box, self.input_hw) for box in boxes]
        return np.array([self.input_hw[0] / crop.size_wh[1] for crop in crops], np.float64)


def _as_pose(result: Result) -> Pose:
    if not isinstance(result, Pose):
        raise UsageError(f"got a {result.kind} result; expected pose; pass results of the pose task")
    return result
