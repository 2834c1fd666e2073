"""The command line on real files: what comes out, what is refused, what survives."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitruvian
from command import Command, start
from vitruvian.media import atomic


def files(folder: Path) -> dict[str, bytes]:
    """Every file by relative name, without the bookkeeping and the timings."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".vitruvian" not in path.parts and path.name != "run.json"
    }


DEPTH, NORMAL = ([f"{kind}.{end}" for end in ("drawn.jpg", "npy", "npy.json", "png")] for kind in ("depth", "normal"))


@pytest.mark.parametrize(
    ("task", "suffixes"),
    [
        ("pose", ["pose.drawn.jpg", "pose.json"]),
        ("seg", ["seg.drawn.jpg", "seg.png"]),
        ("depth", [*DEPTH, "depth.confidence.npy", "depth.confidence.npy.json", *NORMAL]),
        ("normal", NORMAL),
        ("features", ["features.npy", "features.npy.json"]),
    ],
)
def test_every_verb_writes_its_files(
    command: Command, photos: Path, tmp_path: Path, task: str, suffixes: list[str]
) -> None:
    ran = command(task, photos, "-r", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    names = ["a.jpg", "b.png", "sub/a.jpg", "sub/c.webp"]
    assert sorted(files(tmp_path / "out")) == sorted(f"{name}.{suffix}" for name in names for suffix in suffixes)
    assert "4 of 4 pictures done" in ran.out


def test_run_json_tells_the_run_without_private_paths(command: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"not a picture")
    out = tmp_path / "out"
    ran = command("seg", photos, "-o", out)
    assert ran.code == 3
    assert "broken.jpg" in ran.err
    text = (out / "run.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["inputs"] == {"total": 3, "done": 2, "skipped": 0, "failed": 1}
    assert [failure["name"] for failure in document["failures"]] == ["broken.jpg"]
    assert {"read", "prepare", "network", "finish", "write"} <= document["timings_s"].keys()
    assert {decision["what"] for decision in document["decisions"]} >= {"device", "micro_batch", "dtype"}
    assert document["vitruvian"] == vitruvian.__version__
    assert str(tmp_path) not in text


def _truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:-400])


def _bomb(path: Path, good: Path) -> None:
    header = bytearray(Image.new("1", (8, 8)).tobytes())
    del header
    Image.new("L", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    import struct
    import zlib

    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))


