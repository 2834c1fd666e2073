"""Conversions go by name, invent nothing, and say what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.tasks.conventions import MADE_OF, SAME_POINT, Points, sources, unmapped
from vitruvian.tasks.labels import CONVENTIONS, keypoint_set

FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")


def points_of(name: str, persons: int = 2) -> Points:
    """Persons with every keypoint somewhere else and another score."""
    convention = keypoint_set(name)
    rng = np.random.default_rng(3)
    return Points(
        convention=convention,
        xy_PK2=rng.uniform(0, 500, (persons, convention.count, 2)).astype(np.float32),
        scores_PK=rng.uniform(0.3, 1, (persons, convention.count)).astype(np.float32),
        valid_PK=np.ones((persons, convention.count), bool),
    )


def at(points: Points, name: str) -> tuple[list[float], float, bool]:
    """Location, score and validity of the second person's keypoint."""
    index = points.convention.names.index(name)
    return points.xy_PK2[1, index].tolist(), float(points.scores_PK[1, index]), bool(points.valid_PK[1, index])


@pytest.mark.parametrize("source", CONVENTIONS)
@pytest.mark.parametrize("target", CONVENTIONS)
def test_every_pair_keeps_equal_names_and_types(source: str, target: str) -> None:
    before = points_of(source)
    after = before.to(keypoint_set(target))
    assert after.xy_PK2.shape == (2, CONVENTIONS[target], 2)
    assert (after.xy_PK2.dtype, after.scores_PK.dtype, after.valid_PK.dtype) == (np.float32, np.float32, np.bool_)
    for name in set(before.convention.names) & set(after.convention.names) - {"neck"}:
        assert at(after, name) == at(before, name)
    missing = {name for name in after.convention.names if not at(after, name)[2]}
    assert missing == set(unmapped(before.convention, after.convention))
    assert all(np.isnan(at(after, name)[0]).all() and at(after, name)[1] == 0 for name in missing)


@pytest.mark.parametrize(
    ("source", "target", "missing"),
    [
        ("coco17", "coco17", 0),
        ("coco17", "openpose18", 0),
        ("coco17", "openpose25", 6),
        ("coco17", "wholebody133", 6 + 68 + 40),
        ("wholebody133", "openpose25", 0),
        ("sapiens308", "openpose25", 0),
        ("sapiens308", "coco17", 0),
        ("sapiens308", "wholebody133", 58),
        ("wholebody133", "sapiens308", 308 - 17 - 6 - 40 - 10),
        ("openpose25", "openpose18", 0),
        ("openpose18", "openpose25", 6),
        ("openpose25", "coco17", 0),
    ],
)
def test_how_much_is_missing(source: str, target: str, missing: int) -> None:
    assert len(unmapped(keypoint_set(source), keypoint_set(target))) == missing


def test_of_308_only_the_face_is_missing_in_133() -> None:
    missing = unmapped(keypoint_set("sapiens308"), keypoint_set("wholebody133"))
    assert all(name.startswith("face-") for name in missing)
    there = {int(name[5:]) for name in keypoint_set("wholebody133").names if name.startswith("face-")}
    there -= {int(name[5:]) for name in missing}
    assert there == {30, 33, 48, 51, 54, 57, 60, 62, 64, 66}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("finger", FINGERS)
def test_fingers_run_from_root_to_tip(side: str, finger: str) -> None:
    before = points_of("sapiens308")
    after = before.to(keypoint_set("wholebody133"))
    joints = [f"{side}_{finger}{number}" for number in (1, 2, 3, 4)]
    originals = [f"{side}_{finger}_third_joint", *joints[1:]]
    assert [at(after, joint) for joint in joints] == [at(before, original) for original in originals]
    back = after.to(keypoint_set("sapiens308"))
    assert [at(back, original) for original in originals] == [at(before, original) for original in originals]


@pytest.mark.parametrize("source", ["coco17", "sapiens308", "openpose25"])
def test_hand_roots_come_from_the_wrists(source: str) -> None:
    before = points_of(source)
    after = before.to(keypoint_set("wholebody133"))
    assert at(after, "left_hand_root") == at(before, "left_wrist")
    assert at(after, "right_hand_root") == at(before, "right_wrist")


@pytest.mark.parametrize("source", ["coco17", "wholebody133", "sapiens308"])
@pytest.mark.parametrize(("name", "parts"), [("neck", "shoulder"), ("mid_hip", "hip")])
def test_points_made_of_two_lie_half_way_with_the_lower_score(source: str, name: str, parts: str) -> None:
    before = points_of(source)
    after = before.to(keypoint_set("openpose25"))
    (left_xy, left_score, _), (right_xy, right_score, _) = (at(before, f"{s}_{parts}") for s in ("left", "right"))
    xy, score, valid = at(after, name)
    np.testing.assert_allclose(xy, (np.array(left_xy) + right_xy) / 2, rtol=1e-6)
    assert (score, valid) == (min(left_score, right_score), True)


def test_a_point_made_of_two_needs_both() -> None:
    before = points_of("coco17")
    before.valid_PK[:, before.convention.names.index("left_shoulder")] = False
    after = before.to(keypoint_set("openpose18"))
    assert not at(after, "neck")[2]
    assert np.isnan(at(after, "neck")[0]).all()
    assert at(after, "right_shoulder")[2]


def test_the_neck_of_308_is_another_point_than_openposes() -> None:
    assert "neck" in unmapped(keypoint_set("openpose25"), keypoint_set("sapiens308"))
    assert at(points_of("sapiens308").to(keypoint_set("openpose25")), "neck") != at(points_of("sapiens308"), "neck")


@pytest.mark.parametrize("source", CONVENTIONS)
@pytest.mark.parametrize("target", CONVENTIONS)
def test_converting_a_mirrored_person_mirrors_the_conversion(source: str, target: str) -> None:
    """Left and right keep their places in every table."""
    before, mirror = points_of(source), keypoint_set(target)
    flipped = list(before.convention.flip_indices)
    mirrored = Points(
        convention=before.convention,
        xy_PK2=before.xy_PK2[:, flipped],
        scores_PK=before.scores_PK[:, flipped],
        valid_PK=before.valid_PK[:, flipped],
    ).to(mirror)
    straight = before.to(mirror).xy_PK2[:, list(mirror.flip_indices)]
    np.testing.assert_array_equal(np.isnan(mirrored.xy_PK2), np.isnan(straight))
    np.testing.assert_allclose(mirrored.xy_PK2, straight)


def test_tables_name_keypoints_that_exist() -> None:
    for name, same in SAME_POINT.items():
        assert set(same) <= set(keypoint_set(name).names)
    everything = {name for convention in CONVENTIONS for name in keypoint_set(convention).names}
    assert set(MADE_OF) | {part for pair in MADE_OF.values() for part in pair} <= everything


def test_no_source_keypoint_is_copied_twice_but_wrists() -> None:
    for source in CONVENTIONS:
        for target in CONVENTIONS:
            convention = keypoint_set(source)
            copied = [a for a, b in sources(convention, keypoint_set(target)).tolist() if a == b >= 0]
            twice = {convention.names[index] for index in copied if copied.count(index) > 1}
            assert twice <= {"left_wrist", "right_wrist"}


def test_nobody_stays_nobody() -> None:
    assert points_of("sapiens308", persons=0).to(keypoint_set("openpose18")).xy_PK2.shape == (0, 18, 2)
