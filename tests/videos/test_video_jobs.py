"""Videos through the real command line: what comes out, and what an interrupted run leaves and finishes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from command import Command
from vitruvian.videos import disk, run

FRAMES, FPS = 14, 10


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_drawn_video_and_a_line_per_frame(command: Command, clip: Path, tmp_path: Path) -> None:
    ran = command("pose", clip, "-o", tmp_path / "out", "--track", "--dtype", "float32")
    assert ran.code == 0, ran.err
    assert "frames/s" in ran.out
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir() if path.name != ".vitruvian"} == {
        "clip.mp4.pose.mp4", "clip.mp4.pose.jsonl", "clip.mp4.pose.jsonl.json", "run.json"
    }  # fmt: skip
    found = lines(out / "clip.mp4.pose.jsonl")
    assert [line["frame"] for line in found] == list(range(FRAMES))
    assert np.allclose([line["time_s"] for line in found], np.arange(FRAMES) / FPS, atol=1e-3)
    persons = [person for line in found for person in line["persons"]]
    ids = [person["id"] for person in persons]
    assert any(ids.count(number) >= 3 for number in ids if number >= 1), "somebody is followed over frames"
    assert all(len(person["keypoints"]) == len(person["scores"]) == 17 for person in persons)
    about = json.loads((out / "clip.mp4.pose.jsonl.json").read_text(encoding="utf-8"))
    assert (about["width"], about["height"], about["frame_rate"], about["tracked"]) == (128, 96, FPS, True)
    assert len(about["keypoint_names"]) == 17
    assert [image.shape for image in frames(out / "clip.mp4.pose.mp4")] == [(96, 128, 3)] * FRAMES
    (video,) = json.loads((out / "run.json").read_text(encoding="utf-8"))["videos"]
    assert (video["frames"], video["persons"], video["ended_early"]) == (FRAMES, len(persons), None)
    assert not list((out / ".vitruvian" / "videos").iterdir()), "the working folder is gone"


@pytest.mark.parametrize("task", ["seg", "depth", "normal"])
def test_dense_tasks_give_a_video_and_arrays_on_request(
    command: Command, clip: Path, tmp_path: Path, task: str
) -> None:
    out = tmp_path / "out"
    ran = command(task, clip, "-o", out, "--format", "draw,npy", "--stride", "5", "--smooth")
    assert ran.code == 0, ran.err
    assert len(frames(out / f"clip.mp4.{task}.mp4")) == 3
    arrays = [np.load(path) for path in sorted((out / "clip.mp4.frames").glob(f"*.{task}.npy"))]
    assert [array.shape[:2] for array in arrays] == [(96, 128)] * 3
    assert not list(out.glob("*.jsonl"))
    again = command(task, clip, "-o", out, "--format", "draw,npy", "--stride", "5", "--smooth", "--resume")
    assert "1 already there" in again.out
    assert len(list((out / "clip.mp4.frames").glob(f"*.{task}.npy"))) == 3, "files per frame stay"
    assert command(task, clip, "-o", out, "--format", "draw,npy", "--stride", "7", "--overwrite").code == 0
    assert len(list((out / "clip.mp4.frames").glob(f"*.{task}.npy"))) == 2
    ran = command(task, clip, "-o", out, "--format", "draw,npy", "--stride", "5", "--smooth", "--overwrite")
    (video,) = json.loads((out / "run.json").read_text(encoding="utf-8"))["videos"]
    assert "3 frames of 128x96 take about" in video["disk"]


def test_a_part_of_a_video(command: Command, clip: Path, tmp_path: Path) -> None:
    ran = command("seg", clip, "-o", tmp_path / "out", "--start", "0.3", "--end", "0.9", "--stride", "2")
    assert ran.code == 0, ran.err
    found = lines(tmp_path / "out" / "clip.mp4.seg.jsonl")
    assert np.allclose([line["time_s"] for line in found], [0.3, 0.5, 0.7], atol=1e-3)
    assert all(abs(sum(line["shares"].values()) - 1) < 1e-4 for line in found)


def test_numbered_pictures_are_a_video(
    command: Command, tmp_path: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number, image in enumerate(pictures[:5], 7):
        cv2.imwrite(str(folder / f"{number:03d}.png"), image[..., ::-1])
    (folder / "009.png").write_bytes(b"broken")
    cv2.imwrite(str(folder / "010.png"), pictures[0][:50])
    (folder / "008.png").unlink()
    cv2.imwrite(str(folder / "011.png"), pictures[1].astype(np.uint16)[..., ::-1] * 257)
    monkeypatch.chdir(tmp_path)
    ran = command("depth", "shots/%03d.png", "-o", "out", "--fps", "5")
    assert ran.code == 3, ran.err
    assert "0 of 1 inputs done, 1 failed, 2 frames failed, 2 frames at" in ran.out
    assert "2 of 4 frames could not be used, the others are done: frame 1: " in ran.err
    assert "frame 2: is 128 x 50; expected 128 x 96" in ran.err
    out = tmp_path / "out"
    found = lines(next(out.rglob("*.depth.jsonl")))
    assert ["failed" in line for line in found] == [False, True, True, False]
    assert (found[0]["time_s"], found[3]["time_s"]) == (0.0, 0.8), "time runs on where a number is missing"
    assert len(frames(next(out.rglob("*.depth.mp4")))) == 2
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert document["inputs"] == {"total": 1, "done": 0, "skipped": 0, "failed": 1}
    assert document["frames"] == {"done": 2, "failed": 2}
    assert document["frames_per_s"] > 0
    assert "pictures are missing: 8" in document["videos"][0]["notes"][0]
    again = command("depth", "shots/%03d.png", "-o", "out", "--fps", "5", "--resume")
    assert "1 already there" in again.out
    other = command("depth", "shots/%03d.png", "-o", "out", "--fps", "10", "--resume")
    assert other.code == 3, "another rate is another video"
    assert lines(next(out.rglob("*.depth.jsonl")))[3]["time_s"] == 0.4


def test_what_is_readable_of_a_cut_file_is_done(command: Command, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    (tmp_path / "words.mp4").write_bytes(b"no video at all")
    ran = command("seg", path, tmp_path / "words.mp4", clip, "-o", tmp_path / "out")
    assert ran.code == 3, ran.err
    assert "are done" in ran.err
    assert "words.mp4" in ran.err
    done = lines(tmp_path / "out" / "cut.mkv.seg.jsonl")
    assert 3 <= len(done) < FRAMES
    assert len(frames(tmp_path / "out" / "cut.mkv.seg.mp4")) == len(done)
    assert len(lines(tmp_path / "out" / "clip.mp4.seg.jsonl")) == FRAMES, "the others go on"


class Killed(BaseException):
    """Ends a run as a signal would."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Let the run die before the n-th frame is appended; small checkpoints."""
    monkeypatch.setattr(run, "CHECKPOINT", 4)
    take = run.VideoRun._take

    def at(frame: int | None) -> None:
        def dying(self: Any, outputs: Any, number: int, outcome: Any) -> None:
            if number == frame:
                raise Killed
            take(self, outputs, number, outcome)

        monkeypatch.setattr(run.VideoRun, "_take", dying)

    return at


