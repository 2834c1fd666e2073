"""What a video becomes: files that grow frame by frame in a working folder, and take their places at the end.

In: frames that are ready, in order. Out: `<name>.<kind>.mp4`, `.jsonl` with its description, `.csv`, `.coco.json`. At a
checkpoint all of it is in one state, to which a killed run goes back. Encoding dominates.
"""

# Shape suffixes: P persons, H W picture size, 3 = RGB, 4 = x0 y0 x1 y1.

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitruvian.media.atomic import write_atomic
from vitruvian.media.closing import Closing
from vitruvian.media.documents import json_text
from vitruvian.media.items import Failure
from vitruvian.media.ledger import Ledger
from vitruvian.media.names import output_name
from vitruvian.media.video.joining import joined
from vitruvian.media.video.lines import LineWriter
from vitruvian.media.video.writing import SegmentWriter
from vitruvian.tasks.pose_csv import csv_header, csv_lines
from vitruvian.tasks.pose_files import FORMAT_VERSION, coco_results
from vitruvian.videos.followers import Boxes
from vitruvian.videos.streams import Stream
from vitruvian.videos.wish import COCO, DRAWN, LINES, TABLE, VideoWish
from vitruvian.videos.workplace import Workplace

FORMAT, VERSION = "vitruvian-video", 1
"""Of the lines; the version grows when a reader would have to change."""

