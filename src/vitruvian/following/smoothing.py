"""Steady keypoints over video: the one-euro filter for every keypoint of every followed person.

Keypoints of one frame, ids, heights and the time -> the same keypoints with less jitter. Casiez et al. 2012: a low pass
whose cutoff rises with speed, so that someone at rest is steady and someone moving is not late. Speeds are measured in
heights of the person, so that the settings mean the same at any resolution. Negligible cost.
"""

# Shape suffixes: P persons of one frame, F those with an id, T persons remembered, K keypoints, 2 = x y.

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitruvian.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class KeypointSmoothing:
    """How much keypoints are smoothed; the lag of a keypoint in even motion is about 1 / (2 pi cutoff)."""

    rest_cutoff_hz: float = 1.0
    """Cutoff for keypoints that do not move; lower is steadier."""
    cutoff_per_speed: float = 24.0
    """Added to the cutoff for each height per second of speed (Hz); higher is less late."""
    speed_cutoff_hz: float = 0.7
    """Cutoff of the low pass on the speed itself."""
    forget_s: float = 1.0
    """Someone not seen for longer begins anew."""


class KeypointSmoother:
    """Smooths the keypoints of one video. Deterministic; what it remembers goes into arrays and back."""

    def __init__(self, settings: KeypointSmoothing | None = None) -> None:
        self._settings = settings or KeypointSmoothing()
        self._id_T = np.zeros(0, np.int64)
        self._seen_s_T = np.zeros(0)
        self._place_TK2 = np.zeros((0, 0, 2))
        self._speed_TK2 = np.zeros((0, 0, 2))

    def update(
        self, keypoints_PK2: np.ndarray, ids_P: np.ndarray, heights_px_P: np.ndarray, time_s: float
    ) -> np.ndarray:
        """Smoothed keypoints (P,K,2) of the frame at `time_s`, in the type and the pixels of those given.

        Not finite means invalid: such a keypoint comes back as it is and begins anew when it is valid again. Persons
        with an id below 1 come back as they are. `heights_px_P` are the heights of the persons' boxes.
        """
        self._check(keypoints_PK2, ids_P, heights_px_P, time_s)
        followed = np.flatnonzero(np.asarray(ids_P) >= 1)
        ids_F = np.asarray(ids_P, np.int64)[followed]
        new_FK2 = np.asarray(keypoints_PK2, np.float64)[followed]
        # Sizes below a pixel would only divide by nothing.
        height_F11 = np.maximum(np.asarray(heights_px_P, np.float64)[followed], 1.0)[:, None, None]
        place_FK2, speed_FK2, elapsed_s_F11 = self._remembered(ids_F, new_FK2.shape[1], time_s)
        smooth_FK2, speed_FK2 = self._filtered(new_FK2, place_FK2, speed_FK2, elapsed_s_F11, height_F11)
        self._remember(ids_F, smooth_FK2, speed_FK2, time_s)
        smoothed_PK2 = np.array(keypoints_PK2)
        smoothed_PK2[followed] = np.where(np.isfinite(smooth_FK2), smooth_FK2, new_FK2)
        return smoothed_PK2

    def _filtered(
        self,
        new_FK2: np.ndarray,
        place_FK2: np.ndarray,
        speed_FK2: np.ndarray,
        elapsed_s_F11: np.ndarray,
        height_F11: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Filtered places and speeds (px/s); places are nan where the new keypoint is invalid."""
        s = self._settings
        known_FK1 = np.isfinite(place_FK2).all(axis=2, keepdims=True)
        valid_FK1 = np.isfinite(new_FK2).all(axis=2, keepdims=True)
        measured_FK2 = (new_FK2 - place_FK2) / elapsed_s_F11
        share_F11 = _share(s.speed_cutoff_hz, elapsed_s_F11)
        speed_FK2 = np.where(known_FK1, speed_FK2 + share_F11 * (measured_FK2 - speed_FK2), 0.0)
        speed_FK1 = np.linalg.norm(speed_FK2, axis=2, keepdims=True) / height_F11
        share_FK1 = _share(s.rest_cutoff_hz + s.cutoff_per_speed * speed_FK1, elapsed_s_F11)
        smooth_FK2 = np.where(known_FK1, place_FK2 + share_FK1 * (new_FK2 - place_FK2), new_FK2)
        return np.where(valid_FK1, smooth_FK2, np.nan), np.where(valid_FK1, speed_FK2, 0.0)

    def _remembered(
        self, ids_F: np.ndarray, keypoints: int, time_s: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place, speed and seconds since then of each person; places are nan for persons who begin."""
        place_FK2 = np.full((len(ids_F), keypoints, 2), np.nan)
        speed_FK2, elapsed_s_F = np.zeros_like(place_FK2), np.ones(len(ids_F))
        fresh_T = time_s - self._seen_s_T <= self._settings.forget_s
        for row, identity in enumerate(ids_F):
            for known in np.flatnonzero((self._id_T == identity) & fresh_T):
                place_FK2[row], speed_FK2[row] = self._place_TK2[known], self._speed_TK2[known]
                elapsed_s_F[row] = time_s - self._seen_s_T[known]
        return place_FK2, speed_FK2, elapsed_s_F[:, None, None]

    def _remember(self, ids_F: np.ndarray, place_FK2: np.ndarray, speed_FK2: np.ndarray, time_s: float) -> None:
        away = (time_s - self._seen_s_T <= self._settings.forget_s) & ~np.isin(self._id_T, ids_F)
        self._id_T = np.concatenate([self._id_T[away], ids_F])
        self._seen_s_T = np.concatenate([self._seen_s_T[away], np.full(len(ids_F), time_s)])
        self._place_TK2 = _joined(self._place_TK2[away], place_FK2)
        self._speed_TK2 = _joined(self._speed_TK2[away], speed_FK2)

    def _check(self, keypoints_PK2: np.ndarray, ids_P: np.ndarray, heights_px_P: np.ndarray, time_s: float) -> None:
        shape = np.shape(keypoints_PK2)
        if len(shape) != 3 or shape[2] != 2 or not len(ids_P) == len(heights_px_P) == shape[0]:
            raise UsageError(
                f"got keypoints of shape {shape}, {len(ids_P)} ids and {len(heights_px_P)} heights; expected "
                "(persons, keypoints, 2) and one id and height for each person"
            )
        given = [int(identity) for identity in ids_P if identity >= 1]
        if len(set(given)) < len(given):
            raise UsageError(f"got the ids {list(ids_P)} in one frame; expected each person once")
        if given and len(self._id_T) and self._place_TK2.shape[1] != shape[1]:
            raise UsageError(f"got {shape[1]} keypoints after {self._place_TK2.shape[1]}; expected one kind in a video")
        if not math.isfinite(time_s) or (self._seen_s_T >= time_s).any():
            raise UsageError(f"got a frame at {time_s} s; expected times that grow; give every frame once, in order")

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that is remembered, as arrays to store."""
        return {
            "ids": self._id_T.copy(),
            "seen_s": self._seen_s_T.copy(),
            "places_px": self._place_TK2.copy(),
            "speeds_px_per_s": self._speed_TK2.copy(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on where `snapshot` was taken."""
        self._id_T = np.array(arrays["ids"], np.int64)
        self._seen_s_T = np.array(arrays["seen_s"], np.float64)
        self._place_TK2 = np.array(arrays["places_px"], np.float64)
        self._speed_TK2 = np.array(arrays["speeds_px_per_s"], np.float64)


def _share(cutoff_hz: float | np.ndarray, elapsed_s: np.ndarray) -> np.ndarray:
    """How much of a new value a first-order low pass takes on after so many seconds; 0..1."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * elapsed_s))


def _joined(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Both in a row; an empty one may be of any shape."""
    return np.concatenate([part for part in (old, new) if len(part)]) if len(old) or len(new) else old
