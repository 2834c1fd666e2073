"""Label tables are consistent with themselves and found by name and by count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.tasks.labels import CONVENTIONS, KEYPOINT_SETS, LABEL_SETS, keypoint_set, label_set


@pytest.mark.parametrize(("name", "count"), KEYPOINT_SETS.items())
def test_keypoint_sets_of_networks_by_name_and_count(name: str, count: int) -> None:
    assert keypoint_set(count) is keypoint_set(name)


@pytest.mark.parametrize("count", [18, 25])
def test_a_head_of_so_many_channels_is_not_taken_for_openposes(count: int) -> None:
    with pytest.raises(UsageError, match=r"wholebody133 \(133 keypoints\)"):
        keypoint_set(count)


@pytest.mark.parametrize(("name", "count"), CONVENTIONS.items())
def test_keypoint_sets_are_whole(name: str, count: int) -> None:
    convention = keypoint_set(name)
    assert (convention.name, convention.count) == (name, count)
    assert len(set(convention.names)) == count
    assert sorted(index for group in convention.groups.values() for index in group) == list(range(count))


@pytest.mark.parametrize("name", ["openpose18", "openpose25"])
def test_openpose_has_the_spreads_that_were_measured(name: str) -> None:
    whole, convention = keypoint_set("wholebody133"), keypoint_set(name)
    known = dict(zip(whole.names, whole.oks_sigmas, strict=True))
    for keypoint, sigma in zip(convention.names, convention.oks_sigmas, strict=True):
        assert sigma == known[keypoint] if keypoint in known else np.isnan(sigma)
    assert {keypoint for keypoint in convention.names if keypoint not in known} <= {"neck", "mid_hip"}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_mirroring_trades_left_and_right_names(name: str) -> None:
    convention = keypoint_set(name)
    body = convention.groups["body"]
    traded = {"left": "right", "right": "left"}
    for index in body:
        side, _, part = convention.names[index].partition("_")
        expected = f"{traded[side]}_{part}" if side in traded else convention.names[index]
        assert convention.names[convention.flip_indices[index]] == expected


@pytest.mark.parametrize(("name", "count"), LABEL_SETS.items())
def test_label_sets_by_name_and_count(name: str, count: int) -> None:
    labels = label_set(name)
    assert label_set(count) is labels
    assert labels.count == count
    assert labels.names[0] == "Background"
    assert labels.palette_N3.shape == (count, 3)
    assert labels.palette_N3.dtype == np.uint8


@pytest.mark.parametrize("name", LABEL_SETS)
def test_flip_indices_of_labels_trade_left_and_right(name: str) -> None:
    labels = label_set(name)
    assert [labels.flip_indices[other] for other in labels.flip_indices] == list(range(labels.count))
    for left, right in labels.flip_pairs:
        assert {labels.names[left].lower()[:4], labels.names[right].lower()[:4]} == {"left", "righ"}


def test_class_weights_where_training_had_them() -> None:
    assert label_set("body28").class_weights is not None
    assert label_set("face19").class_weights is None


@pytest.mark.parametrize(("find", "key"), [(keypoint_set, 21), (keypoint_set, "coco"), (label_set, "body")])
def test_unknown_sets_list_what_exists(find, key) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=r"coco17 \(17 keypoints\)|body28 \(28 classes\)"):
        find(key)


def test_inconsistent_tables_are_refused() -> None:
    convention = keypoint_set("coco17")
    rotated = (*convention.flip_indices[1:], convention.flip_indices[0])
    with pytest.raises(ValueError, match="involution"):
        replace(convention, flip_indices=rotated)
    with pytest.raises(ValueError, match="oks_sigmas"):
        replace(convention, oks_sigmas=convention.oks_sigmas[1:])
    with pytest.raises(ValueError, match="classes"):
        replace(label_set("lip20"), palette=label_set("lip20").palette[1:])
