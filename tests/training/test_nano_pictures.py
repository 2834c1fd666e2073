"""The rendered set: what is stored is what was rendered, and an interrupted rendering goes on where it stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.training.nano import pictures as room
from vitruvian.training.nano.pictures import MAX_PERSONS, NORMAL_SCALE, Pictures, rendered_pictures, training_view
from vitruvian.training.nano.recipe import NanoRecipe

RECIPE = NanoRecipe(pictures=3, picture_side=40, several_share=0.5)


def render_into(folder: Path, recipe: NanoRecipe = RECIPE) -> tuple[Pictures, list[str]]:
    lines: list[str] = []
    return rendered_pictures(recipe, folder, workers=1, report=lines.append), lines


@pytest.fixture
def one_a_chunk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Chunks of one picture, rendered in this process; fills with the first picture of each rendered chunk."""
    rendered: list[int] = []
    render_chunk = room._render_chunk

    def noted(recipe: NanoRecipe, folder: Path, start: int) -> None:
        rendered.append(start)
        render_chunk(recipe, folder, start)

    def pool(workers: int, mp_context: Any) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(room, "CHUNK", 1)
    monkeypatch.setattr(room, "_render_chunk", noted)
    monkeypatch.setattr(room, "ProcessPoolExecutor", pool)
    return rendered


def check_stored(pictures: Pictures, recipe: NanoRecipe) -> None:
    assert len(pictures) == recipe.pictures
    for index in range(len(pictures)):
        view = training_view(recipe, recipe.seed + index)
        assert np.array_equal(pictures.image_NSS3[index], view.image_HW3)
        assert np.array_equal(pictures.labels_NSS[index], view.part_labels_HW)
        hit = view.depth_m_HW > 0
        np.testing.assert_allclose(pictures.depth_m_NSS[index], np.where(hit, view.depth_m_HW, 0), rtol=1e-3)
        surface = (view.normals_HW3 != 0).any(axis=2)
        assert np.array_equal(pictures.normals_NSS3[index].any(axis=2), surface)
        normals = (pictures.normals_NSS3[index][surface].astype(np.float32) - 128) / NORMAL_SCALE
        np.testing.assert_allclose(normals, view.normals_HW3[surface], atol=0.51 / NORMAL_SCALE)
        persons = len(view.keypoints_PK3)
        assert 1 <= persons <= MAX_PERSONS
        assert np.array_equal(pictures.keypoints_NPK3[index, :persons], view.keypoints_PK3)
        assert np.array_equal(pictures.boxes_NP4[index, :persons], view.boxes_P4, equal_nan=True)
        assert np.isnan(pictures.keypoints_NPK3[index, persons:]).all()
        assert np.isnan(pictures.boxes_NP4[index, persons:]).all()


def test_a_spawned_process_stores_what_the_scenes_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, lines = render_into(tmp_path / "deep" / "pictures")
    check_stored(pictures, RECIPE)
    assert len(lines) == 1
    assert [path.name for path in (tmp_path / "deep" / "pictures").glob("*.done")] == ["chunk_0000000.done"]

    def no_pool(*_: Any, **__: Any) -> None:
        raise AssertionError("everything was there")

    monkeypatch.setattr(room, "ProcessPoolExecutor", no_pool)
    again, lines = render_into(tmp_path / "deep" / "pictures")
    assert np.array_equal(again.image_NSS3, pictures.image_NSS3)
    assert lines == []


def test_an_interrupted_rendering_goes_on_with_what_is_missing(tmp_path: Path, one_a_chunk: list[int]) -> None:
    render_into(tmp_path)
    assert one_a_chunk == [0, 1, 2]
    images = np.load(tmp_path / "image_NSS3.npy", mmap_mode="r+")
    kept = images[0].copy()
    images[:2] = 7  # picture 0 counts as done, picture 1 as torn
    images.flush()
    (tmp_path / "chunk_0000001.done").unlink()
    one_a_chunk.clear()
    pictures, _ = render_into(tmp_path)
    assert one_a_chunk == [1]
    assert (pictures.image_NSS3[0] == 7).all()
    assert not (pictures.image_NSS3[1] == 7).all()
    images[0] = kept
    images.flush()
    check_stored(pictures, RECIPE)


def test_a_marker_stands_only_for_a_whole_chunk(
    tmp_path: Path, one_a_chunk: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def view(recipe: NanoRecipe, seed: int) -> Any:
        if seed == recipe.seed + 1:
            raise KeyboardInterrupt
        return training_view(recipe, seed)

    with monkeypatch.context() as patched:
        patched.setattr(room, "training_view", view)
        with pytest.raises(KeyboardInterrupt):
            render_into(tmp_path)
    assert not (tmp_path / "chunk_0000001.done").exists()
    pictures, _ = render_into(tmp_path)
    assert one_a_chunk.count(1) == 2
    check_stored(pictures, RECIPE)


@pytest.mark.parametrize("change", ["count", "side", "file", "seed", "share"])
def test_another_layout_is_rendered_anew(tmp_path: Path, one_a_chunk: list[int], change: str) -> None:
    render_into(tmp_path, replace(RECIPE, pictures=2))
    recipe = replace(RECIPE, pictures=1 if change == "count" else 2, picture_side=32 if change == "side" else 40)
    if change == "seed":
        recipe = replace(recipe, seed=RECIPE.seed + 1)
    if change == "share":
        recipe = replace(recipe, several_share=1.0)
    if change == "file":
        (tmp_path / "depth_m_NSS.npy").unlink()
    one_a_chunk.clear()
    pictures, _ = render_into(tmp_path, recipe)
    assert one_a_chunk == list(range(recipe.pictures))
    check_stored(pictures, recipe)


def test_views_follow_the_recipe() -> None:
    alone, together = replace(RECIPE, several_share=0.0), replace(RECIPE, several_share=1.0)
    for seed in range(4):
        assert len(training_view(alone, seed).boxes_P4) == 1
        assert 2 <= len(training_view(together, seed).boxes_P4) <= MAX_PERSONS
    first, again, other = (training_view(RECIPE, seed).image_HW3 for seed in (5, 5, 6))
    assert first.shape == (40, 40, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
