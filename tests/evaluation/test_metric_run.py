"""`vitruvian eval --task depth` with a metric network of noise: protocols, cameras, normals, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import Command
from metric_folders import FOCAL_PX, picture, write_nyu, write_plain, write_selection
from tiny_metric import weight_file
from training_folders import put_npy, put_png
from vitruvian.errors import UsageError
from vitruvian.evaluation.metric_run import wish_of
from vitruvian.loading import load
from vitruvian.predict import Model
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.metric_result import MetricDepth

CPU = ("--device", "cpu", "--dtype", "float32", "-q")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weight_file(tmp_path_factory.mktemp("network") / "tiny-metric.safetensors")


@pytest.fixture(scope="module")
def model(network: Path) -> Model:
    return load(str(network), device="cpu", dtype="float32")


def measured(command: Command, network: Path, folder: Path, *more: str, task: str = "depth") -> dict[str, Any]:
    ran = command("eval", network, folder, "--task", task, *CPU, "--json", *more)
    assert ran.code == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    assert str(folder) not in ran.out
    return document


def results(model: Model, pictures: Sequence[np.ndarray], focal_px: float | None) -> list[MetricDepth]:
    found = list(model(list(pictures), cameras=CameraWish(focal_px=focal_px)))
    assert all(isinstance(one, MetricDepth) for one in found)
    return found  # type: ignore[return-value]


def test_kitti_is_measured_in_its_box_with_its_cameras(
    tmp_path: Path, network: Path, model: Model, command: Command
) -> None:
    folder = write_selection(tmp_path / "set", 2)
    document = measured(command, network, folder)
    assert (document["pictures"], document["notes"], document["failures"]) == (2, [], [])
    assert document["settings"]["protocol"].startswith("kitti: rows 0.3324 to 0.9135")
    errors = []
    for one in results(model, [picture((60, 200), seed) for seed in range(2)], FOCAL_PX):
        # int(0.3324 * 60) .. int(0.9135 * 60), int(0.036 * 200) .. int(0.964 * 200); odd columns have a value.
        box_HW = one.depth_m_HW[19:54, 7:192][:, ::2].clip(1e-3, 80)
        errors.append(float(np.abs(box_HW - 20).mean() / 20))
    assert document["numbers"]["AbsRel"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_whole_pictures_on_request(tmp_path: Path, network: Path, model: Model, command: Command) -> None:
    folder = write_selection(tmp_path / "set")
    document = measured(command, network, folder, "--protocol", "none", "--align", "median", "--log-base", "10")
    (one,) = results(model, [picture((60, 200))], FOCAL_PX)
    found_N = one.depth_m_HW[:, 1::2].ravel().astype(np.float64)
    scaled_N = found_N * 20 / np.sort(found_N)[(found_N.size - 1) // 2]
    assert document["numbers"]["AbsRel"] == pytest.approx(np.abs(scaled_N / 20 - 1).mean(), rel=1e-5)
    assert document["numbers"]["SILog (base 10)"] == pytest.approx(np.log10(scaled_N).std(), rel=1e-5)
    assert document["settings"]["protocol"] == "none: whole pictures, no cap"


def test_nyu_is_recognised(tmp_path: Path, network: Path, command: Command) -> None:
    document = measured(command, network, write_nyu(tmp_path / "rooms"))
    assert document["settings"]["protocol"] == "nyu: rows 45 to 471, columns 41 to 601 of 480 x 640, up to 10 m"
    assert (document["pictures"], document["notes"]) == (2, [])


def test_plain_folders_say_where_no_camera_was_known(
    tmp_path: Path, network: Path, model: Model, command: Command
) -> None:
    folder = write_plain(tmp_path / "set")
    ran = command("eval", network, folder, "--task", "depth", *CPU)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[:5] == [
        "tiny-metric on set: 2 pictures",
        "protocol: none: whole pictures, no cap",
        "alignment: as it comes",
        "logarithms: natural",
        "| measure | value |",
    ]
    assert lines[-1].startswith("note: 2 of 2 pictures have no known camera")
    (folder / "intrinsics.json").write_text(json.dumps({"0.png": [90, 90, 30, 20], "1.png": [45, 45, 30, 20]}))
    document = measured(command, network, folder)
    assert document["notes"] == []
    near, far = (results(model, [picture((40, 60), seed)], px)[0] for seed, px in ((0, 90), (1, 45)))
    errors = [np.abs(one.depth_m_HW[:, 1::2] / 2 - 1).mean() for one in (near, far)]
    assert document["numbers"]["AbsRel"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_what_cannot_be_used_fails_alone(tmp_path: Path, network: Path, command: Command) -> None:
    folder = write_plain(tmp_path / "set", count=3)
    (folder / "intrinsics.json").write_text(json.dumps({"0.png": [90, 90, 30, 20], "2.png": [90, 90, 30, 20]}))
    (folder / "labels" / "2.png").unlink()
    put_npy(folder / "labels" / "2.npy", np.linspace(1000, 3000, 2400, dtype=np.float32).reshape(40, 60))
    ran = command("eval", network, folder, "--task", "depth", *CPU)
    assert ran.code == 3
    assert "set: 1 pictures" in ran.out
    assert "failed images/1.png: has no entry in the intrinsics file" in ran.err
    assert "failed images/2.png: has a true depth of 1000 to 3000, which looks like millimetres" in ran.err


def test_normals_of_a_metric_network(tmp_path: Path, network: Path, model: Model, command: Command) -> None:
    (one,) = results(model, [picture((40, 60))], None)
    assert one.normals_HW3 is not None
    put_png(tmp_path / "set" / "images" / "0.png", picture((40, 60)))
    put_npy(tmp_path / "set" / "labels" / "0.npy", one.normals_HW3)
    document = measured(command, network, tmp_path / "set", task="normal")
    assert document["numbers"]["mean deg"] == pytest.approx(0, abs=1e-2)
    put_npy(tmp_path / "set" / "labels" / "0.npy", -one.normals_HW3)
    assert measured(command, network, tmp_path / "set", task="normal")["numbers"]["mean deg"] > 179.9
    ran = command("eval", network, tmp_path / "set", "--task", "normal", "--frame", "published", *CPU)
    assert ran.code == 2
    assert "which gives camera" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "normal", "--align", "median"], "got --align with --task normal; expected them for depth alone"),
        (["--task", "depth", "--protocol", "sintel"], "expected kitti, nyu, none"),
        (["--task", "depth", "--align", "mean"], "expected none, median, scale-shift"),
        (["--task", "depth", "--log-base", "2"], "got --log-base 2"),
        (["--task", "depth", "--align", "median"], "whose depth is not in metres"),
        (["--task", "depth"], "got kitti data for sapiens-depth-nano"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, command: Command, arguments: list[str], said: str
) -> None:
    folder = write_plain(tmp_path / "set") if len(arguments) > 2 else write_selection(tmp_path / "set")
    ran = command("eval", "sapiens-depth-nano", folder, *CPU, *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_words_become_a_wish() -> None:
    wish = wish_of("nyu", "scale-shift", "10")
    assert wish.protocol is not None
    assert (wish.protocol.name, wish.alignment, wish.log_base) == ("nyu", "scale-shift", "10")
    with pytest.raises(UsageError, match="--align"):
        wish_of(None, "", "e")
