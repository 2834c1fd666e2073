"""Where boxes go: a Kalman filter with constant velocity for the centre of every box, and none for its size.

Inputs -> outputs: measured boxes and the seconds between them -> predicted boxes. As in SORT (Bewley et al. 2016), with
all noise in heights of the person and in seconds, so that it means the same at any resolution and frame rate. All
coordinates share one 2 x 2 covariance, because the noise of all is a share of the same height. Negligible cost.
"""

# Shape suffixes: T tracks, P boxes measured, 4 = centre x, centre y, width, height (boxes: x0 y0 x1 y1), 2 = x y,
# 22 = covariance of place and velocity.

from __future__ import annotations

import numpy as np

MEASURED_HEIGHTS = 0.05
"""Standard deviation of a detector's box coordinates."""
STARTING_HEIGHTS_PER_S = 0.6
"""Standard deviation of the velocity of someone seen for the first time; a walker makes about 0.8."""
ACCELERATION_HEIGHTS2_PER_S3 = 0.1
"""Spectral density of accelerations."""
COVERED_VARIANCE = 10.0
"""How much a box that another one covers wholly adds to the variance of its measurement, in shares of the usual one."""


class Motion:
    """Places and velocities of T boxes. Rows are appended, kept by index, and updated by index."""

    def __init__(self) -> None:
        self._place_T4 = np.zeros((0, 4))
        self._velocity_T2 = np.zeros((0, 2))
        self._covariance_T22 = np.zeros((0, 2, 2))

    def boxes_T4(self) -> np.ndarray:
        """The boxes x0 y0 x1 y1 where they are thought to be."""
        centre_T2, size_T2 = self._place_T4[:, :2], self._place_T4[:, 2:]
        return np.concatenate([centre_T2 - size_T2 / 2, centre_T2 + size_T2 / 2], axis=1)

    def begin(self, boxes_P4: np.ndarray) -> None:
        """Append boxes at rest."""
        start_22 = np.diag([MEASURED_HEIGHTS**2, STARTING_HEIGHTS_PER_S**2])
        self._place_T4 = np.concatenate([self._place_T4, _places(boxes_P4)])
        self._velocity_T2 = np.concatenate([self._velocity_T2, np.zeros((len(boxes_P4), 2))])
        self._covariance_T22 = np.concatenate([self._covariance_T22, np.tile(start_22, (len(boxes_P4), 1, 1))])

    def keep(self, rows: np.ndarray) -> None:
        """Forget all but these."""
        self._place_T4, self._velocity_T2 = self._place_T4[rows], self._velocity_T2[rows]
        self._covariance_T22 = self._covariance_T22[rows]

    def predict(self, elapsed_s: float) -> None:
        """Move all boxes on."""
        step_22 = np.array([[1.0, elapsed_s], [0.0, 1.0]])
        spread_22 = np.array([[elapsed_s**3 / 3, elapsed_s**2 / 2], [elapsed_s**2 / 2, elapsed_s]])
        self._place_T4[:, :2] += elapsed_s * self._velocity_T2
        self._covariance_T22 = step_22 @ self._covariance_T22 @ step_22.T + ACCELERATION_HEIGHTS2_PER_S3 * spread_22

    def update(self, rows: np.ndarray, boxes_P4: np.ndarray, covered_P: np.ndarray) -> None:
        """Correct the given rows by what was measured, less where others cover the box (shares 0..1).

        A person who disappears behind another has a box that shrinks from one side: trusted fully, that looks like a
        turn on the spot, and the two swap their ids when they part. For the same reason sizes have no velocity.
        """
        covariance_P22 = self._covariance_T22[rows]
        noise_P = MEASURED_HEIGHTS**2 * (1.0 + COVERED_VARIANCE * covered_P)
        gain_P2 = covariance_P22[:, :, 0] / (covariance_P22[:, 0, 0] + noise_P)[:, None]
        surprise_P4 = _places(boxes_P4) - self._place_T4[rows]
        self._place_T4[rows] += gain_P2[:, :1] * surprise_P4
        self._velocity_T2[rows] += gain_P2[:, 1:] * surprise_P4[:, :2]
        self._covariance_T22[rows] = covariance_P22 - gain_P2[:, :, None] * covariance_P22[:, :1, :]


def _places(boxes_P4: np.ndarray) -> np.ndarray:
    low_P2, high_P2 = boxes_P4[:, :2], boxes_P4[:, 2:]
    return np.concatenate([(low_P2 + high_P2) / 2, high_P2 - low_P2], axis=1)
