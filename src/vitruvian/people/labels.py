"""Names and numbers of the labels a rendered person carries.

Inputs -> outputs: none; constants only (COCO keypoint order, the 28 part classes). Costs nothing.
"""

from __future__ import annotations

from enum import IntEnum

KEYPOINT_NAMES: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


class PartLabel(IntEnum):
    """The 28 part classes; limb classes mean bare skin of that limb."""

    BACKGROUND = 0
    APPAREL = 1
    FACE_NECK = 2
    HAIR = 3
    LEFT_FOOT = 4
    LEFT_HAND = 5
    LEFT_LOWER_ARM = 6
    LEFT_LOWER_LEG = 7
    LEFT_SHOE = 8
    LEFT_SOCK = 9
    LEFT_UPPER_ARM = 10
    LEFT_UPPER_LEG = 11
    LOWER_CLOTHING = 12
    RIGHT_FOOT = 13
    RIGHT_HAND = 14
    RIGHT_LOWER_ARM = 15
    RIGHT_LOWER_LEG = 16
    RIGHT_SHOE = 17
    RIGHT_SOCK = 18
    RIGHT_UPPER_ARM = 19
    RIGHT_UPPER_LEG = 20
    TORSO = 21
    UPPER_CLOTHING = 22
    LOWER_LIP = 23
    UPPER_LIP = 24
    LOWER_TEETH = 25
    UPPER_TEETH = 26
    TONGUE = 27


PART_COUNT = len(PartLabel)
