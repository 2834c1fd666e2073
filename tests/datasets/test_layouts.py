"""Samples found by names alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.datasets.layouts import DenseKind, find_samples, held_out, split_samples
from vitruvian.errors import UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("task", "files", "layout", "names", "splits"),
    [
        ("seg", ["images/a.jpg", "labels/a.png"], "plain", ["images/a.jpg"], [""]),
        ("seg", ["images/x/a.webp", "labels/x/a.png"], "plain", ["images/x/a.webp"], [""]),
        ("depth", ["images/a.b.jpeg", "depths/a.b.npy"], "published-depth", ["images/a.b.jpeg"], [""]),
        ("normal", ["images/a.png", "normals/a.npy", "labels/a.png"], "published-normal", ["images/a.png"], [""]),
        ("depth", ["images/a.png", "labels/a.npy", "labels/a.npy.json"], "plain", ["images/a.png"], [""]),
        ("seg", ["000001.png", "000001_seg.png"], "face", ["000001.png"], [""]),
        (
            "seg",
            ["train/images/a.png", "train/labels/a.png", "val/images/b.png", "val/labels/b.png"],
            "plain",
            ["train/images/a.png", "val/images/b.png"],
            ["train", "val"],
        ),
        (
            "seg",
            ["train_images/1.jpg", "train_segmentations/1.png", "val_images/2.jpg", "val_segmentations/2.png"],
            "lip",
            ["train_images/1.jpg", "val_images/2.jpg"],
            ["train", "val"],
        ),
        (
            "seg",
            ["TrainVal_images/val_images/2.jpg", "TrainVal_parsing_annotations/val_segmentations/2.png"],
            "lip-archive",
            ["TrainVal_images/val_images/2.jpg"],
            ["val"],
        ),
        ("seg", ["Training/Images/7.jpg", "Training/Category_ids/7.png"], "cihp", ["Training/Images/7.jpg"], ["train"]),
    ],
)
def test_layouts(
    task: DenseKind, files: list[str], layout: str, names: list[str], splits: list[str], tmp_path: Path
) -> None:
    found = find_samples(touch(tmp_path, *files), task)
    assert found.layout.name == layout
    assert [sample.name for sample in found.samples] == names
    assert [sample.split for sample in found.samples] == splits
    assert found.missing == ()


def test_masks_are_optional_as_a_folder_only(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "depths/a.npy", "depths/b.npy", "masks/a.jpg")
    found = find_samples(tmp_path, "depth")
    assert [sample.mask for sample in found.samples] == [tmp_path / "masks/a.jpg"]
    assert found.missing == ("images/b.png has no partner in masks",)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["images/b.png"], "images/b.png has no partner in labels"),
        (["labels/b.png"], "labels/b.png has no picture in images"),
        (["images/b.png", "labels/b.jpg"], "images/b.png has only b.jpg, where .png is expected, in labels"),
        (["images/b.png", "images/b.jpg", "labels/b.png"], "images/b.jpg and images/b.png have one stem"),
    ],
)
def test_what_has_no_partner_is_said(files: list[str], says: str, tmp_path: Path) -> None:
    found = find_samples(touch(tmp_path, "images/a.png", "labels/a.png", *files), "seg")
    assert [sample.name for sample in found.samples] == ["images/a.png"]
    assert len(found.missing) == 1
    assert found.missing[0].startswith(says)
    assert str(tmp_path) not in found.missing[0]


def test_two_targets_of_one_picture_are_ambiguous(tmp_path: Path) -> None:
    found = find_samples(touch(tmp_path, "images/a.png", "depths/a.npy", "depths/a.png"), "depth")
    assert found.samples == ()
    assert "several partners (a.npy, a.png)" in found.missing[0]


def test_unknown_layouts_are_listed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"published-normal: images/ and normals/.*plain"):
        find_samples(touch(tmp_path, "pictures/a.png"), "normal")
    with pytest.raises(UsageError, match="no folder"):
        find_samples(tmp_path / "nowhere", "seg")


def test_a_share_is_held_out_by_the_stem(tmp_path: Path) -> None:
    names = [f"images/{number:05d}.png" for number in range(2000)]
    chosen = {name for name in names if held_out(name, 0.1)}
    assert 0.07 < len(chosen) / len(names) < 0.13
    assert chosen == {name for name in names if held_out(f"elsewhere/{Path(name).stem}.jpg", 0.1)}
    assert chosen < {name for name in names if held_out(name, 0.2)}


def test_own_parts_go_before_shares(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/a.png", "train/labels/a.png", "val/images/b.png", "val/labels/b.png")
    train, val = split_samples(find_samples(tmp_path, "seg").samples, 0.5)
    assert [[sample.name for sample in part] for part in (train, val)] == [["train/images/a.png"], ["val/images/b.png"]]
