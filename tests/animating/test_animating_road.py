"""The road from a picture and a video to a video: what comes out, what is said, what a killed run goes on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from animating.conftest import MakeJob
from driven_clip import Known, read_video, write_drive, write_picture
from vitruvian.animating import road
from vitruvian.animating.plan import ClipPlanner
from vitruvian.animating.road import animate
from vitruvian.driving.persons import Choice
from vitruvian.errors import DoesNotFitError, InputError, UsageError
from vitruvian.fit.budget import Budget
from vitruvian.generation.stages import Stages
from vitruvian.media.atomic import BOOKKEEPING_FOLDER
from vitruvian.models.mimicmotion import PosedUnet


def document(out: Path) -> dict[str, Any]:
    return dict(json.loads(out.with_suffix(".run.json").read_text(encoding="utf-8")))


def decided(out: Path, what: str) -> list[str]:
    return [str(one["value"]) for one in document(out)["decisions"] if one["what"] == what]


@pytest.mark.parametrize(
    "rate", [25, pytest.param(Fraction(30_000, 1001), marks=pytest.mark.slow), Fraction(37, 3)], ids=str
)
def test_a_video_with_the_times_and_the_sound_of_the_driving_one(job: MakeJob, tmp_path: Path, rate: Any) -> None:
    drive = write_drive(tmp_path / "a.mp4", rate=rate, sound=True)
    done = animate(job(drive))
    times, images, has_sound = read_video(done.out)
    assert done.frames == len(times) == 5
    np.testing.assert_allclose(times, read_video(drive)[0], atol=1e-3)
    assert has_sound
    assert images.shape[1:] == (64, 64, 3)
    said = document(done.out)
    assert said["plan"]["fits"]
    assert {"poses", "conditioning", "pose features", "denoising", "decoding"} <= said["timings_s"].keys()
    assert said["memory"]["stages"].keys() >= {"denoising", "decoding"}
    assert str(tmp_path) not in json.dumps(said)


@pytest.mark.parametrize(("size_hw", "expected_hw"), [((96, 72), (128, 96)), ((72, 96), (96, 128))], ids=["up", "flat"])
def test_the_picture_says_which_way_up(
    job: MakeJob, tmp_path: Path, size_hw: tuple[int, int], expected_hw: tuple[int, int]
) -> None:
    person = write_picture(tmp_path / "p.png", size_hw)
    made = animate(job(write_drive(tmp_path / "one.mp4", frames=1), person, resolution=96))
    _, images, _ = read_video(made.out)
    assert images.shape == (1, *expected_hw, 3), "a clip shorter than a tile just runs"


def test_faster_sources_are_thinned_and_keep_their_speed(job: MakeJob, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "fast.mp4", frames=12, rate=50)
    times, *_ = read_video(animate(job(drive)).out)
    np.testing.assert_allclose(times, [0, 0.04, 0.08, 0.12, 0.16, 0.2], atol=1e-3)
    with pytest.raises(UsageError, match="frames between are not made up"):
        animate(job(drive, fps=60.0, mode="overwrite"))


def test_a_range_of_frames(job: MakeJob, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "long.mp4", frames=9)
    assert animate(job(drive, frames=(2, 5))).frames == 3
    with pytest.raises(InputError, match=r"long.mp4: has no frame in --frames 20:"):
        animate(job(drive, frames=(20, None), mode="overwrite"))


def test_persons_are_looked_for_in_larger_pictures_than_small_videos(job: MakeJob, known: Known) -> None:
    animate(job())
    assert known.frames[0] == (256, 256)
    assert known.frames[1:] == [(48, 64)] * 5


@pytest.mark.parametrize("after", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_video(job: MakeJob, tmp_path: Path, after: int) -> None:
    drive = write_drive(tmp_path / "short.mp4", frames=2)
    whole = animate(job(drive, steps=3))
    expected = whole.out.read_bytes()
    whole.out.unlink()

    def kill(stage: str, done: int, total: int | None) -> None:
        if stage == "denoising" and done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(job(drive, steps=3, mode="overwrite"), on_progress=kill)
    heard: list[tuple[str, int]] = []
    animate(job(drive, steps=3, mode="resume"), on_progress=lambda stage, done, total: heard.append((stage, done)))
    assert [done for stage, done in heard if stage == "denoising"] == [0, *range(after, 4)]
    assert whole.out.read_bytes() == expected
    assert list((tmp_path / BOOKKEEPING_FOLDER / "videos").iterdir()) == [], "nothing is left of it"
    heard.clear()
    again = animate(
        job(drive, steps=3, mode="resume"), on_progress=lambda stage, done, total: heard.append((stage, done))
    )
    assert again.notes == ("it was done already",)
    assert {stage for stage, _ in heard} == {"poses"}


@pytest.mark.slow
def test_another_wish_does_not_go_on_with_what_is_there(job: MakeJob) -> None:
    def kill(stage: str, done: int, total: int | None) -> None:
        if stage == "denoising" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(job(), on_progress=kill)
    heard: list[int] = []
    animate(
        job(mode="resume", seed=7), on_progress=lambda stage, done, _: heard.append(done) if "denois" in stage else 0
    )
    assert heard == [0, 0, 1, 2], "from the first step on"


@pytest.mark.slow
def test_seeds_and_strengths_matter_and_runs_repeat(job: MakeJob, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "short.mp4", frames=2)
    first = animate(job(drive, steps=1)).out.read_bytes()
    assert animate(job(drive, steps=1, mode="overwrite")).out.read_bytes() == first
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"pose_strength": 0.0},
        {"hands": False, "face": False},
        {"guidance_scale": (1.0, 5.0)},
    ]
    seen = {first}
    for wishes in changes:
        made = animate(job(drive, steps=1, mode="overwrite", **wishes)).out.read_bytes()
        assert made not in seen, wishes
        seen.add(made)


def test_both_strategies_and_all_measures_give_the_same_video(job: MakeJob) -> None:
    _, expected, _ = read_video(animate(job()).out)
    ways: list[dict[str, Any]] = [
        {"guidance": "batched", "knobs": {"features": "device"}},
        {"knobs": {"feed_forward_parts": 4, "streamed": True, "features": "recomputed"}},
    ]
    for wishes in ways:
        _, images, _ = read_video(animate(job(mode="overwrite", **wishes)).out)
        apart = np.abs(images.astype(int) - expected)
        assert apart.max() <= 6, wishes
        assert (apart <= 1).mean() > 0.99, wishes


def test_scale_1_runs_one_branch(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    forward = PosedUnet.forward

    def counted(unet: PosedUnet, sample: Tensor, *rest: Any) -> Tensor:
        if type(sample) is Tensor:  # predictions call it on shapes alone
            calls.append(rest[-1] is not None)
        return forward(unet, sample, *rest)

    monkeypatch.setattr(PosedUnet, "forward", counted)
    animate(job(guidance_scale=(1.0, 1.0), dtype="float32"))  # a type that needs no audit, which would call it, too
    assert calls == [True] * 4, "two tiles, two steps"
    calls.clear()
    animate(job(mode="overwrite", dtype="float32"))
    assert calls == [False, True] * 4


def test_memory_that_gives_out_changes_the_plan_and_not_the_steps(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = PosedUnet.forward, [0]

    def failing(unet: PosedUnet, *arguments: Any) -> Tensor:
        real = type(arguments[0]) is Tensor  # predictions call it on shapes alone
        calls[0] += real
        if real and calls[0] in (5, 6):
            raise torch.OutOfMemoryError("out of memory")
        return forward(unet, *arguments)

    monkeypatch.setattr(PosedUnet, "forward", failing)
    made = animate(job(guidance="auto", steps=3, dtype="float32"))
    (changed,) = decided(made.out, "plan_changed")
    assert changed.startswith("feed-forward in 16 parts")
    assert "from step 2 on" in changed or "from step 3 on" in changed
    assert len(read_video(made.out)[0]) == 5


def test_memory_that_gives_out_while_decoding_decodes_fewer_at_once(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_video(animate(job(knobs={"decode_chunk": 2})).out)[1]
    frames, sizes = Stages.frames, []

    def failing(stages: Stages, latents: Tensor, chunk: int, overlap: int) -> Iterator[np.ndarray]:
        sizes.append(chunk)
        made = frames(stages, latents, chunk, overlap)
        if chunk > 2:
            yield next(made)
            raise torch.OutOfMemoryError("out of memory")
        yield from made

    monkeypatch.setattr(Stages, "frames", failing)
    made = animate(job(mode="overwrite"))
    assert sizes == [8, 4, 2]
    assert decided(made.out, "decode_chunk") == ["8", "4", "2"]
    np.testing.assert_array_equal(read_video(made.out)[1], expected)
    with pytest.raises(DoesNotFitError, match="got no more memory in decoding"):
        animate(job(mode="overwrite", knobs={"decode_chunk": 4}))


def test_memory_that_gives_out_in_any_stage_is_said(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(road, "posed_clip", failing)
    with pytest.raises(DoesNotFitError, match="got no more memory in poses"):
        animate(job())


def test_a_budget_that_is_too_small_is_said_before_anything_is_built(job: MakeJob) -> None:
    with pytest.raises(DoesNotFitError, match=r"got 1 MB to work in; expected .* more for \w+"):
        animate(job(budget_bytes=1_000_000))


@pytest.mark.slow
def test_a_plan_is_asked_once_and_its_numbers_are_obeyed(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what whole tiles take: shorter ones."""
    whole = animate(job())
    planned = document(whole.out)["plan"]
    peaks = {stage["name"]: stage["peak_bytes"] for stage in planned["stages"]}
    monkeypatch.setattr(Budget, "margin_bytes", lambda *_: 0)
    made = animate(job(mode="overwrite", budget_bytes=max(peaks["denoising"], peaks["decoding"]) - 1000))
    way = document(made.out)["plan"]["way"]
    assert way["feed_forward_parts"] == 16 or way["decode_chunk"] < planned["way"]["decode_chunk"]
    assert len(read_video(made.out)[0]) == 5


