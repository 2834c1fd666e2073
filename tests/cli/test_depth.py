"""`vitruvian depth` with a metric network: what is written, whose camera counts, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

import tiny_metric
from command import Command, Ran
from tolerances import METRIC_RESIZED_REL
from vitruvian.people import random_scene, render

WIDTH, HEIGHT = 90, 60
RANDOM = np.random.default_rng(5)
IMAGE_HW3 = np.kron(RANDOM.integers(0, 256, (6, 9, 3)), np.ones((10, 10, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_metric.weight_file(tmp_path_factory.mktemp("weights") / "tiny-metric.safetensors")
    assert path.stat().st_size < 200_000
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "one.png"
    Image.fromarray(IMAGE_HW3).save(path)
    return path


@pytest.fixture
def depth(command: Command, model: Path, tmp_path: Path) -> Any:
    """`depth(*arguments)` runs the verb with the tiny network into `out`."""

    def run(*arguments: object, out: str = "out") -> Ran:
        return command("depth", *arguments, "-m", model, "--dtype", "float32", "-o", tmp_path / out)

    return run


def metres(tmp_path: Path, out: str = "out", name: str = "one.png") -> np.ndarray:
    return np.load(tmp_path / out / f"{name}.depth.npy")


def about(tmp_path: Path, out: str = "out", name: str = "one.png") -> dict[str, Any]:
    return json.loads((tmp_path / out / f"{name}.depth.npy.json").read_text(encoding="utf-8"))


def run_document(tmp_path: Path, out: str = "out") -> dict[str, Any]:
    return json.loads((tmp_path / out / "run.json").read_text(encoding="utf-8"))


def test_files_and_their_content(depth: Any, picture: Path, tmp_path: Path) -> None:
    ran = depth(picture, "--focal-px", 80, "--format", "npy,png16,ply,glb,draw")
    assert ran.code == 0, ran.err
    out = tmp_path / "out"
    endings = ["depth.npy", "depth.npy.json", "depth.confidence.npy", "depth.confidence.npy.json", "depth.png"]
    endings += ["depth.ply", "depth.glb", "depth.drawn.jpg"]
    endings += ["normal.npy", "normal.npy.json", "normal.png", "normal.drawn.jpg"]
    written = {path.name for path in out.iterdir()} - {".vitruvian", "run.json"}
    assert written == {f"one.png.{ending}" for ending in endings}
    depth_m_HW = metres(tmp_path)
    assert (depth_m_HW.shape, depth_m_HW.dtype) == ((HEIGHT, WIDTH), np.float32)
    codes_HW = np.array(Image.open(out / "one.png.depth.png"))
    np.testing.assert_array_equal(codes_HW, np.rint(depth_m_HW.astype(np.float64) * 1000))
    normals_HW3 = np.load(out / "one.png.normal.npy")
    np.testing.assert_allclose(np.linalg.norm(normals_HW3, axis=2), 1, rtol=METRIC_RESIZED_REL)
    said = about(tmp_path)
    assert (said["metric"], said["camera"]["fx_px"], said["camera"]["source"]) == (True, 80, "focal length")
    assert (said["canvas"], said["model"]) == ("fixed 112x196", "tiny-metric")
    header = (out / "one.png.depth.ply").read_bytes().partition(b"end_header")[0]
    kept = int((depth_m_HW < said["reach_m"]).sum())
    assert f"element vertex {kept}".encode() in header
    assert (out / "one.png.depth.glb").read_bytes().startswith(b"glTF")
    assert Image.open(out / "one.png.depth.drawn.jpg").size == (WIDTH, HEIGHT)
    assert "note:" not in ran.err


@pytest.mark.skipif(importlib.util.find_spec("OpenEXR") is None, reason="OpenEXR is not installed")
def test_exr_holds_metres(depth: Any, picture: Path, tmp_path: Path) -> None:
    import OpenEXR

    assert depth(picture, "--focal-px", 80, "--format", "exr,npy").code == 0
    with OpenEXR.File(str(tmp_path / "out" / "one.png.depth.exr"), separate_channels=True) as file:
        np.testing.assert_array_equal(file.channels()["Z"].pixels, metres(tmp_path))


def test_metres_follow_the_camera_that_is_said(depth: Any, picture: Path, tmp_path: Path) -> None:
    """45 px of half a width: 90 degrees across are 45 px of focal length."""
    (tmp_path / "camera.json").write_text(json.dumps({"*": {"fx": 180, "width": 180, "height": 120}}))
    wishes = {"focal": ("--focal-px", 90), "fov": ("--fov-deg", 90), "file": ("--intrinsics", tmp_path / "camera.json")}
    for out, wish in wishes.items():
        ran = depth(picture, *wish, "--format", "npy", out=out)
        assert ran.code == 0, ran.err
    assert {out: about(tmp_path, out)["camera"]["source"] for out in wishes} == {
        "focal": "focal length", "fov": "field of view", "file": "file"
    }  # fmt: skip
    np.testing.assert_array_equal(metres(tmp_path, "file"), metres(tmp_path, "focal"))
    np.testing.assert_allclose(metres(tmp_path, "fov"), metres(tmp_path, "focal") / 2, rtol=METRIC_RESIZED_REL)


def test_exif_counts_and_without_it_the_assumption_is_said(depth: Any, picture: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 40
    exif[ExifTags.Base.Make] = "someone"
    Image.fromarray(IMAGE_HW3).save(tmp_path / "two.png", exif=exif)
    ran = depth(picture, tmp_path / "two.png", "--format", "npy")
    assert ran.code == 0, ran.err
    assert "1 without a known camera" in ran.err
    assert "not metric; give --focal-px, --fov-deg or --intrinsics" in ran.err
    assert (about(tmp_path)["metric"], about(tmp_path)["camera"]["fx_px"]) == (False, 90)
    known = about(tmp_path, name="two.png")
    assert known["metric"] is True
    # 40 mm over the diagonal of film, as this picture's diagonal of 108.2 px.
    assert known["camera"]["fx_px"] == pytest.approx(40 / 43.2666 * 108.1665, rel=1e-4)
    document = run_document(tmp_path)
    (cameras,) = [one for one in document["decisions"] if one["what"] == "cameras"]
    assert cameras["value"] == "1 EXIF, 1 assumed"
    assert any("not metric" in note for note in document["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--focal-px", 80, "--fov-deg", 60), "got --focal-px and --fov-deg; expected one of them"),
        (("--focal-px", -80), "expected pixels above 0"),
        (("--fov-deg", 200), "expected 1 to 170 degrees"),
        (("--intrinsics", "missing.json"), "cannot be read"),
        (("--canvas", "square"), "expected fixed, fit, or a width and height"),
        (("--canvas", "100x100"), "expected multiples of 28"),
        (("--canvas", "fixed", "--tokens", 50), "got --canvas fixed and --tokens 50"),
        (("--tokens", 3), "got --tokens 3; expected 4 to 448; the published canvas has 112"),
        (("--tokens", 449), "got --tokens 449"),
        (("--detector", "detector-nano"), "got a detector for tiny-metric"),
        (("--boxes", "boxes.json"), "got --boxes for tiny-metric"),
        (("--format", "stl"), "got --format stl for depth"),
        (("--track",), "expected persons to follow"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_before_anything_is_written(
    depth: Any,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boxes.json").write_text(json.dumps({"one.png": [[1, 1, 50, 50]]}))
    ran = depth(picture, *arguments)
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert not (tmp_path / "out").exists()


def test_a_relative_model_knows_no_cameras(command: Command, picture: Path, tmp_path: Path) -> None:
    ran = command("depth", picture, "-o", tmp_path / "out", "--focal-px", 80, "-m", "sapiens-depth-nano")
    assert ran.code == 2
    assert "sapiens-depth-nano, which measures nothing in metres; expected a metric3d model" in ran.err
    assert not (tmp_path / "out").exists()
    ran = command("depth", picture, "-o", tmp_path / "out", "--canvas", "fit", "-m", "sapiens-depth-nano")
    assert ran.code == 2
    assert "got --canvas fit for sapiens-depth-nano" in ran.err


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A rendered person whose relative depth and nano's metres agree on what is nearer."""
    path = tmp_path / "person.png"
    Image.fromarray(render(random_scene(703, persons=1, height=256, width=192)).image_HW3).save(path)
    return path


