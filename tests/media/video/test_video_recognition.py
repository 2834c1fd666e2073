"""Videos are told from pictures, sound, text and each other by their first bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitruvian.errors import InputError
from vitruvian.media.signatures import PICTURE_EXTENSIONS
from vitruvian.media.video.library import CONTAINERS
from vitruvian.media.video.reading import is_video, probe_video
from vitruvian.media.video.recognition import VIDEO_EXTENSIONS, container_kind

pytest.importorskip("av")
Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "kind", "codec"),
    [
        ("a.mp4", "MP4", "libx264"),
        ("a.mov", "MP4", "libx264"),
        ("a.mkv", "Matroska", "libx264"),
        ("a.webm", "Matroska", "libvpx"),
        ("a.avi", "AVI", "libx264"),
        ("a.ts", "MPEG-TS", "libx264"),
        ("a.m2ts", "MPEG-TS", "libx264"),
        ("a.mpg", "MPEG", "mpeg2video"),
        ("a.m2v", "MPEG", "mpeg2video"),
        ("a.flv", "FLV", "libx264"),
        ("a.wmv", "ASF", "msmpeg4"),
        ("a.h264", "H.264", "libx264"),
        ("a.hevc", "HEVC", "libx265"),
        ("a.nut", "NUT", "ffv1"),
        ("a.ivf", "IVF", "libvpx"),
        ("a.y4m", "YUV4MPEG", "wrapped_avframe"),
    ],
)
def test_content_decides(make_video: Make, name: str, kind: str, codec: str) -> None:
    if codec == "wrapped_avframe":
        path = make_video().with_name(name)
        path.write_bytes(b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(12))
    else:
        path = make_video(name, codec=codec, frames=12)
    other = path.rename(path.with_name("unnamed.data"))
    assert container_kind(other.read_bytes()[:600]) == kind
    assert is_video(other)
    assert (probe_video(other, name).width, probe_video(other, name).height) in ((64, 48), (4, 2))


@pytest.mark.parametrize("format", ["gif", "png", "jpg", "avif", "webp"])
def test_a_picture_is_none_whatever_its_name(tmp_path: Path, format: str) -> None:
    path = tmp_path / "film.mp4"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, "JPEG" if format == "jpg" else format)
    assert not is_video(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("broken.mp4", b"no film at all", True),
        ("empty.mkv", b"", True),
        ("code.ts", b"export const answer = 42;\n", False),
        ("list.m3u8", b"#EXTM3U\n", False),
        ("list.txt", b"citywide/film.mp4\ncarefree.mp4\n", False),
        ("song.m4a", b"\0\0\0\x1cftypM4A \0\0\0\0", False),
        ("song.mka", b"\x1a\x45\xdf\xa3", False),
        ("film.MP4", b"", True),
    ],
)
def test_a_name_decides_where_the_content_says_nothing(
    tmp_path: Path, name: str, content: bytes, expected: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert is_video(path) is expected


def test_what_cannot_be_opened_is_judged_by_its_name(tmp_path: Path) -> None:
    assert is_video(tmp_path / "absent.mp4")
    assert not is_video(tmp_path / "absent.png")
    assert not is_video(tmp_path)


def test_no_extension_is_a_picture_and_a_video() -> None:
    assert not VIDEO_EXTENSIONS & PICTURE_EXTENSIONS


REFUSED = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {other}\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
}


@pytest.mark.parametrize("as_name", [None, "film.mp4", "film.ts"], ids=["own name", "as mp4", "as ts"])
@pytest.mark.parametrize("name", REFUSED)
def test_files_that_name_others_are_refused(make_video: Make, name: str, as_name: str | None) -> None:
    other = make_video("other.ts")
    path = other.with_name(as_name or name)
    path.write_text(REFUSED[name].format(other=other.name), encoding="ascii")
    with pytest.raises(InputError, match="playlists and lists of other files are refused"):
        probe_video(path, path.name)


def test_the_same_list_would_be_followed_if_its_kind_were_allowed(
    make_video: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the refusal above is the work of the list of containers."""
    other = make_video("other.ts")
    path = other.with_name("list.ffconcat")
    path.write_text(REFUSED["list.ffconcat"].format(other=other.name), encoding="ascii")
    monkeypatch.setattr("vitruvian.media.video.library.CONTAINERS", CONTAINERS + ",concat")
    assert probe_video(path, "list").width == 64


@pytest.mark.parametrize("name", ["http:film.mp4", "concat:a|b.mp4", "file with spaces & ümlaut.mp4", "-.mp4"])
def test_a_file_name_is_never_an_address(make_video: Make, name: str) -> None:
    path = make_video()
    assert probe_video(path.rename(path.with_name(name)), name).width == 64


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "vanished"),
        (b"", "is empty"),
        (b"no film at all" * 99, "is not a video that is read here; expected MP4"),
        (b"\0\0\0\x18ftypisom" + bytes(500), "the MP4 data are truncated, damaged"),
    ],
)
def test_what_is_no_video_is_said_in_one_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        probe_video(path, "film.mp4")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_and_an_impossible_path_are_no_videos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a regular file"):
        probe_video(tmp_path, "x")
    with pytest.raises(InputError, match="no usable path"):
        probe_video(Path("a\0b.mp4"), "x")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video stream"):
        probe_video(path, "song.mp4")
