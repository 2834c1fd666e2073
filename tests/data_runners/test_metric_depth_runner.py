"""The program beside ONNX files of metric depth: alone with three packages it gives what the whole house gives."""

from __future__ import annotations

import argparse
import ast
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import metric_artefacts
from command import Command
from tolerances import METRIC_RESIZED_REL, RUNNER_CANVAS_LEVELS, RUNNER_REL
from vitruvian.bundled import bundled_runner
from vitruvian.errors import InputError
from vitruvian.media.exif import focal_35mm
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.intrinsics_files import read_intrinsics
from vitruvian.tasks.metric_canvas import laid_out, padded_placement

onnxruntime = pytest.importorskip("onnxruntime")

SOURCE = bundled_runner("metric_depth.py")
PACKAGES = {"numpy", "onnxruntime", "PIL"}
GUARD = f"""
import runpy, sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {PACKAGES} | sys.stdlib_module_names:
            raise ModuleNotFoundError("not on a small device: " + name, name=name)

sys.meta_path.insert(0, Guard())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    return metric_artefacts.artefact(tmp_path_factory)


@pytest.fixture(scope="module")
def runner() -> dict[str, Any]:
    return runpy.run_path(str(SOURCE))


def run(*arguments: object, program: Path = SOURCE) -> subprocess.CompletedProcess[str]:
    """The program in a process where no other packages can be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-c", GUARD, str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_short_and_of_python_3_8_with_three_packages() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    assert text.count("\n") <= 300
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= PACKAGES | sys.stdlib_module_names


def test_results_are_those_of_the_project_and_a_bad_picture_stops_no_other(
    made: Path, tmp_path: Path, command: Command
) -> None:
    # These pictures lie on the canvas as they are, so that both programs show the network the same bytes.
    pictures = [
        metric_artefacts.picture(tmp_path / "wide.png", 196, 100, 1),
        metric_artefacts.picture(tmp_path / "high.png", 90, 112, 2),
    ]
    (tmp_path / "broken.jpg").write_bytes(pictures[0].read_bytes()[:900])
    found, true = tmp_path / "found", tmp_path / "true"
    asked = (pictures[0], tmp_path / "broken.jpg", pictures[1])
    program = made / "run_metric_depth.py"
    ran = run(made, *asked, "-o", found, "--focal-px", 210, "--batch", 3, program=program)
    assert ran.returncode == 3, ran.stderr
    assert "broken.jpg: " in ran.stderr
    assert "2 of 3 done" in ran.stdout
    assert "NOT METRIC" not in ran.stdout
    own = command("depth", *pictures, "-o", true, "-m", made, "--focal-px", 210, "--format", "npy,png,ply")
    assert own.code == 0, own.err
    for path in pictures:
        for kind in ("depth", "depth.confidence", "normal"):
            one, other = (np.load(folder / f"{path.name}.{kind}.npy") for folder in (found, true))
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_allclose(one, other, atol=RUNNER_REL * np.abs(other).max(), rtol=0)
        codes = [np.asarray(Image.open(folder / f"{path.name}.depth.png")).astype(int) for folder in (found, true)]
        assert np.abs(codes[0] - codes[1]).max() <= 1
        points, own_points = (_points(folder / f"{path.name}.depth.ply") for folder in (found, true))
        for axis in "xyz":
            np.testing.assert_allclose(
                points[axis], own_points[axis], atol=RUNNER_REL * np.ptp(own_points["z"]), rtol=0
            )
        for colour in ("red", "green", "blue"):
            np.testing.assert_array_equal(points[colour], own_points[colour])
    assert not list(found.glob("*.partial"))
    assert not list(found.glob("broken*"))


def _points(path: Path) -> np.ndarray:
    head, _, body = path.read_bytes().partition(b"end_header\n")
    kinds = {"float": "<f4", "uchar": "u1"}
    lines = [line.split() for line in head.decode("ascii").splitlines() if line.startswith("property")]
    return np.frombuffer(body, [(name, kinds[kind]) for _, kind, name in lines])