def test_without_a_model_the_embedded_network_measures_in_metres(
    command: Command, person: Path, tmp_path: Path
) -> None:
    common = ("--dtype", "float32", "--format", "npy,ply")
    assert command("depth", person, *common, "-o", tmp_path / "out", "--focal-px", 300).code == 0
    said = about(tmp_path, name="person.png")
    assert (said["model"], said["metric"], said["licence"]) == ("metric3d-nano", True, "apache-2.0")
    assert (tmp_path / "out" / "person.png.depth.ply").is_file()
    assert 0.3 < np.median(metres(tmp_path, name="person.png")) < 30
    assert command("depth", person, *common, "-o", tmp_path / "wide", "--focal-px", 150).code == 0
    halved = metres(tmp_path, "wide", "person.png")
    np.testing.assert_allclose(2 * halved, metres(tmp_path, name="person.png"), rtol=METRIC_RESIZED_REL)


def test_persons_one_by_one_are_relative_where_no_model_is_named(
    command: Command, person: Path, tmp_path: Path
) -> None:
    ran = command("depth", person, "-o", tmp_path / "out", "--detector", "detector-nano", "--format", "npy")
    assert ran.code == 0, ran.err
    assert about(tmp_path, name="person.png")["model"] == "sapiens-depth-nano"


