"""The camera behind a picture: who is believed, in which units, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from vitruvian.errors import InputError, UsageError
from vitruvian.tasks.cameras import ASSUMED_FOCAL, CameraWish, assumed_camera
from vitruvian.tasks.intrinsics_files import Intrinsics, IntrinsicsTable, parse_intrinsics

PHONE_HW = (3024, 4032)


def of_all(**fields: Any) -> CameraWish:
    return CameraWish(table=parse_intrinsics(fields))


def test_a_focal_length_is_in_pixels_of_the_picture_with_its_centre_in_the_middle() -> None:
    camera = CameraWish(focal_px=700).camera((480, 640))
    assert (camera.fx_px, camera.fy_px) == (700, 700)
    # Four pixels have their middle between the second and the third: 1.5, as the first has its centre at 0.
    assert (camera.cx_px, camera.cy_px) == (319.5, 239.5)
    assert (camera.source, camera.known) == ("focal length", True)


@pytest.mark.parametrize(
    ("hw", "fov_deg", "focal_px"), [((480, 640), 90, 320), ((640, 480), 90, 240), ((1, 2), 60, 3**0.5)]
)
def test_a_field_of_view_is_across_the_width(hw: tuple[int, int], fov_deg: float, focal_px: float) -> None:
    camera = CameraWish(fov_deg=fov_deg).camera(hw)
    assert camera.fx_px == camera.fy_px == pytest.approx(focal_px)
    assert camera.source == "field of view"


def test_exif_means_the_diagonal() -> None:
    """A 4:3 picture is less wide than film of the same diagonal: 26 mm are 3029 px, by the width alone 2912."""
    camera = CameraWish().camera(PHONE_HW, focal_35mm=26)
    assert camera.fx_px == pytest.approx(26 / math.sqrt(36**2 + 24**2) * 5040)
    assert camera.fx_px == pytest.approx(3028.7, abs=0.1)
    assert (camera.source, camera.known) == ("EXIF", True)


def test_a_turned_or_smaller_picture_has_the_same_angle() -> None:
    upright = CameraWish().camera((4032, 3024), focal_35mm=26)
    small = CameraWish().camera((756, 1008), focal_35mm=26)
    assert upright.fx_px == pytest.approx(CameraWish().camera(PHONE_HW, focal_35mm=26).fx_px)
    assert small.fx_px == pytest.approx(upright.fx_px / 4)
    assert (upright.cx_px, upright.cy_px) == (1511.5, 2015.5)


def test_what_a_user_says_counts_more_than_exif() -> None:
    assert CameraWish(focal_px=900).camera(PHONE_HW, focal_35mm=26).fx_px == 900
    assert CameraWish(fov_deg=90).camera(PHONE_HW, focal_35mm=26).fx_px == pytest.approx(2016)
    assert of_all(fx=3000).camera(PHONE_HW, focal_35mm=26).source == "file"


@pytest.mark.parametrize("hw", [(480, 640), (640, 480)])
def test_where_nothing_is_known_a_camera_is_assumed_and_says_so(hw: tuple[int, int]) -> None:
    camera = CameraWish().camera(hw)
    assert camera == assumed_camera(hw)
    assert (camera.fx_px, camera.known) == (ASSUMED_FOCAL * 640, False)
    assert camera.document() == {
        "fx_px": 640.0, "fy_px": 640.0, "cx_px": (hw[1] - 1) / 2, "cy_px": (hw[0] - 1) / 2, "source": "assumed"
    }  # fmt: skip


@pytest.mark.parametrize("focal_35mm", [1.5, 5000.0])
def test_exif_that_gives_no_pinhole_camera_is_not_believed(focal_35mm: float) -> None:
    """A panorama of a fisheye, or a telescope: the assumption is said, the number in the file is not."""
    assert CameraWish().camera(PHONE_HW, focal_35mm=focal_35mm).source == "assumed"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"focal_px": 800, "fov_deg": 60}, "got --focal-px and --fov-deg; expected one of them"),
        ({"fov_deg": 60, "table": parse_intrinsics([1, 1, 0, 0])}, "got --fov-deg and --intrinsics"),
        ({"focal_px": 0.0}, "got --focal-px 0"),
        ({"focal_px": -3.0}, "above 0"),
        ({"focal_px": math.nan}, "above 0"),
        ({"focal_px": math.inf}, "above 0"),
        ({"fov_deg": 0.0}, "expected 1 to 170 degrees"),
        ({"fov_deg": 180.0}, "expected 1 to 170 degrees"),
        ({"fov_deg": math.nan}, "expected 1 to 170 degrees"),
    ],
)
def test_options_that_no_camera_has_are_refused(fields: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CameraWish(**fields)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (CameraWish(focal_px=26), r"fx = 26 px for a picture of 4032 x 3024, a field of view of 179 degrees; .*pixels"),
        (CameraWish(focal_px=1e6), r"fx = 1e\+06 px .* 0\.231 degrees"),
        (of_all(fx=0.8), "pixels of this picture"),  # in widths of the picture
        (of_all(fx=3000, fy=3), "fy = 3 px"),
        (of_all(fx=-3000), "fx = -3000 px"),
        (of_all(fx=3000, fy=1400), "expected nearly square pixels; check the order"),
        (of_all(fx=3000, cx=90000, cy=10), "principal point"),
        (of_all(fx=3000, cx=10, cy=-90000), "principal point"),
    ],
)
def test_cameras_that_cannot_be_of_the_picture_are_refused_for_it_alone(wish: CameraWish, words: str) -> None:
    with pytest.raises(InputError, match=words):
        wish.camera(PHONE_HW)


def test_intrinsics_without_a_size_are_of_the_picture_as_it_is() -> None:
    camera = of_all(fx=500, fy=510, cx=300, cy=200).camera((480, 640))
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (500, 510, 300, 200)


def test_intrinsics_without_a_centre_have_it_in_the_middle() -> None:
    camera = of_all(fx=500, width=640, height=480).camera((960, 1280))
    assert (camera.fx_px, camera.cx_px, camera.cy_px) == (1000, 639.5, 479.5)


def test_intrinsics_of_another_size_are_scaled_about_the_corner_of_the_picture() -> None:
    """Edges of pixels scale, not centres: the middle stays the middle, and the corner at (-0.5, -0.5) stays there."""
    calibrated = {"fx": 500, "fy": 510, "width": 640, "height": 480}
    half = of_all(**calibrated, cx=319.5, cy=-0.5).camera((240, 320))
    assert (half.fx_px, half.fy_px, half.cx_px, half.cy_px) == (250, 255, 159.5, -0.5)


@pytest.mark.parametrize("hw", [(480, 480), (640, 480)], ids=["cut", "turned"])
def test_intrinsics_of_another_shape_are_refused(hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"is {hw[1]} x {hw[0]}, the intrinsics file speaks of 640 x 480"):
        of_all(fx=500, width=640, height=480).camera(hw)


def test_a_size_that_was_rounded_is_the_same_shape() -> None:
    assert of_all(fx=500, width=1226, height=370).camera((185, 612)).fx_px == pytest.approx(500 * 612 / 1226)


def test_a_picture_that_the_file_does_not_know_is_refused_alone() -> None:
    wish = CameraWish(table=parse_intrinsics({"a.jpg": [500, 500, 320, 240]}))
    assert wish.camera((480, 640), name="sub/a.jpg").fx_px == 500
    with pytest.raises(InputError, match="no entry in the intrinsics file"):
        wish.camera((480, 640), name="b.jpg", focal_35mm=26)


def test_what_was_said_tells_runs_apart() -> None:
    one = Intrinsics(fx_px=500.0, fy_px=500.0, cx_px=None, cy_px=None)
    wishes = [
        CameraWish(),
        CameraWish(focal_px=500),
        CameraWish(focal_px=501),
        CameraWish(fov_deg=60),
        CameraWish(table=IntrinsicsTable(common=one, by_name={})),
        CameraWish(table=IntrinsicsTable(common=None, by_name={"a.jpg": one})),
    ]
    documents = [json.dumps(wish.document(), sort_keys=True) for wish in wishes]
    assert len(set(documents)) == len(wishes)
    again = CameraWish(table=parse_intrinsics({"a.jpg": {"fx": 500}}))
    assert json.dumps(again.document(), sort_keys=True) == documents[-1]
