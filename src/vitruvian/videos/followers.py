"""What needs the frames of one video in their order: who is who, and smoothing over time.

In: detections and results, frame by frame. Out: regions with ids, smoothed results, and a state in plain arrays from
which a stopped run goes on. A tracker keeps no such state: it is fed the stored detections again.
"""

# Shape suffixes: P candidates or persons, 4 = x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vitruvian.following.dense_smoothing import DenseSmoother
from vitruvian.following.scale_alignment import ScaleAligner
from vitruvian.following.smoothing import KeypointSmoother
from vitruvian.following.tracker import Tracker, TrackerSettings
from vitruvian.media.items import Item
from vitruvian.network_stage import Finished
from vitruvian.tasks.base import Region, Result
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.detect import Detections
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.tasks.normal import Normals
from vitruvian.tasks.pose import Pose

SURER = 0.05
"""How far above the detector's threshold someone new must be in a video that is followed: to be found a frame later is
better than a false box that comes and goes."""

Boxes = tuple[np.ndarray, np.ndarray]
"""float64 boxes (P,4) and scores (P) of one frame's candidates."""


class Follower:
    """One video's memory; `follow` and `smooth` are the road's hooks."""

    def __init__(self, frame_rate: float, *, track: bool, smooth: bool, min_score: float) -> None:
        """`frame_rate`: frames that come per second of the video; `min_score`: the detector's own threshold."""
        settings = TrackerSettings(sure_score=min_score + SURER)
        self._tracker = Tracker(frame_rate, settings) if track else None
        self._smooth = smooth
        self._keypoints = KeypointSmoother()
        self._maps: dict[str, DenseSmoother] = {}
        self._scale = ScaleAligner()
        self.seen: dict[int, Boxes] = {}
        """Candidates of the frames that are on their way, by frame number; whoever stores them takes them out."""

    def follow(self, item: Item, detections: Detections) -> list[Region]:
        """The persons of a frame; faint candidates that are somebody known are persons, too."""
        candidates = detections.candidates
        boxes_P4 = detections.boxes_P4.astype(np.float64)
        scores_P = detections.scores_P.astype(np.float64)
        self.seen[item.index] = (boxes_P4, scores_P)
        if self._tracker is None:
            return list(detections.regions)
        ids_P = self._tracker.update(boxes_P4, scores_P, item.time_s)
        return [
            replace(region, id=int(number))
            for region, number in zip(candidates, ids_P, strict=True)
            if number >= 1 or region.score >= detections.min_score + SURER
        ]

    def follow_given(self, item: Item, regions: Sequence[Region]) -> list[Region]:
        """The persons of a frame where a file says who is there; all of them stay."""
        if self._tracker is None:
            return list(regions)
        boxes_P4 = np.array([region.box_xyxy for region in regions], np.float64).reshape(-1, 4)
        scores_P = np.array([region.score for region in regions], np.float64)
        self.seen[item.index] = (boxes_P4, scores_P)
        ids_P = self._tracker.update(boxes_P4, scores_P, item.time_s)
        return [replace(region, id=int(number)) for region, number in zip(regions, ids_P, strict=True)]

    def recall(self, frames: Iterable[tuple[float, Boxes]]) -> None:
        """See the earlier frames of a stopped run again: their times and candidates."""
        for time_s, (boxes_P4, scores_P) in frames:
            if self._tracker is not None:
                self._tracker.update(boxes_P4, scores_P, time_s)

    def smooth(self, finished: Finished) -> Finished:
        """Results steadied by those of the frames before."""
        if not self._smooth or finished.item.time_s is None:
            return finished
        return replace(finished, results=[self._steadied(result, finished.item) for result in finished.results])

    def _steadied(self, result: Result, item: Item) -> Result:
        assert item.time_s is not None
        if isinstance(result, Pose) and result.ids_P is not None:
            heights_px_P = result.boxes_P4[:, 3] - result.boxes_P4[:, 1]
            smooth = self._keypoints.update(result.keypoints_PK2, result.ids_P, heights_px_P, item.time_s)
            return replace(result, keypoints_PK2=smooth.astype(np.float32))
        if isinstance(result, Depth):
            smoother = self._maps.setdefault("depth", DenseSmoother("values"))
            return replace(result, depth_HW=smoother.update(result.depth_HW, item.image_HW3, item.time_s))
        if isinstance(result, MetricDepth):
            return self._steadied_metric(result, item, item.time_s)
        if isinstance(result, Normals):
            smoother = self._maps.setdefault("normal", DenseSmoother("directions"))
            return replace(result, normals_HW3=smoother.update(result.normals_HW3, item.image_HW3, item.time_s))
        return result

    def _steadied_metric(self, result: MetricDepth, item: Item, time_s: float) -> MetricDepth:
        """One scale over the frames first, then less flicker of single pixels."""
        aligned_HW = self._scale.update(result.depth_m_HW, item.image_HW3, time_s)
        depth = self._maps.setdefault("depth", DenseSmoother("values"))
        steady = replace(result, depth_m_HW=depth.update(aligned_HW, item.image_HW3, time_s))
        if result.normals_HW3 is None:
            return steady
        normals = self._maps.setdefault("normal", DenseSmoother("directions"))
        return replace(steady, normals_HW3=normals.update(result.normals_HW3, item.image_HW3, time_s))

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that smoothing remembers."""
        arrays = {f"keypoints.{key}": value for key, value in self._keypoints.snapshot().items()}
        arrays |= {f"scale.{key}": value for key, value in self._scale.snapshot().items()}
        for kind, smoother in self._maps.items():
            arrays |= {f"{kind}.{key}": value for key, value in smoother.snapshot().items()}
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on where `snapshot` was taken."""
        parts: dict[str, dict[str, np.ndarray]] = {}
        for key, value in arrays.items():
            kind, _, name = key.partition(".")
            parts.setdefault(kind, {})[name] = value
        self._keypoints.restore(parts.pop("keypoints"))
        self._scale.restore(parts.pop("scale"))
        for kind, arrays_of_kind in parts.items():
            self._maps[kind] = DenseSmoother("directions" if kind == "normal" else "values")
            self._maps[kind].restore(arrays_of_kind)