MOST_SAID = 5
"""Failed frames that are named; the lines hold all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """One frame, ready to be appended."""

    line: dict[str, Any]
    drawn_HW3: np.ndarray | None
    time_s: float
    about: dict[str, Any]
    """What stands beside the lines, once for all of them."""
    files: tuple[str, ...]
    """Written for this frame alone."""


class Outputs(Closing):
    """The growing files of one video."""

    def __init__(self, work: Workplace, stream: Stream, wish: VideoWish, kind: str, out: Path, ledger: Ledger) -> None:
        """Open what is there, or begin it."""
        self._work, self._stream, self._wish, self._out, self._ledger = work, stream, wish, out, ledger
        self._stem = f"{output_name(stream.name)}.{kind}"
        self._about = work.folder / "about.json"
        self._writer = SegmentWriter(work.folder / "drawn", frames_per_segment=1 << 30)
        self._lines = LineWriter(work.folder / "lines")
        self._boxes = LineWriter(work.folder / "boxes")
        self.files: list[str] = []
        """In their places, relative to the output folder."""
        self.notes: list[str] = []
        """What a user may not expect of them."""
        self.persons = 0
        self.failed = 0
        """Frames that could not be used."""
        self.said: list[str] = []
        """Why, of the first of them."""
        self.lines_bytes = 0
        """Of the lines appended in this run."""

    def close(self) -> None:
        """Leave the working files as they are; may be called again."""
        for growing in (self._writer, self._lines, self._boxes):
            growing.close()

    def resume(self) -> tuple[int, float | None, dict[str, np.ndarray]]:
        """Go back to the last checkpoint: frames that are done, the time of the last, what the follower remembers."""
        state = self._work.state()
        done, drawn = state["frames"].tolist() if state else (0, 0)
        whole = self._writer.keep(drawn) == drawn and self._lines.frames >= done and self._boxes.frames >= done
        if not whole:  # somebody removed a piece
            done = self._writer.keep(0)
        self._lines.keep(done)
        self._boxes.keep(done)
        if not done:
            return 0, None, {}
        return done, self._count_again(), {key: value for key, value in state.items() if key != "frames"}

    def append(self, number: int, outcome: Ready | Failure, boxes: Boxes | None) -> None:
        """The next frame; `boxes`: the candidates found in it."""
        if isinstance(outcome, Failure):
            line = {"frame": number, "failed": outcome.reason}
            self._lines.append(line)
            self._boxes.append(_box_line(None, None))
            self._count(line)
            return
        if not self._about.is_file():
            write_atomic(self._about, json_text(outcome.about).encode("utf-8"))
        self._lines.append(outcome.line)
        self._boxes.append(_box_line(outcome.time_s, boxes))
        self._count(outcome.line)
        self.lines_bytes += len(self._lines.last or b"")

    def draw(self, outcome: Ready) -> None:
        """The same frame in the drawn video."""
        if outcome.drawn_HW3 is not None:
            self._writer.write(outcome.drawn_HW3, outcome.time_s)

    def checkpoint(self, done: int, remembered: dict[str, np.ndarray]) -> None:
        """Bring everything to one state after `done` frames."""
        self._writer.finish()
        self._work.save({"frames": np.array([done, self._writer.frames])} | remembered)

    def earlier_boxes(self) -> Iterator[tuple[float, Boxes]]:
        """Times and candidates of the frames that are done."""
        with (self._work.folder / "boxes").open(encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                if "boxes" in line:
                    boxes_P4 = np.array(line["boxes"], np.float64).reshape(-1, 4)
                    yield line["time_s"], (boxes_P4, np.array(line["scores"], np.float64))

    def finish(self) -> None:
        """Put everything in its place."""
        formats = self._wish.formats
        if DRAWN in formats and self._writer.frames:
            path = self._begin("mp4")
            written = joined(self._writer.finish(), path, audio_from=self._stream.sound, span=self._wish.span)
            self.notes += [*self._writer.notes, *written.notes]
        if not self._about.is_file():
            return  # not one frame could be used
        if TABLE in formats:
            write_atomic(self._begin("csv"), self._write_table)
        if COCO in formats:
            write_atomic(self._begin("coco.json"), self._write_coco)
        if LINES in formats:
            path = self._begin("jsonl")
            write_atomic(self._begin("jsonl.json"), self._description())
            self._lines.finish(path)

    def _begin(self, suffix: str) -> Path:
        name = f"{self._stem}.{suffix}"
        self._ledger.announce(name)
        self.files.append(name)
        return self._out / name

    def _count(self, line: dict[str, Any]) -> None:
        self.persons += len(line.get("persons", ()))
        if "failed" in line:
            self.failed += 1
            if len(self.said) < MOST_SAID:
                self.said.append(f"frame {line['frame']}: {line['failed']}")

    def _count_again(self) -> float | None:
        """Persons and failures of the frames before; gives the time of the last of them."""
        time_s = None
        for line in self._all_lines():
            time_s = line.get("time_s")
            self._count(line)
        return time_s

    def _all_lines(self) -> Iterator[dict[str, Any]]:
        with (self._work.folder / "lines").open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def _documents(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every frame as `pose.json` has it."""
        about = json.loads(self._about.read_text(encoding="utf-8"))
        head = {"format": "vitruvian-pose", "version": FORMAT_VERSION, **about}
        for line in self._all_lines():
            if "failed" not in line:
                yield line["frame"], {**head, "time_s": line["time_s"], "instances": line["persons"]}

    def _write_table(self, file: BinaryIO) -> None:
        """The persons of all frames, a row per keypoint."""
        file.write(csv_header().encode())
        for _, document in self._documents():
            file.write(csv_lines(document, self._stream.name).encode("utf-8", "backslashreplace"))

    def _write_coco(self, file: BinaryIO) -> None:
        """The persons of all frames as COCO results; the image id is the frame's number."""
        file.write(b"[")
        first = True
        for number, document in self._documents():
            for entry in coco_results(document, number):
                file.write((b"" if first else b",\n") + json.dumps(entry).encode())
                first = False
        file.write(b"]\n")

    def _description(self) -> bytes:
        """What the lines are about."""
        about = json.loads(self._about.read_text(encoding="utf-8"))
        for of_one_frame in ("time_s", "persons"):
            about.pop(of_one_frame, None)
        span, live = self._wish.span, self._stream.live()
        head = {"format": FORMAT, "version": VERSION, "frame_rate": self._stream.frame_rate}
        part = {"start_s": span.start_s, "end_s": span.end_s, "stride": span.stride}
        followed = {"tracked": self._wish.track, "smoothed": self._wish.smooth}
        return json_text({**head, **about, "span": part, **followed, **({"camera": live} if live else {})}).encode()


def _box_line(time_s: float | None, boxes: Boxes | None) -> dict[str, Any]:
    """Exact: a number of JSON comes back as the same float."""
    if boxes is None:
        return {"time_s": time_s}
    return {"time_s": time_s, "boxes": boxes[0].tolist(), "scores": boxes[1].tolist()}