@pytest.mark.parametrize("frame", [2, 4, 9, 13])
@pytest.mark.parametrize("task", ["pose", "normal"])
def test_a_killed_run_goes_on_at_the_frame(
    command: Command, clip: Path, tmp_path: Path, killed_at: Any, frame: int, task: str
) -> None:
    how = ("--smooth", "--dtype", "float32", "--batch", "1")
    killed_at(None)
    assert command(task, clip, "-o", tmp_path / "whole", *how).code == 0
    killed_at(frame)
    with pytest.raises(Killed):
        command(task, clip, "-o", tmp_path / "parts", *how)
    assert not list((tmp_path / "parts").glob("*.mp4")), "nothing half done under a final name"
    killed_at(None)
    assert command(task, clip, "-o", tmp_path / "parts", *how, "--resume").code == 0
    name = f"clip.mp4.{task}"
    for suffix in ("jsonl", "jsonl.json"):
        assert (tmp_path / "parts" / f"{name}.{suffix}").read_bytes() == (
            tmp_path / "whole" / f"{name}.{suffix}"
        ).read_bytes()
    found, wanted = (frames(tmp_path / run / f"{name}.mp4") for run in ("parts", "whole"))
    assert len(found) == len(wanted) == FRAMES
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(found, wanted, strict=True)) < 4, "coded anew"
    (video,) = json.loads((tmp_path / "parts" / "run.json").read_text(encoding="utf-8"))["videos"]
    assert video["frames"] == FRAMES


def test_another_video_of_the_same_name_begins_anew(
    command: Command, clip: Path, tmp_path: Path, killed_at: Any, pictures: list[np.ndarray]
) -> None:
    killed_at(9)
    with pytest.raises(Killed):
        command("seg", clip, "-o", tmp_path / "out")
    killed_at(None)
    other = clip.read_bytes()
    clip.write_bytes(other + b"\0" * 64)
    assert command("seg", clip, "-o", tmp_path / "out", "--resume").code == 0
    assert len(lines(tmp_path / "out" / "clip.mp4.seg.jsonl")) == FRAMES