@pytest.mark.slow
def test_frames_without_a_person_keep_their_place(job: MakeJob, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "gap.mp4", frames=6, empty=(0, 3))
    for missing in ("hold", "blank"):
        made = animate(job(drive, missing=missing, mode="overwrite"))
        assert len(read_video(made.out)[0]) == 6
        assert any("2 of 6 frames show nobody" in note for note in made.notes) == (missing == "blank")


def test_what_cannot_be_used_is_named(job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dark.mp4: shows nobody who could drive in 3 frames"):
        animate(job(write_drive(tmp_path / "dark.mp4", frames=3, empty=(0, 1, 2))))
    with pytest.raises(InputError, match=r"two.mp4: shows nobody who could drive"):
        animate(job(write_drive(tmp_path / "two.mp4"), who=Choice.of("1")))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(write_drive(tmp_path / "whole.mp4").read_bytes()[:300])
    with pytest.raises(InputError, match=r"^broken.mp4: "):
        animate(job(broken))
    black = tmp_path / "black.png"
    from PIL import Image

    Image.new("RGB", (60, 90)).save(black)
    with pytest.raises(InputError, match=r"black.png: shows nobody whose pose was found by known"):
        animate(job(person=black))
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(InputError, match=r"^text.png: "):
        animate(job(person=text))


def test_nothing_is_replaced_by_accident(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"out.mp4, which is there already"):
        animate(job())
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"
    with pytest.raises(UsageError, match=r"expected a file that ends in .mp4"):
        animate(replace(job(), out=tmp_path / "out.gif"))
    with pytest.raises(UsageError, match=r"gone.mp4, which is no file"):
        animate(job(tmp_path / "gone.mp4"))


def test_a_preview_needs_no_network(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipPlanner, "plan", None)
    made = animate(job(preview=True))
    assert made.out.name == "out.preview.mp4"
    times, images, _ = read_video(made.out)
    assert len(times) == 5
    assert images.shape[1] == 64
    assert images[:, :, -64:].std() > 5, "the reference and a pose on it"
    assert not (made.out.parent / "out.mp4").exists()
