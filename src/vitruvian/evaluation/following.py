"""How well people are followed over a clip: identities, misses, and how steady and how late keypoints are.

True and found boxes with ids of every frame -> counts that add up over clips; true and found keypoints of one person ->
jitter and lag. Pairing boxes dominates: some 0.2 ms a frame with five persons.
"""

# Shape suffixes: T frames, P persons of one frame, I true identities, J found identities, K keypoints, S shifts,
# 4 = x0 y0 x1 y1, 2 = x y.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vitruvian.boxes import overlaps
from vitruvian.errors import UsageError
from vitruvian.following.assignment import best_pairs
from vitruvian.following.boxes import checked_boxes


@dataclass(frozen=True, kw_only=True, slots=True)
class Persons:
    """The persons of one frame. Ids below 1 mean nobody: such boxes are left out of every count."""

    ids_P: np.ndarray
    boxes_P4: np.ndarray

    def known(self) -> Persons:
        """Those with an id, checked: no id twice in one frame."""
        boxes_P4 = checked_boxes(self.boxes_P4, "following")
        if len(self.ids_P) != len(boxes_P4):
            raise UsageError(f"got {len(self.ids_P)} ids and {len(boxes_P4)} boxes; expected one id for each box")
        known_P = np.asarray(self.ids_P) >= 1
        ids_P = np.asarray(self.ids_P)[known_P]
        if len(set(ids_P.tolist())) < len(ids_P):
            raise UsageError(f"got the ids {ids_P.tolist()} in one frame; expected each once; give other boxes -1")
        return Persons(ids_P=ids_P, boxes_P4=boxes_P4[known_P])


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowingCounts:
    """What was counted; add counts of several clips, then read the measures."""

    truths: int = 0
    """Boxes of truth."""
    finds: int = 0
    """Boxes found with an id."""
    matched: int = 0
    """Frame by frame pairs, CLEAR MOT (Bernardin and Stiefelhagen 2008)."""
    switches: int = 0
    """A true person is matched to another id than at the match before."""
    fragmentations: int = 0
    """A true person is matched again after frames in which it was there and not matched."""
    identity_matched: int = 0
    """IDTP of Ristani et al. 2016: pairs of boxes under the best one-to-one pairing of whole trajectories."""

    def __add__(self, other: FollowingCounts) -> FollowingCounts:
        return FollowingCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def idf1(self) -> float:
        """2 IDTP / (truths + finds), 0..1; nan without any box."""
        return _share(2 * self.identity_matched, self.truths + self.finds)

    @property
    def recall(self) -> float:
        """Matched share of the true boxes."""
        return _share(self.matched, self.truths)

    @property
    def precision(self) -> float:
        """Matched share of the found boxes."""
        return _share(self.matched, self.finds)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def following_counts(truth: Sequence[Persons], found: Sequence[Persons], least_overlap: float = 0.5) -> FollowingCounts:
    """Counts of one clip; both sequences hold one entry for every frame, in order.

    Boxes pair only at an intersection over union of `least_overlap` or more.
    """
    if len(truth) != len(found):
        raise UsageError(f"got {len(truth)} frames of truth and {len(found)} found; expected one entry for every frame")
    true_T, found_T = [frame.known() for frame in truth], [frame.known() for frame in found]
    overlap_T = [overlaps(t.boxes_P4, f.boxes_P4) for t, f in zip(true_T, found_T, strict=True)]
    matched, switches, fragmentations = _frame_by_frame(true_T, found_T, overlap_T, least_overlap)
    return FollowingCounts(
        truths=sum(len(frame.ids_P) for frame in true_T),
        finds=sum(len(frame.ids_P) for frame in found_T),
        matched=matched,
        switches=switches,
        fragmentations=fragmentations,
        identity_matched=_identity_matched(true_T, found_T, overlap_T, least_overlap),
    )