def test_files_per_frame_of_the_video_before_are_not_left(command: Command, clip: Path, tmp_path: Path) -> None:
    how = ("-o", tmp_path / "out", "--format", "npy")
    assert command("seg", clip, *how).code == 0
    folder = tmp_path / "out" / "clip.mp4.frames"
    (folder / "mine.txt").write_text("a foreign file", encoding="utf-8")
    assert len(list(folder.glob("*.npy"))) == FRAMES
    shorter = tmp_path / "shorter.mkv"
    with av.open(str(clip)) as source, av.open(str(shorter), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(source.streams.video[0]))[:6]:
            packet.stream = stream
            target.mux(packet)
    clip.write_bytes(shorter.read_bytes())
    command("seg", clip, *how, "--resume")
    assert 1 <= len(list(folder.glob("*.npy"))) < FRAMES
    assert (folder / "mine.txt").is_file()


def test_a_folder_of_pictures_and_videos(
    command: Command, clip: Path, tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    clip.rename(folder / "clip.mp4")
    cv2.imwrite(str(folder / "z.png"), pictures[0])
    out = tmp_path / "out"
    ran = command("pose", folder, "-o", out, "--format", "json,csv,coco", "--batch", "1")
    assert ran.code == 0, ran.err
    assert "2 of 2 inputs done" in ran.out
    assert (out / "z.png.pose.json").is_file()
    persons = [len(line["persons"]) for line in lines(out / "clip.mp4.pose.jsonl")]
    results = json.loads((out / "clip.mp4.pose.coco.json").read_text(encoding="utf-8"))
    numbers = [entry["image_id"] for entry in results]
    assert [numbers.count(number) for number in range(FRAMES)] == persons
    assert len(json.loads((out / "pose.coco.json").read_text(encoding="utf-8"))) >= 1, "of the picture alone"
    rows = (out / "clip.mp4.pose.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 17 * sum(persons)
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert document["images_per_s"] > 0
    assert document["frames"] == {"done": FRAMES, "failed": 0}
    assert "by the first 10" in document["videos"][0]["disk"]
    assert "2 already there" in command(
        "pose", folder, "-o", out, "--format", "json,csv,coco", "--batch", "1", "--resume"
    ).out  # fmt: skip


def test_persons_of_frames_from_a_file_are_followed(command: Command, clip: Path, tmp_path: Path) -> None:
    boxes = {
        f"clip.mp4.frames/{number:08d}": [[10 + number, 10, 50 + number, 90], [70, 10, 110, 90]]
        for number in range(1, FRAMES)
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")
    out = tmp_path / "out"
    ran = command("pose", clip, "-o", out, "--boxes", tmp_path / "boxes.json", "--track", "--end", "0.5")
    assert ran.code == 0, ran.err
    found = lines(out / "clip.mp4.pose.jsonl")
    assert [len(line["persons"]) for line in found] == [0, 2, 2, 2, 2]
    assert [[person["id"] for person in line["persons"]] for line in found[2:]] == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pose", "--track", "--detector", "none"], "expected persons to follow"),
        (["pose", "--smooth", "--detector", "none"], "got --smooth for whole pictures"),
        (["pose", "--format", "gif"], "jsonl"),
        (["pose", "--boxes", "b.json", "--detector", "dfine-nano-coco"], "expected one of them"),
    ],
)
def test_what_would_do_nothing_is_refused(
    command: Command, clip: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    ran = command(*arguments, clip, "-o", tmp_path / "out")
    assert ran.code == 2
    assert says in ran.err


def test_lines_are_no_format_of_pictures(command: Command, photos: Path, tmp_path: Path) -> None:
    ran = command("seg", photos, "-o", tmp_path / "out", "--format", "jsonl")
    assert ran.code == 2
    assert "one that pictures have" in ran.err


@pytest.mark.parametrize(
    ("task", "format", "says"), [("normal", "npy", "--stride"), ("pose", "openpose", "by the first 10")]
)
def test_what_does_not_fit_the_disk_is_refused_before_or_after_the_first_frames(
    command: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, format: str, says: str
) -> None:
    """Arrays have a known size; the size of other files depends on the pictures and is measured."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    ran = command(task, clip, "-o", tmp_path / "out", "--format", format)
    assert ran.code == 4
    assert says in ran.err
