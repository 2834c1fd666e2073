"""Crops of a picture whose contents are known: picture, keypoints, labels, depth and normals stay on one another."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from training import dots
from vitruvian.models.sapiens.config import NANO_BACKBONE
from vitruvian.training.nano import batches
from vitruvian.training.nano.batches import Batch, Crop, blank_joint_batch, joint_batch, sample_of
from vitruvian.training.nano.pictures import Pictures
from vitruvian.training.nano.recipe import NanoRecipe

H, W = NANO_BACKBONE.input_hw
EDGE = -0.5
"""Position of a picture's first edge: pixel centres are whole numbers."""
STEP = dots.SPACING
# Keypoints of each crop that it shows whole; every crop's edges run between the dots, so no dot is cut.
CROPS: dict[str, tuple[tuple[float, float], tuple[float, float], list[int]]] = {
    "whole": ((EDGE, EDGE), (dots.SIDE, dots.SIDE), list(range(17))),
    "box": ((STEP + EDGE, STEP / 4 + EDGE), (3 * STEP, 4 * STEP), [1, 2, 3, 6, 7, 8, 11, 12, 13, 16]),
    "beyond the edge": ((EDGE - 60, EDGE - 80), (240, 320), list(range(17))),
    "wide": ((EDGE, STEP * 1.25 + EDGE), (5 * STEP, STEP), [5, 6, 7, 8, 9]),
    "tall": ((3 * STEP + EDGE, EDGE), (STEP, dots.SIDE), [3, 8, 13]),
}


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return dots.pictures()


def batch_of(monkeypatch: pytest.MonkeyPatch, pictures: Pictures, *crops: tuple[int, Crop]) -> Batch:
    """The batch of these crops of pictures, without changes of colour."""
    monkeypatch.setattr(batches, "_colour", lambda canvas, rng: canvas)
    samples = []
    for index, given in crops:
        monkeypatch.setattr(batches, "_draw_crop", lambda *_, given=given: given)
        samples.append(sample_of(pictures[index], np.random.default_rng(0), NanoRecipe()))
    return joint_batch(samples)


def crop(kind: str, *, flipped: bool, picture: int = 0, person: int = 0) -> tuple[int, Crop]:
    corner, size, _ = CROPS[kind]
    return picture, Crop(person=person, corner_xy=corner, size_wh=size, flipped=flipped)


def drawn_batch(pictures: Pictures, seed: int, count: int = 4) -> Batch:
    """Crops by chance, one of each picture."""
    rng = np.random.default_rng(seed)
    return joint_batch([sample_of(pictures[index], rng, NanoRecipe()) for index in range(count)])


def centre(mask_HW: np.ndarray) -> np.ndarray:
    """Middle of a mask as shares of width and height, edges being 0 and 1."""
    rows, columns = np.nonzero(mask_HW)
    return np.array([(columns.mean() + 0.5) / mask_HW.shape[1], (rows.mean() + 0.5) / mask_HW.shape[0]])


def peak(map_HW: Tensor) -> np.ndarray:
    """Middle of a heat map's blob by the published rule: first and last cell are the edges."""
    weights = map_HW.double().numpy()
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    x, y = (float((grid * weights).sum() / weights.sum()) for grid in (columns, rows))
    return np.array([x / (weights.shape[1] - 1), y / (weights.shape[0] - 1)])


def expected_place(kind: str, source: int, flipped: bool) -> np.ndarray:
    corner, size, _ = CROPS[kind]
    place = (dots.CENTRES_K2[source] - corner) / size
    return place * (-1, 1) + (1, 0) if flipped else place


def near_the_edge(place: np.ndarray) -> bool:
    """Whether the target's window is cut, so that its middle is not its peak."""
    return bool((np.minimum(place, 1 - place) < 7 / 48).any())


