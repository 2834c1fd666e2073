"""Pictures come out upright, in the right colours, whatever the pixels are stored as."""

# Shape suffixes: H W picture size, 3 = RGB, 4 = RGBA.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.errors import InputError
from vitruvian.media.colour import flatten_on_white
from vitruvian.media.video.pixels import Turn, UprightRgb, turn_of
from vitruvian.media.video.reading import probe_video, read_frames

av: Any = pytest.importorskip("av")
Make = Callable[..., Path]

LEVELS = 3
"""Converted colours against the formula: limited range has 219 steps, and the converter works in 8 bits."""

WEIGHTS = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}
COLOURS = [(250, 5, 5), (5, 250, 5), (5, 5, 250), (200, 100, 50), (30, 120, 220), (255, 255, 255), (0, 0, 0)]


def stored(colour: tuple[int, int, int], matrix: str, *, full: bool) -> tuple[int, ...]:
    """Y, Cb, Cr of 8 bits by the definition (ITU-R BT.601, BT.709, BT.2020)."""
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = (value / 255 for value in colour)
    y = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    cb, cr = (blue - y) / 2 / (1 - blue_weight), (red - y) / 2 / (1 - red_weight)
    if full:
        return round(255 * y), round(255 * cb + 128), round(255 * cr + 128)
    return round(16 + 219 * y), round(128 + 224 * cb), round(128 + 224 * cr)


def plain_frame(values: tuple[int, ...], width: int, height: int) -> Any:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


@pytest.mark.parametrize(
    ("code", "size", "matrix"),
    [
        (1, (64, 48), "BT.709"),
        (5, (64, 48), "BT.601"),
        (6, (1280, 720), "BT.601"),
        (9, (64, 48), "BT.2020"),
        (2, (64, 48), "BT.601"),
        (2, (1280, 720), "BT.709"),
        (2, (720, 1280), "BT.709"),
        (8, (64, 48), "BT.601"),
    ],
)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_matrix_and_range_are_those_of_the_stream(code: int, size: tuple[int, int], matrix: str, full: bool) -> None:
    width, height = size
    for colour in COLOURS if width < 100 else COLOURS[3:5]:
        frame = plain_frame(stored(colour, matrix, full=full), width, height)
        frame.colorspace, frame.color_range = code, 2 if full else 1
        image_HW3 = UprightRgb(width=width, height=height, turn=Turn()).convert(frame)
        assert np.abs(image_HW3.astype(int) - colour).max() <= LEVELS


@pytest.mark.parametrize(("code", "matrix"), [(1, "BT.709"), (5, "BT.601")])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_file_says_which_colours_it_means(tmp_path: Path, name: str, code: int, matrix: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48)
        stream.codec_context.colorspace = code
        frame = plain_frame(stored((200, 60, 50), matrix, full=False), 64, 48)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with read_frames(path) as reader:
        image_HW3 = next(reader).image_HW3
    assert np.abs(image_HW3.astype(int) - (200, 60, 50)).max() <= LEVELS + 1


