"""One video through a model: drawn video and a line per frame out, resumable at a frame, in constant memory.

In: a model, a stream of frames, what is wanted. Out: `<name>.<kind>.mp4`, `<name>.<kind>.jsonl`, and arrays per frame
on request. Every `CHECKPOINT` frames all that grows is brought to one state, from which a killed run goes on. The
network dominates time; files are decoded ahead in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.media.items import Failure, Item
from vitruvian.media.ledger import Ledger
from vitruvian.media.sinks import FolderSink
from vitruvian.network_stage import Finished, Timings
from vitruvian.predict import Model, RegionsOf, Road
from vitruvian.tasks.base import Region, Result
from vitruvian.tasks.detect import DetectTask
from vitruvian.tasks.inside import InsideTask
from vitruvian.tasks.pose import Pose
from vitruvian.videos.disk import LOOK, Room
from vitruvian.videos.followers import Follower
from vitruvian.videos.outputs import Outputs, Ready
from vitruvian.videos.streams import Stream
from vitruvian.videos.wish import DRAWN, PER_FRAME, VideoWish, frame_name
from vitruvian.videos.workplace import Workplace

CHECKPOINT = 250
"""Frames between two states that a run can go on from."""

_FOLLOWER = "follower."
"""Before the names of what the follower remembers in a stored state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoDone:
    """What became of a video."""

    frames: int
    """Frames that went through, failed ones included."""
    failed_frames: int
    """Those that could not be used."""
    persons: int
    files: tuple[str, ...]
    notes: tuple[str, ...]
    disk: str | None
    """What its files were expected to take."""
    ended_early: str | None
    """Why there are fewer frames than there should be."""
    said: tuple[str, ...]
    """Why frames failed, of the first of them."""
    live: dict[str, Any] | None
    """Frames dropped and latency, of a camera."""

    @property
    def trouble(self) -> str | None:
        """What could not be done, in one line; None where all could."""
        said = []
        if self.ended_early is not None:
            said.append(f"{self.ended_early}; its first {self.frames} frames are done")
        if self.failed_frames:
            more = f" and {self.failed_frames - len(self.said)} more" if self.failed_frames > len(self.said) else ""
            said.append(
                f"{self.failed_frames} of {self.frames} frames could not be used, the others are done: "
                f"{'; '.join(self.said)}{more}"
            )
        return "; ".join(said) or None


