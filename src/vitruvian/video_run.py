"""One video through a model: drawn video and a line per frame out, resumable at a frame, in constant memory.

In: a model, a video (file or numbered pictures), what is wanted. Out: `<name>.<kind>.mp4`, `<name>.<kind>.jsonl`, and
arrays per frame on request. Everything grows in a working folder; every `CHECKPOINT` frames all of it is brought to one
state, from which a killed run goes on. The network dominates time; decoding runs ahead in a thread of its own.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitruvian.errors import DoesNotFitError
from vitruvian.followers import Boxes, Follower
from vitruvian.hardware import format_bytes
from vitruvian.media.atomic import write_atomic
from vitruvian.media.documents import json_text
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.media.names import output_name
from vitruvian.media.sinks import FolderSink
from vitruvian.media.video.joining import joined
from vitruvian.media.video.lines import LineWriter
from vitruvian.media.video.reading import FrameReader, read_frames
from vitruvian.media.video.recognition import is_video
from vitruvian.media.video.sequences import SequenceReader, read_sequence
from vitruvian.media.video.values import Frame, Span, TruncatedVideo, VideoInfo
from vitruvian.media.video.writing import SegmentWriter
from vitruvian.network_stage import Finished, Timings
from vitruvian.predict import Model, Road
from vitruvian.stages import prefetched
from vitruvian.tasks.base import Result, Sink
from vitruvian.tasks.detect import DetectTask
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.pose_csv import csv_header, csv_lines

CHECKPOINT = 250
"""Frames between two states that a run can go on from."""

FORMAT, VERSION = "vitruvian-video", 1
"""Of the lines; the version grows when a reader would have to change."""

DRAWN, LINES = "draw", "jsonl"
"""Formats of a whole video that are written unless others are named."""

DEFAULTS = (DRAWN, LINES)

PER_FRAME = frozenset({"npy", "png", "exr", "openpose"})
"""Formats of files per frame."""

TABLE = "csv"
"""Format of one table for the whole video."""

FRAME_BYTES_PER_PIXEL = {
    ("seg", "npy"): 1.0,
    ("seg", "png"): 0.1,
    ("depth", "npy"): 4.0,
    ("depth", "png"): 2.0,
    ("depth", "exr"): 4.0,
    ("normal", "npy"): 12.0,
    ("normal", "png"): 6.0,
    ("normal", "exr"): 12.0,
}
"""Of files per frame; what is compressed is counted as it is without, label pictures at a tenth."""

AHEAD = 4
"""Decoded frames that wait for the road."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoWish:
    """What is wanted of every video of a job."""

    span: Span
    formats: frozenset[str]
    track: bool
    smooth: bool
    convention: str | None
    frame_rate: float
    """Of numbered pictures."""


def is_video_entry(entry: Entry | Failure) -> bool:
    """Whether an input is a video: a file that holds one, or numbered pictures."""
    if isinstance(entry, Failure):
        return False
    return entry.sequence is not None or (entry.path is not None and is_video(entry.path))


