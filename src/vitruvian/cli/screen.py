"""What a running job shows: one progress line while it runs, a summary after it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitruvian.progress import Progress


@contextmanager
def progress_line(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A reporter for `run_job`: a live line on a terminal, silence where output is a file or `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
        yield lambda progress: live.update(Text(line_of(progress)))


@contextmanager
def stage_line(*, quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A reporter of named stages: a live line on a terminal, silence where output is a file or `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    began: dict[str, tuple[float, int]] = {}
    with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:

        def say_stage(name: str, done: int, total: int | None) -> None:
            started_s, first = began.setdefault(name, (time.monotonic(), done))
            place = "" if total is None else f" {done} of {total}"
            left = ""
            if total is not None and done > first:
                left_s = (time.monotonic() - started_s) / (done - first) * (total - done)
                left = f", {_duration(left_s)} left"
            live.update(Text(f"{name}{place}{left}"))

        yield say_stage


def line_of(progress: Progress) -> str:
    """Totals, rate and time left in one line."""
    left = f", {_duration(progress.left_s)} left" if progress.left_s is not None else ""
    if progress.video:
        done = f"{_place(progress)}{progress.video}: {_frames(progress)}{left}"
    else:
        done = f"{progress.seen} of {progress.total} {progress.what}, {progress.per_second:.1f}/s{left}"
    return f"{done}{_memory(progress)}{_extras(progress)}"


def say(line: str) -> None:
    """A remark beside the results, on standard error."""
    print(line, file=sys.stderr)


def say_failures(progress: Progress) -> None:
    """Each failed input by name and reason on standard error, and what a user must know of the others."""
    for warning in progress.warnings:
        print(f"  note: {warning}", file=sys.stderr)
    for failure in progress.failures:
        print(f"  failed {failure.name}: {failure.reason}", file=sys.stderr)


def summary(progress: Progress, out: Path) -> str:
    """The last line of a job."""
    done = f"{progress.done} of {progress.total} {progress.what} done{_extras(progress)}"
    rates = [f"{progress.per_second:.1f}/s"] if progress.pictures or not progress.videos else []
    if progress.videos:
        rates.append(f"{progress.frames_done} frames at {progress.frames_per_second:.1f} frames/s")
    lived = [_live(video) for video in progress.videos if "latency_ms" in video]
    return f"{', '.join([done, *rates, *lived])} -> {out}"


def _place(progress: Progress) -> str:
    """Which of several inputs a video is."""
    return f"{progress.seen + 1} of {progress.total} {progress.what}, " if progress.total > 1 else ""


def _frames(progress: Progress) -> str:
    """The frame that a video is at, and how fast that goes."""
    total = "" if progress.frames_total is None else f" of about {progress.frames_total}"
    live = f", {_live(progress.live)}" if progress.live else ""
    return f"{progress.frames}{total} frames, {progress.frames_per_second:.1f} frames/s{live}"


def _live(live: Mapping[str, Any]) -> str:
    """How a camera fares."""
    latency = live["latency_ms"]
    return f"{live['dropped_frames']} dropped, latency {latency['median']:.0f} ms (95 %: {latency['p95']:.0f} ms)"


def _memory(progress: Progress) -> str:
    """Memory now, its peak, and the peak that was predicted."""
    if not progress.peak_bytes:
        return ""
    planned = f", {progress.planned_bytes / 1e9:.1f} planned" if progress.planned_bytes else ""
    return f", {progress.memory_bytes / 1e9:.1f} GB now, {progress.peak_bytes / 1e9:.1f} at most{planned}"


def _extras(progress: Progress) -> str:
    skipped = f", {progress.skipped} already there" if progress.skipped else ""
    failed = f", {len(progress.failures)} failed" if progress.failures else ""
    frames = f", {progress.frames_failed} frames failed" if progress.frames_failed else ""
    return skipped + failed + frames


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def ask_on_terminal() -> Callable[[str], bool] | None:
    """A yes/no question, or None where nobody can answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> bool:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask
