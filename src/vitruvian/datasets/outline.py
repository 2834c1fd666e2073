"""The rim of a person in a picture, where surfaces turn away from the camera: which way they point there is known.

In: a person mask. Out: pixels just inside its outline with the direction that leads out of it. Works on at most some
500 x 500 pixels, about 5 ms.
"""

# Shape suffixes: H W reduced picture size, N rim pixels, 2 = x y.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SIDE = 512
_LEAST = 60
"""Rim pixels below which nothing is concluded."""
_DEEPEST = 0.85
"""Blurred mask up to which a pixel lies at the rim; 0.5 is the outline."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outline:
    """Rim pixels of a mask that was thinned out."""

    step: int
    """Every how many pixels of the source were taken."""
    rim_HW: np.ndarray
    """bool, on the thinned-out grid."""
    outward_N2: np.ndarray
    """Unit vectors in picture axes (x right, y down), in the order of `rim_HW`'s pixels."""

    def thinned(self, target: np.ndarray) -> np.ndarray:
        """A map of the source on the same grid."""
        return target[:: self.step, :: self.step]


def outline_of(person_HW: np.ndarray) -> Outline | None:
    """Rim of the person; None for masks that are empty, full or too small to tell.

    Where the mask runs into the picture's edge there is no outline: the picture ends there, not the person.
    """
    step = max(1, -(-max(person_HW.shape) // _SIDE))
    inside_HW = np.ascontiguousarray(person_HW[::step, ::step]).astype(np.float32)
    sigma = max(1.5, 0.006 * max(inside_HW.shape))
    blurred_HW = cv2.GaussianBlur(inside_HW, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    down_HW, right_HW = np.gradient(blurred_HW)
    steepness_HW = np.hypot(down_HW, right_HW)
    # The outermost ring is left out: there pictures and targets mix with what lies behind.
    core_HW = cv2.erode(inside_HW, np.ones((3, 3), np.uint8)) > 0
    rim_HW = core_HW & (blurred_HW < _DEEPEST) & (steepness_HW > 0.1 / sigma)
    if rim_HW.sum() < _LEAST:
        return None
    outward_N2 = -np.stack((right_HW[rim_HW], down_HW[rim_HW]), axis=1) / steepness_HW[rim_HW][:, None]
    return Outline(step=step, rim_HW=rim_HW, outward_N2=outward_N2)


def agreement(values_N: np.ndarray, outward_N: np.ndarray) -> float | None:
    """-1 .. 1: how far signed values go with one component of the outward direction; None without any to judge by."""
    product_N = values_N * outward_N
    product_N = product_N[np.isfinite(product_N)]
    whole = float(np.abs(product_N).sum())
    return float(product_N.sum()) / whole if len(product_N) >= _LEAST and whole > 0 else None
