"""Pictures and labels agree with each other and with the conventions."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from vitruvian.people import Person, Scene, View, random_scene, render
from vitruvian.people.camera import Camera
from vitruvian.people.labels import KEYPOINT_NAMES, PART_COUNT, PartLabel
from vitruvian.people.pose import pose_from_degrees

SEEDS = range(8)
INDEX = {name: index for index, name in enumerate(KEYPOINT_NAMES)}
CLOTHES = {PartLabel.UPPER_CLOTHING, PartLabel.LOWER_CLOTHING, PartLabel.APPAREL}


@cache
def view_of(seed: int, persons: int = 1) -> View:
    return render(random_scene(seed, persons=persons))


@cache
def plain_person() -> Person:
    """Somebody standing at the origin, looking towards -z, arms a little away from the body."""
    person = random_scene(3).persons[0]
    pose = pose_from_degrees({"shoulder_abduct": 30, "elbow_flex": 10, "hip_abduct": 8})
    outfit = replace(person.outfit, backpack=False, shoulder_bag=False, upper=True, skirt=False, gloves=False)
    head = replace(person.head, hat="none", hair="short", glasses="none")
    return replace(person, pose=pose, outfit=outfit, head=head, heading_rad=0.0, position_m_3=(0.0, 0.0, 0.0))


def staged(*people: Person) -> Scene:
    """People in front of a level camera three and a half metres away, nothing else."""
    camera = Camera(focal_px=300.0, cx=95.5, cy=127.5, height=256, width=192, position_m_3=np.array([0.0, -0.9, -3.5]))
    return replace(random_scene(0), camera=camera, persons=people, props=(), room=None)


def test_same_seed_gives_the_same_bytes() -> None:
    first, second = render(random_scene(11, persons=2)), render(random_scene(11, persons=2))
    for field in fields(View):
        if field.name != "camera":
            assert getattr(first, field.name).tobytes() == getattr(second, field.name).tobytes(), field.name


def test_effects_and_supersampling_leave_labels_alone() -> None:
    scene = random_scene(4)
    clean, dirty = render(scene, supersample=2, effects=False), render(scene)
    assert (clean.part_labels_HW == dirty.part_labels_HW).all()
    assert (clean.depth_m_HW == dirty.depth_m_HW).all()
    assert clean.image_HW3.shape == dirty.image_HW3.shape
    assert (clean.image_HW3 != dirty.image_HW3).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_arrays_agree_with_each_other(seed: int) -> None:
    view = view_of(seed, 2)
    assert view.image_HW3.dtype == np.uint8
    assert view.image_HW3.shape == (256, 192, 3)
    assert view.part_labels_HW.max() < PART_COUNT
    assert ((view.part_labels_HW > 0) == (view.person_ids_HW > 0)).all()
    hit = view.depth_m_HW > 0
    assert hit[view.person_ids_HW > 0].all()
    norm = np.linalg.norm(view.normals_HW3, axis=2)
    np.testing.assert_allclose(norm[hit], 1.0, atol=1e-4)
    assert (norm[~hit] == 0).all()
    rows, columns = np.indices(hit.shape)
    camera = view.camera
    rays = np.stack(
        [(columns - camera.cx) / camera.focal_px, (rows - camera.cy) / camera.focal_px, np.ones(hit.shape)], 2
    )
    assert ((rays * view.normals_HW3).sum(axis=2)[hit] < 0.02).all(), "normals face the camera"


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_follow_the_depth(seed: int) -> None:
    view = view_of(seed)
    camera, depth = view.camera, view.depth_m_HW.astype(np.float64)
    rows, columns = np.indices(depth.shape)
    point = np.stack(
        [(columns - camera.cx) / camera.focal_px * depth, (rows - camera.cy) / camera.focal_px * depth, depth], 2
    )
    along_x, along_y = point[1:-1, 2:] - point[1:-1, :-2], point[2:, 1:-1] - point[:-2, 1:-1]
    normal = np.cross(along_y, along_x)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-12
    person = view.person_ids_HW > 0
    inner = person[1:-1, 1:-1] & person[1:-1, 2:] & person[1:-1, :-2] & person[2:, 1:-1] & person[:-2, 1:-1]
    given = view.normals_HW3[1:-1, 1:-1]
    # Creases between primitives and outlines in front of the body cannot agree; the bulk must.
    smooth = inner & (given[:, :, 2] < -0.5)
    agreement = (normal * given).sum(axis=2)[smooth]
    assert len(agreement) > 50
    assert np.median(agreement) > 0.99
    assert (agreement > 0.9).mean() > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_enclose_the_person_and_touch_it(seed: int) -> None:
    view = view_of(seed, 2)
    for index, box in enumerate(view.boxes_P4):
        rows, columns = np.nonzero(view.person_ids_HW == index + 1)
        if len(rows) == 0:
            assert np.isnan(box).all()
        else:
            assert tuple(box) == (columns.min(), rows.min(), columns.max(), rows.max())


def test_facing_the_camera_left_is_on_the_right_of_the_picture() -> None:
    view = render(staged(plain_person()))
    points = view.keypoints_PK3[0]
    for name in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert points[INDEX[f"left_{name}"], 0] > points[INDEX[f"right_{name}"], 0], name
    columns = np.indices(view.part_labels_HW.shape)[1]
    left = columns[view.part_labels_HW == PartLabel.LEFT_HAND].mean()
    assert left > columns[view.part_labels_HW == PartLabel.RIGHT_HAND].mean()
    assert abs(left - points[INDEX["left_wrist"], 0]) < 12
    behind = render(staged(replace(plain_person(), heading_rad=np.pi))).keypoints_PK3[0]
    assert behind[INDEX["left_wrist"], 0] < behind[INDEX["right_wrist"], 0]


def test_turning_left_shows_the_right_side() -> None:
    """Looking to its own left, a person in front of the camera faces the right of the picture."""
    points = render(staged(replace(plain_person(), heading_rad=np.pi / 2))).keypoints_PK3[0]
    assert points[INDEX["nose"], 0] > points[INDEX["right_ear"], 0]
    assert points[INDEX["right_shoulder"], 2] == 2
    assert points[INDEX["left_ear"], 2] == 1


def test_front_view_sees_every_keypoint_and_back_view_no_face() -> None:
    front = render(staged(plain_person())).keypoints_PK3[0]
    # Ears lie at the rim of the head and may hide behind the cheek.
    seen = [name for name in KEYPOINT_NAMES if "ear" not in name]
    assert all(front[INDEX[name], 2] == 2 for name in seen), front[:, 2]
    back = render(staged(replace(plain_person(), heading_rad=np.pi))).keypoints_PK3[0]
    assert all(back[INDEX[name], 2] == 1 for name in ("nose", "left_eye", "right_eye"))
    assert all(back[INDEX[name], 2] == 2 for name in ("left_knee", "right_elbow", "left_ankle"))


@pytest.mark.parametrize("seed", SEEDS)
def test_visible_wrists_lie_on_their_own_arm(seed: int) -> None:
    view = view_of(seed)
    for side, arm, hand in (
        ("left", PartLabel.LEFT_LOWER_ARM, PartLabel.LEFT_HAND),
        ("right", PartLabel.RIGHT_LOWER_ARM, PartLabel.RIGHT_HAND),
    ):
        x, y, seen = view.keypoints_PK3[0, INDEX[f"{side}_wrist"]]
        if seen == 2:
            row, column = round(float(y)), round(float(x))
            near = view.part_labels_HW[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            assert {arm, hand, *CLOTHES} & set(near.ravel().tolist()), side


def test_keypoints_outside_the_picture_are_marked() -> None:
    view = render(random_scene(2, framing="closeup"))
    x, y, seen = view.keypoints_PK3[0].T
    outside = (x < -0.5) | (y < -0.5) | (x >= 191.5) | (y >= 255.5)
    assert outside.any()
    assert (seen[outside] == 0).all()
    assert (seen[~outside] > 0).all()


def test_the_nearer_person_covers_the_farther() -> None:
    near = replace(plain_person(), position_m_3=(0.0, 0.0, -0.8))
    view = render(staged(plain_person(), near))
    assert (view.person_ids_HW == 2).sum() > 4 * (view.person_ids_HW == 1).sum()
    shoulders = [INDEX["left_hip"], INDEX["right_hip"], INDEX["nose"]]
    assert (view.keypoints_PK3[0, shoulders, 2] == 1).all()
    assert (view.keypoints_PK3[1, shoulders, 2] == 2).all()
    depth = view.depth_m_HW[view.person_ids_HW == 2]
    assert 2.2 < np.median(depth) < 3.0


def test_nobody_there() -> None:
    view = render(random_scene(1, persons=0))
    assert view.person_ids_HW.max() == 0
    assert view.part_labels_HW.max() == 0
    assert view.keypoints_PK3.shape == (0, 17, 3)
    assert view.boxes_P4.shape == (0, 4)


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="closeup"):
        random_scene(0, framing="wide")
    with pytest.raises(ValueError, match="fewer people"):
        random_scene(0, persons=300)
    with pytest.raises(ValueError, match="supersample=0"):
        render(random_scene(0), supersample=0)
