"""Moving a picture and everything that belongs to it at once: one affine map, composed of steps, applied once.

In: steps in words (resize, crop, turn, mirror). Out: a `Warp` that carries pictures (bilinear), labels and depth
(nearest), normals (nearest, vectors turned along) and keypoints. Time: one resampling per array, whatever the number
of steps.
"""

# Shape suffixes: K keypoints, H W canvas, 2 = x y, 3 = RGB or x y z, 33 and 22 matrices, N corners.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from vitruvian.errors import InputError
from vitruvian.tasks.normal import CAMERA, NormalFrame

MAX_SIDE = 32766
"""Longest side that OpenCV's warps address."""


def _no_turn() -> np.ndarray:
    return np.eye(2)


def _no_move() -> np.ndarray:
    return np.eye(3)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Warp:
    """Source pixels to canvas pixels; pixel centres lie at whole numbers on both."""

    canvas_hw: tuple[int, int]
    """Height and width of what comes out."""
    matrix_33: np.ndarray = field(default_factory=_no_move)
    """float64; (x, y, 1) of the source -> (x, y, 1) of the canvas."""
    turn_22: np.ndarray = field(default_factory=_no_turn)
    """float64; how directions in the image plane turn: a rotation, and a reflection where mirrored. Changes of size and
    aspect leave directions in space as they are."""

    @property
    def mirrored(self) -> bool:
        """Whether left and right have changed places."""
        return bool(np.linalg.det(self.turn_22) < 0)

    def resize(self, canvas_hw: tuple[int, int]) -> Warp:
        """All of the canvas on one of another size, half-pixel centres."""
        (height, width), (high, wide) = self.canvas_hw, canvas_hw
        sx, sy = wide / width, high / height
        step_33 = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], np.float64)
        return self._then(step_33, canvas_hw)

    def crop(self, left: float, top: float, canvas_hw: tuple[int, int]) -> Warp:
        """The part of the canvas that begins at this pixel; may reach beyond it."""
        return self._then(np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64), canvas_hw)

    def turn(self, angle_deg: float) -> Warp:
        """Turned about the canvas' middle; a positive angle turns what is seen clockwise (x right, y down)."""
        angle = math.radians(angle_deg)
        turn_22 = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        middle_2 = (np.array(self.canvas_hw[::-1], np.float64) - 1) / 2
        step_33 = np.eye(3)
        step_33[:2, :2] = turn_22
        step_33[:2, 2] = middle_2 - turn_22 @ middle_2
        return self._then(step_33, self.canvas_hw, turn_22)

    def mirror(self) -> Warp:
        """Left and right changed."""
        step_33 = np.array([[-1, 0, self.canvas_hw[1] - 1], [0, 1, 0], [0, 0, 1]], np.float64)
        return self._then(step_33, self.canvas_hw, np.diag((-1.0, 1.0)))

    def cut(
        self, centre_xy: tuple[float, float], size_wh: tuple[float, float], angle_deg: float, canvas_hw: tuple[int, int]
    ) -> Warp:
        """A box of this centre and size as a canvas, what is seen turned clockwise about the centre.

        Its width spans canvas - 1 steps, as in `tasks.preprocess.crop_matrix`, which this is without a turn.
        """
        angle = math.radians(angle_deg)
        turn_22 = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        size_2, steps_2 = np.array(size_wh, np.float64), np.array(canvas_hw[::-1], np.float64) - 1
        scale_2 = steps_2 / size_2
        step_33 = np.eye(3)
        step_33[:2, :2] = scale_2[:, None] * turn_22
        step_33[:2, 2] = scale_2 * (size_2 / 2 - turn_22 @ np.array(centre_xy, np.float64))
        return self._then(step_33, canvas_hw, turn_22)

    def _then(self, step_33: np.ndarray, canvas_hw: tuple[int, int], turn_22: np.ndarray | None = None) -> Warp:
        turn_22 = self.turn_22 if turn_22 is None else turn_22 @ self.turn_22
        return Warp(canvas_hw=canvas_hw, matrix_33=step_33 @ self.matrix_33, turn_22=turn_22)

    def image(self, image_HW3: np.ndarray) -> np.ndarray:
        """uint8 RGB on the canvas, bilinear, black where it shows what lies outside the source."""
        # Where nothing lies outside, the outermost half pixels must not fade to black: networks get them unfaded.
        border = cv2.BORDER_REPLICATE if self._stays_inside(image_HW3) else cv2.BORDER_CONSTANT
        return self._warped(image_HW3, cv2.INTER_LINEAR, 0, border)

    def values(self, target: np.ndarray, outside: float) -> np.ndarray:
        """Labels (H,W), depth (H,W) or any map on the canvas, nearest; `outside` where the source has none."""
        return self._warped(target, cv2.INTER_NEAREST, outside)

    def labels(self, labels_HW: np.ndarray, flip_pairs: Sequence[tuple[int, int]], outside: int) -> np.ndarray:
        """uint8 labels on the canvas; left and right classes change places where mirrored."""
        warped_HW = self.values(labels_HW, outside)
        if not self.mirrored:
            return warped_HW
        table = np.arange(256, dtype=np.uint8)
        for left, right in flip_pairs:
            table[left], table[right] = right, left
        return np.asarray(table[warped_HW])

    def normals(self, normals_HW3: np.ndarray, frame: NormalFrame = CAMERA) -> np.ndarray:
        """float32 normals on the canvas, of unit length, turned along with the picture; NaN where there is no value.

        The frame decides which way y points, and so in which sense vectors turn.
        """
        warped_HW3 = self.values(normals_HW3, math.nan)
        length_HW = cv2.sqrt(cv2.transform(cv2.multiply(warped_HW3, warped_HW3), np.ones((1, 3), np.float32)))
        with np.errstate(invalid="ignore", divide="ignore"):
            warped_HW3 /= length_HW[..., None]
        if np.array_equal(self.turn_22, np.eye(2)):
            return warped_HW3
        # Display axes are right and up; those of pictures are right and down.
        to_image_2 = np.array(frame.to_display[:2], np.float64) * (1, -1)
        turn_33 = np.eye(3)
        turn_33[:2, :2] = to_image_2[:, None] * self.turn_22 * to_image_2
        return np.asarray(cv2.transform(warped_HW3, turn_33))

    def points(self, xy_K2: np.ndarray) -> np.ndarray:
        """float64 (K,2) on the canvas; what belongs to which keypoint is up to the caller, see `keypoints`."""
        return np.asarray(xy_K2, np.float64) @ self.matrix_33[:2, :2].T + self.matrix_33[:2, 2]

    def keypoints(self, keypoints_K3: np.ndarray, flip_indices: Sequence[int]) -> np.ndarray:
        """float64 x, y, visibility (K,3) on the canvas; left and right keypoints change places where mirrored."""
        moved_K3 = np.column_stack((self.points(keypoints_K3[:, :2]), keypoints_K3[:, 2]))
        return moved_K3[list(flip_indices)] if self.mirrored else moved_K3

    def _stays_inside(self, source: np.ndarray) -> bool:
        """Whether all of the canvas, edges included, shows the source."""
        (height, width), (high, wide) = self.canvas_hw, source.shape[:2]
        corners_3N = np.array([(x, y, 1) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)]).T
        xy_2N = (np.linalg.inv(self.matrix_33) @ corners_3N)[:2]
        return bool((xy_2N > -0.5 - 1e-6).all() and (np.array((wide, high)) - 0.5 + 1e-6 > xy_2N.T).all())

    def _warped(self, source: np.ndarray, how: int, outside: float, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        if max(*source.shape[:2], *self.canvas_hw) > MAX_SIDE:
            raise InputError(
                f"is {source.shape[1]}x{source.shape[0]}; expected sides up to {MAX_SIDE}; make it smaller"
            )
        height, width = self.canvas_hw
        return np.asarray(
            cv2.warpAffine(
                np.ascontiguousarray(source),
                self.matrix_33[:2],
                (width, height),
                flags=how,
                borderMode=border,
                borderValue=(outside,) * 4,
            )
        )


def identity(image_HW3: np.ndarray) -> Warp:
    """The picture as it is, to begin with."""
    return Warp(canvas_hw=(image_HW3.shape[0], image_HW3.shape[1]))
