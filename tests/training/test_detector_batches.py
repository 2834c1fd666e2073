"""Training canvases of the detector: pure in the step, with boxes that surround what is left to be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitruvian.models.detectors.nano import STRIDE
from vitruvian.training.detector.batches import IGNORED, PERSON, boxes_of, make_batch
from vitruvian.training.detector.clutter import background_HW3, cover_HW
from vitruvian.training.detector.looks import changed_HW3
from vitruvian.training.detector.pictures import Pictures, rendered_pictures
from vitruvian.training.detector.recipe import DetectorRecipe, Phase

RECIPE = DetectorRecipe(pictures=6, longer_side=64, batch=8)
SIZE_HW = (64, 96)
PHASE = Phase(canvas_hw=SIZE_HW, plain_share=0.4, mosaic_share=0.3, whole_share=0.5, disturbance=1.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return rendered_pictures(RECIPE, tmp_path_factory.mktemp("pictures"), workers=1, report=lambda line: None)


def test_a_step_always_gives_the_same_batch_and_another_step_another(pictures: Pictures) -> None:
    first, again, other = (make_batch(pictures, RECIPE, PHASE, step) for step in (4, 4, 5))
    assert torch.equal(first.canvas_BHW3, again.canvas_BHW3)
    assert torch.equal(first.boxes_BG4, again.boxes_BG4)
    assert torch.equal(first.kind_BG, again.kind_BG)
    assert not torch.equal(first.canvas_BHW3, other.canvas_BHW3)


def test_batches_hold_canvases_and_boxes_inside_them(pictures: Pictures) -> None:
    persons = 0
    for step in range(6):
        batch = make_batch(pictures, RECIPE, PHASE, step)
        assert batch.canvas_BHW3.shape == (RECIPE.batch, *SIZE_HW, 3)
        assert batch.canvas_BHW3.dtype == torch.uint8
        there = batch.kind_BG > 0
        low, high = (
            batch.boxes_BG4[..., :2] - batch.boxes_BG4[..., 2:] / 2,
            batch.boxes_BG4[..., :2] + batch.boxes_BG4[..., 2:] / 2,
        )
        assert (low[there] > -1e-6).all()
        assert (high[there] < 1 + 1e-6).all()
        assert (batch.boxes_BG4[there][:, 2:] > 0).all()
        assert not batch.boxes_BG4[~there].any()
        persons += int((batch.kind_BG == PERSON).sum())
    assert persons > RECIPE.batch


@pytest.mark.parametrize(
    ("expected", "side", "kind"),
    [
        pytest.param(100.0, 10, PERSON, id="whole"),
        pytest.param(999.0, 10, PERSON, id="just enough"),
        pytest.param(1100.0, 10, IGNORED, id="nearly hidden"),
        pytest.param(16.0, 4, IGNORED, id="too small"),
    ],
)
def test_boxes_surround_visible_pixels_edge_to_edge(expected: float, side: int, kind: int) -> None:
    ids_HW = np.zeros((40, 80), np.uint8)
    ids_HW[20 : 20 + side, 8 : 8 + side] = 2
    boxes_P4, kind_P = boxes_of(ids_HW, np.array([50.0, expected]), RECIPE)
    np.testing.assert_allclose(boxes_P4, [[(8 + side / 2) / 80, (20 + side / 2) / 40, side / 80, side / 40]])
    assert kind_P.tolist() == [kind]


def test_owners_name_the_box_of_the_person_at_each_cell(pictures: Pictures) -> None:
    owned = 0
    for step in range(4):
        batch = make_batch(pictures, RECIPE, PHASE, step)
        columns = SIZE_HW[1] // STRIDE
        for row, owner_N in enumerate(batch.owner_BN):
            for cell in torch.nonzero(owner_N).flatten().tolist():
                x, y = (cell % columns + 0.5) * STRIDE / SIZE_HW[1], (cell // columns + 0.5) * STRIDE / SIZE_HW[0]
                cx, cy, w, h = batch.boxes_BG4[row, owner_N[cell] - 1].tolist()
                assert batch.kind_BG[row, owner_N[cell] - 1] > 0
                assert abs(x - cx) < w / 2 + 1e-6
                assert abs(y - cy) < h / 2 + 1e-6
                owned += 1
    assert owned > 20


def test_no_person_no_box() -> None:
    boxes_P4, kind_P = boxes_of(np.zeros((8, 8), np.uint8), np.zeros(0), RECIPE)
    assert boxes_P4.shape == (0, 4)
    assert kind_P.shape == (0,)


def test_backgrounds_covers_and_looks_keep_size_and_follow_the_generator() -> None:
    for seed in range(12):
        first, again = (background_HW3(np.random.default_rng(seed), *SIZE_HW) for _ in range(2))
        assert first.shape == (*SIZE_HW, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        changed, changed_again = (changed_HW3(np.random.default_rng(seed), first.copy()) for _ in range(2))
        assert changed.shape == first.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(changed, changed_again)
        cover = cover_HW(np.random.default_rng(seed), *SIZE_HW)
        assert cover.shape == SIZE_HW
        assert set(np.unique(cover)) <= {0, 1}
