"""Pose maps: driving poses drawn as the published network was trained to read them.

Poses in shares of the frame -> uint8 RGB (3,H,W), black where nobody is. Drawn on a canvas whose short side is 2160 and
resized once, so that a limb is two pixels wide at 576. The canvas dominates time (a tenth of a second a frame) and
memory (25 MB).
"""

# Shape suffixes: P persons, J = 134 points, H W map, 2 = x y, 3 = colours.

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np

from vitruvian.animation.drive_poses import BODY, FACE, LEFT_HAND, RIGHT_HAND, SEEN, DrivePoses

CANVAS_SIDE = 2160
"""Published."""
LIMB_WIDTH, JOINT_RADIUS, FACE_RADIUS, HAND_WIDTH = 4, 4, 3, 2
DIMMED = 0.6
"""Limbs are dimmed so that joints stand out."""
FIRST_PIXEL = 1
"""Points of hands and faces in the first row or column are taken as missing."""

LIMBS = (
    *((2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14), (2, 1)),
    *((1, 15), (15, 17), (1, 16), (16, 18)),
)
"""Pairs of body points, counted from 1."""
FINGERS = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)
)
"""From the wrist along each finger."""
WHEEL = tuple(
    tuple(int(255 * value + 1e-9) for value in triple)
    for triple in (
        *((1, 0, 0), (1, 1 / 3, 0), (1, 2 / 3, 0), (1, 1, 0), (2 / 3, 1, 0), (1 / 3, 1, 0), (0, 1, 0), (0, 1, 1 / 3)),
        *((0, 1, 2 / 3), (0, 1, 1), (0, 2 / 3, 1), (0, 1 / 3, 1), (0, 0, 1), (1 / 3, 0, 1), (2 / 3, 0, 1), (1, 0, 1)),
        *((1, 0, 2 / 3), (1, 0, 1 / 3)),
    )
)
"""Eighteen hues, in the order of channels that they are drawn in; maps have them the other way round."""


def draw_pose_map(
    poses: DrivePoses,
    size_hw: tuple[int, int],
    *,
    canvas_side: int = CANVAS_SIDE,
    body: bool = True,
    hands: bool = True,
    face: bool = True,
) -> np.ndarray:
    """uint8 RGB (3,H,W) of all persons of a frame; parts can be left out.

    `canvas_side`: shorter side of the canvas; lines are as many pixels wide on each.
    """
    height, width = size_hw
    scale = canvas_side / min(height, width)
    canvas_HW3 = np.zeros((int(height * scale), int(width * scale), 3), np.uint8)
    if body:
        _draw_limbs(canvas_HW3, poses)
        canvas_HW3 = (canvas_HW3 * DIMMED).astype(np.uint8)
        _draw_joints(canvas_HW3, poses)
    if hands:
        for part in (LEFT_HAND, RIGHT_HAND):
            for points_N2, scores_N in zip(poses.points_PJ2[:, part], poses.scores_PJ[:, part], strict=True):
                _draw_hand(canvas_HW3, points_N2, scores_N)
    if face:
        for points_N2, scores_N in zip(poses.points_PJ2[:, FACE], poses.scores_PJ[:, FACE], strict=True):
            _draw_face(canvas_HW3, points_N2, scores_N)
    map_HW3 = cv2.resize(canvas_HW3, (width, height))
    return np.ascontiguousarray(map_HW3[..., ::-1].transpose(2, 0, 1))


def _draw_limbs(canvas_HW3: np.ndarray, poses: DrivePoses) -> None:
    height, width = canvas_HW3.shape[:2]
    for limb, colour in zip(LIMBS, WHEEL, strict=False):
        first, second = limb[0] - 1, limb[1] - 1
        for points_J2, scores_J in zip(poses.points_PJ2[:, BODY], poses.scores_PJ[:, BODY], strict=True):
            if min(scores_J[first], scores_J[second]) < SEEN:
                continue
            (x1, y1), (x2, y2) = points_J2[[first, second]] * (width, height)
            centre = int(np.mean((x1, x2))), int(np.mean((y1, y2)))
            half = int(math.hypot(x1 - x2, y1 - y2) / 2)
            angle = int(math.degrees(math.atan2(y1 - y2, x1 - x2)))
            polygon = np.array(cv2.ellipse2Poly(centre, (half, LIMB_WIDTH), angle, 0, 360, 1))
            weight = float(scores_J[first] * scores_J[second])
            cv2.fillConvexPoly(canvas_HW3, polygon, [int(level * weight) for level in colour])


def _draw_joints(canvas_HW3: np.ndarray, poses: DrivePoses) -> None:
    for joint, colour in enumerate(WHEEL):
        for person in range(poses.persons):
            if poses.seen_PB[person, joint]:
                place = _pixel(canvas_HW3, poses.points_PJ2[person, joint])
                score = float(poses.scores_PJ[person, joint])
                cv2.circle(canvas_HW3, place, JOINT_RADIUS, [int(level * score) for level in colour], thickness=-1)


def _draw_hand(canvas_HW3: np.ndarray, points_N2: np.ndarray, scores_N: np.ndarray) -> None:
    places = [_pixel(canvas_HW3, point_2) for point_2 in points_N2]
    for number, (first, second) in enumerate(FINGERS):
        if min(*places[first], *places[second]) >= FIRST_PIXEL:
            brightness = int(255 * float(scores_N[first] * scores_N[second]))
            colour = [brightness * level for level in colorsys.hsv_to_rgb(number / len(FINGERS), 1.0, 1.0)]
            cv2.line(canvas_HW3, places[first], places[second], colour, thickness=HAND_WIDTH)
    for place, score in zip(places, scores_N, strict=True):
        if min(place) >= FIRST_PIXEL:
            cv2.circle(canvas_HW3, place, JOINT_RADIUS, (0, 0, int(255 * float(score))), thickness=-1)


def _draw_face(canvas_HW3: np.ndarray, points_N2: np.ndarray, scores_N: np.ndarray) -> None:
    for point_2, score in zip(points_N2, scores_N, strict=True):
        place, level = _pixel(canvas_HW3, point_2), int(255 * float(score))
        if min(place) >= FIRST_PIXEL:
            cv2.circle(canvas_HW3, place, FACE_RADIUS, (level, level, level), thickness=-1)


def _pixel(canvas_HW3: np.ndarray, point_2: np.ndarray) -> tuple[int, int]:
    height, width = canvas_HW3.shape[:2]
    return int(point_2[0] * width), int(point_2[1] * height)
