"""A hand-made picture set whose every label is known: seventeen dots, one per keypoint, seen alike by all arrays."""

from __future__ import annotations

import numpy as np

from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.training.nano.pictures import MAX_PERSONS, NORMAL_SCALE, Pictures

SIDE, SPACING, RADIUS, COLUMNS = 160, 32, 9, 5
FLIP = keypoint_set(17).flip_indices

# Dot k stands for keypoint k in every array; the two dots of a mirrored pair of keypoints wear a mirrored pair of
# classes, so that in a flipped crop, too, channel k lies on class CLASS_OF[k].
_PAIRS = iter(label_set(28).flip_pairs)
CLASS_OF = [0] * 17
for _k, _mirrored in enumerate(FLIP):
    if _k < _mirrored:
        CLASS_OF[_k], CLASS_OF[_mirrored] = next(_PAIRS)
_PAIRED = {number for pair in label_set(28).flip_pairs for number in pair}
CLASS_OF[0] = next(number for number in range(1, 28) if number not in _PAIRED)

COLOURS = np.array([[250, 14 * k, 240 - 14 * k] for k in range(17)], np.uint8)
"""Of one brightness, so that no faded edge of a dot looks like another dot."""
CENTRES_K2 = np.array([[SPACING * (k % COLUMNS + 0.5), SPACING * (k // COLUMNS + 0.75)] for k in range(17)])
DEPTHS_M = np.array([2 + 0.125 * ((5 * k) % 17) for k in range(17)])
NORMALS_K3 = np.array([[np.sin(0.3 * k - 2.4), 0.1, -np.cos(0.3 * k - 2.4)] for k in range(17)])
NORMALS_K3 /= np.linalg.norm(NORMALS_K3, axis=1, keepdims=True)


def pictures() -> Pictures:
    """Four pictures: one person, two persons with the same dots, none, one person with hidden keypoints."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image, labels = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    depth, normals = np.zeros((SIDE, SIDE), np.float16), np.zeros((SIDE, SIDE, 3), np.uint8)
    for k, (cx, cy) in enumerate(CENTRES_K2):
        dot = (x - cx) ** 2 + (y - cy) ** 2 <= RADIUS**2
        image[dot], labels[dot], depth[dot] = COLOURS[k], CLASS_OF[k], DEPTHS_M[k]
        normals[dot] = np.rint(NORMALS_K3[k] * NORMAL_SCALE) + 128
    keypoints = np.full((4, MAX_PERSONS, 17, 3), np.nan, np.float32)
    boxes = np.full((4, MAX_PERSONS, 4), np.nan, np.float32)
    for picture, persons in enumerate((1, 2, 0, 1)):
        keypoints[picture, :persons] = np.column_stack([CENTRES_K2, np.full(17, 2)])
        boxes[picture, :persons] = (SPACING / 4, SPACING / 4, SIDE - SPACING / 4, SIDE - SPACING / 2)
    keypoints[3, 0, ::2, 2] = 0
    return Pictures(
        image_NSS3=np.repeat(image[None], 4, axis=0),
        labels_NSS=np.repeat(labels[None], 4, axis=0),
        depth_m_NSS=np.repeat(depth[None], 4, axis=0),
        normals_NSS3=np.repeat(normals[None], 4, axis=0),
        keypoints_NPK3=keypoints,
        boxes_NP4=boxes,
    )
