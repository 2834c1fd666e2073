"""A long video costs no more memory than a short one: reading, drawing, joining."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.hardware.process_memory import process_memory, trim_heap
from vitruvian.media.video.joining import joined
from vitruvian.media.video.lines import LineWriter
from vitruvian.media.video.reading import read_frames
from vitruvian.media.video.writing import SegmentWriter

av: Any = pytest.importorskip("av")

FRAMES = 4000
GROWTH_BYTES = 6_000_000
"""What the second half may add: 2000 frames of 96x72 are 41 MB as RGB; lists of segments and the heap's own unrest."""


def resident_bytes() -> int:
    trim_heap()
    return process_memory().private_bytes


def test_the_second_half_of_a_long_video_takes_no_more_memory(make_video: Callable[..., Path]) -> None:
    path = make_video(
        "long.mkv",
        frames=FRAMES,
        size=(96, 72),
        gop=50,
        options={"preset": "ultrafast"},
        images=lambda number: np.full((72, 96, 3), number % 200, np.uint8),
        sound="aac",
    )
    levels: list[int] = []
    with (
        read_frames(path) as reader,
        SegmentWriter(path.with_name("work")) as writer,
        LineWriter(path.with_name("lines.jsonl")) as lines,
    ):
        for frame in reader:
            writer.write(frame.image_HW3, frame.time_s)
            lines.append({"frame": frame.number, "time_s": frame.time_s})
            if frame.number % 1000 == 999:
                levels.append(resident_bytes())
        segments = writer.finish()
    assert len(levels) == FRAMES // 1000
    assert max(levels[2:]) - max(levels[:2]) < GROWTH_BYTES
    before = resident_bytes()
    done = joined(segments, path.with_name("out.mp4"), audio_from=path)
    assert done.frames == FRAMES
    assert resident_bytes() - before < GROWTH_BYTES