def test_relative_depth_gets_its_metres_from_a_metric_network(command: Command, person: Path, tmp_path: Path) -> None:
    for out, focal_px in (("out", 300), ("wide", 150)):
        common = ("--format", "npy", "--dtype", "float32", "--focal-px", focal_px)
        ran = command("depth", person, *common, "--metric-from", "metric3d-nano", "-o", tmp_path / out)
        assert ran.code == 0, ran.err
    said = about(tmp_path, name="person.png")
    assert (said["model"], said["metric_from"], said["metric"]) == ("sapiens-depth-nano", "metric3d-nano", True)
    values = metres(tmp_path, name="person.png")
    assert 0.3 < np.nanmedian(values) < 30
    np.testing.assert_allclose(2 * metres(tmp_path, "wide", "person.png"), values, rtol=METRIC_RESIZED_REL)


@pytest.mark.parametrize(
    ("arguments", "canvas"),
    [
        (("--canvas", "fit"), "fit, within as many pixels as 112x196"),
        (("--canvas", "112x56"), "fixed 56x112"),
        (("--tokens", 40), "fit, within as many pixels as 56x112"),
    ],
)
def test_other_canvases_are_off_protocol(
    depth: Any, picture: Path, tmp_path: Path, arguments: tuple[object, ...], canvas: str
) -> None:
    ran = depth(picture, "--focal-px", 80, *arguments, "--format", "npy")
    assert ran.code == 0, ran.err
    assert metres(tmp_path).shape == (HEIGHT, WIDTH)
    assert (about(tmp_path)["canvas"], about(tmp_path)["protocol"]) == (canvas, "off-protocol, not validated")


def test_pictures_of_many_shapes_fill_their_own_canvases(depth: Any, tmp_path: Path) -> None:
    sizes = [(90, 60), (60, 90), (1, 1), (200, 3), (3, 200), (90, 60)]
    for index, size in enumerate(sizes):
        Image.new("RGB", size, (10, 200, 90)).save(tmp_path / f"{index}.png")
    ran = depth(*(tmp_path / f"{index}.png" for index in range(len(sizes))), "--canvas", "fit", "--format", "npy,png")
    assert ran.code == 0, ran.err
    shapes = [metres(tmp_path, name=f"{index}.png").shape[::-1] for index in range(len(sizes))]
    assert shapes == sizes


def test_intrinsics_that_fit_one_picture_of_two_fail_the_other_alone(depth: Any, picture: Path, tmp_path: Path) -> None:
    Image.fromarray(IMAGE_HW3).save(tmp_path / "two.png")
    (tmp_path / "cameras.json").write_text(json.dumps({"one.png": {"fx": 80}, "two.png": {"fx": 0.9}}))
    ran = depth(picture, tmp_path / "two.png", "--intrinsics", tmp_path / "cameras.json", "--format", "npy")
    assert ran.code == 3, ran.err
    assert "failed two.png: has fx = 0.9 px for a picture of 90 x 60" in ran.err
    assert metres(tmp_path).shape == (HEIGHT, WIDTH)
    assert not list((tmp_path / "out").glob("two.png*"))


def test_resume_redoes_what_another_camera_or_canvas_made(depth: Any, picture: Path, tmp_path: Path) -> None:
    common = (picture, "--format", "npy", "--resume", "--json")
    skipped = []
    for wish in (("--focal-px", 80), ("--focal-px", 80), ("--focal-px", 160), ("--focal-px", 160, "--canvas", "fit")):
        ran = depth(*common, *wish)
        assert ran.code == 0, ran.err
        skipped.append(json.loads(ran.out)["inputs"]["skipped"])
    assert skipped == [0, 1, 0, 0]
    assert (about(tmp_path)["camera"]["fx_px"], about(tmp_path)["protocol"][:3]) == (160, "off")


def test_a_video_gives_a_line_per_frame_and_a_drawn_video(depth: Any, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for shift in range(4):
            frame = av.VideoFrame.from_ndarray(np.roll(IMAGE_HW3, 3 * shift, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ran = depth(clip, "--focal-px", 80)
    assert ran.code == 0, ran.err
    text = (tmp_path / "out" / "clip.mp4.depth.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert all(0 < line["depth_m_min"] <= line["depth_m_median"] <= line["depth_m_max"] for line in lines)
    assert all(line["metric"] for line in lines)
    with av.open(str(tmp_path / "out" / "clip.mp4.depth.mp4")) as container:
        assert [frame.to_ndarray().shape for frame in container.decode(video=0)] != []
    said = json.loads((tmp_path / "out" / "clip.mp4.depth.jsonl.json").read_text(encoding="utf-8"))
    assert (said["metric"], said["camera"]["fx_px"]) == (True, 80)


def test_the_catalogue_lists_and_plans_metric_models(command: Command) -> None:
    ran = command("models")
    assert ran.code == 0, ran.err
    for name in ("metric3d-vit-small", "metric3d-vit-giant2", "metric3d-convnext-tiny"):
        assert name in ran.out
    ran = command("plan", "metric3d-vit-small", "--machine", "t4")
    assert ran.code == 0, ran.err
    assert "fits:" in ran.out
