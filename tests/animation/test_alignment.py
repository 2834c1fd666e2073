"""One scale and shift for a clip: what the published fit does to a jumping person, and what the robust one does."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.animation.alignment import FITTED, Method, align
from vitruvian.animation.drive_poses import BODY, DrivePoses
from vitruvian.errors import InputError, UsageError

RNG = np.random.default_rng(7)
SIZE = (720, 1280)
SKELETON = RNG.uniform(0.3, 0.7, (134, 2)) * (0.2, 1.0) + (0.3, 0.0)


def poses(*people: np.ndarray, seen: np.ndarray | None = None) -> DrivePoses:
    points = np.stack(people)
    seen_PB = np.ones((len(people), 18), bool) if seen is None else np.stack([seen] * len(people))
    return DrivePoses(points_PJ2=points, scores_PJ=np.ones(points.shape[:2]), seen_PB=seen_PB)


def jumping(deviation: float, frames: int = 200) -> list[DrivePoses]:
    heights = RNG.normal(0.0, deviation, frames)
    return [poses(SKELETON + np.array((0.0, height))) for height in heights]


def fit(frames: list[DrivePoses], reference: DrivePoses, method: Method) -> tuple[float, float]:
    found = align(frames, reference, drive_hw=SIZE, reference_hw=SIZE, method=method)
    return found.scale_xy


@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.15])
def test_a_jumping_person_keeps_the_size_with_the_robust_fit(deviation: float) -> None:
    frames, reference = jumping(deviation), poses(SKELETON)
    assert fit(frames, reference, "robust") == pytest.approx((1.0, 1.0), abs=1e-6)
    spread = float(SKELETON[list(FITTED), 1].var())
    expected = spread / (spread + deviation**2)
    assert fit(frames, reference, "published")[1] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("method", ["published", "robust"])
def test_scale_and_place_are_found_in_pixels_of_both_frames(method: Method) -> None:
    drive_hw, reference_hw = (480, 270), (192, 256)
    scale_y = 1.4
    scale_x = scale_y * (270 / 480) * (192 / 256)
    reference = poses(SKELETON * np.array((scale_x, scale_y)) + np.array((0.1, -0.2)))
    found = align([poses(SKELETON)] * 3, reference, drive_hw=drive_hw, reference_hw=reference_hw, method=method)
    assert found.scale_xy == pytest.approx((scale_x, scale_y))
    assert found.shift_xy == pytest.approx((0.1, -0.2))
    np.testing.assert_allclose(found.applied(poses(SKELETON)).points_PJ2, reference.points_PJ2)


def test_the_robust_fit_leaves_out_joints_that_were_not_seen_and_takes_the_largest_person() -> None:
    spoilt = SKELETON.copy()
    spoilt[9:14] = 5.0
    seen = np.ones(18, bool)
    seen[9:14] = False
    far_away = SKELETON * 0.2
    frames = [poses(spoilt, seen=seen)] * 3 + [poses(far_away, SKELETON)] * 3
    assert fit(frames, poses(SKELETON), "robust") == pytest.approx((1.0, 1.0))


def test_what_cannot_be_fitted_is_said() -> None:
    several, nobody = poses(SKELETON, SKELETON), poses(SKELETON, seen=np.zeros(18, bool))
    with pytest.raises(InputError, match="exactly one person"):
        fit([several], poses(SKELETON), "published")
    with pytest.raises(InputError, match="no joints"):
        fit([poses(SKELETON)], nobody, "robust")
    with pytest.raises(InputError, match="same joints"):
        fit([nobody], poses(SKELETON), "robust")
    with pytest.raises(InputError, match="shows nobody"):
        empty = DrivePoses(
            points_PJ2=np.zeros((0, 134, 2)), scores_PJ=np.zeros((0, 134)), seen_PB=np.zeros((0, 18), bool)
        )
        fit([poses(SKELETON)], empty, "robust")
    with pytest.raises(UsageError, match="published or robust"):
        fit([poses(SKELETON)], poses(SKELETON), "other")  # type: ignore[arg-type]


def test_only_seen_joints_of_the_reference_count() -> None:
    reference = SKELETON.copy()
    reference[11] = 9.0
    seen = np.ones(18, bool)
    seen[11] = False
    assert BODY.stop == 18
    for method in ("published", "robust"):
        assert fit([poses(SKELETON)] * 2, poses(reference, seen=seen), method) == pytest.approx((1.0, 1.0))  # type: ignore[arg-type]
