"""What a running job says."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest

from vitruvian.cli.screen import ask_on_terminal, line_of, progress_line, summary
from vitruvian.media.items import Failure
from vitruvian.progress import Progress


def progress(**changes: object) -> Progress:
    failures = [Failure(name="bad.jpg", index=3, reason="not a picture")]
    values = {
        "total": 200,
        "done": 40,
        "pictures": 40,
        "skipped": 9,
        "failures": failures,
        "started": time.perf_counter() - 10,
    }
    return Progress(**{**values, **changes})  # type: ignore[arg-type]


def test_the_progress_line_has_totals_rate_and_time_left() -> None:
    line = line_of(progress())
    assert line.startswith("50 of 200 pictures, 4.0/s, 3")
    assert "9 already there" in line
    assert "1 failed" in line


@pytest.mark.parametrize(
    ("done", "started_s", "left"), [(50, 100, "5 min 0 s left"), (100, 10, "10 s left"), (0, 5, None)]
)
def test_time_left_reads_like_a_clock(done: int, started_s: float, left: str | None) -> None:
    line = line_of(progress(done=done, pictures=done, skipped=0, failures=[], started=time.perf_counter() - started_s))
    assert (left in line) if left else ("left" not in line)


LIVE = {"dropped_frames": 7, "latency_ms": {"median": 38.2, "p95": 61.0, "longest": 80.0}}


def test_the_progress_line_of_a_video_has_its_frames() -> None:
    now = time.perf_counter()
    video = {
        "video": "a.mp4",
        "frames": 50,
        "frames_total": 250,
        "frames_done": 50,
        "videos_started": now - 2,
        "what": "inputs",
    }
    line = line_of(progress(**video))
    assert line.startswith("51 of 200 inputs, a.mp4: 50 of about 250 frames, 25.0 frames/s, 8 s left")
    camera = {**video, "video": "camera0", "frames_total": None, "live": LIVE, "total": 1, "skipped": 0, "done": 0}
    line = line_of(progress(**camera, failures=[]))
    assert line == "camera0: 50 frames, 25.0 frames/s, 7 dropped, latency 38 ms (95 %: 61 ms)"


def test_the_summary_of_videos_counts_frames_apart() -> None:
    now = time.perf_counter()
    counts = {
        "what": "inputs",
        "total": 3,
        "done": 1,
        "pictures": 0,
        "skipped": 0,
        "frames_done": 90,
        "frames_failed": 2,
    }
    said = summary(progress(**counts, videos=[LIVE], videos_started=now - 3), Path("out"))
    assert said == (
        "1 of 3 inputs done, 1 failed, 2 frames failed, 90 frames at 30.0 frames/s, 7 dropped, latency 38 ms "
        "(95 %: 61 ms) -> out"
    )


def test_the_summary_names_the_folder() -> None:
    assert summary(progress(), Path("out")) == "40 of 200 pictures done, 9 already there, 1 failed, 4.0/s -> out"


def test_nothing_is_drawn_into_files(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_line(quiet=False) as report:
        report(progress())
    assert stream.getvalue() == ""


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert ask_on_terminal() is None