def _open(
    entry: Entry, wish: VideoWish, *, first: int = 0, after_s: float | None = None
) -> FrameReader | SequenceReader:
    """Frames from number `first` on."""
    if entry.sequence is not None:
        return read_sequence(entry.sequence, Fraction(wish.frame_rate), wish.span, name=entry.name, first=first)
    assert entry.path is not None
    return read_frames(entry.path, wish.span, name=entry.name, first=first, after_s=after_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoDone:
    """What became of a video."""

    frames: int
    persons: int
    files: tuple[str, ...]
    notes: tuple[str, ...]
    truncated: str | None
    """Why it ended early, if it did."""
    failures: tuple[Failure, ...]
    """Frames that could not be used."""


class Workplace:
    """The working folder of one video: everything in it belongs to one state of one run."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Keep what belongs to the same run of the same video, and begin anew otherwise."""
        self.folder = folder
        said = folder / "run.json"
        text = json_text(identity)
        if not said.is_file() or said.read_text(encoding="utf-8") != text:
            shutil.rmtree(folder, ignore_errors=True)
            write_atomic(said, text.encode("utf-8"))

    def state(self) -> dict[str, np.ndarray]:
        """The arrays of the last checkpoint; empty where there is none."""
        path = self.folder / "state.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a checkpoint in the place of the last one."""
        buffer = io.BytesIO()
        np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
        write_atomic(self.folder / "state.npz", buffer.getvalue())

    def remove(self) -> None:
        """The video is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


class VideoRun:
    """One video on its way through a model; `run` does it all."""

    def __init__(
        self,
        model: Model,
        entry: Entry,
        wish: VideoWish,
        *,
        out: Path,
        work: Workplace,
        timings: Timings,
        announce: Callable[[str], None],
        record: Callable[[str, Sequence[str]], None],
        flip_test: bool = False,
    ) -> None:
        self._model, self._entry, self._wish = model, entry, wish
        self._out, self._work, self._timings, self._announce = out, work, timings, announce
        self._record = record
        self._sink = FolderSink(out, wish.formats, announce=announce)
        with _open(entry, wish) as reader:
            self.info = reader.info
        self._follower = Follower(
            float(self.info.frame_rate) / wish.span.stride,
            track=wish.track,
            smooth=wish.smooth,
            min_score=_min_score(model),
        )
        self.road = Road(
            model=model,
            flip_test=flip_test,
            follow=self._follower.follow,
            per_source=self._in_order,
            timings=timings,
        )
        self._about = work.folder / "about.json"
        self._snapshots: dict[int, dict[str, np.ndarray]] = {}
        self._files: list[str] = []
        self._failures: list[Failure] = []
        self._persons = 0
        self._notes: tuple[str, ...] = ()
        self._truncated: str | None = None

    def run(self, on_frame: Callable[[int, int | None], None] = lambda done, total: None) -> VideoDone:
        """Do it; `on_frame` hears frames done and in all.

        Raises:
            InputError: the video cannot be read at all.
            DoesNotFitError: the disk is too small.
        """
        total = frames_in(self.info, self._wish.span)
        with ExitStack() as stack:
            self._writer = stack.enter_context(SegmentWriter(self._work.folder / "drawn", frames_per_segment=1 << 30))
            self._lines = stack.enter_context(LineWriter(self._work.folder / "lines"))
            self._boxes = stack.enter_context(LineWriter(self._work.folder / "boxes"))
            first, after_s = self._resume()
            done = first
            for outcome in self.road.run_items(prefetched(self._items(first, after_s), ahead=AHEAD), self._deliver):
                self._take(done, outcome)
                done += 1
                if done % CHECKPOINT == 0:
                    self._checkpoint(done)
                on_frame(done, total)
            return self._finish(done)

    def _items(self, first: int, after_s: float | None) -> Iterator[Item | Failure]:
        with _open(self._entry, self._wish, first=first, after_s=after_s) as reader:
            try:
                for frame in reader:
                    yield frame if isinstance(frame, Failure) else as_item(frame, self._entry.name)
            except TruncatedVideo as end:
                self._truncated = end.reason
            self._notes = reader.notes

    def _in_order(self, finished: Finished) -> Finished:
        """The road's hook: smoothing, and its state where a checkpoint will be."""
        smoothed = self._follower.smooth(finished)
        if (finished.item.index + 1) % CHECKPOINT == 0:
            self._snapshots[finished.item.index + 1] = self._follower.snapshot()
        return smoothed

    def _deliver(self, finished: Finished) -> _Ready:
        """In a thread: everything about one frame that needs no order."""
        with self._timings.measure("write"):
            results = [self._converted(result) for result in finished.results]
            line: dict[str, Any] = {"frame": finished.item.index, "time_s": finished.item.time_s}
            for result in results:
                line |= result.line()
            drawn_HW3 = results[0].draw() if DRAWN in self._wish.formats else None
            frame_sink = self._sink.item(f"{self._entry.name}.frames/{finished.item.index:08d}")
            if self._wish.formats & PER_FRAME:
                for result in results:
                    result.write(_Undrawn(frame_sink))
            return _Ready(
                line=line,
                drawn_HW3=drawn_HW3,
                item=finished.item,
                about=_about(results[0]),
                files=tuple(frame_sink.written),
            )

    def _converted(self, result: Result) -> Result:
        if self._wish.convention and isinstance(result, Pose):
            return result.converted(self._wish.convention)
        return result

    def _take(self, number: int, outcome: _Ready | Failure) -> None:
        """In order: append one frame to everything that grows."""
        boxes = self._follower.seen.pop(number, None)
        if isinstance(outcome, Failure):
            self._failures.append(replace(outcome, name=f"{self._entry.name} frame {number}"))
            self._lines.append({"frame": number, "failed": outcome.reason})
            self._boxes.append(_box_line(None, None))
            return
        if not self._about.is_file():
            write_atomic(self._about, json_text(outcome.about).encode("utf-8"))
        self._lines.append(outcome.line)
        self._boxes.append(_box_line(outcome.item.time_s, boxes))
        if outcome.files:
            self._record(f"{self._entry.name}.frames/{number:08d}", outcome.files)
        self._persons += len(outcome.line.get("persons", ()))
        if outcome.drawn_HW3 is not None:
            assert outcome.item.time_s is not None
            with self._timings.measure("encode"):
                self._writer.write(outcome.drawn_HW3, outcome.item.time_s)

    def _checkpoint(self, done: int) -> None:
        """Bring everything to one state after `done` frames."""
        self._writer.finish()
        state = {"frames": np.array([done, self._writer.frames])}
        follower = {f"follower.{key}": value for key, value in self._snapshots.pop(done, {}).items()}
        self._work.save(state | follower)

    def _resume(self) -> tuple[int, float | None]:
        """Go back to the last checkpoint; the frame to go on with, and the time of the one before."""
        state = self._work.state()
        done, drawn = state["frames"].tolist() if state else (0, 0)
        whole = self._writer.keep(drawn) == drawn and self._lines.frames >= done and self._boxes.frames >= done
        if not whole:  # somebody removed a piece
            done = self._writer.keep(0)
        self._lines.keep(done)
        self._boxes.keep(done)
        if not done:
            return 0, None
        self._follower.recall(_boxes_of(self._work.folder / "boxes"))
        follower = {key.removeprefix("follower."): value for key, value in state.items() if key != "frames"}
        if follower:
            self._follower.restore(follower)
        return done, self._count_again()

    def _count_again(self) -> float | None:
        """Persons and failures of the frames before; gives the time of the last of them."""
        time_s = None
        with (self._work.folder / "lines").open(encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                time_s = line.get("time_s")
                self._persons += len(line.get("persons", ()))
                if "failed" in line:
                    name = f"{self._entry.name} frame {line['frame']}"
                    self._failures.append(Failure(name=name, index=line["frame"], reason=line["failed"]))
        return time_s

    def _finish(self, done: int) -> VideoDone:
        """Put everything in its place."""
        notes = list(self._notes)
        stem = f"{output_name(self._entry.name)}.{self._model.task.name}"
        if DRAWN in self._wish.formats and self._writer.frames:
            self._announce(f"{stem}.mp4")
            written = joined(
                self._writer.finish(), self._out / f"{stem}.mp4", audio_from=self._entry.path, span=self._wish.span
            )
            self._files.append(f"{stem}.mp4")
            notes += [*self._writer.notes, *written.notes]
        if TABLE in self._wish.formats and self._about.is_file():
            self._announce(f"{stem}.csv")
            write_atomic(self._out / f"{stem}.csv", self._write_table)
            self._files.append(f"{stem}.csv")
        if LINES in self._wish.formats and self._about.is_file():
            self._announce(f"{stem}.jsonl")
            self._lines.finish(self._out / f"{stem}.jsonl")
            self._announce(f"{stem}.jsonl.json")
            write_atomic(self._out / f"{stem}.jsonl.json", self._description())
            self._files += [f"{stem}.jsonl", f"{stem}.jsonl.json"]
        return VideoDone(
            frames=done,
            persons=self._persons,
            files=tuple(self._files),
            notes=tuple(dict.fromkeys(notes)),
            truncated=self._truncated,
            failures=tuple(self._failures),
        )

    def _write_table(self, file: BinaryIO) -> None:
        """The persons of all frames, a row per keypoint."""
        names = json.loads(self._about.read_text(encoding="utf-8"))["keypoint_names"]
        file.write(csv_header().encode())
        with (self._work.folder / "lines").open(encoding="utf-8") as lines:
            for text in lines:
                line = json.loads(text)
                document = {"keypoint_names": names, "time_s": line.get("time_s"), "instances": line.get("persons", ())}
                file.write(csv_lines(document, self._entry.name).encode("utf-8", "backslashreplace"))

    def _description(self) -> bytes:
        """What the lines are about."""
        about = json.loads(self._about.read_text(encoding="utf-8"))
        about.pop("time_s", None)
        about.pop("persons", None)
        span = self._wish.span
        head = {"format": FORMAT, "version": VERSION, "frame_rate": float(self.info.frame_rate)}
        part = {"start_s": span.start_s, "end_s": span.end_s, "stride": span.stride}
        followed = {"tracked": self._wish.track, "smoothed": self._wish.smooth}
        return json_text({**head, **about, "span": part, **followed}).encode("utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ready:
    """One frame, ready to be appended."""

    line: dict[str, Any]
    drawn_HW3: np.ndarray | None
    item: Item
    about: dict[str, Any]
    files: tuple[str, ...]
    """Written for this frame alone."""


class _Undrawn:
    """A sink that passes on all but drawings and documents: the video and its lines hold those."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def wants(self, format: str) -> bool:
        return format in PER_FRAME and self._sink.wants(format)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)


def _about(result: Result) -> dict[str, Any]:
    """What stands beside the lines, once for all of them."""
    names = {"keypoint_names": list(result.convention.names)} if isinstance(result, Pose) else {}
    return {**result.about(), **names}


def _min_score(model: Model) -> float:
    """The threshold of the model's detector; any, where there is none to follow."""
    task = model.finder.task if model.finder else None
    return task.min_score if isinstance(task, DetectTask) else 0.0


def as_item(frame: Frame, name: str) -> Item:
    """A frame of the video `name` as the road takes pictures."""
    return Item(
        name=name,
        index=frame.number,
        time_s=frame.time_s,
        stream=name,
        image_HW3=frame.image_HW3,
        size_bytes=frame.image_HW3.nbytes,
        modified_ns=0,
        notes=(),
    )


def frames_in(info: VideoInfo, span: Span) -> int | None:
    """About how many frames a span selects; None where the file does not tell."""
    if info.frames_estimate is None:
        return None
    rate = float(info.frame_rate)
    end = info.frames_estimate if span.end_s is None else min(info.frames_estimate, round(span.end_s * rate))
    return max(0, -(-(end - round(span.start_s * rate)) // span.stride))


def check_room(model: Model, info: VideoInfo, wish: VideoWish, out: Path) -> str | None:
    """What the arrays of every frame will take on disk, in a sentence; None where none are wanted.

    Raises:
        DoesNotFitError: more than is free there.
    """
    per_pixel = sum(FRAME_BYTES_PER_PIXEL.get((model.task.name, name), 0.0) for name in wish.formats)
    frames = frames_in(info, wish.span)
    if not per_pixel or frames is None:
        return None
    needed = round(per_pixel * info.width * info.height * frames)
    free = shutil.disk_usage(out).free
    sentence = f"{info.name}: {frames} frames of {info.width}x{info.height} take about {format_bytes(needed)} on disk"
    if needed > free:
        raise DoesNotFitError(
            f"{sentence}; {format_bytes(free)} are free; take fewer with --stride, --start and --end, or leave the "
            "formats per frame out"
        )
    return sentence


def _box_line(time_s: float | None, boxes: Boxes | None) -> dict[str, Any]:
    """Exact: a number of JSON comes back as the same float."""
    if boxes is None:
        return {"time_s": time_s}
    return {"time_s": time_s, "boxes": boxes[0].tolist(), "scores": boxes[1].tolist()}


def _boxes_of(path: Path) -> Iterator[tuple[float, Boxes]]:
    with path.open(encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            if "boxes" in line:
                boxes_P4 = np.array(line["boxes"], np.float64).reshape(-1, 4)
                yield line["time_s"], (boxes_P4, np.array(line["scores"], np.float64))
