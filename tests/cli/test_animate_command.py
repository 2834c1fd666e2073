"""`vitruvian animate`: what was typed becomes a job, and the real command makes a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from command import Command
from driven_clip import Known, read_video, write_drive, write_picture
from tiny_animation import TINY, prefixed
from vitruvian.animating import poses
from vitruvian.driving.sources import OpenSource
from vitruvian.models.mimicmotion import PARTS
from vitruvian.zoo import animation_metadata


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(prefixed(*PARTS), path, metadata=animation_metadata(TINY, "apache-2.0"))
    return path


@pytest.fixture
def files(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Arguments that every call here needs; poses come from a source that knows them."""
    opened = OpenSource(source=Known(), name="known", licence="none", notes=())
    monkeypatch.setattr(poses, "open_source", lambda *_, **__: opened)
    drive = write_drive(tmp_path / "drive.mp4", frames=3, sound=True)
    person = write_picture(tmp_path / "person.png")
    return ["animate", person, drive, "--model", weights]


def test_a_video_comes_out_and_everything_is_said(command: Command, files: list[Any], tmp_path: Path) -> None:
    ran = command(*files, "-o", tmp_path / "out.mp4", "--steps", 1, "--guidance-scale", "1.5:2", "-v")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1].startswith("3 frames in ")
    assert "tile: 4 (denoising takes" in ran.out
    times, images, has_sound = read_video(tmp_path / "out.mp4")
    assert (len(times), images.shape[1:], has_sound) == (3, (64, 64, 3), True)
    again = command(*files, "-o", tmp_path / "out.mp4")
    assert (again.code, "is there already" in again.err) == (2, True)
    told = command(*files, "-o", tmp_path / "out.mp4", "--steps", 1, "--overwrite", "--json", "--frames", "1:")
    assert told.code == 0, told.err
    assert json.loads(told.out)["frames"] == 2


def test_a_preview(command: Command, files: list[Any], tmp_path: Path) -> None:
    ran = command(*files, "-o", tmp_path / "out.mp4", "--preview")
    assert ran.code == 0, ran.err
    assert "out.preview.mp4" in ran.out
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--frames", "5"], "expected frame numbers such as 0:72"),
        (["--frames", "9:2"], "the first below the second"),
        (["--fps", "fast"], "expected auto, or frames a second such as 15"),
        (["--guidance-scale", "two"], "expected a number such as 2, or two such as 1:3"),
        (["--guidance-interval", "0.9:0.1"], "shares of the steps from 0 to 1"),
        (["--guidance", "both"], "expected one of auto, sequential, batched"),
        (["--tile", "many"], "expected auto, or frames from 2 on"),
        (["--tile", "4", "--overlap", "3"], "an overlap from 1 to two less than a tile"),
        (["--person", "tall"], "expected all, largest, a number"),
        (["--missing", "guess"], "expected hold or blank"),
        (["--alignment", "perfect"], "expected published or robust"),
        (["--preset", "finest"], "expected one of fast, balanced, best"),
        (["--resolution", "100"], "expected a multiple of 8 from 64 on"),
        (["--set", "tiles=3"], "expected key=value with a key of"),
        (["--resume", "--overwrite"], "expected one of them"),
        (["--dtype", "float7"], "expected one of float32"),
        (["--quality", "superb"], "expected one of"),
        (["--budget", "much"], "expected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_explained(
    command: Command, files: list[Any], tmp_path: Path, typed: list[str], said: str
) -> None:
    ran = command(*files, "-o", tmp_path / "out.mp4", *typed)
    assert ran.code == 2, ran.err
    assert said in ran.err
    assert not (tmp_path / "out.mp4").exists()


def test_licences_come_before_downloads(command: Command, tmp_path: Path) -> None:
    picture, drive = write_picture(tmp_path / "p.png"), write_drive(tmp_path / "d.mp4", frames=1)
    ran = command("animate", picture, drive, "-o", tmp_path / "o.mp4", "--model", "mimicmotion-1.1")
    assert ran.code == 5, ran.err
    assert "stability-community" in ran.err
    assert "MimicMotion_1-1.pth" in ran.err


def test_the_plan_of_a_clip(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from vitruvian.animating import plan_text
    from vitruvian.zoo import find_animation

    tiny = replace(find_animation("mimicmotion-1.1"), config=TINY)
    monkeypatch.setattr(plan_text.zoo, "find_animation", lambda name: tiny)
    ran = command("plan", "mimicmotion-1.1", "frames=9", "tile=4", "--machine", "t4")
    assert ran.code == 0, ran.err
    assert "9 frames of 64x64, 25 steps" in ran.out
    told = command("plan", "mimicmotion-1.1", "frames=9", "--machine", "t4", "--json")
    assert json.loads(told.out)["frames"] == 10
    assert command("plan", "mimicmotion-1.1", "--machine", "t4", "--budget", "100MB").code == 4
    assert command("plan", "mimicmotion-1.1", "crop=64x64").code == 2
    assert command("plan", "mimicmotion-1.1", "--train", "depth").code == 2
