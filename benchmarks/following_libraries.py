"""Adapters from tracker libraries to `update(boxes, scores) -> ids`, for the comparison in `following.py`.

None of these libraries is needed by the package or installed with it; those that are not there are left out. Settings
are the libraries' own except for scores and buffers, which are set as near to ours as they allow.
"""

# Shape suffixes: P detections of one frame, 4 = x0 y0 x1 y1.

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from vitruvian.boxes import overlaps

PICTURE_HW = (192, 256)
Update = Callable[[np.ndarray, np.ndarray], np.ndarray]
Maker = Callable[[float], Update]


def _first_seen(known: dict[Any, int], identity: Any) -> int:
    """A library's id as a number from 1 on, of this tracker alone."""
    return known.setdefault(identity, len(known) + 1)


def trackers_library(name: str, **options: Any) -> Maker:
    """One of the classes of `trackers` (needs `supervision`); buffers are in frames of 30 per second there."""
    trackers, supervision = importlib.import_module("trackers"), importlib.import_module("supervision")

    def make(frame_rate: float) -> Update:
        tracker = getattr(trackers, name)(frame_rate=frame_rate, **options)

        def update(boxes_P4: np.ndarray, scores_P: np.ndarray) -> np.ndarray:
            ids_P = np.full(len(boxes_P4), -1)
            given = supervision.Detections(
                xyxy=boxes_P4.astype(np.float32).reshape(-1, 4),
                confidence=scores_P.astype(np.float32),
                class_id=np.zeros(len(boxes_P4), int),
                data={"row": np.arange(len(boxes_P4))},
            )
            answer = tracker.update(given)
            if len(boxes_P4) and answer.tracker_id is not None:
                ids_P[answer.data["row"]] = np.where(answer.tracker_id < 0, -1, answer.tracker_id + 1)
            return ids_P

        return update

    return make


def similari_library(method: str, overlap: float = 0.1) -> Maker:
    """`similari-trackers-rs`, SORT in Rust; ids are random 64-bit numbers there."""
    similari = importlib.import_module("similari")

    def make(frame_rate: float) -> Update:
        kinds = similari.PositionalMetricType
        metric = kinds.iou(threshold=overlap) if method == "iou" else kinds.maha()
        tracker = similari.Sort(shards=1, bbox_history=1, max_idle_epochs=round(2 * frame_rate), method=metric)
        known: dict[Any, int] = {}

        def update(boxes_P4: np.ndarray, scores_P: np.ndarray) -> np.ndarray:
            ids_P = np.full(len(boxes_P4), -1)
            given = []
            for row in np.flatnonzero(scores_P >= 0.4):
                x0, y0, x1, y1 = map(float, boxes_P4[row])
                box = similari.BoundingBox.new_with_confidence(x0, y0, x1 - x0, y1 - y0, float(scores_P[row]))
                given.append((box.as_xyaah(), int(row)))
            for track in tracker.predict(given):
                if track.length >= 2:
                    ids_P[track.custom_object_id] = _first_seen(known, track.id)
            return ids_P

        return update

    return make


def cjm_library() -> Maker:
    """`cjm_byte_track`; it returns boxes without saying whose they are, so they are found again by overlap."""
    core = importlib.import_module("cjm_byte_track.core")

    def make(frame_rate: float) -> Update:
        tracker = core.BYTETracker(track_thresh=0.4, track_buffer=60, match_thresh=0.8, frame_rate=frame_rate)
        known: dict[Any, int] = {}

        def update(boxes_P4: np.ndarray, scores_P: np.ndarray) -> np.ndarray:
            ids_P = np.full(len(boxes_P4), -1)
            tracks = tracker.update(np.concatenate([boxes_P4, scores_P[:, None]], axis=1), PICTURE_HW, PICTURE_HW)
            for track in tracks if len(boxes_P4) else ():
                overlap_P = overlaps(np.asarray(track.tlbr)[None], boxes_P4)[0]
                if overlap_P.max() > 0.5 and ids_P[overlap_P.argmax()] < 0:
                    ids_P[overlap_P.argmax()] = _first_seen(known, track.track_id)
            return ids_P

        return update

    return make


