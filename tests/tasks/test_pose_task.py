"""From a crop and heat maps to a `Pose` and its files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.sinks import PROVENANCE, KeepingSink, origin
from vitruvian.errors import InputError, UsageError
from vitruvian.tasks.base import Region
from vitruvian.tasks.encode import encode_heatmaps
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose import Pose, PoseTask
from vitruvian.tasks.pose_files import coco_results, person_scores
from vitruvian.tasks.preprocess import crop_matrix

TASK = PoseTask(keypoints=keypoint_set("coco17"), input_hw=(160, 120))
IMAGE = np.zeros((300, 400, 3), np.uint8)


def run_one(region: Region | None, source_K2: np.ndarray, seen_K: np.ndarray | None = None) -> Pose:
    """A network that answers with perfect heat maps at these source pixels."""
    _, geometry = TASK.prepare(IMAGE, region)
    matrix_23 = crop_matrix(geometry).astype(np.float64)
    canvas_K2 = source_K2 @ matrix_23[:, :2].T + matrix_23[:, 2]
    seen = torch.ones(1, 17) if seen_K is None else torch.from_numpy(seen_K).float()[None]
    xy = torch.from_numpy(canvas_K2).float()[None]
    heat_BKHW, _ = encode_heatmaps(xy, seen, input_hw=TASK.input_hw, heat_hw=(40, 30), sigma=2.0)
    tensors = TASK.finish_tensors({"heatmaps": heat_BKHW})
    (pose,) = TASK.finish({"points": tensors["points"][0]}, geometry, PROVENANCE)
    return pose


def some_points(region: Region) -> np.ndarray:
    x0, y0, x1, y1 = region.box_xyxy
    return np.random.default_rng(0).uniform((x0, y0), (x1, y1), (17, 2))


def test_perfect_heat_maps_give_back_source_pixels() -> None:
    region = Region(box_xyxy=(100, 40, 180, 280), score=0.75)
    points_K2 = some_points(region)
    seen_K = np.arange(17) != 5
    pose = run_one(region, points_K2, seen_K)
    assert pose.valid_PK[0].tolist() == seen_K.tolist()
    np.testing.assert_allclose(pose.keypoints_PK2[0, seen_K], points_K2[seen_K], atol=0.1)
    assert np.isnan(pose.keypoints_PK2[0, 5]).all()
    assert pose.boxes_P4.tolist() == [[100, 40, 180, 280]]
    assert pose.box_scores_P.tolist() == [0.75]
    assert (pose.source_hw, pose.convention.name) == ((300, 400), "coco17")


def test_without_a_region_the_picture_is_one_person() -> None:
    pose = run_one(None, some_points(Region(box_xyxy=(0, 0, 400, 300))))
    assert pose.boxes_P4.tolist() == [[0, 0, 400, 300]]
    assert pose.box_scores_P.tolist() == [1]


def test_join_keeps_order_and_makes_empty_poses() -> None:
    regions = [Region(box_xyxy=(i, 0, i + 100, 250), score=i / 100) for i in (10, 50)]
    poses = [run_one(region, some_points(region)) for region in regions]
    (joined,) = TASK.join(poses, (300, 400), PROVENANCE)
    np.testing.assert_array_equal(joined.keypoints_PK2[1], poses[1].keypoints_PK2[0])
    assert joined.box_scores_P.tolist() == pytest.approx([0.1, 0.5])
    (empty,) = TASK.join([], (300, 400), PROVENANCE)
    assert empty.keypoints_PK2.shape == (0, 17, 2)
    assert empty.document()["instances"] == []
    assert "Pose(" in repr(empty)
    assert "float32[0, 17, 2]" in repr(empty)


def test_mirrored_outputs_of_a_mirrored_truth_average_to_the_truth() -> None:
    heat = torch.rand(1, 17, 8, 6)
    mirrored = heat[:, list(TASK.keypoints.flip_indices)].flip(-1)
    averaged = TASK.average_mirrored({"heatmaps": heat}, {"heatmaps": mirrored})
    torch.testing.assert_close(averaged["heatmaps"], heat)


def test_discrepancy_looks_at_confident_keypoints_only() -> None:
    region = Region(box_xyxy=(100, 40, 180, 280))
    a = run_one(region, some_points(region))
    nothing = {"px_median": 0.0, "px_p90": 0.0, "px_max": 0.0, "score_max": 0.0}
    assert TASK.discrepancy(a, a) == nothing
    (empty,) = TASK.join([], (300, 400), PROVENANCE)
    assert TASK.discrepancy(empty, empty) == nothing
    moved, scores = a.keypoints_PK2.copy(), a.scores_PK.copy()
    moved[0, 3] += (3, 4)
    moved[0, 4] += 1000
    scores[0, 4] = 0.1
    faint = replace(a, scores_PK=scores)
    found = TASK.discrepancy(faint, replace(faint, keypoints_PK2=moved))
    # 240 px of box and a quarter of padding lie on 160 px of canvas
    assert found["px_max"] == pytest.approx(5 * 160 / 300, abs=1e-3)
    assert (found["px_median"], found["px_p90"]) == (0, 0)
    with pytest.raises(UsageError, match="same picture"):
        TASK.discrepancy(a, TASK.join([], (300, 400), PROVENANCE)[0])


@pytest.mark.parametrize("raw", [{}, {"logits": torch.zeros(1, 17, 4, 4)}, {"heatmaps": torch.zeros(1, 16, 4, 4)}])
def test_foreign_network_outputs_are_named(raw: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UsageError, match="made for this task"):
        TASK.finish_tensors(raw)


def test_arrays_of_other_shapes_are_refused() -> None:
    (empty,) = TASK.join([], (3, 4), PROVENANCE)
    with pytest.raises(ValueError, match="scores_PK"):
        replace(empty, scores_PK=np.zeros((1, 17), np.float32))
    with pytest.raises(ValueError, match="keypoints_PK2"):
        replace(empty, keypoints_PK2=np.zeros((0, 17, 2)))


@pytest.mark.parametrize(
    ("formats", "written"),
    [
        (("json",), {"pose.json"}),
        (("coco",), {"pose.json"}),
        (("csv",), {"pose.json"}),
        (("openpose",), {"pose.openpose.json"}),
        (("draw",), {"pose.drawn.jpg"}),
        (("png",), set()),
        (Pose.formats, {"pose.json", "pose.openpose.json", "pose.drawn.jpg"}),
    ],
)
def test_files_by_format(formats: tuple[str, ...], written: set[str]) -> None:
    region = Region(box_xyxy=(10, 5, 50, 55))
    pose = replace(run_one(region, some_points(region)), origin=origin((300, 400)))
    sink = KeepingSink(*formats)
    pose.write(sink)
    assert sink.files.keys() == written


def test_document_is_json_with_null_for_missing() -> None:
    region = Region(box_xyxy=(100, 40, 180, 280), score=0.5)
    pose = replace(run_one(region, some_points(region), np.arange(17) != 2), origin=origin((300, 400), time_s=0.25))
    document = json.loads(json.dumps(pose.document(), allow_nan=False))
    (person,) = document["instances"]
    assert document["input"] == "folder/one.jpg"
    assert document["time_s"] == 0.25
    assert (document["model"], document["licence"]) == ("tiny", "CC BY-NC 4.0")
    assert (document["height"], document["width"], document["convention"]) == (300, 400, "coco17")
    assert document["keypoint_names"][0] == "nose"
    assert person["keypoints"][2] is None
    np.testing.assert_allclose(person["keypoints"][3], pose.keypoints_PK2[0, 3], atol=1e-3)
    assert person["score"] == pytest.approx(person_scores(pose.scores_PK)[0], abs=1e-5)


def test_person_scores_count_what_is_above_the_bound() -> None:
    scores = np.array([[0.1, 0.2, 0.4, 0.8], [0.1, 0.0, -1, 0.2]], np.float32)
    np.testing.assert_allclose(person_scores(scores), [0.6, 0], rtol=1e-6)


def test_coco_results_of_17_keypoints() -> None:
    region = Region(box_xyxy=(100, 40, 180, 280), score=0.5)
    document = run_one(region, some_points(region), np.arange(17) != 2).document()
    (entry,) = coco_results(document, 42)
    assert (entry["image_id"], entry["category_id"], entry["bbox"]) == (42, 1, [100, 40, 80, 240])
    assert entry["keypoints"][6:9] == [0, 0, 0]
    assert entry["keypoints"][9:11] == document["instances"][0]["keypoints"][3]
    assert entry["score"] == pytest.approx(0.5 * document["instances"][0]["score"], abs=1e-5)


def test_coco_results_of_whole_bodies_are_spread_over_their_fields() -> None:
    task = PoseTask(keypoints=keypoint_set(133), input_hw=(160, 120))
    _, geometry = task.prepare(IMAGE, None)
    points = torch.arange(133 * 3).reshape(133, 3).float()
    (pose,) = task.finish({"points": points}, geometry, PROVENANCE)
    (entry,) = coco_results(pose.document(), 1)
    sizes = {name: len(value) // 3 for name, value in entry.items() if name.endswith(("keypoints", "kpts"))}
    assert sizes == {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    assert entry["righthand_kpts"][-1] == 133 * 3 - 1


def test_foreign_documents_are_refused() -> None:
    with pytest.raises(InputError, match="expected vitruvian-pose"):
        coco_results({"format": "other"}, 1)


@pytest.mark.parametrize(("value", "field"), [(None, "score"), (None, "box_score")])
def test_coco_results_of_a_null_score_are_the_last_of_all(value: None, field: str) -> None:
    region = Region(box_xyxy=(100, 40, 180, 280), score=0.5)
    document = run_one(region, some_points(region)).document()
    document["instances"][0][field] = value
    (entry,) = coco_results(document, 42)
    assert entry["score"] == 0


def test_scores_that_are_no_numbers_reach_the_results() -> None:
    region = Region(box_xyxy=(100, 40, 180, 280), score=0.5)
    pose = run_one(region, some_points(region))
    document = replace(pose, scores_PK=np.full((1, 17), np.inf, np.float32)).document()
    assert document["instances"][0]["score"] is None
    assert coco_results(document, 1)[0]["score"] == 0


def two_persons(**more: object) -> Pose:
    regions = [Region(box_xyxy=(i, 0, i + 100, 250), score=0.5) for i in (10, 50)]
    (joined,) = TASK.join([run_one(region, some_points(region)) for region in regions], (300, 400), PROVENANCE)
    return replace(joined, origin=origin((300, 400)), **more)  # type: ignore[arg-type]


def test_followed_persons_have_their_number_in_every_file() -> None:
    pose = two_persons(ids_P=np.array([7, -1]))
    assert [person["id"] for person in pose.document()["instances"]] == [7, -1]
    assert [person["person_id"] for person in pose.openpose()["people"]] == [[7], [-1]]
    assert (pose.draw() != replace(pose, ids_P=None).draw()).any()
    assert pose.converted("openpose18").document()["instances"][0]["id"] == 7


def test_where_nobody_follows_there_is_no_number() -> None:
    assert all("id" not in person for person in two_persons().document()["instances"])
    assert two_persons().ids_P is None


@pytest.mark.parametrize("ids", [np.array([1]), np.array([1.0, 2.0]), np.array([1, 2], np.int32)])
def test_other_numbers_are_refused(ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="ids_P"):
        two_persons(ids_P=ids)


def test_converting_to_the_same_convention_changes_nothing() -> None:
    pose = two_persons()
    assert pose.converted("coco17") is pose
    assert "converted_from" not in pose.about()


def test_conversions_say_what_is_missing() -> None:
    pose = two_persons().converted("openpose25")
    about = pose.about()
    assert (about["convention"], about["converted_from"]) == ("openpose25", "coco17")
    assert about["unmapped"] == [
        f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")
    ]
    document = pose.document()
    assert document["keypoint_names"] == list(keypoint_set("openpose25").names)
    (first, second) = document["instances"]
    assert first["keypoints"][-6:] == [None] * 6
    assert second["scores"][-6:] == [0] * 6
    assert pose.draw().shape == (300, 400, 3)
    with pytest.raises(UsageError, match="openpose18"):
        pose.converted("openpose19")


def test_results_of_a_converted_pose_are_in_its_convention() -> None:
    pose = two_persons().converted("wholebody133")
    entries = coco_results(pose.document(), 3)
    assert all(len(entry["face_kpts"]) == 3 * 68 and not any(entry["face_kpts"]) for entry in entries)
    assert entries[1]["keypoints"] == coco_results(two_persons().document(), 3)[1]["keypoints"]


def test_openpose_hands_survive_a_conversion_of_the_body() -> None:
    task = PoseTask(keypoints=keypoint_set(133), input_hw=(160, 120))
    _, geometry = task.prepare(IMAGE, None)
    (pose,) = task.finish({"points": torch.arange(133 * 3).reshape(133, 3).float() + 1}, geometry, PROVENANCE)
    (person,) = pose.converted("openpose18").openpose()["people"]
    assert len(person["pose_keypoints_2d"]) == 18 * 3
    assert person["hand_left_keypoints_2d"] == pose.openpose()["people"][0]["hand_left_keypoints_2d"] != []