def test_a_camera_that_nobody_knows_is_said(made: Path, tmp_path: Path) -> None:
    picture = metric_artefacts.picture(tmp_path / "a.png", 60, 40)
    ran = run(made, picture, "-o", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert "NOT METRIC" in ran.stdout
    about = json.loads((tmp_path / "out" / "a.png.depth.json").read_text(encoding="utf-8"))
    assert about["metric"] is False
    assert about["camera_px"] == {"fx": 60, "fy": 60, "cx": 29.5, "cy": 19.5, "source": "assumed"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{folder}", "a.png"], "expected an ONNX folder of metric depth"),
        (["{made}", "a.png", "--intrinsics", "{folder}/none.json"], "got --intrinsics none.json"),
        (["{made}", "a.png", "b/a.png"], "got two pictures of one name"),
        (["{made}", "a.png", "--fov-deg", "190"], "got --fov-deg 190.0; expected 1 to 170"),
        (["{made}", "a.png", "--provider", "tensorrt"], "without TensorrtExecutionProvider"),
    ],
)
def test_wrong_usage_ends_before_any_picture(made: Path, tmp_path: Path, arguments: Sequence[str], said: str) -> None:
    if "tensorrt" in arguments and "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has TensorRT")
    named = [one.format(made=made, folder=tmp_path) for one in arguments]
    ran = run(*named, "-o", tmp_path / "out")
    assert ran.returncode == 2
    assert said in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        "500 510 150 90",
        "[500, 510, 150, 90]",
        "500 0 150 0 510 90 0 0 1",
        '{"K": [[500, 0, 150], [0, 510, 90], [0, 0, 1]], "width": 640, "height": 400}',
        '{"camera_matrix": {"data": [500, 0, 150, 0, 510, 90, 0, 0, 1]}}',
        '{"fx": 500}',
        '{"fx": 500, "fy": 510, "cx": 150}',
        '{"a.png": [500, 510, 150, 90], "*": [400, 400, 160, 100]}',
        '{"other": [500, 510, 150, 90], "*": [400, 400, 160, 100]}',
        '{"other": [500, 510, 150, 90]}',
        '{"K": [1, 2, 3, 4], "width": 640, "height": 640}',
        "5 5 150 90",
        "500 1500 150 90",
        "500 510 1500 90",
    ],
)
def test_intrinsics_are_read_as_the_project_reads_them(runner: dict[str, Any], tmp_path: Path, text: str) -> None:
    path = tmp_path / "cameras.json"
    path.write_text(text, encoding="utf-8")
    options = argparse.Namespace(cameras=runner["read_cameras"](path))
    try:
        true = CameraWish(table=read_intrinsics(path)).camera((200, 320), name="a.png")
    except InputError:
        with pytest.raises(ValueError):
            runner["camera_of"](options, Path("a.png"), 320, 200, 0.0)
        return
    found = runner["camera_of"](options, Path("a.png"), 320, 200, 0.0)
    assert found[:4] == pytest.approx((true.fx_px, true.fy_px, true.cx_px, true.cy_px))
    assert found.source == true.source


@pytest.mark.parametrize("text", ["500 510 150", "[500, null, 1, 1]", '{"a.png": 7}', "{", "[1, 2, [3], 4]", "[]"])
def test_intrinsics_that_say_nothing_are_refused(runner: dict[str, Any], tmp_path: Path, text: str) -> None:
    path = tmp_path / "cameras.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(runner["UsageError"], match=r"got --intrinsics cameras\.json"):
        runner["read_cameras"](path)


@pytest.mark.parametrize("focal_mm", [0, 26, 9000])
@pytest.mark.parametrize("sides", [None, (640, 400), (400, 640), (640, 640)])
def test_exif_is_read_as_the_project_reads_it(
    runner: dict[str, Any], tmp_path: Path, focal_mm: int, sides: tuple[int, int] | None
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = focal_mm
    if sides is not None:
        exif.get_ifd(0x8769).update({0xA002: sides[0], 0xA003: sides[1]})
    path = metric_artefacts.picture(tmp_path / "a.jpg", 320, 200, exif=exif)
    options = argparse.Namespace(cameras=None, focal_px=None, fov_deg=None)
    with Image.open(path) as picture:
        true = CameraWish().camera((200, 320), focal_35mm=focal_35mm(picture))
        found = runner["camera_of"](options, path, 320, 200, runner["focal_35mm_of"](picture))
    assert found[:4] == pytest.approx((true.fx_px, true.fy_px, true.cx_px, true.cy_px))
    assert found.source == true.source


@pytest.mark.parametrize("source_hw", [(90, 130), (700, 500), (113, 197), (1, 300)])
def test_canvases_differ_from_opencvs_by_a_level_at_most(runner: dict[str, Any], source_hw: tuple[int, int]) -> None:
    image_HW3 = np.random.default_rng(5).integers(0, 256, (*source_hw, 3), np.uint8)
    placement = padded_placement(source_hw, (112, 196))
    true = laid_out(image_HW3, (112, 196), placement)[placement.inside()].astype(int)
    found = np.rint(runner["resized"](image_HW3, *placement.inner_hw)).astype(int)
    assert np.abs(found - true).max() <= RUNNER_CANVAS_LEVELS
    smoothed = cv2.resize(image_HW3, true.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert min(source_hw) < 500 or np.abs(smoothed - true).max() > 20  # what smoothing before shrinking would give


def test_maps_are_enlarged_as_torch_does_it(runner: dict[str, Any]) -> None:
    map_HWC = np.random.default_rng(6).normal(size=(31, 50, 3)).astype(np.float32)
    true = torch.nn.functional.interpolate(
        torch.from_numpy(map_HWC).permute(2, 0, 1)[None], (97, 143), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)
    found = runner["resized"](map_HWC, 97, 143)
    assert found.dtype == np.float32
    # Sample places of up to 50 are rounded to float32 there, and to float64 here.
    np.testing.assert_allclose(found, true.numpy(), atol=50 * METRIC_RESIZED_REL, rtol=0)
