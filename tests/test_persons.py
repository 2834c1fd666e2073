"""Persons are found before they are looked at: the detector's part of the road."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import vitruvian as vt
from vitruvian.errors import UsageError
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.network_stage import PART, Finished
from vitruvian.people import random_scene, render
from vitruvian.predict import Model, Road
from vitruvian.tasks.base import Geometry, Provenance, Region
from vitruvian.tasks.dense import DenseResult
from vitruvian.tasks.depth import Depth, DepthTask
from vitruvian.tasks.detect import Detections
from vitruvian.tasks.normal import Normals
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.seg import Segmentation

NOBODY = np.full((120, 160, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def pose() -> Model:
    return vt.load("sapiens-pose-nano", device="cpu", dtype="float32", micro_batch=4)


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    return render(random_scene(90_000_005, persons=3, height=240, width=320, framing="full")).image_HW3


def poses(model: Model, images: list[np.ndarray]) -> list[Pose]:
    results = list(model(images))
    assert all(isinstance(result, Pose) for result in results)
    return results  # type: ignore[return-value]


def test_everyone_gets_a_skeleton_and_nobody_none(pose: Model, group: np.ndarray) -> None:
    first, nobody, again = poses(pose, [group, NOBODY, group])
    assert len(first.boxes_P4) >= 2
    assert len(nobody.boxes_P4) == 0, "never a made-up box"
    assert np.array_equal(first.boxes_P4, again.boxes_P4)
    assert (first.box_scores_P >= 0.4).all()
    assert not np.array_equal(first.boxes_P4[0], [0, 0, 320, 240])


def test_the_whole_picture_only_where_it_is_asked_for(pose: Model) -> None:
    (found,) = poses(replace(pose, whole_if_nobody=True), [NOBODY])
    assert found.boxes_P4.tolist() == [[0, 0, 160, 120]]
    (without,) = poses(replace(pose, finder=None), [NOBODY])
    assert without.boxes_P4.tolist() == [[0, 0, 160, 120]]


def test_given_regions_go_before_the_detector(pose: Model, group: np.ndarray) -> None:
    box = Region(box_xyxy=(1.0, 2.0, 60.0, 110.0))
    (found,) = pose(group, regions_of=lambda item: [box])
    assert found.boxes_P4.tolist() == [[1, 2, 60, 110]]  # type: ignore[attr-defined]


def test_a_crowd_is_cut_out_in_parts(pose: Model, group: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred persons in one picture: few canvases alive at a time, all rows in their place."""
    count = 101
    boxes = [Region(box_xyxy=(float(x), 0.0, float(x) + 60, 200.0)) for x in range(count)]
    assert count % PART
    (found,) = pose(group, regions_of=lambda item: boxes)
    assert isinstance(found, Pose)
    assert found.boxes_P4[:, 0].tolist() == list(range(count))
    (alone,) = pose(group, regions_of=lambda item: [boxes[77]])
    assert isinstance(alone, Pose)
    assert np.allclose(found.keypoints_PK2[77], alone.keypoints_PK2[0], atol=0.05, equal_nan=True)


def test_one_bad_box_fails_its_picture_once(pose: Model, group: np.ndarray) -> None:
    good, bad = Region(box_xyxy=(0, 0, 50, 50)), Region(box_xyxy=(50, 50, 10, 10))
    road = Road(model=pose, regions_of=lambda item: [good] * 9 + [bad] + [good] * 9 if item.index == 1 else [good])
    entries = [Entry(name=f"{index}", path=None, payload=group, index=index) for index in range(4)]
    outcomes = list(road.run(iter(entries), lambda finished: finished))
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [False, True, False, False]
    assert [outcome.index for outcome in outcomes if isinstance(outcome, Failure)] == [1]


