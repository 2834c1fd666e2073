"""The videos of a job, one after the other: working folder, ledger, progress, what `run.json` says about each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvian.errors import InputError
from vitruvian.media.atomic import BOOKKEEPING_FOLDER
from vitruvian.media.items import Entry, Failure
from vitruvian.media.ledger import Ledger
from vitruvian.network_stage import Timings
from vitruvian.predict import Model, Road
from vitruvian.video_run import DEFAULTS, LINES, VideoDone, VideoRun, VideoWish, Workplace, check_room

if TYPE_CHECKING:
    from vitruvian.jobs import Job, Progress


def wish_of(job: Job) -> VideoWish:
    """What a job wants of every video."""
    formats = frozenset(LINES if name == "json" else name for name in job.formats) or frozenset(DEFAULTS)
    return VideoWish(
        span=job.span,
        formats=formats,
        track=job.track or job.smooth,
        smooth=job.smooth,
        convention=job.convention,
        frame_rate=job.frame_rate,
    )


def run_videos(
    entries: Sequence[Entry],
    model: Model,
    job: Job,
    identity: dict[str, Any],
    ledger: Ledger,
    timings: Timings,
    progress: Progress,
    report: Callable[[], None],
) -> Iterator[Road]:
    """Do them in order; gives the road of each, for its decisions. What cannot be read is a failure of the progress."""
    wish = wish_of(job)
    for entry in entries:
        work = Workplace(_folder(job.out, entry.name), {"run": identity, "video": _version(entry)})
        try:
            run = VideoRun(
                model,
                entry,
                wish,
                out=job.out,
                work=work,
                timings=timings,
                announce=ledger.announce,
                record=lambda name, files: ledger.record(name, 0, 0, files),
                flip_test=job.flip_test,
            )
            room = check_room(model, run.info, wish, job.out)
            progress.video, progress.frames, progress.frames_total = entry.name, 0, None

            def on_frame(done: int, total: int | None) -> None:
                progress.frames, progress.frames_total = done, total
                report()

            done = run.run(on_frame)
        except InputError as error:
            progress.failures.append(Failure(name=entry.name, index=entry.index, reason=str(error)))
            report()
            continue
        if entry.path is not None:
            status = entry.path.stat()
            ledger.record(entry.name, status.st_size, status.st_mtime_ns, done.files)
        work.remove()
        _note(progress, entry, done, room)
        report()
        yield run.road


def _note(progress: Progress, entry: Entry, done: VideoDone, room: str | None) -> None:
    """A video whose frames are not all fine counts as failed, although what could be done is there."""
    said = asdict(done) | {"name": entry.name, "failures": len(done.failures)}
    progress.videos.append(said | ({"disk": room} if room else {}))
    progress.failures += done.failures
    progress.video = ""
    if done.truncated is not None:
        reason = f"{done.truncated}; its first {done.frames} frames are done"
        progress.failures.append(Failure(name=entry.name, index=entry.index, reason=reason))
    elif not done.failures:
        progress.done += 1


def _folder(out: Path, name: str) -> Path:
    return out / BOOKKEEPING_FOLDER / "videos" / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _version(entry: Entry) -> dict[str, Any]:
    """What tells a changed video from the one that was begun."""
    if entry.path is None:
        return {"name": entry.name}
    status = entry.path.stat()
    return {"name": entry.name, "size": status.st_size, "modified_ns": status.st_mtime_ns}
