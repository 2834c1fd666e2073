"""The videos of a job, one after the other, or its camera: working folder, ledger, progress, what `run.json` says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitruvian.errors import InputError
from vitruvian.media.items import Entry, Failure
from vitruvian.media.ledger import Ledger
from vitruvian.media.video.camera import camera_name, open_camera
from vitruvian.network_stage import Timings
from vitruvian.predict import Model, Road
from vitruvian.progress import Progress
from vitruvian.videos.cameras import CameraStream, ended_by_interrupt, on_one_core, one_at_a_time
from vitruvian.videos.run import VideoDone, VideoRun
from vitruvian.videos.streams import FileStream, Stream, stamp_of
from vitruvian.videos.wish import VideoWish
from vitruvian.videos.workplace import Workplace


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoJobs:
    """What the videos of a job have in common."""

    model: Model
    wish: VideoWish
    out: Path
    identity: Mapping[str, Any]
    """What decides the results."""
    ledger: Ledger
    timings: Timings
    progress: Progress
    report: Callable[[], None]
    """To be called after every frame."""

    def videos(self, entries: Iterable[Entry]) -> Iterator[Road]:
        """Do them in order; gives the road of each, for its decisions. What cannot be read is a failed input."""
        for entry in entries:
            try:
                stamp = stamp_of(entry)
                stream = FileStream(entry, self.wish)
                version = {"name": entry.name, "stamp": stamp}
                work = Workplace(self.out, entry.name, {"run": self.identity, "video": version})
                yield self._done(self.model, stream, work, entry.index, stamp)
            except InputError as error:
                self._failed(entry.name, entry.index, str(error))

    def camera(self, camera: str) -> Iterator[Road]:
        """Follow a camera until it or the span ends, or somebody presses Ctrl-C; gives its road."""
        name, model = camera_name(camera), one_at_a_time(self.model)
        try:
            stream = CameraStream(name, open_camera(camera), end_s=self.wish.span.end_s)
            with stream, on_one_core(model), ended_by_interrupt(stream.stop):
                # What the moment showed does not come back: no earlier run is gone on with.
                work = Workplace(self.out, name, {"run": self.identity, "begun_ns": time.time_ns()})
                yield self._done(model, stream, work, 0, (0, 0))
        except InputError as error:
            self._failed(name, 0, str(error))

    def _done(self, model: Model, stream: Stream, work: Workplace, index: int, stamp: tuple[int, int]) -> Road:
        progress = self.progress
        progress.video, progress.frames, progress.frames_total = stream.name, 0, None
        progress.videos_started = progress.videos_started or time.perf_counter()

        def on_frame(done: int, total: int | None, whole: bool) -> None:
            progress.frames, progress.frames_total, progress.live = done, total, stream.live()
            progress.frames_done += whole
            self.report()

        run = VideoRun(model, stream, self.wish, out=self.out, work=work, timings=self.timings, ledger=self.ledger)
        done = run.run(on_frame)
        self.ledger.record(stream.name, *stamp, done.files)
        work.remove()
        self._note(stream.name, index, done)
        return run.road

    def _note(self, name: str, index: int, done: VideoDone) -> None:
        """A video of which something could not be used counts as failed, although what could be done is there."""
        progress = self.progress
        said = {key: value for key, value in asdict(done).items() if key not in ("said", "live")}
        progress.videos.append({"name": name, **said, **(done.live or {})})
        progress.frames_failed += done.failed_frames
        progress.video, progress.live = "", None
        if done.trouble is not None:
            self._failed(name, index, done.trouble)
            return
        progress.done += 1
        self.report()

    def _failed(self, name: str, index: int, reason: str) -> None:
        self.progress.video = ""
        self.progress.failures.append(Failure(name=name, index=index, reason=reason))
        self.report()