def test_a_follower_sees_every_picture_in_order_and_names_persons(pose: Model, group: np.ndarray) -> None:
    seen = []

    def follow(item: Item, detections: Detections) -> list[Region]:
        seen.append((item.index, len(detections.candidates) >= len(detections.regions)))
        return [replace(region, id=7 + place) for place, region in enumerate(detections.regions)]

    road = Road(model=pose, follow=follow)
    entries = [Entry(name=f"{index}", path=None, payload=group, index=index) for index in range(5)]
    outcomes = list(road.run(iter(entries), lambda finished: finished))
    assert seen == [(index, True) for index in range(5)]
    for outcome in outcomes:
        assert isinstance(outcome, Finished)
        (result,) = outcome.results
        assert isinstance(result, Pose)
        assert result.ids_P is not None
        assert result.ids_P.tolist() == [7 + place for place in range(len(result.boxes_P4))]
    assert {"detector network", "network", "detector prepare"} <= road.timings.seconds.keys()


@pytest.mark.parametrize(
    ("name", "detector", "words"),
    [
        ("sapiens-pose-nano", "sapiens-seg-nano", "as a detector, which is a seg model; expected one of detector-nano"),
        ("sapiens-pose-nano", "detector-mega", "expected a name of the catalogue"),
        ("sapiens-pretrain-nano", "detector-nano", "leave it out"),
    ],
)
def test_unsuitable_detectors_are_refused(name: str, detector: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        vt.load(name, device="cpu", detector=detector)


@pytest.mark.parametrize("task", ["seg", "depth", "normal"])
def test_maps_of_persons_one_by_one(task: str, group: np.ndarray) -> None:
    name = f"sapiens-{task}-nano"
    model = vt.load(name, device="cpu", dtype="float32", micro_batch=4, detector="detector-nano")
    first, nobody = model([group, NOBODY])
    assert isinstance(first, DenseResult)
    assert isinstance(nobody, DenseResult)
    assert first.persons is not None
    assert nobody.persons is not None
    count = len(first.persons.regions)
    assert count >= 2
    assert set(np.unique(first.persons.owner_HW)) == set(range(count + 1))
    assert not nobody.persons.regions
    assert not nobody.persons.owner_HW.any()
    assert len(first.line()["persons"]) == count
    if isinstance(first, Segmentation):
        assert ((first.labels_HW > 0) == (first.persons.owner_HW > 0)).all()
        return
    values = first.depth_HW if isinstance(first, Depth) else first.normals_HW3[..., 0]  # type: ignore[attr-defined]
    assert (np.isfinite(values) == (first.persons.owner_HW > 0)).all()


def test_a_lone_person_in_a_tight_crop_is_the_picture_of_that_crop() -> None:
    """A person whose crop is the whole picture gets what the whole picture would get, where the box reaches."""
    view = render(random_scene(90_000_007, persons=1, height=256, width=192, framing="full"))
    model = vt.load("sapiens-normal-nano", device="cpu", dtype="float32", micro_batch=1)
    (whole,) = model(view.image_HW3)
    (alone,) = model(view.image_HW3, regions_of=lambda item: [Region(box_xyxy=(0, 0, 192, 256))])
    assert isinstance(whole, Normals)
    assert isinstance(alone, Normals)
    np.testing.assert_array_equal(whole.normals_HW3, alone.normals_HW3)


def test_a_crowd_leaves_no_pile_of_rows(group: np.ndarray) -> None:
    """What the network says of a person is finished and let go while the others of the crowd are still looked at."""
    model = vt.load("sapiens-depth-nano", device="cpu", dtype="float32", micro_batch=2)
    rows: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Watched(DepthTask):
        def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Depth]:
            rows.append(weakref.ref(tensors["depth"]))
            alive.append(sum(row() is not None for row in rows))
            return super().finish(tensors, geometry, provenance)

    watched = replace(model, task=Watched(input_hw=model.task.input_hw))
    boxes = [Region(box_xyxy=(float(x), 0.0, float(x) + 60, 200.0)) for x in range(101)]
    (found,) = watched(group, regions_of=lambda item: boxes)
    assert isinstance(found, Depth)
    assert len(rows) == 101
    assert max(alive) < 60