class VideoRun:
    """One video on its way through a model; `run` does it all."""

    def __init__(
        self,
        model: Model,
        stream: Stream,
        wish: VideoWish,
        *,
        out: Path,
        work: Workplace,
        timings: Timings,
        ledger: Ledger,
    ) -> None:
        """Find out whether it fits.

        Raises:
            DoesNotFitError: the disk is too small.
        """
        self._model, self._stream, self._wish, self._out = model, stream, wish, out
        self._work, self._timings, self._ledger = work, timings, ledger
        self._sink = FolderSink(out, wish.formats & PER_FRAME, announce=ledger.announce)
        self._room = Room(model.task.result, stream.info, wish.formats, stream.frames_expected, out)
        self._follower = Follower(
            stream.frame_rate / wish.span.stride,
            track=wish.track,
            smooth=wish.smooth,
            min_score=_min_score(model, wish),
        )
        self.road = Road(
            model=model,
            regions_of=self._given_regions(),
            flip_test=wish.flip_test,
            follow=self._follower.follow,
            per_source=self._in_order,
            timings=timings,
            ahead=stream.ahead,
            camera_of=wish.cameras,
        )
        self._snapshots: dict[int, dict[str, np.ndarray]] = {}
        self._files_bytes = 0

    def run(self, on_frame: Callable[[int, int | None, bool], None]) -> VideoDone:
        """Do it; `on_frame` hears frames done, frames in all, and whether the last one could be used.

        Raises:
            InputError: the video cannot be read at all.
            DoesNotFitError: the disk is too small.
        """
        total = self._stream.frames_expected
        with Outputs(self._work, self._stream, self._wish, self._model.task.name, self._out, self._ledger) as outputs:
            first, after_s, remembered = outputs.resume()
            if first:
                self._follower.recall(outputs.earlier_boxes())
                self._follower.restore({key.removeprefix(_FOLLOWER): value for key, value in remembered.items()})
            else:  # files per frame of what went before this are not this video's
                self._ledger.drop(frame_name(self._stream.name, 0).rpartition("/")[0] + "/")
            done = first
            for outcome in self.road.run_items(self._stream.items(first, after_s), self._deliver):
                self._take(outputs, done, outcome)
                done += 1
                self._room.look(done - first, self._files_bytes, outputs.lines_bytes)
                snapshot = self._snapshots.pop(done, None)
                if snapshot is not None:
                    outputs.checkpoint(done, {f"{_FOLLOWER}{key}": value for key, value in snapshot.items()})
                on_frame(done, total, not isinstance(outcome, Failure))
            outputs.finish()
            return self._done(outputs, done)

    def _done(self, outputs: Outputs, frames: int) -> VideoDone:
        return VideoDone(
            frames=frames,
            failed_frames=outputs.failed,
            persons=outputs.persons,
            files=tuple(outputs.files),
            notes=tuple(dict.fromkeys([*self._stream.notes, *outputs.notes])),
            disk=self._room.said,
            ended_early=self._stream.ended_early,
            said=tuple(outputs.said),
            live=self._stream.live(),
        )

    def _given_regions(self) -> RegionsOf | None:
        """Persons from a file, followed like those that a detector finds."""
        boxes = self._wish.boxes
        if boxes is None:
            return None

        def regions_of(item: Item) -> Sequence[Region]:
            return self._follower.follow_given(item, boxes.lookup(frame_name(item.name, item.index)) or ())

        return regions_of

    def _in_order(self, finished: Finished) -> Finished:
        """The road's hook: smoothing, and its state where a checkpoint will be; none after a frame that failed."""
        smoothed = self._follower.smooth(finished)
        if (finished.item.index + 1) % CHECKPOINT == 0:
            self._snapshots[finished.item.index + 1] = self._follower.snapshot()
        return smoothed

    def _deliver(self, finished: Finished) -> Ready:
        """In a thread: everything about one frame that needs no order."""
        item = finished.item
        assert item.time_s is not None
        with self._timings.measure("write"):
            results = [self._converted(result) for result in finished.results]
            line: dict[str, Any] = {"frame": item.index, "time_s": item.time_s}
            for result in results:
                line |= result.line()
            frame_sink = self._sink.item(frame_name(item.name, item.index))
            for result in results:
                result.write(frame_sink)
            return Ready(
                line=line,
                drawn_HW3=results[0].draw() if DRAWN in self._wish.formats else None,
                time_s=item.time_s,
                about=_about(results[0]),
                files=tuple(frame_sink.written),
            )

    def _converted(self, result: Result) -> Result:
        if self._wish.convention and isinstance(result, Pose):
            return result.converted(self._wish.convention)
        return result

    def _take(self, outputs: Outputs, number: int, outcome: Ready | Failure) -> None:
        """In order: append one frame to everything that grows."""
        outputs.append(number, outcome, self._follower.seen.pop(number, None))
        self._stream.ready(number)
        if isinstance(outcome, Failure):
            return
        if outcome.files:
            self._ledger.record(frame_name(self._stream.name, number), 0, 0, outcome.files)
            if number < 2 * LOOK:
                self._files_bytes += sum((self._out / name).stat().st_size for name in outcome.files)
        with self._timings.measure("encode"):
            outputs.draw(outcome)


def _about(result: Result) -> dict[str, Any]:
    """What stands beside the lines, once for all of them."""
    names = {"keypoint_names": list(result.convention.names)} if isinstance(result, Pose) else {}
    return {**result.about(), **names}


def _min_score(model: Model, wish: VideoWish) -> float:
    """The threshold of the model's detector; any, where there is none to follow."""
    task = model.finder.task if model.finder and wish.boxes is None else None
    if isinstance(task, InsideTask):
        task = task.task
    return task.min_score if isinstance(task, DetectTask) else 0.0