BROKEN = {
    "truncated.jpg": _truncated,
    "empty.png": lambda path, good: path.write_bytes(b""),
    "text.jpg": lambda path, good: path.write_text("hello"),
    "bomb.png": _bomb,
    "vanished.jpg": lambda path, good: path.symlink_to(path.with_name("gone.jpg")),
    "folder.jpg": lambda path, good: path.mkdir(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_input_fails_alone(command: Command, photos: Path, tmp_path: Path, name: str) -> None:
    BROKEN[name](photos / name, photos / "a.jpg")
    out = tmp_path / "out"
    ran = command("seg", photos / "a.jpg", photos / name, photos / "b.png", "-o", out)
    assert ran.code == 3, ran.err
    assert name in ran.err
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert document["inputs"]["done"] == 2
    assert [failure["name"] for failure in document["failures"]] == [name]
    assert not [path for path in files(out) if path.startswith(name)]


def test_a_mislabelled_picture_is_read(command: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").rename(photos / "a.png")
    assert command("seg", photos, "-o", tmp_path / "out").code == 0


def test_an_output_folder_in_use_is_refused_unless_told(command: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("seg", photos, "-o", out).code == 0
    first = files(out)
    refused = command("seg", photos, "-o", out)
    assert refused.code == 2
    assert "--resume" in refused.err
    assert "--overwrite" in refused.err
    resumed = command("seg", photos, "-o", out, "--resume")
    assert resumed.code == 0
    assert "2 already there" in resumed.out
    assert command("seg", photos, "-o", out, "--overwrite").code == 0
    assert files(out) == first
    assert command("seg", photos, "-o", out, "--resume", "--overwrite").code == 2


def test_the_package_runs_as_a_module_with_its_exit_codes() -> None:
    told = subprocess.run([sys.executable, "-m", "vitruvian", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"vitruvian {vitruvian.__version__}\n"
    assert subprocess.run([sys.executable, "-m", "vitruvian", "seg"], capture_output=True, check=False).returncode == 2


def test_resume_redoes_what_no_longer_matches(command: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command("seg", photos, "-o", out)
    os.utime(photos / "a.jpg", ns=(1, 1))
    (out / "b.png.seg.png").unlink()
    ran = command("seg", photos, "-o", out, "--resume", "--json")
    assert json.loads(ran.out)["inputs"] == {"total": 2, "done": 2, "skipped": 0, "failed": 0}
    other = command("seg", photos, "-o", out, "--resume", "--json", "--format", "png")
    assert json.loads(other.out)["inputs"]["skipped"] == 0
    assert sorted(files(out)) == ["a.jpg.seg.png", "b.png.seg.png"], "files of the other options are gone"


def test_resume_redoes_what_was_made_in_another_precision(command: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command("seg", photos, "-o", out, "--dtype", "float32")
    again = command("seg", photos, "-o", out, "--resume", "--json", "--dtype", "float32")
    assert json.loads(again.out)["inputs"]["skipped"] == 2
    other = command("seg", photos, "-o", out, "--resume", "--json", "--dtype", "bfloat16")
    assert json.loads(other.out)["inputs"] == {"total": 2, "done": 2, "skipped": 0, "failed": 0}


MANY = 60
"""Pictures enough that a signal reaches the run before its end."""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough pictures that a run can be stopped in its middle."""
    rng = np.random.default_rng(2)
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(MANY):
        Image.fromarray(rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)).save(folder / f"{i:02}.jpg")
    return folder


def wait_for(child: subprocess.Popen[str], out: Path, pattern: str, count: int) -> None:
    """Until so many files are there, or the child has ended."""
    deadline = time.monotonic() + 120
    while sum(1 for _ in out.glob(pattern)) < count and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def same_but_for_drawings(first: dict[str, bytes], second: dict[str, bytes]) -> bool:
    """The same names, and the same content where it does not hang on how crops were batched."""
    descriptions = [name for name in first if name.endswith(".json")]
    return first.keys() == second.keys() and all(first[name] == second[name] for name in descriptions)


def test_a_killed_run_resumes_to_the_same_files(command: Command, many: Path, tmp_path: Path) -> None:
    assert command("depth", many, "-o", tmp_path / "whole").code == 0
    out = tmp_path / "killed"
    child = start("depth", many, "-o", out)
    wait_for(child, out, "*.npy", 8)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 0 < len(files(out)) < len(files(tmp_path / "whole")), "killed in the middle"
    ran = command("depth", many, "-o", out, "--resume")
    assert ran.code == 0
    assert "already there" in ran.out
    assert same_but_for_drawings(files(out), files(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_again_and_again_at_random_moments(command: Command, many: Path, tmp_path: Path, seed: int) -> None:
    assert command("normal", many, "-o", tmp_path / "whole").code == 0
    rng = np.random.default_rng(seed)
    out = tmp_path / "killed"
    for attempt in range(4):
        child = start("normal", many, "-o", out, *(["--resume"] if attempt else []))
        wait_for(child, out, "*.npy", int(rng.integers(1, 50)))
        time.sleep(float(rng.uniform(0, 0.2)))
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert command("normal", many, "-o", out, "--resume").code == 0
    assert same_but_for_drawings(files(out), files(tmp_path / "whole"))


def test_an_interrupt_keeps_what_is_whole(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = start("seg", many, "-o", out)
    wait_for(child, out, "*.seg.png", 5)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "--resume" in err
    inputs = json.loads((out / "run.json").read_text(encoding="utf-8"))["inputs"]
    assert 0 < inputs["done"] < MANY
    assert not list(out.rglob(".vitruvian-*"))


def test_a_full_disk_stops_clearly(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full(source: str, target: str) -> None:
        if str(target).endswith(".seg.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    ran = command("seg", photos, "-o", tmp_path / "out")
    assert ran.code == 4, ran.err
    assert "Traceback" not in ran.err
    assert not [name for name in files(tmp_path / "out") if name.endswith(".png")]


def test_two_runs_into_one_folder_exclude_each_other(command: Command, photos: Path, tmp_path: Path) -> None:
    from vitruvian.media.ledger import Ledger

    with Ledger.open(tmp_path / "out", mode="new", run={}):
        ran = command("seg", photos, "-o", tmp_path / "out", "--resume")
    assert ran.code == 2
    assert "another run" in ran.err


def test_pose_takes_boxes_and_gathers_coco_results(command: Command, photos: Path, tmp_path: Path) -> None:
    boxes = {"a.jpg": [[5, 5, 40, 45, 0.9], [0, 0, 20, 20, 0.5]], "b.png": []}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")
    out = tmp_path / "out"
    ran = command("pose", photos, "-o", out, "--boxes", tmp_path / "boxes.json", "--format", "json,coco")
    assert ran.code == 0, ran.err
    instances = {
        name: len(json.loads((out / f"{name}.pose.json").read_text(encoding="utf-8"))["instances"])
        for name in ("a.jpg", "b.png")
    }
    assert instances == {"a.jpg": 2, "b.png": 0}
    results = json.loads((out / "pose.coco.json").read_text(encoding="utf-8"))
    images = json.loads((out / "pose.coco.images.json").read_text(encoding="utf-8"))
    assert [images[str(entry["image_id"])] for entry in results] == ["a.jpg", "a.jpg"]
    assert all(len(entry["keypoints"]) == 51 for entry in results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seg", "x.jpg", "-o", "out", "--format", "gif"], "expected some of png, npy"),
        (["seg", "x.jpg", "-o", "out", "--model", "sapiens-pose-nano"], "vitruvian pose"),
        (["seg", "x.jpg", "-o", "out", "--device", "cuda:9"], "expected one of cpu"),
        (["models", "--task", "cooking"], "expected one of pose"),
    ],
)
def test_usage_errors_end_with_2(
    command: Command, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = command(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "out").exists()


def test_weights_with_a_licence_need_consent(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "cache"))
    ran = command("seg", photos, "-o", tmp_path / "out", "--model", "sapiens-seg-1b")
    assert ran.code == 5
    assert "--accept-licence cc-by-nc-4.0" in ran.err


def test_version_and_models(command: Command) -> None:
    assert command("--version").out == f"vitruvian {vitruvian.__version__}\n"
    listed = command("models")
    assert listed.code == 0
    assert "sapiens-pose-nano" in listed.out
    assert "Which should I use?" in listed.out
    rows = json.loads(command("models", "--json", "--task", "depth").out)
    assert {row["task"] for row in rows} == {"depth"}
    assert len(rows) == 11, "five of Sapiens, six of Metric3D"


def test_a_weight_file_by_path_is_a_model(command: Command, photos: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from vitruvian.models.sapiens import SapiensConfig
    from vitruvian.weights import load_weights
    from vitruvian.zoo import find

    spec = find("sapiens-seg-nano")
    assert isinstance(spec.config, SapiensConfig)
    metadata = {"vitruvian_config": json.dumps(spec.config.to_json()), "licence": "mine"}
    save_file(load_weights(spec.name).network.state_dict(), tmp_path / "own.safetensors", metadata=metadata)
    ran = command("seg", photos, "-o", tmp_path / "own", "-m", tmp_path / "own.safetensors", "--format", "png")
    assert ran.code == 0, ran.err
    command("seg", photos, "-o", tmp_path / "nano", "--format", "png")
    for name in files(tmp_path / "nano"):
        own, nano = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("own", "nano"))
        assert np.array_equal(own, nano)
