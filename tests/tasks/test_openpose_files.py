"""OpenPose documents: order, hands and faces where they are whole, confidence, numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vitruvian.tasks.conventions import Points
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.openpose_files import openpose_document

ORDER_25 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip "
    "right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe "
    "left_small_toe left_heel right_big_toe right_small_toe right_heel"
)
ORDER_18 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
)
BODY_25, BODY_18 = ORDER_25.split(), ORDER_18.split()


def points_of(name: str, persons: int = 1) -> Points:
    """Keypoint k of person p at x = k, y = 1000 p + k / 8 with score k / 400 + 0.1."""
    convention = keypoint_set(name)
    k_K = np.arange(convention.count, dtype=np.float32)
    xy_PK2 = np.tile(np.stack([k_K, k_K / 8], axis=1), (persons, 1, 1))
    xy_PK2[..., 1] += 1000 * np.arange(persons)[:, None]
    return Points(
        convention=convention,
        xy_PK2=xy_PK2,
        scores_PK=np.tile(k_K / 400 + 0.1, (persons, 1)).astype(np.float32),
        valid_PK=np.ones((persons, convention.count), bool),
    )


def triple(points: Points, name: str, person: int = 0) -> list[float]:
    index = points.convention.names.index(name)
    return [index, 1000 * person + index / 8, pytest.approx(index / 400 + 0.1, abs=1e-5)]


def test_the_orders_are_openposes() -> None:
    assert keypoint_set("openpose25").names == tuple(BODY_25)
    assert keypoint_set("openpose18").names == tuple(BODY_18)


@pytest.mark.parametrize("source", ["coco17", "wholebody133", "sapiens308"])
def test_bodies_have_25_points_in_openposes_order(source: str) -> None:
    points = points_of(source, persons=2)
    document = json.loads(json.dumps(openpose_document({"model": "tiny"}, points, points), allow_nan=False))
    assert (document["version"], document["vitruvian"]) == (1.3, {"model": "tiny"})
    assert [person["person_id"] for person in document["people"]] == [[-1], [-1]]
    body = np.reshape(document["people"][1]["pose_keypoints_2d"], (25, 3))
    for place, name in enumerate(BODY_25):
        if name in points.convention.names and name != "neck":
            assert body[place].tolist() == triple(points, name, person=1)
    feet = body[BODY_25.index("left_big_toe") :]
    assert (feet == 0).all() == (source == "coco17")


def test_the_eighteen_where_they_were_asked_for() -> None:
    source = points_of("sapiens308")
    document = openpose_document({}, source.to(keypoint_set("openpose18")), source, np.array([7]))
    (person,) = document["people"]
    assert person["person_id"] == [7]
    assert len(person["pose_keypoints_2d"]) == 18 * 3
    assert person["pose_keypoints_2d"][-3:] == triple(source, "left_ear")
    assert len(person["hand_left_keypoints_2d"]) == 21 * 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_hands_begin_at_the_wrist_and_run_from_thumb_to_little_finger(side: str) -> None:
    source = points_of("sapiens308")
    (person,) = openpose_document({}, source, source)["people"]
    hand = np.reshape(person[f"hand_{side}_keypoints_2d"], (21, 3)).tolist()
    names = [f"{side}_wrist"]
    for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger"):
        names += [f"{side}_{finger}_third_joint", *(f"{side}_{finger}{joint}" for joint in (2, 3, 4))]
    assert hand == [triple(source, name) for name in names]


def test_the_whole_body_has_hand_roots_and_a_face_without_pupils() -> None:
    source = points_of("wholebody133")
    (person,) = openpose_document({}, source, source)["people"]
    assert person["hand_left_keypoints_2d"][:3] == triple(source, "left_hand_root")
    face = np.reshape(person["face_keypoints_2d"], (70, 3)).tolist()
    assert face[:68] == [triple(source, f"face-{number}") for number in range(68)]
    assert face[68:] == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("coco17", {}),
        ("sapiens308", {"hand_left_keypoints_2d": 63, "hand_right_keypoints_2d": 63}),
        ("openpose25", {}),
    ],
)
def test_parts_that_are_not_whole_are_empty(source: str, fields: dict[str, int]) -> None:
    points = points_of(source)
    (person,) = openpose_document({}, points, points)["people"]
    lengths = {name: len(value) for name, value in person.items() if name not in ("person_id", "pose_keypoints_2d")}
    assert lengths == dict.fromkeys(lengths, 0) | fields
    assert len(lengths) == 7


def test_confidence_is_clipped_and_what_has_no_location_is_zero() -> None:
    points = points_of("openpose18")
    points.scores_PK[0, :2] = 1.07, -0.2
    points.valid_PK[0, 2], points.xy_PK2[0, 3] = False, np.nan
    (person,) = openpose_document({}, points, points)["people"]
    rows = np.reshape(person["pose_keypoints_2d"], (18, 3)).tolist()
    assert [rows[0][2], rows[1][2]] == [1, 0]
    assert rows[2] == rows[3] == [0, 0, 0]


def test_nobody() -> None:
    points = points_of("wholebody133", persons=0)
    assert openpose_document({}, points, points)["people"] == []