def _frame_by_frame(
    true_T: list[Persons], found_T: list[Persons], overlap_T: list[np.ndarray], least: float
) -> tuple[int, int, int]:
    """CLEAR MOT: a pair of the frame before stays while it is valid, the others are paired anew.

    Returns matched, switches, fragmentations.
    """
    matched = switches = fragmentations = 0
    last_id: dict[int, int] = {}
    held: dict[int, int] = {}
    broken: set[int] = set()
    for true, found, overlap_PP in zip(true_T, found_T, overlap_T, strict=True):
        gain_PP = np.where(overlap_PP >= least, overlap_PP, 0.0)
        stays_PP = np.array([[held.get(int(i)) == int(j) for j in found.ids_P] for i in true.ids_P], bool)
        # No sum of other pairs outweighs a pair that stays.
        gain_PP += np.where(stays_PP.reshape(gain_PP.shape) & (gain_PP > 0), 2.0 * (1 + min(gain_PP.shape)), 0.0)
        rows, columns = best_pairs(gain_PP)
        held = {int(true.ids_P[row]): int(found.ids_P[column]) for row, column in zip(rows, columns, strict=True)}
        for person, identity in held.items():
            switches += last_id.get(person, identity) != identity
            fragmentations += person in broken
        matched += len(held)
        last_id |= held
        broken -= held.keys()
        broken |= {int(person) for person in true.ids_P if int(person) in last_id and int(person) not in held}
    return matched, switches, fragmentations


def _identity_matched(true_T: list[Persons], found_T: list[Persons], overlap_T: list[np.ndarray], least: float) -> int:
    """Frames in which paired trajectories overlap, summed over the pairing of trajectories that makes most of them."""
    row_of = {i: row for row, i in enumerate(sorted({int(i) for frame in true_T for i in frame.ids_P}))}
    column_of = {j: column for column, j in enumerate(sorted({int(j) for frame in found_T for j in frame.ids_P}))}
    together_IJ = np.zeros((len(row_of), len(column_of)))
    for true, found, overlap_PP in zip(true_T, found_T, overlap_T, strict=True):
        for p, q in np.argwhere(overlap_PP >= least):
            together_IJ[row_of[int(true.ids_P[p])], column_of[int(found.ids_P[q])]] += 1
    rows, columns = best_pairs(together_IJ)
    return int(together_IJ[rows, columns].sum())


def jitter_per_frame2(true_TK2: np.ndarray, found_TK2: np.ndarray, height_px: float) -> float:
    """Mean length of the second difference of the error, as a share of the person's height per frame squared.

    The truth is taken off first, so that quick movement is not jitter. Points that are nan in any of three frames
    running are left out; nan when none is left.
    """
    error_TK2 = found_TK2 - true_TK2
    second_TK = np.linalg.norm(np.diff(error_TK2, n=2, axis=0), axis=2)
    known = np.isfinite(second_TK)
    return float(second_TK[known].mean() / height_px) if known.any() else float("nan")


def lag_frames(true_TK2: np.ndarray, found_TK2: np.ndarray, most: float = 6.0, step: float = 0.05) -> float:
    """By how many frames what is found trails the truth: the shift of the truth with the smallest squared error.

    Shifts from -`most` to `most` are tried with the truth interpolated linearly between frames, all on the same frames
    (those that every shift can judge). nan where nothing moves or too few frames are known.
    """
    times_T = np.arange(len(true_TK2), dtype=np.float64)
    inside_T = (times_T >= most) & (times_T <= len(true_TK2) - 1 - most)
    shifts_S = np.arange(-most, most + step / 2, step)
    error_STK = np.full((len(shifts_S), int(inside_T.sum()), true_TK2.shape[1]), np.nan)
    for index, shift in enumerate(shifts_S):
        at_T = times_T[inside_T] - shift
        low_T = np.clip(np.floor(at_T).astype(np.int64), 0, len(true_TK2) - 2)
        share_T11 = (at_T - low_T)[:, None, None]
        moved_TK2 = true_TK2[low_T] * (1 - share_T11) + true_TK2[low_T + 1] * share_T11
        error_STK[index] = ((found_TK2[inside_T] - moved_TK2) ** 2).sum(axis=2)
    judged_TK = np.isfinite(error_STK).all(axis=0)
    if not judged_TK.any():
        return float("nan")
    error_S = error_STK[:, judged_TK].mean(axis=1)
    moves = np.ptp(error_S) > 1e-6 * error_S.max()
    return float(shifts_S[error_S.argmin()]) if moves else float("nan")
