"""What an animation is made of in tests: a picture, a driving video with sound, and a source that knows the poses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from vitruvian.driving.persons import POINTS, FramePersons, nobody

SHADE = 90
"""Of frames; a frame tells its number by what it is brighter."""


@dataclass
class Known:
    """A skeleton in every frame, which moves by the frame's brightness; nobody in black frames."""

    identity: str = "known"
    frames: list[tuple[int, int]] = field(default_factory=list)

    def persons(self, frames: Iterable[np.ndarray]) -> Iterator[FramePersons]:
        for image_HW3 in frames:
            height, width = image_HW3.shape[:2]
            self.frames.append((height, width))
            shade = float(image_HW3.mean())
            if shade < 20:
                yield nobody((height, width))
                continue
            rng = np.random.default_rng(7)
            points_W2 = rng.uniform(0.25, 0.75, (POINTS, 2)) + np.array([0.0, 0.002 * (shade - SHADE)])
            points_W2 = points_W2 * (width, height)
            low_2, high_2 = points_W2.min(axis=0), points_W2.max(axis=0)
            yield FramePersons(
                points_PW2=points_W2[None],
                scores_PW=np.ones((1, POINTS)),
                boxes_P4=np.concatenate([low_2, high_2])[None],
                size_hw=(height, width),
            )


def write_picture(path: Path, size_hw: tuple[int, int] = (96, 72)) -> Path:
    """A picture with something in it."""
    noise_HW3 = np.random.default_rng(3).integers(0, 60, (*size_hw, 3))
    Image.fromarray((noise_HW3 + SHADE).astype(np.uint8)).save(path)
    return path


def write_drive(
    path: Path,
    frames: int = 5,
    *,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (64, 48),
    sound: bool = False,
    empty: tuple[int, ...] = (),
) -> Path:
    """A driving video; `empty`: numbers of black frames."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "4"}, width=width, height=height)
        stream.pix_fmt = "yuv420p"
        audio: Any = container.add_stream("aac", rate=48_000) if sound else None
        for number in range(frames):
            shade = 0 if number in empty else SHADE + 6 * (number % 25)
            image_HW3 = np.full((height, width, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image_HW3, format="rgb24")))
        container.mux(stream.encode())
        if audio is not None:
            tone = np.sin(np.arange(round(frames / rate * 48_000)) / 20).astype(np.float32)
            for start in range(0, len(tone), 1024):
                piece = tone[start : start + 1024]
                frame = av.AudioFrame.from_ndarray(np.stack([piece, piece]), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def read_video(path: Path) -> tuple[list[float], np.ndarray, bool]:
    """Times in s, frames uint8 (F,H,W,3), and whether there is sound."""
    with av.open(str(path)) as container:
        times, images = [], []
        for frame in container.decode(video=0):
            times.append(float(frame.time or 0.0))
            images.append(frame.to_ndarray(format="rgb24"))
        return times, np.stack(images), bool(container.streams.audio)
