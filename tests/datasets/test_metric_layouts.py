"""Layouts of metric depth: what is paired, what a code means, whose camera it is, what has no partner."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metric_folders import DRIVE, write_annotated, write_nyu, write_plain, write_selection
from training_folders import put_npy
from vitruvian.datasets.checking import check_data
from vitruvian.datasets.depth_protocols import AS_STORED, KITTI, NYU
from vitruvian.datasets.metric_layouts import find_depth, protocol_named
from vitruvian.datasets.targets import decode_sample
from vitruvian.errors import InputError, UsageError


def focal_px(folder: Path, place: int = 0) -> tuple[float, float] | None:
    found = find_depth(folder)
    table = found.camera(found.samples[place], found.own or AS_STORED)
    camera = None if table is None else table.lookup(found.samples[place].name)
    return None if camera is None else (camera.fx_px, camera.fy_px)


@pytest.mark.parametrize("inside", ["", "val_selection_cropped", "depth_selection/val_selection_cropped"])
def test_the_selection_of_kitti(tmp_path: Path, inside: str) -> None:
    write_selection(tmp_path / inside, 2)
    found = find_depth(tmp_path)
    assert (found.layout, found.own, len(found.samples), found.missing) == ("kitti-selection", KITTI, 2, ())
    sample = found.samples[1]
    assert sample.image.name == f"{DRIVE}_image_0000000001_image_02.png"
    assert sample.target.name == f"{DRIVE}_groundtruth_depth_0000000001_image_02.png"
    assert focal_px(tmp_path) == (720, 720)


def test_annotated_depth_of_kitti(tmp_path: Path) -> None:
    found = find_depth(write_annotated(tmp_path))
    assert (found.layout, found.own) == ("kitti", KITTI)
    assert [(sample.image.stem, sample.split) for sample in found.samples] == [
        ("0000000005", "val"),
        ("0000000006", "val"),
    ]
    assert all(sample.image.stem == sample.target.stem for sample in found.samples)
    assert found.missing == (f"val/{DRIVE}/proj_depth/groundtruth/image_02/0000000007.png has no picture",)
    assert focal_px(tmp_path) == (720, 730)


def test_rooms_of_nyu(tmp_path: Path) -> None:
    found = find_depth(write_nyu(tmp_path, (12, 16)))
    assert (found.layout, found.own) == ("nyu", NYU)
    assert [sample.name for sample in found.samples] == ["bathroom/rgb_00000.png", "kitchen_0004/rgb_00001.png"]
    assert [sample.target.name for sample in found.samples] == ["sync_depth_00000.png", "sync_depth_00001.png"]
    assert focal_px(tmp_path) == (518.8579, 519.4696)


@pytest.mark.parametrize(
    ("write", "depth_m"), [(write_selection, 20.0), (write_annotated, 20.0), (lambda to: write_nyu(to, (12, 16)), 3.0)]
)
def test_codes_become_metres_and_0_is_no_value(tmp_path: Path, write: Callable[[Path], Path], depth_m: float) -> None:
    found = find_depth(write(tmp_path))
    depth_m_HW = decode_sample(found.samples[0], "depth").target
    assert depth_m_HW[:, 1::2] == pytest.approx(depth_m)
    assert np.isnan(depth_m_HW[:, ::2]).all()


def test_arrays_are_metres_already(tmp_path: Path) -> None:
    write_nyu(tmp_path, (12, 16))
    for path in tmp_path.glob("*/sync_depth_*.png"):
        put_npy(path.with_suffix(".npy"), np.full((12, 16), 4.5, np.float32))
        path.unlink()
    assert decode_sample(find_depth(tmp_path).samples[0], "depth").target == pytest.approx(4.5)


def test_a_plain_folder_is_read_as_the_chosen_protocol_and_a_known_one_as_itself(tmp_path: Path) -> None:
    plain = find_depth(write_plain(tmp_path / "plain", per_m=256))
    (first, _) = plain.read_as(KITTI, plain.samples)
    assert np.nanmax(decode_sample(first, "depth").target) == pytest.approx(2)
    known = find_depth(write_selection(tmp_path / "kitti"))
    (sample,) = known.read_as(AS_STORED, known.samples)
    assert np.nanmax(decode_sample(sample, "depth").target) == pytest.approx(20)


def test_plain_folders_have_their_cameras_beside_the_pictures(tmp_path: Path) -> None:
    write_plain(tmp_path)
    assert focal_px(tmp_path) is None
    (tmp_path / "intrinsics.json").write_text(json.dumps({"0.png": [50, 51, 30, 20], "*": [70, 71, 30, 20]}))
    assert (focal_px(tmp_path, 0), focal_px(tmp_path, 1)) == ((50, 51), (70, 71))


def test_each_part_has_its_own_cameras_or_those_of_the_whole(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_plain(tmp_path / part, count=1)
    (tmp_path / "intrinsics.json").write_text("[40, 40, 30, 20]")
    (tmp_path / "val" / "intrinsics.json").write_text("[60, 60, 30, 20]")
    found = find_depth(tmp_path)
    focal = {sample.split: focal_px(tmp_path, place) for place, sample in enumerate(found.samples)}
    assert focal == {"train": (40, 40), "val": (60, 60)}


def test_a_camera_that_cannot_be_read_fails_its_picture_alone(tmp_path: Path) -> None:
    write_selection(tmp_path, 2)
    sorted((tmp_path / "intrinsics").iterdir())[0].write_text("720 0 100\n")
    with pytest.raises(InputError, match=r"has a camera in intrinsics/.*that cannot be used"):
        focal_px(tmp_path, 0)
    assert focal_px(tmp_path, 1) == (720, 720)


def test_a_calibration_without_the_left_colour_camera_is_refused(tmp_path: Path) -> None:
    folder = write_annotated(tmp_path)
    (folder / "raw" / "2011_09_26" / "calib_cam_to_cam.txt").write_text("P_rect_03: 1 2 3\n")
    with pytest.raises(InputError, match="without a line P_rect_02"):
        focal_px(folder)


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    write_selection(tmp_path)
    for path in (tmp_path / "intrinsics").iterdir():
        path.unlink()
    assert focal_px(tmp_path) is None


def test_unknown_folders_and_protocols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"published-depth: .*kitti-selection: .*nyu: "):
        find_depth(tmp_path)
    with pytest.raises(UsageError, match="which is no folder"):
        find_depth(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="expected kitti, nyu, none"):
        protocol_named("sintel")


def test_the_data_check_knows_them(tmp_path: Path) -> None:
    report = check_data(write_selection(tmp_path, 2), "depth")
    assert (report.layout, report.samples) == ("kitti-selection", 2)
    unit = next(finding for finding in report.findings if finding.kind == "depth unit")
    assert unit.examples == ("metres, median 20",)
