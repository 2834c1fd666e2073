"""Stable person ids over video: detections of one frame after the other -> the id of every detection.

ByteTrack's two stages (Zhang et al. 2022): people are predicted by a Kalman filter and paired with the sure detections
by overlap of boxes; those left over are paired with the unsure ones, which mostly are people half covered. Only boxes
and scores are looked at, no pictures, and no network. Pairing dominates: some 0.5 ms a frame with five persons.
"""

# Shape suffixes: P detections of one frame, T tracks, 4 = x0 y0 x1 y1.

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitruvian.boxes import overlaps
from vitruvian.errors import UsageError
from vitruvian.following.assignment import best_pairs
from vitruvian.following.boxes import checked_boxes, covered_shares
from vitruvian.following.motion import Motion

NOBODY = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerSettings:
    """When a detection belongs to someone. Scores and overlaps 0..1, times in seconds of the video."""

    sure_score: float = 0.4
    """From this score on a detection is sure, and may be someone new."""
    least_score: float = 0.2
    """Below this score a detection is not looked at."""
    least_overlap: float = 0.1
    """Of a sure detection with someone's predicted box."""
    least_overlap_unsure: float = 0.5
    """Of an unsure detection with the predicted box of someone who was found in the frame before."""
    kept_s: float = 2.0
    """Someone not seen for longer gets a new id."""


class Tracker:
    """Follows the persons of one video. Deterministic: equal detections give equal ids.

    A run that stopped goes on by feeding the stored detections of the earlier frames again, in the precision in which
    they were fed first.
    """

    def __init__(self, frame_rate: float, settings: TrackerSettings | None = None) -> None:
        """`frame_rate`: calls to `update` per second of the video; with a stride, the video's rate over the stride."""
        if not 0 < frame_rate < math.inf:
            raise UsageError(f"got frame_rate={frame_rate}; expected frames per second above 0; pass the video's rate")
        self._settings = settings or TrackerSettings()
        self._frame_s = 1.0 / frame_rate
        self._time_s = self._before_s = -math.inf
        self._next_id = 1
        self._motion = Motion()
        self._id_T = np.zeros(0, np.int64)
        self._seen_s_T = np.zeros(0)

    def update(self, boxes_P4: np.ndarray, scores_P: np.ndarray, time_s: float | None = None) -> np.ndarray:
        """Ids (P,) int64 of the detections of the next frame: 1 and up, or -1 where a detection is nobody known yet.

        To be called once for every frame, also for those without detections. Persons of the first frame have their id
        at once, later ones from the second frame on in which they are found. `time_s` is the frame's time in videos
        of variable rate; without it frames are taken to be evenly spaced.
        """
        boxes_P4, scores_P = checked_boxes(boxes_P4, "tracking"), np.asarray(scores_P, np.float64).reshape(-1)
        if len(scores_P) != len(boxes_P4) or not np.isfinite(scores_P).all():
            raise UsageError(f"got {len(boxes_P4)} boxes and scores {scores_P}; expected one finite score for each box")
        begins = self._time_s == -math.inf
        self._advance(time_s)
        rows, columns = self._paired(boxes_P4, scores_P)
        confirmed = rows[self._id_T[rows] == NOBODY]
        self._id_T[confirmed] = self._new_ids(len(confirmed))
        ids_P = np.full(len(boxes_P4), NOBODY, np.int64)
        ids_P[columns] = self._id_T[rows]
        self._motion.update(rows, boxes_P4[columns], covered_shares(boxes_P4[columns]))
        self._seen_s_T[rows] = self._time_s
        self._forget()
        self._meet(boxes_P4, scores_P, ids_P, begins)
        return ids_P

    def _advance(self, time_s: float | None) -> None:
        begins = self._time_s == -math.inf
        now_s = time_s if time_s is not None else 0.0 if begins else self._time_s + self._frame_s
        if not self._time_s < now_s < math.inf:
            raise UsageError(
                f"got a frame at {now_s} s after one at {self._time_s} s; expected times that grow; give every frame "
                "once, in order"
            )
        if not begins:
            self._motion.predict(now_s - self._time_s)
        self._before_s, self._time_s = self._time_s, now_s

    def _paired(self, boxes_P4: np.ndarray, scores_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of tracks and columns of detections that are the same person."""
        s = self._settings
        overlap_TP = overlaps(self._motion.boxes_T4(), boxes_P4)
        sure_P, unsure_P = scores_P >= s.sure_score, (scores_P >= s.least_score) & (scores_P < s.sure_score)
        known_T = self._id_T != NOBODY
        stages = (
            (known_T, sure_P, s.least_overlap),
            (known_T & (self._seen_s_T == self._before_s), unsure_P, s.least_overlap_unsure),
            (~known_T, sure_P, s.least_overlap),
        )
        rows, columns = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for of_T, of_P, least in stages:
            free_T = np.flatnonzero(of_T & ~np.isin(np.arange(len(of_T)), rows))
            free_P = np.flatnonzero(of_P & ~np.isin(np.arange(len(of_P)), columns))
            row, column = best_pairs(overlap_TP[np.ix_(free_T, free_P)], least)
            rows, columns = np.concatenate([rows, free_T[row]]), np.concatenate([columns, free_P[column]])
        return rows, columns

    def _forget(self) -> None:
        """Drop who was seen once only, and who has not been seen for too long."""
        unseen_s_T = self._time_s - self._seen_s_T
        kept = np.flatnonzero((unseen_s_T == 0) | ((self._id_T != NOBODY) & (unseen_s_T <= self._settings.kept_s)))
        self._motion.keep(kept)
        self._id_T, self._seen_s_T = self._id_T[kept], self._seen_s_T[kept]

    def _meet(self, boxes_P4: np.ndarray, scores_P: np.ndarray, ids_P: np.ndarray, begins: bool) -> None:
        """Begin tracks of sure detections that are nobody known; writes ids into `ids_P` in the first frame."""
        new = np.flatnonzero((ids_P == NOBODY) & (scores_P >= self._settings.sure_score))
        if begins:
            ids_P[new] = self._new_ids(len(new))
        self._motion.begin(boxes_P4[new])
        self._id_T = np.concatenate([self._id_T, ids_P[new]])
        self._seen_s_T = np.concatenate([self._seen_s_T, np.full(len(new), self._time_s)])

    def _new_ids(self, count: int) -> np.ndarray:
        first, self._next_id = self._next_id, self._next_id + count
        return np.arange(first, self._next_id, dtype=np.int64)
