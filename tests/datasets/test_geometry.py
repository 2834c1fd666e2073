"""One affine map carries picture, labels, depth, normals and keypoints."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tolerances import WARP_LEVELS
from training_folders import ball
from vitruvian.datasets.geometry import Warp, identity
from vitruvian.tasks.base import Region
from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.tasks.normal import CAMERA, PUBLISHED, NormalFrame
from vitruvian.tasks.preprocess import crop_geometry, crop_matrix, resize_whole

Y_UP = NormalFrame(name="y up", description="x right, y up, z toward the viewer", to_display=(1, 1, 1))


def noise(height: int = 40, width: int = 60) -> np.ndarray:
    small = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("canvas_hw", [(80, 120), (20, 30), (33, 90)])
def test_resizing_is_that_of_the_networks(canvas_hw: tuple[int, int]) -> None:
    ours = identity(noise()).resize(canvas_hw).image(noise()).astype(int)
    theirs = resize_whole(noise(), canvas_hw)[0].astype(int)
    assert np.abs(ours - theirs).max() <= WARP_LEVELS


def test_mirror_and_crop_are_exact() -> None:
    picture = noise()
    mirrored = identity(picture).mirror()
    assert mirrored.mirrored
    assert np.array_equal(mirrored.image(picture), picture[:, ::-1])
    assert np.array_equal(mirrored.mirror().image(picture), picture)
    cut = identity(picture).crop(7, 5, (20, 30)).mirror()
    assert np.array_equal(cut.image(picture), picture[5:25, 7:37][:, ::-1])
    assert np.array_equal(cut.values(picture[..., 0], 0), picture[5:25, 7:37, 0][:, ::-1])


def test_a_cut_without_turn_is_the_crop_of_the_pose_task() -> None:
    geometry = crop_geometry((40, 60), Region(box_xyxy=(11.5, 3.0, 30.0, 33.25)), (64, 48))
    warp = identity(noise()).cut(geometry.centre_xy, geometry.size_wh, 0.0, (64, 48))
    assert np.allclose(warp.matrix_33[:2], crop_matrix(geometry), atol=1e-5)


def test_labels_change_sides_with_the_picture() -> None:
    classes = label_set(28)
    left, right = classes.flip_pairs[0]
    labels = np.array([[left, 0, right, 255]], np.uint8)
    warp = Warp(canvas_hw=(1, 4)).mirror()
    assert warp.labels(labels, classes.flip_pairs, 0).tolist() == [[255, left, 0, right]]
    assert warp.mirror().labels(labels, classes.flip_pairs, 0).tolist() == labels.tolist()
    assert Warp(canvas_hw=(1, 4)).crop(2, 0, (1, 4)).labels(labels, (), 0).tolist() == [[right, 255, 0, 0]]


def test_keypoints_stay_on_what_they_mark() -> None:
    convention = keypoint_set(17)
    eye = convention.names.index("left_eye")
    keypoints = np.zeros((17, 3))
    keypoints[eye] = (40, 13, 2)
    picture = np.zeros((61, 81, 3), np.uint8)
    picture[13, 40] = 255
    blurred = cv2.GaussianBlur(picture, (9, 9), 2)
    warp = (
        identity(picture)
        .crop(4, 3, (50, 70))
        .resize((100, 140))
        .turn(25)
        .mirror()
        .cut((70, 50), (90, 70), -40, (90, 110))
    )
    moved = warp.keypoints(keypoints, convention.flip_indices)
    seen = warp.image(blurred)[..., 0]
    found_yx = np.array(np.unravel_index(seen.argmax(), seen.shape))
    at = convention.names.index("right_eye")
    assert moved[at, 2] == 2
    assert np.abs(moved[at, 1::-1] - found_yx).max() <= 1
    assert moved[eye, 2] == 0


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, -75.0, 180.0])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("frame", [CAMERA, Y_UP, PUBLISHED], ids=lambda frame: frame.name)
def test_a_ball_looks_the_same_from_everywhere(angle_deg: float, mirrored: bool, frame: NormalFrame) -> None:
    signs = np.array(frame.to_display) * CAMERA.to_display
    normals = (ball() * signs).astype(np.float32)
    warp = Warp(canvas_hw=normals.shape[:2]).turn(angle_deg)
    warp = warp.mirror() if mirrored else warp
    moved = warp.normals(normals, frame)
    there = np.isfinite(moved).all(axis=2) & np.isfinite(normals).all(axis=2)
    assert there.sum() > 0.95 * np.isfinite(normals[..., 0]).sum()
    # Nearest neighbours lie up to 0.7 px away, on a ball of 26 px.
    inner = there & (np.abs(normals[..., 2]) > 0.5)
    assert np.abs(moved - normals)[inner].max() < 0.06
    assert np.allclose(np.linalg.norm(moved[there], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("angle_deg", "mirrored"), [(40.0, False), (-40.0, False), (40.0, True)])
def test_normals_of_a_plane_go_with_its_turned_depth(angle_deg: float, mirrored: bool) -> None:
    y_HW, x_HW = np.indices((80, 100)).astype(np.float64)
    depth = 50 + 0.4 * x_HW + 0.1 * y_HW
    normals = np.broadcast_to(normal_of(depth), (80, 100, 3)).astype(np.float32)
    warp = Warp(canvas_hw=(80, 100)).turn(angle_deg)
    warp = warp.mirror() if mirrored else warp
    turned = warp.values(depth, np.nan)[20:60, 30:70]
    moved = warp.normals(normals)[40, 50]
    assert np.allclose(moved, normal_of(turned), atol=0.01)
    assert not np.allclose(moved, normals[0, 0], atol=0.1)


def normal_of(depth: np.ndarray) -> np.ndarray:
    """Normal of a depth plane seen without perspective, toward the camera."""
    y, x = np.indices(depth.shape)
    design = np.stack((x.ravel(), y.ravel(), np.ones(x.size)), axis=1)
    slope_x, slope_y, _ = np.linalg.lstsq(design, depth.ravel(), rcond=None)[0]
    normal = np.array((slope_x, slope_y, -1.0))
    return normal / np.linalg.norm(normal)


def test_resizing_leaves_directions_alone() -> None:
    normals = ball()
    moved = Warp(canvas_hw=(65, 65)).resize((130, 65)).normals(normals)
    assert np.allclose(moved[::2][:, 32], normals[:, 32], atol=1e-6, equal_nan=True)


def test_no_value_travels_and_spreads_nowhere() -> None:
    depth = np.ones((30, 30), np.float32)
    depth[10:20, 10:20] = np.nan
    moved = Warp(canvas_hw=(30, 30)).resize((90, 90)).values(depth, np.nan)
    assert np.isnan(moved).sum() == 900
    assert (moved[np.isfinite(moved)] == 1).all()
    assert np.isnan(Warp(canvas_hw=(30, 30)).crop(-5, 0, (30, 30)).values(depth, np.nan)[:, :5]).all()