def motpy_library() -> Maker:
    """`motpy`; the pairs are taken from its matching function, since results do not name detections."""
    motpy, matching = importlib.import_module("motpy"), importlib.import_module("motpy.tracker")
    logging.getLogger("motpy").setLevel(logging.ERROR)

    def make(frame_rate: float) -> Update:
        usual = matching.IOUAndFeatureMatchingFunction(min_iou=0.1)
        pairs: list[tuple[Any, int]] = []

        def noted(tracks: Any, detections: Any) -> Any:
            matches = usual(tracks, detections)
            pairs[:] = [(tracks[row].id, int(column)) for row, column in matches]
            return matches

        tracker = motpy.MultiObjectTracker(dt=1 / frame_rate, matching_fn=noted)
        known: dict[Any, int] = {}

        def update(boxes_P4: np.ndarray, scores_P: np.ndarray) -> np.ndarray:
            ids_P, rows = np.full(len(boxes_P4), -1), np.flatnonzero(scores_P >= 0.3)
            tracker.step([motpy.Detection(box=boxes_P4[row], score=scores_P[row]) for row in rows])
            for identity, column in pairs:
                ids_P[rows[column]] = _first_seen(known, identity)
            return ids_P

        return update

    return make


def norfair_library() -> Maker:
    """`norfair` with its overlap distance; no longer installable beside numpy 2 by its own rules."""
    norfair = importlib.import_module("norfair")

    def make(frame_rate: float) -> Update:
        tracker = norfair.Tracker(
            distance_function="iou", distance_threshold=0.9, hit_counter_max=round(frame_rate), initialization_delay=1
        )

        def update(boxes_P4: np.ndarray, scores_P: np.ndarray) -> np.ndarray:
            ids_P = np.full(len(boxes_P4), -1)
            given = [
                norfair.Detection(points=boxes_P4[row].reshape(2, 2), scores=scores_P[[row, row]], data=row)
                for row in np.flatnonzero(scores_P >= 0.3)
            ]
            for person in tracker.update(given):
                # People who were not found keep their detection of an earlier frame.
                if any(person.last_detection is detection for detection in given):
                    ids_P[person.last_detection.data] = person.id
            return ids_P

        return update

    return make


def installed() -> dict[str, Maker]:
    """All rows of the comparison whose library can be imported here, by their name in the table."""
    ours_like = {"lost_track_buffer": 60, "track_activation_threshold": 0.4, "high_conf_det_threshold": 0.4}
    once = {"lost_track_buffer": 60, "minimum_consecutive_frames": 1, "high_conf_det_threshold": 0.4}
    wanted: dict[str, tuple[str, Callable[[], Maker]]] = {
        "trackers SORT": ("trackers", lambda: trackers_library("SORTTracker")),
        "trackers ByteTrack, defaults": ("trackers", lambda: trackers_library("ByteTrackTracker")),
        "trackers ByteTrack": ("trackers", lambda: trackers_library("ByteTrackTracker", **ours_like)),
        "trackers OC-SORT, defaults": ("trackers", lambda: trackers_library("OCSORTTracker")),
        "trackers OC-SORT": ("trackers", lambda: trackers_library("OCSORTTracker", **once, minimum_iou_threshold=0.1)),
        "trackers BoT-SORT": ("trackers", lambda: trackers_library("BoTSORTTracker", **ours_like, enable_cmc=False)),
        "trackers C-BIoU": ("trackers", lambda: trackers_library("CBIoUTracker", **ours_like)),
        "cjm_byte_track": ("cjm_byte_track", cjm_library),
        "motpy": ("motpy", motpy_library),
        "norfair": ("norfair", norfair_library),
        "similari, overlap": ("similari", lambda: similari_library("iou")),
        "similari, Mahalanobis": ("similari", lambda: similari_library("maha")),
    }
    return {name: make() for name, (module, make) in wanted.items() if importlib.util.find_spec(module) is not None}
