"""Whether left and right may have been confused: what persons look like from the front, and parts that contradict.

In: labels or keypoints of one sample. Out: votes, below zero where it speaks for a confusion; none where the sample
says nothing. Single samples prove nothing: people cross their arms and look over their shoulders.
"""

# Shape suffixes: H W picture size, K keypoints, 3 = x y visibility.

from __future__ import annotations

import numpy as np

from vitruvian.tasks.labels import KeypointSet, LabelSet

CONTRADICT, SWAPPED = "left and right contradict", "left and right swapped"
"""Kinds of findings that are voted on."""
_SIDE = 256
_LEAST_SHARE = 3e-4
"""Share of the picture that a part must take to be counted."""
_APART = 0.1
"""Distance of a pair as a share of the person's width, below which it says nothing."""
_FACES = frozenset({"Upper_Lip", "Lower_Lip", "Face", "Nose"})
"""Classes that are seen from the front."""
_EYES_APART, _TORSO_APART = 0.006, 0.04
"""Horizontal distances as shares of the box's longer side, below which a pair of keypoints says nothing."""


def label_sides(labels_HW: np.ndarray, classes: LabelSet) -> dict[str, float]:
    """Votes. Contradiction: some pairs of parts lie as from the front, others as from behind. Swapped: a face is to be
    seen, and yet the pairs lie as from behind.
    """
    step = max(1, max(labels_HW.shape) // _SIDE)
    small_HW = labels_HW[::step, ::step]
    least = max(4.0, _LEAST_SHARE * small_HW.size)
    counts = np.bincount(small_HW.ravel(), minlength=256)
    columns = np.bincount(
        small_HW.ravel(), weights=np.tile(np.arange(small_HW.shape[1]), small_HW.shape[0]), minlength=256
    )
    person = np.flatnonzero(((small_HW > 0) & (small_HW < classes.count)).any(axis=0))
    width = max(1, int(np.ptp(person)) if len(person) else 1)
    apart = [
        (columns[left] / counts[left] - columns[right] / counts[right]) / width
        for left, right in classes.flip_pairs
        if min(counts[left], counts[right]) >= least
    ]
    signs = np.sign([distance for distance in apart if abs(distance) > _APART])
    if not len(signs):
        return {}
    votes = {CONTRADICT: 1.0 if abs(signs.sum()) == len(signs) else -1.0} if len(signs) > 1 else {}
    faces = [index for index, name in enumerate(classes.names) if name in _FACES]
    if counts[faces].sum() >= least / 4 and signs.sum():
        votes[SWAPPED] = float(np.sign(signs.sum()))
    return votes


def keypoint_sides(
    keypoints_K3: np.ndarray, convention: KeypointSet, box_xyxy: tuple[float, float, float, float]
) -> dict[str, float]:
    """Votes. Contradiction: the eyes lie the other way round than shoulders and hips. Swapped: the face of an upright
    person is to be seen, and yet the left eye lies on the left.
    """
    size = max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1])
    names = {name: place for place, name in enumerate(convention.names)}

    def apart(part: str, least: float) -> float | None:
        left_3, right_3 = (keypoints_K3[names[f"{side}_{part}"]] for side in ("left", "right"))
        distance = (left_3[0] - right_3[0]) / size
        seen = left_3[2] > 0 and right_3[2] > 0 and abs(distance) > least
        return float(np.sign(distance)) if seen else None

    eyes = apart("eye", _EYES_APART)
    torso = [sign for part in ("shoulder", "hip") if (sign := apart(part, _TORSO_APART)) is not None]
    votes = {}
    if eyes is not None and len(torso) == 2 and torso[0] == torso[1]:
        votes[CONTRADICT] = 1.0 if torso[0] == eyes else -1.0
    face_K3 = keypoints_K3[[names["left_eye"], names["right_eye"], names["nose"]]]
    shoulders_K3 = keypoints_K3[[names["left_shoulder"], names["right_shoulder"]]]
    upright = (shoulders_K3[:, 2] > 0).all() and face_K3[:, 1].max() < shoulders_K3[:, 1].min()
    if eyes is not None and upright and (face_K3[:, 2] == 2).all():
        votes[SWAPPED] = eyes
    return votes