@pytest.mark.parametrize("flipped", [False, True], ids=["straight", "flipped"])
@pytest.mark.parametrize("kind", CROPS)
def test_all_targets_stay_on_the_picture(
    monkeypatch: pytest.MonkeyPatch, pictures: Pictures, kind: str, flipped: bool
) -> None:
    batch = batch_of(monkeypatch, pictures, crop(kind, flipped=flipped))
    seen = [dots.FLIP[k] if flipped else k for k in CROPS[kind][2]]
    near, far = dots.DEPTHS_M[CROPS[kind][2]].min(), dots.DEPTHS_M[CROPS[kind][2]].max()
    labels, canvas = batch.labels_Bhw[0].numpy(), batch.canvas_BHW3[0].numpy()
    checked_peaks = 0
    # A dot's middle is found to a third of a pixel of the map it is read from.
    pixel = 1 / np.array([labels.shape[1], labels.shape[0]])
    for channel in seen:
        source = dots.FLIP[channel] if flipped else channel
        place = expected_place(kind, source, flipped)
        assert (abs(centre(labels == dots.CLASS_OF[channel]) - place) < pixel / 3).all(), "labels"
        coloured = (abs(canvas.astype(int) - dots.COLOURS[source]) <= 2).all(axis=2)
        assert (abs(centre(coloured) - place) < pixel / 3).all(), "picture"
        column, row = (int(share * length) for share, length in zip(place, (W, H), strict=True))
        depth = (dots.DEPTHS_M[source] - near) / (far - near)
        assert batch.depth_BHW[0, row, column].item() == pytest.approx(depth, abs=2e-3)
        normal = dots.NORMALS_K3[source] * ((-1, 1, 1) if flipped else (1, 1, 1))
        found = batch.normals_B3hw[0, :, row // 2, column // 2].numpy()
        np.testing.assert_allclose(found, normal, atol=0.6 / 127)
        map_HW = batch.heat_BKhw[0, channel]
        assert map_HW.max() > 0.8
        if not near_the_edge(place):
            checked_peaks += 1
            assert (abs(peak(map_HW) - place) < 0.02 / 48).all(), "heat map"
    assert checked_peaks >= 1
    assert set(np.unique(labels)) == {0} | {dots.CLASS_OF[channel] for channel in seen}
    # Depth knows a person where the labels do (it is twice as fine), and the background is marked.
    assert ((batch.depth_BHW[0] >= 0) == (batch.depth_BHW[0] != -1)).all()
    covered = (batch.depth_BHW[0] >= 0).numpy()
    assert abs(centre(covered) - centre(labels > 0)).max() < pixel.max() / 3
    assert np.array_equal(batch.person_Bhw[0].numpy(), labels > 0)
    background = batch.normals_B3hw[0].permute(1, 2, 0)[~batch.person_Bhw[0]]
    assert (background == torch.tensor([0.0, 0.0, -1.0])).all()


@pytest.mark.parametrize("kind", ["wide", "tall", "box"])
def test_joints_outside_a_crop_are_taught_as_empty_maps(
    monkeypatch: pytest.MonkeyPatch, pictures: Pictures, kind: str
) -> None:
    batch = batch_of(monkeypatch, pictures, crop(kind, flipped=False), crop(kind, flipped=True))
    assert (batch.heat_weight_BK == 1).all()
    for row, flipped in enumerate((False, True)):
        seen = {dots.FLIP[k] if flipped else k for k in CROPS[kind][2]}
        drawn = set(torch.nonzero(batch.heat_BKhw[row].amax(dim=(1, 2))).flatten().tolist())
        assert drawn == seen


@pytest.mark.parametrize(("past_px", "drawn"), [(-3, True), (3, False)])
def test_a_joint_just_outside_is_outside(
    monkeypatch: pytest.MonkeyPatch, pictures: Pictures, past_px: float, drawn: bool
) -> None:
    edge = dots.CENTRES_K2[6, 0] + past_px  # its target's window would reach into the crop
    cut = Crop(person=0, corner_xy=(edge, EDGE), size_wh=(120, 160), flipped=False)
    assert bool(batch_of(monkeypatch, pictures, (0, cut)).heat_BKhw[0, 6].any()) == drawn


def test_hidden_keypoints_are_empty_and_follow_the_flip(monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> None:
    crops = [crop("whole", flipped=flipped, picture=3) for flipped in (False, True)]
    batch = batch_of(monkeypatch, pictures, *crops)
    drawn = batch.heat_BKhw.amax(dim=(2, 3)) > 0
    assert torch.nonzero(drawn[0]).flatten().tolist() == list(range(1, 17, 2))
    assert set(torch.nonzero(drawn[1]).flatten().tolist()) == {dots.FLIP[k] for k in range(1, 17, 2)}
    assert (batch.heat_weight_BK == 1).all()


def test_pictures_of_several_or_no_persons_teach_no_pose(monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> None:
    batch = batch_of(
        monkeypatch, pictures, crop("whole", flipped=False, picture=1, person=-1), crop("whole", flipped=True)
    )
    assert batch.heat_weight_BK.sum(dim=1).tolist() == [0, 17]
    assert not batch.heat_BKhw[0].any()
    assert batch.labels_Bhw[0].any(), "the dense tasks learn from it all the same"


def test_a_crop_without_a_person_has_no_depth(monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> None:
    empty = Crop(person=0, corner_xy=(EDGE, 150.5), size_wh=(120, 9), flipped=False)
    batch = batch_of(monkeypatch, pictures, (0, empty))
    assert (batch.depth_BHW == -1).all()
    assert not batch.labels_Bhw.any()
    assert not batch.person_Bhw.any()


def test_shapes_and_types_are_what_the_heads_give(pictures: Pictures) -> None:
    batch = drawn_batch(pictures, 0, count=3)
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "canvas_BHW3": ((3, H, W, 3), torch.uint8),
        "heat_BKhw": ((3, 17, H // 4, W // 4), torch.float32),
        "heat_weight_BK": ((3, 17), torch.float32),
        "labels_Bhw": ((3, H // 2, W // 2), torch.uint8),
        "depth_BHW": ((3, H, W), torch.float32),
        "normals_B3hw": ((3, 3, H // 2, W // 2), torch.float32),
        "person_Bhw": ((3, H // 2, W // 2), torch.bool),
    }
    assert {name: (tuple(value.shape), value.dtype) for name, value in tensors(batch).items()} == expected
    blank = blank_joint_batch(3, torch.device("cpu"))
    assert {name: (tuple(value.shape), value.dtype) for name, value in tensors(blank).items()} == expected


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(value, tensors(b)[name]) for name, value in tensors(a).items())


def test_a_sample_is_a_function_of_picture_and_chance_alone(pictures: Pictures) -> None:
    first = drawn_batch(pictures, 7)
    np.random.seed(0)  # noqa: NPY002 (the point: global generators do not matter)
    torch.manual_seed(0)
    assert same(drawn_batch(pictures, 7), first)
    assert not same(drawn_batch(pictures, 8), first)


def test_drawn_crops_serve_the_three_uses(pictures: Pictures) -> None:
    drawn = [batches._draw_crop(pictures[seed % 4], np.random.default_rng(seed)) for seed in range(400)]
    size = np.array([crop.size_wh for crop in drawn])
    corner = np.array([crop.corner_xy for crop in drawn])
    whole = (size == dots.SIDE).all(axis=1)
    boxes = np.isclose(size[:, 0] / size[:, 1], W / H) & ~whole
    parts = ~whole & ~boxes
    people = np.array([(1, 2, 0, 1)[seed % 4] for seed in range(400)])
    assert min(whole.sum(), boxes.sum(), parts.sum()) > 40
    assert (corner[whole] == EDGE).all()
    assert (corner[parts] >= EDGE).all()
    assert (corner[parts] + size[parts] <= dots.SIDE + EDGE).all()
    assert not boxes[people == 0].any(), "no box without a person"
    middle = corner[boxes] + size[boxes] / 2
    assert abs(middle - np.array([80, 76])).max() < 40, "boxes stay near their person"
    for index, crop in enumerate(drawn):
        one = people[index] == 1 or (people[index] == 2 and boxes[index])
        assert (crop.person >= 0) == one, "several persons make a whole picture ambiguous"
    assert 0.4 < np.mean([crop.flipped for crop in drawn]) < 0.6


def test_colour_changes_leave_the_place_of_things(pictures: Pictures) -> None:
    rng = np.random.default_rng(2)
    canvas = pictures.image_NSS3[0]
    changed = [batches._colour(canvas, rng) for _ in range(40)]
    for other in changed:
        assert (other.shape, other.dtype) == (canvas.shape, np.uint8)
        background = other[canvas.sum(axis=2) == 0]
        assert (background == background[0]).all()
    gray = sum(bool((other == other[..., :1]).all()) for other in changed)
    assert 1 <= gray <= 10
