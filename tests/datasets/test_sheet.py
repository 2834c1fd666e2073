"""Tiles and the sheet they end on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training_folders import ball, people
from vitruvian.datasets.coco_persons import PersonSample
from vitruvian.datasets.sheet import TILE_HEIGHT, Sheet, dense_tile, hatched, person_tile, shown_classes
from vitruvian.datasets.targets import Decoded
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry
from vitruvian.tasks.labels import keypoint_set


@pytest.mark.parametrize("kind", ["seg", "depth", "normal"])
def test_a_tile_shows_picture_and_target(kind: str) -> None:
    normals = ball()
    target = {"seg": np.full((65, 65), 255, np.uint8), "depth": normals[..., 2], "normal": normals}[kind]
    if kind == "seg":
        target[20:40, 20:40] = 3
    decoded = Decoded(name="a", image_HW3=np.full((65, 65, 3), 90, np.uint8), target=target, mask_HW=None)
    tile = dense_tile(decoded, None)
    assert tile.shape == (65, 2 * 65 + 4, 3)
    assert (tile[:, :65] == 90).all()
    drawn = tile[:, 69:]
    assert (drawn[0:8, 0:8] == (200, 60, 60)).all(axis=2).any()
    assert not (drawn[28:36, 28:36] == (200, 60, 60)).all(axis=2).any()


def test_large_pictures_become_small_tiles() -> None:
    image = np.zeros((2000, 1500, 3), np.uint8)
    decoded = Decoded(name="a", image_HW3=image, target=np.ones((2000, 1500), np.float32), mask_HW=None)
    assert dense_tile(decoded, None).shape[0] < 2 * TILE_HEIGHT


def test_stripes_lie_where_asked() -> None:
    where = np.zeros((40, 40), bool)
    where[:20] = True
    changed = (hatched(np.zeros((40, 40, 3), np.uint8), where) > 0).any(axis=2)
    assert 0.1 < changed[:20].mean() < 0.4
    assert not changed[20:].any()


def test_unknown_classes_have_colours_of_their_own() -> None:
    made_up = shown_classes(None, np.array([[0, 30, 255]], np.uint8))
    assert made_up.count == 31
    assert len(set(made_up.palette)) == 31
    assert shown_classes(28, np.zeros((1, 1), np.uint8)).name == "body28"


def test_persons_are_drawn_with_their_boxes() -> None:
    (view,) = people(1)
    box = tuple(float(value) for value in view.boxes_P4[0])
    sample = PersonSample(
        name="p",
        image=Path("p.png"),
        box_xyxy=box,  # type: ignore[arg-type]
        keypoints_K3=view.keypoints_PK3[0],
    )
    tile = person_tile(view.image_HW3, [sample], keypoint_set(17))
    assert tile.shape == (256, 2 * 192 + 4, 3)
    assert (tile[:, :192] != tile[:, 196:]).any()


def test_the_sheet_is_one_picture(tmp_path: Path) -> None:
    sheet = Sheet(count=2)
    assert sheet.spread(10) == {0, 9}
    assert sheet.spread(1) == {0}
    assert sheet.spread(0) == frozenset()
    for number in range(5):
        sheet.add(np.full((100, 100, 3), 50, np.uint8), f"\u00fc {number}", extra=number > 1)
    assert sheet.captions == ["? 0", "? 1", "? 2", "? 3"]
    sheet.write(tmp_path / "new" / "sheet.png")
    path = tmp_path / "new" / "sheet.png"
    read = read_picture(Entry(name="s", path=path, payload=None, index=0)).image_HW3
    assert read.shape[1] > 3 * TILE_HEIGHT
    assert [one.name for one in path.parent.iterdir()] == ["sheet.png"]
    Sheet().write(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()
