"""Small videos of every kind, made when a test asks for them; each frame tells its number by its brightness."""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 25
FINE = Fraction(1, 90_000)


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """uint8 RGB: a grey that grows with the number, a red corner at the top left, noise that no two frames share."""
    image_HW3 = np.full((height, width, 3), 40 + number * 5 % 160, np.uint8)
    noise = np.random.default_rng(number).integers(0, 24, (height, width, 1))
    image_HW3 = (image_HW3 + noise).astype(np.uint8)
    image_HW3[: height // 4, : width // 4] = (220, 20, 20)
    return image_HW3


def encode_click(container: Any, stream: Any, *, seconds: float, click_s: float) -> None:
    """Silence with one click, so that its place in time can be heard."""
    import av

    rate = stream.codec_context.sample_rate
    samples = np.zeros(round(seconds * rate), np.float32)
    samples[round(click_s * rate) : round(click_s * rate) + 480] = 0.8
    for start in range(0, len(samples), 1024):
        piece = samples[start : start + 1024]
        frame = av.AudioFrame.from_ndarray(np.stack([piece, piece]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write a video and give its path; every argument has a plain default."""
    import av

    def made(
        name: str = "clip.mp4",
        *,
        frames: int = 30,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        pixels: str = "yuv420p",
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        times_s: Sequence[Fraction] | None = None,
        gop: int = 10,
        b_frames: int = 2,
        turn: tuple[float, bool, bool] | None = None,
        images: Callable[[int], np.ndarray] | None = None,
        sound: str | None = None,
        click_s: float = 0.5,
    ) -> Path:
        path = tmp_path / name
        width, height = size
        with av.open(str(path), "w", container_options=container_options or {}) as container:
            stream: Any = container.add_stream(codec, rate=RATE, options=options or {}, width=width, height=height)
            stream.pix_fmt = pixels
            context = stream.codec_context
            context.gop_size = gop
            if codec in ("libx264", "mpeg4"):
                context.max_b_frames = b_frames
            if times_s is not None:
                context.time_base = FINE
            if turn is not None:
                degrees, mirror_x, mirror_y = turn
                stream.set_display_rotation(degrees, hflip=mirror_x, vflip=mirror_y)
            audio = None if sound is None else container.add_stream(sound, rate=48_000)
            for number in range(frames):
                image = picture(number, width, height) if images is None else images(number)
                frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
                if times_s is not None:
                    frame.pts, frame.time_base = round(times_s[number] / FINE), FINE
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if audio is not None:
                encode_click(container, audio, seconds=frames / RATE, click_s=click_s)
        return path

    return made
