"""Maps of persons' crops become one map."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tasks.sinks import PROVENANCE, KeepingSink, origin
from vitruvian.errors import InputError, UsageError
from vitruvian.tasks.base import Gathering, Geometry, Region
from vitruvian.tasks.dense import crop_hw
from vitruvian.tasks.depth import Depth, DepthTask
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.preprocess import crop_rectangle
from vitruvian.tasks.seg import Segmentation, SegTask

IMAGE = np.arange(60 * 80 * 3).astype(np.uint8).reshape(60, 80, 3)
TASK = DepthTask(input_hw=(32, 24))
LEFT, RIGHT = Region(box_xyxy=(10, 10, 40, 50), score=0.9, id=4), Region(box_xyxy=(30, 10, 60, 50), score=0.6)
Part = tuple[int, Geometry, Depth]


def flat(region: Region | None, value: float) -> tuple[Geometry, Depth]:
    """A crop with one value everywhere."""
    _, geometry = TASK.prepare(IMAGE, region)
    return geometry, Depth(provenance=PROVENANCE, depth_HW=np.full(crop_hw(geometry), value, np.float32))


def gathered(gathering: Gathering, parts: Sequence[Part]) -> Depth:
    for place, geometry, result in parts:
        gathering.add(place, geometry, [result])
    (joined,) = gathering.results()
    assert isinstance(joined, Depth)
    return joined


def joined(*regions: Region) -> Depth:
    parts = [(place, *flat(region, float(place))) for place, region in enumerate(regions)]
    return gathered(TASK.gather((60, 80), PROVENANCE), parts)


def test_each_pixel_belongs_to_the_nearer_person_and_the_rest_to_nobody() -> None:
    result = joined(LEFT, RIGHT)
    assert result.persons is not None
    owner_HW = result.persons.owner_HW
    assert owner_HW[30, 20] == 1
    assert owner_HW[30, 50] == 2
    assert (owner_HW[30, 30:35] == 1).all(), "the middle between both centres is at 35"
    assert (owner_HW[30, 35:40] == 2).all()
    assert owner_HW[30, 75] == 0
    assert owner_HW[2, 20] == 0, "further out than a quarter of the box's half size"
    np.testing.assert_array_equal(np.isfinite(result.depth_HW), owner_HW > 0)
    np.testing.assert_array_equal(result.depth_HW[owner_HW > 0], owner_HW[owner_HW > 0] - 1.0)


def test_the_order_of_arrival_changes_nothing() -> None:
    regions = [LEFT, RIGHT, replace(LEFT, id=None), Region(box_xyxy=(-20, 20, 25, 100))]
    parts = [(place, *flat(region, float(place))) for place, region in enumerate(regions)]
    expected = gathered(TASK.gather((60, 80), PROVENANCE), parts)
    for order in itertools.permutations(parts):
        again = gathered(TASK.gather((60, 80), PROVENANCE), order)
        np.testing.assert_array_equal(expected.depth_HW, again.depth_HW)
        assert expected.persons is not None
        assert again.persons is not None
        assert again.persons.regions == expected.persons.regions
        np.testing.assert_array_equal(expected.persons.owner_HW, again.persons.owner_HW)


def test_a_call_that_is_made_again_changes_nothing() -> None:
    gathering = TASK.gather((60, 80), PROVENANCE)
    parts = [(0, *flat(LEFT, 0.0)), (1, *flat(RIGHT, 1.0))]
    once, twice = joined(LEFT, RIGHT), gathered(gathering, [parts[0], parts[1], parts[0]])
    np.testing.assert_array_equal(once.depth_HW, twice.depth_HW)


def test_background_around_a_person_hides_nobody() -> None:
    """Labels: another person's foreground goes before background, however near that is."""
    task = SegTask(labels=label_set("body28"), input_hw=(32, 24))
    gathering = task.gather((60, 80), PROVENANCE)
    for place, (region, label) in enumerate([(LEFT, 0), (RIGHT, 3)]):
        _, geometry = task.prepare(IMAGE, region)
        labels_HW = np.full(crop_hw(geometry), label, np.uint8)
        segmentation = Segmentation(provenance=PROVENANCE, labels_HW=labels_HW, label_set=task.labels)
        gathering.add(place, geometry, [segmentation])
    (result,) = gathering.results()
    assert isinstance(result, Segmentation)
    assert result.persons is not None
    assert result.labels_HW[30, 31] == 3
    assert result.persons.owner_HW[30, 31] == 2
    assert set(np.unique(result.persons.owner_HW)) == {0, 2}


def test_nobody_and_the_whole_picture() -> None:
    nobody = gathered(TASK.gather((60, 80), PROVENANCE), [])
    assert np.isnan(nobody.depth_HW).all()
    assert nobody.depth_HW.shape == (60, 80)
    assert nobody.persons is not None
    assert nobody.about()["persons"] == []
    part = (0, *flat(None, 2.0))
    assert gathered(TASK.gather((60, 80), PROVENANCE), [part]) is part[2]
    with pytest.raises(UsageError, match="got 2 results"):
        gathered(TASK.gather((60, 80), PROVENANCE), [part, (1, *flat(None, 3.0))])


@pytest.mark.parametrize(
    ("box", "rectangle"),
    [
        ((30, 20, 45, 40), (28, 17, 47, 43)),
        ((-20, 20, 25, 100), (0, 10, 40, 60)),
        ((0, 0, 80, 60), (0, 0, 80, 60)),
        ((79.5, 59.5, 90, 70), (78, 56, 80, 60)),
        ((40.0, 30.0, 40.001, 30.001), (39, 29, 41, 31)),
    ],
)
def test_crops_end_where_the_picture_ends(
    box: tuple[float, float, float, float], rectangle: tuple[int, int, int, int]
) -> None:
    canvas, geometry = TASK.prepare(IMAGE, Region(box_xyxy=box))
    assert crop_rectangle(geometry) == rectangle
    assert canvas.shape == (32, 24, 3)


@pytest.mark.parametrize("box", [(80, 0, 90, 10), (-20, 0, 0, 10), (0, 60, 5, 70), (5, 5, 5, 9)])
def test_boxes_that_show_nothing_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="correct the boxes file"):
        TASK.prepare(IMAGE, Region(box_xyxy=box))


def test_files_tell_whose_values_they_are() -> None:
    result = replace(joined(LEFT, RIGHT), origin=origin())
    sink = KeepingSink("png", "draw")
    result.write(sink)
    codes_HW, about = sink.files["depth.persons.png"]
    assert codes_HW.dtype == np.uint16
    assert about["persons"] == [
        {"code": 1, "box_xyxy": [10, 10, 40, 50], "score": 0.9, "id": 4},
        {"code": 2, "box_xyxy": [30, 10, 60, 50], "score": 0.6},
    ]
    assert "cannot be compared" in about["scale"]
    assert sink.files["depth.drawn.jpg"][0].shape == (60, 80, 3)
    json.dumps(about, allow_nan=False)
