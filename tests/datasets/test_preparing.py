"""Samples on their canvas, the same for the same chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training_folders import people, put_npy, put_png, write_dense_set
from vitruvian.datasets.augment import DENSE_RECIPES, DenseRecipe, PoseRecipe
from vitruvian.datasets.coco_persons import PersonSample
from vitruvian.datasets.layouts import DenseKind, Sample, find_samples
from vitruvian.datasets.photometric import Damage, Photometric
from vitruvian.datasets.preparing import (
    DensePreparation,
    PosePreparation,
    person_of,
    relative_depth,
    sample_rng,
)
from vitruvian.errors import InputError
from vitruvian.tasks.encode import encode_heatmaps
from vitruvian.tasks.labels import keypoint_set, label_set

CANVAS = (64, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for task in ("seg", "depth", "normal"):
        write_dense_set(folder / task, task, people(2))
    return folder


@pytest.mark.parametrize("task", ["seg", "depth", "normal"])
def test_a_resumed_run_sees_the_same(task: DenseKind, folder: Path) -> None:
    samples = find_samples(folder / task, task).samples
    how = DensePreparation(
        task=task, recipe=replace(DENSE_RECIPES[task], canvas_hw=CANVAS), flip_pairs=label_set(28).flip_pairs
    )
    first, again, next_epoch = (how.prepared(samples[1], sample_rng(7, epoch, 1)) for epoch in (0, 0, 1))
    assert np.array_equal(first.image_HW3, again.image_HW3)
    assert np.array_equal(first.target, again.target)
    assert not np.array_equal(first.image_HW3, next_epoch.image_HW3)
    assert first.image_HW3.shape == (*CANVAS, 3)
    assert first.target.shape[:2] == CANVAS


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_targets_are_as_the_losses_want_them(task: DenseKind, folder: Path) -> None:
    samples = find_samples(folder / task, task).samples
    how = DensePreparation(task=task, recipe=replace(DENSE_RECIPES[task], canvas_hw=CANVAS))
    for rng in (None, sample_rng(0, 0, 0)):
        target = how.prepared(samples[0], rng).target
        assert target.dtype == np.float32
        assert np.isfinite(target).all()
        person = person_of(target)
        assert 0.02 < person.mean() < 0.98
        if task == "depth":
            assert target[person].min() == 0
            assert target[person].max() == 1
            assert (target[~person] == -1).all()
        else:
            assert np.allclose(np.linalg.norm(target[person], axis=1), 1, atol=1e-4)
            assert (target[~person] == -1000).all()


def test_new_pixels_are_background_or_ignored(tmp_path: Path) -> None:
    image = put_png(tmp_path / "i.png", np.full((64, 48, 3), 200, np.uint8))
    sample = Sample(
        name="i.png", image=image, target=put_png(tmp_path / "l.png", np.full((64, 48), 3, np.uint8)), mask=None
    )
    for outside, expected in (("background", 0), ("ignore", 255)):
        recipe = DenseRecipe(
            canvas_hw=CANVAS,
            resize=(1.0, 1.0),
            turn_deg=45,
            turn_probability=1,
            outside=outside,  # type: ignore[arg-type]
            photometric=Photometric(probability=0),
        )
        prepared = DensePreparation(task="seg", recipe=recipe).prepared(sample, sample_rng(1, 0, 0))
        assert set(np.unique(prepared.target)) == {3, expected}
        assert (prepared.image_HW3[prepared.target == expected].min(axis=1) < 200).all()


def test_another_background_stands_behind_persons_only(folder: Path) -> None:
    sample = find_samples(folder / "seg", "seg").samples[0]
    recipe = replace(
        DENSE_RECIPES["seg"], canvas_hw=CANVAS, background_probability=1.0, photometric=Photometric(probability=0)
    )
    plain, changed = (
        DensePreparation(task="seg", recipe=recipe, background=background).prepared(sample, sample_rng(2, 0, 0))
        for background in (None, lambda rng, size_hw: np.full((*size_hw, 3), 77, np.uint8))
    )
    person = person_of(plain.target)
    assert np.array_equal(plain.target, changed.target)
    assert np.array_equal(plain.image_HW3[person], changed.image_HW3[person])
    assert (changed.image_HW3[~person] == 77).all()


def test_relative_depth() -> None:
    depth = np.array([[2.0, 4.0, np.nan, 3.0]], np.float32)
    assert relative_depth(depth).tolist() == [[0, 1, -1, 0.5]]
    assert relative_depth(np.full((1, 2), np.nan, np.float32)).tolist() == [[-1, -1]]
    assert relative_depth(np.full((1, 2), 5, np.float32)).tolist() == [[0, 0]]


def test_heat_maps_peak_where_the_marked_pixel_is(tmp_path: Path) -> None:
    convention = keypoint_set(17)
    wrist, other = convention.names.index("left_wrist"), convention.names.index("right_wrist")
    picture = np.zeros((120, 100, 3), np.uint8)
    picture[59:62, 54:57] = 255
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[wrist] = (55, 60, 1)
    sample = PersonSample(
        name="p", image=put_png(tmp_path / "p.png", picture), box_xyxy=(20, 20, 80, 100), keypoints_K3=keypoints
    )
    recipe = PoseRecipe(
        canvas_hw=(128, 96),
        photometric=Photometric(probability=0),
        damage=Damage(blur_probability=0, median_probability=0, hole_probability=0),
    )
    sides = set()
    for seed in range(6):
        prepared = PosePreparation(convention=convention, recipe=recipe).prepared(sample, sample_rng(seed, 0, 0))
        maps, weights = encode_heatmaps(
            torch.from_numpy(prepared.xy_K2)[None],
            torch.from_numpy(prepared.visible_K)[None],
            input_hw=(128, 96),
            heat_hw=(128, 96),
            sigma=2.0,
        )
        (at,) = np.flatnonzero(prepared.visible_K).tolist()
        sides.add(at)
        peak = np.array(np.unravel_index(int(maps[0, at].argmax()), (128, 96)))
        seen = prepared.image_HW3[..., 0]
        centre = np.array(np.nonzero(seen > 100)).mean(axis=1)
        assert weights[0].sum() == 1
        assert np.abs(peak - centre).max() <= 1
    assert sides == {wrist, other}


def test_unusable_pictures_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"no picture")
    sample = PersonSample(name="p", image=tmp_path / "p.png", box_xyxy=(0, 0, 5, 5), keypoints_K3=np.ones((17, 3)))
    with pytest.raises(InputError, match=r"^p\.png is not a picture"):
        PosePreparation(convention=keypoint_set(17), recipe=PoseRecipe()).prepared(sample, None)
    depth = Sample(name="p", image=tmp_path / "p.png", target=put_npy(tmp_path / "d.npy", np.ones((2, 2))), mask=None)
    with pytest.raises(InputError, match=r"p\.png is not a picture"):
        DensePreparation(task="depth", recipe=DenseRecipe()).prepared(depth, None)
