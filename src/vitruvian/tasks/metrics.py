"""Measures of quality and of agreement on plain arrays: keypoints, labels, depth, normals.

Arrays in, numbers out, float64 inside; memory is a few temporaries of the inputs' size.
"""

# Shape suffixes: P persons, K keypoints, C classes, H W picture size, 2 = x y, 3 = x y z, 4 = x0 y0 x1 y1.

from __future__ import annotations

import numpy as np


def distances_px(a_PK2: np.ndarray, b_PK2: np.ndarray) -> np.ndarray:
    """Euclidean distances (P,K); 0 where both locations are missing (NaN), infinite where one is."""
    distance_PK = np.linalg.norm(a_PK2.astype(np.float64) - b_PK2.astype(np.float64), axis=-1)
    missing_a, missing_b = (np.isnan(points).any(axis=-1) for points in (a_PK2, b_PK2))
    return np.where(missing_a & missing_b, 0.0, np.where(missing_a | missing_b, np.inf, distance_PK))


def pck(
    found_PK2: np.ndarray, true_PK2: np.ndarray, visible_PK: np.ndarray, boxes_P4: np.ndarray, fraction: float = 0.05
) -> float:
    """Share of visible keypoints found within `fraction` of the longer side of their person's true box.

    A keypoint that was not found (NaN) counts as missed; NaN if nothing is visible.
    """
    visible_PK = visible_PK.astype(bool)
    if not visible_PK.any():
        return float("nan")
    size_P = np.maximum(boxes_P4[:, 2] - boxes_P4[:, 0], boxes_P4[:, 3] - boxes_P4[:, 1])
    near_PK = distances_px(found_PK2, true_PK2) <= fraction * size_P[:, None]
    return float(near_PK[visible_PK].mean())


def confusion_matrix(found_HW: np.ndarray, true_HW: np.ndarray, classes: int, ignore: int | None = 255) -> np.ndarray:
    """int64 (C,C) counts, rows true and columns found; pixels whose true label is `ignore` are left out.

    Matrices of several pictures add up. `ValueError` for labels outside 0..classes-1.
    """
    counted_HW = np.ones(true_HW.shape, bool) if ignore is None else true_HW != ignore
    true, found = true_HW[counted_HW].astype(np.int64), found_HW[counted_HW].astype(np.int64)
    largest = max(true.max(initial=0), found.max(initial=0))
    if largest >= classes or min(true.min(initial=0), found.min(initial=0)) < 0:
        raise ValueError(f"got label {largest}; expected 0..{classes - 1}; check the label set")
    return np.bincount(true * classes + found, minlength=classes * classes).reshape(classes, classes)


def iou_per_class(confusion_CC: np.ndarray) -> np.ndarray:
    """Intersection over union (C,) of each class; NaN for classes that neither truth nor result contain."""
    hit_C = np.diag(confusion_CC).astype(np.float64)
    union_C = confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) - hit_C
    return np.divide(hit_C, union_C, out=np.full(len(hit_C), np.nan), where=union_C > 0)


def mean_iou(confusion_CC: np.ndarray) -> float:
    """Mean intersection over union of the classes present in the truth; NaN if there are none."""
    iou_C = iou_per_class(confusion_CC)[confusion_CC.sum(axis=1) > 0]
    return float(iou_C.mean()) if len(iou_C) else float("nan")


def fit_scale_shift(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Least-squares scale and shift with scale * a + shift close to b; a flat `a` gets scale 0 and the mean of b."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    if not a.size:
        return 1.0, 0.0
    centred = a - a.mean()
    spread = float(centred @ centred)
    scale = float(centred @ (b - b.mean())) / spread if spread > 0 else 0.0
    return scale, float(b.mean() - scale * a.mean())


def depth_errors(found_HW: np.ndarray, true_HW: np.ndarray, valid_HW: np.ndarray, *, align: bool) -> dict[str, float]:
    """abs_rel, rmse, delta1, delta2, delta3 over valid pixels where the truth is positive; NaN if there are none.

    `align` first fits scale and shift to the truth, as relative depth needs. delta_i is the share of pixels whose ratio
    to the truth, either way up, is below 1.25 ** i.
    """
    valid_HW = valid_HW.astype(bool) & (true_HW > 0) & np.isfinite(found_HW) & np.isfinite(true_HW)
    found, true = found_HW[valid_HW].astype(np.float64), true_HW[valid_HW].astype(np.float64)
    if not found.size:
        return dict.fromkeys(("abs_rel", "rmse", "delta1", "delta2", "delta3"), float("nan"))
    if align:
        scale, shift = fit_scale_shift(found, true)
        found = scale * found + shift
    positive = np.maximum(found, 1e-6)
    ratio = np.maximum(positive / true, true / positive)
    errors = {
        "abs_rel": float((np.abs(found - true) / true).mean()),
        "rmse": float(np.sqrt(((found - true) ** 2).mean())),
    }
    return errors | {f"delta{power}": float((ratio < 1.25**power).mean()) for power in (1, 2, 3)}


def relative_depth_difference(a_HW: np.ndarray, b_HW: np.ndarray) -> float:
    """Mean distance of two depth maps after fitting scale and shift of the first to the second, as a share of range.

    The range is the second map's 2nd to 98th percentile; for a flat one it counts as 1. NaN if no pixel is finite.
    """
    finite_HW = np.isfinite(a_HW) & np.isfinite(b_HW)
    a, b = a_HW[finite_HW].astype(np.float64), b_HW[finite_HW].astype(np.float64)
    if not a.size:
        return float("nan")
    scale, shift = fit_scale_shift(a, b)
    low, high = np.percentile(b, (2, 98))
    return float(np.abs(scale * a + shift - b).mean() / (high - low if high > low else 1.0))


def angles_deg(a_HW3: np.ndarray, b_HW3: np.ndarray) -> np.ndarray:
    """Angle between two normal maps at each pixel in degrees, 0..180; NaN where either has no direction."""
    a, b = a_HW3.astype(np.float64), b_HW3.astype(np.float64)
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    # atan2 keeps its precision for small angles, where acos of a float32 product is off by hundredths of a degree.
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1)))
    return np.where(length > 0, angle, np.nan)


def angle_errors(found_HW3: np.ndarray, true_HW3: np.ndarray, valid_HW: np.ndarray | None = None) -> dict[str, float]:
    """Mean and median angle in degrees, and the share below 11.25, 22.5 and 30 degrees; NaN if nothing is valid."""
    angle_HW = angles_deg(found_HW3, true_HW3)
    valid_HW = np.isfinite(angle_HW) if valid_HW is None else valid_HW.astype(bool) & np.isfinite(angle_HW)
    angle = angle_HW[valid_HW]
    names = {"share_11": 11.25, "share_22": 22.5, "share_30": 30.0}
    if not angle.size:
        return dict.fromkeys(("deg_mean", "deg_median", *names), float("nan"))
    errors = {"deg_mean": float(angle.mean()), "deg_median": float(np.median(angle))}
    return errors | {name: float((angle < bound).mean()) for name, bound in names.items()}


def relative_l2(a: np.ndarray, b: np.ndarray) -> float:
    """Length of a - b relative to the length of b; 0 when both are zero."""
    difference = float(np.linalg.norm((a.astype(np.float64) - b.astype(np.float64)).ravel()))
    size = float(np.linalg.norm(b.astype(np.float64).ravel()))
    return difference / size if size > 0 else (0.0 if difference == 0 else float("inf"))