@pytest.mark.parametrize(
    ("turn", "expected", "clockwise_deg"),
    [
        ((0, False, False), lambda image: image, 0),
        ((90, False, False), lambda image: np.rot90(image, 1), 270),
        ((180, False, False), lambda image: np.rot90(image, 2), 180),
        ((270, False, False), lambda image: np.rot90(image, 3), 90),
        ((0, True, False), lambda image: image[:, ::-1], 0),
        ((0, False, True), lambda image: image[::-1], 180),
        ((90, True, False), lambda image: np.rot90(image, 1)[:, ::-1], 270),
        ((90, False, True), lambda image: np.rot90(image, 1)[::-1], 90),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
@pytest.mark.parametrize(("name", "codec"), [("a.mov", "qtrle"), ("a.mkv", "ffv1")])
def test_pictures_are_shown_upright(
    make_video: Make,
    name: str,
    codec: str,
    turn: tuple[float, bool, bool],
    expected: Callable[[np.ndarray], np.ndarray],
    clockwise_deg: int,
) -> None:
    # Without loss: x264 does not always encode the same frames to the same bytes.
    kind = {"codec": codec, "pixels": "rgb24" if codec == "qtrle" else "yuv420p", "frames": 4}
    path = make_video(name, turn=turn, **kind)
    with read_frames(make_video("plain" + Path(name).suffix, **kind)) as reader:
        upright = [np.ascontiguousarray(expected(frame.image_HW3)) for frame in reader]
    with read_frames(path) as reader:
        found = [frame.image_HW3 for frame in reader]
        info = reader.info
    for one, other in zip(found, upright, strict=True):
        assert np.array_equal(one, other)
        assert one.flags.c_contiguous
    assert info.rotation_deg == clockwise_deg
    assert (info.width, info.height) == (upright[0].shape[1], upright[0].shape[0])
    assert any("turned upright" in note for note in info.notes) == (turn != (0, False, False))


def test_a_slanted_picture_is_left_as_it_lies(make_video: Make) -> None:
    info = probe_video(make_video(turn=(30, False, False)), "a.mp4")
    assert info.rotation_deg == 0
    assert any("not a multiple of 90 degrees" in note for note in info.notes)


def test_an_empty_matrix_is_no_turn() -> None:
    assert turn_of([0] * 9) is None
    assert turn_of([65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]) == Turn()


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (63, 47), (65, 48), (64, 49), (130, 33)], ids=str)
def test_odd_sizes_keep_every_pixel(make_video: Make, size: tuple[int, int]) -> None:
    width, height = size
    path = make_video("a.mkv", codec="ffv1", pixels="yuv420p", size=size, frames=3)
    with read_frames(path) as reader:
        images = [frame.image_HW3 for frame in reader]
    assert [image.shape for image in images] == [(height, width, 3)] * 3
    if min(size) > 8:
        # The last row and column are as grey as the rest.
        for edge in (images[0][-1, width // 2 :], images[0][height // 2 :, -1]):
            assert np.abs(edge.astype(float).mean(axis=0) - 51.5).max() < 4


DEEP = {
    "H.264 10 bits": ("a.mp4", "libx264", "yuv420p10le"),
    "HEVC 10 bits": ("a.mp4", "libx265", "yuv420p10le"),
    "ProRes": ("a.mov", "prores_ks", "yuv422p10le"),
    "FFV1 16 bits": ("a.mkv", "ffv1", "rgb48le"),
    "FFV1 4:4:4 12 bits": ("a.mkv", "ffv1", "yuv444p12le"),
    "grey": ("a.mkv", "ffv1", "gray"),
    "grey 10 bits": ("a.mkv", "ffv1", "gray10le"),
    "motion JPEG": ("a.avi", "mjpeg", "yuvj420p"),
    "RGB": ("a.mov", "qtrle", "rgb24"),
    "PNG": ("a.mov", "png", "rgb24"),
    "raw": ("a.nut", "rawvideo", "bgr24"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_all_depths_and_kinds_become_eight_bits(make_video: Make, kind: str) -> None:
    name, codec, pixels = DEEP[kind]
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = make_video(name, codec=codec, pixels=pixels, options=options, frames=5)
    with read_frames(path) as reader:
        frames = list(reader)
    deep = any(digit in pixels for digit in ("10le", "12le", "48le"))
    assert any("more than 8 bits" in note for note in reader.info.notes) == deep
    for frame in frames:
        image_HW3 = frame.image_HW3
        assert image_HW3.dtype == np.uint8
        assert abs(image_HW3[24:, 24:].mean() - (51.5 + 5 * frame.number)) < 4
        if "gray" not in pixels:
            assert np.abs(image_HW3[2:8, 2:8].mean(axis=(0, 1)) - (220, 20, 20)).max() < 16


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mov", "qtrle", "argb"), ("a.mov", "png", "rgba"), ("a.mkv", "ffv1", "bgra"), ("a.mkv", "ffv1", "yuva420p")],
)
def test_transparency_is_laid_on_white_as_in_pictures(make_video: Make, name: str, codec: str, pixels: str) -> None:
    image_HW4 = np.zeros((48, 64, 4), np.uint8)
    image_HW4[..., :3] = (200, 40, 90)
    image_HW4[..., 3] = np.repeat(np.arange(0, 256, 8)[None], 48, axis=0).repeat(2, axis=1)
    path = make_video(name, codec=codec, pixels=pixels, frames=2, images=lambda number: image_HW4)
    with read_frames(path) as reader:
        image_HW3 = next(reader).image_HW3
    assert reader.info.has_alpha
    assert "transparency laid on white" in reader.info.notes
    difference = np.abs(image_HW3.astype(int) - flatten_on_white(image_HW4)).max()
    assert difference == 0 if "yuv" not in pixels else difference <= LEVELS


def test_a_palette_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    palette = np.zeros((256, 4), np.uint8)
    palette[:2] = [(255, 10, 200, 30), (255, 250, 240, 5)]  # alpha, red, green, blue
    indices_HW = np.zeros((8, 8), np.uint8)
    indices_HW[:, 4:] = 1
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25, width=8, height=8)
        stream.pix_fmt = "pal8"
        container.mux(stream.encode(av.VideoFrame.from_ndarray((indices_HW, palette), format="pal8")))
        container.mux(stream.encode())
    with read_frames(path) as reader:
        image_HW3 = next(reader).image_HW3
    assert reader.info.pixel_format == "pal8"
    assert image_HW3[3, 3].tolist() == [10, 200, 30]
    assert image_HW3[3, 4].tolist() == [250, 240, 5]


def test_frames_of_another_size_are_scaled_to_the_first(make_video: Make) -> None:
    one, other = make_video("a.h264"), make_video("b.h264", size=(128, 96), frames=12)
    both = one.with_name("c.h264")
    both.write_bytes(one.read_bytes() + other.read_bytes())
    with read_frames(both) as reader:
        shapes = [frame.image_HW3.shape for frame in reader]
    assert shapes == [(48, 64, 3)] * 42
    assert "12 frames of another size were scaled to that of the first" in reader.notes


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_said(make_video: Make, curve: int, name: str) -> None:
    options = {"x264-params": f"transfer={'smpte2084' if curve == 16 else 'arib-std-b67'}:colormatrix=bt2020nc"}
    info = probe_video(make_video(pixels="yuv420p10le", options=options), "a.mp4")
    assert any(f"HDR ({name})" in note for note in info.notes)


def test_wide_pixels_and_fields_are_said(make_video: Make) -> None:
    info = probe_video(make_video(options={"x264-params": "sar=4/3:interlaced=1"}), "a.mp4")
    assert any("4/3 as wide as high" in note for note in info.notes)
    assert any("interlaced" in note for note in info.notes)


def test_pixels_that_cannot_be_converted_are_an_error_of_the_input() -> None:
    class Broken:
        width, height, colorspace = 64, 48, 1
        format = av.VideoFormat("yuv420p")

    rgb = UprightRgb(width=64, height=48, turn=Turn())

    class Refusing:
        def reformat(self, *arguments: object, **options: object) -> None:
            raise av.FFmpegError(95, "Operation not supported")

    rgb._reformatter = Refusing()  # type: ignore[assignment]
    with pytest.raises(InputError, match="yuv420p cannot be converted"):
        rgb.convert(Broken())  # type: ignore[arg-type]


def test_turns_keep_what_they_are_given() -> None:
    image_HW3 = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    turn = Turn(transpose=True, mirror_x=True)
    assert np.array_equal(turn.apply(image_HW3), np.rot90(image_HW3, -1))
    assert turn.clockwise_deg == 90
    assert not turn.mirrored
