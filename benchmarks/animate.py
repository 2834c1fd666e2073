"""One clip through the published loop and through ours: time, peak memory and difference, side by side.

Random weights: time and memory are real. Each way in a process of its own, from maps to frames; finding poses is left
out. `tiny` is the size of the embedded network; `half` has half of the published widths at half of its sides.
"""

# Shape suffixes: F frames, H W frame, h w latents, 3 = RGB, 4 = latent channels.

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from made_clip import made_latents
from published_mimicmotion import published_frames
from side_by_side import Watch, conditions_line, print_table
from vitruvian.animating.type_calls import CODEC, DENOISER
from vitruvian.generation.denoising import first_latents
from vitruvian.generation.stages import Stages
from vitruvian.generation.strategy import Pilot, Wish
from vitruvian.generation.weights import find_weights
from vitruvian.hardware import Dtype, PeakWatch, free_memory_now, freed_memory_kept, open_meter
from vitruvian.models.mimicmotion import (
    NANO,
    PARTS,
    PUBLISHED,
    MimicMotionConfig,
    Part,
    build_scheduler,
    fresh_network,
    tensors_of,
)
from vitruvian.zoo import animation_metadata

SCALE, OVERLAP = 2.0, 6
WHOLE = PUBLISHED["1.1"]
HALF = replace(
    WHOLE,
    unet=replace(WHOLE.unet, block_out_channels=(160, 320, 640, 640), num_attention_heads=(5, 10, 20, 20)),
    vae=replace(WHOLE.vae, block_out_channels=(64, 128, 256, 256)),
    input_hw=(288, 512),
)
SIZES: dict[str, MimicMotionConfig] = {"tiny": replace(NANO, tile_frames=72), "half": HALF}
LOOP = "published loop"
OURS: dict[str, tuple[Wish, Dtype, bool]] = {
    "ours, sequential": ("sequential", "float32", False),
    "ours, batched": ("batched", "float32", False),
    "ours, auto, memory kept": ("auto", "float32", True),
    "ours, auto, bfloat16": ("auto", "bfloat16", False),
    "ours, auto, bfloat16, memory kept": ("auto", "bfloat16", True),
}
"""Strategy of guidance, compute type, and whether freed memory is kept."""


def write_random(config: MimicMotionConfig, path: Path) -> None:
    """Networks as their classes begin, in one file of ours."""
    torch.manual_seed(0)
    networks: dict[Any, nn.Module] = {part: fresh_network(part, config) for part in PARTS}
    with torch.no_grad():
        networks["pose_net"].get_submodule("final_proj").weight.normal_(0, 0.05)  # type: ignore[operator]
    tensors = {key: value.contiguous() for key, value in tensors_of(networks).items()}
    save_file(tensors, path, metadata=animation_metadata(config, "apache-2.0"))


def run_way(way: str, weights: Path, frames: int, steps: int, out: Path) -> dict[str, Any]:
    """One way; JSON-able. Frames go to `out`."""
    strategy, dtype, kept = OURS.get(way, ("sequential", "float32", False))
    stages = Stages(
        found=find_weights(weights),
        device="cpu",
        precision=DENOISER.precision(dtype),
        codec=CODEC.precision(dtype),
    )
    config = stages.found.spec.config
    height, width = config.input_hw
    rng = np.random.default_rng(0)
    image_HW3 = rng.integers(0, 256, (height, width, 3), np.uint8)
    maps_F3HW = rng.integers(0, 256, (frames, 3, height, width), np.uint8)
    noise = torch.randn(config.tile_frames, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    with PeakWatch(open_meter("cpu")) as watch:
        began = time.perf_counter()
        context_11D = stages.embedding(image_HW3)
        image_14hw = stages.image_latents(image_HW3, torch.zeros(1, 3, height, width), 0.0)
        if way == LOOP:
            made = [_published(stages, maps_F3HW, context_11D, image_14hw, noise, steps)]
        else:
            with freed_memory_kept() if kept else nullcontext():
                made = list(_ours(stages, strategy, maps_F3HW, context_11D, image_14hw, noise, steps))
        seconds = time.perf_counter() - began
    np.save(out, np.concatenate(made))
    return {"seconds": seconds, "peak_bytes": watch.peak_bytes - watch.baseline_bytes}


def _published(
    stages: Stages, maps_F3HW: np.ndarray, context_11D: Tensor, image_14hw: Tensor, noise: Tensor, steps: int
) -> np.ndarray:
    config, frames = stages.found.spec.config, len(maps_F3HW)
    tile = min(config.tile_frames, frames)  # where the original ends with an error
    parts: tuple[Part, ...] = ("unet", "pose_net", "vae")
    networks = {part: stages.found.build(part).network for part in parts}
    frames_F3HW = published_frames(
        networks["unet"],
        networks["pose_net"],
        networks["vae"],
        build_scheduler(config.scheduler),
        maps_F3HW=maps_F3HW,
        context_11D=context_11D,
        image_14hw=image_14hw,
        latents_F4hw=first_latents(noise, frames, 1.0),
        tile=tile,
        overlap=min(OVERLAP, tile - 2),
        steps=steps,
        scale=SCALE,
    )
    return frames_F3HW.transpose(0, 2, 3, 1)


def _ours(
    stages: Stages,
    wish: Wish,
    maps_F3HW: np.ndarray,
    context_11D: Tensor,
    image_14hw: Tensor,
    noise: Tensor,
    steps: int,
) -> Iterator[np.ndarray]:
    latents_F4hw = made_latents(
        stages,
        lambda frame: np.asarray(maps_F3HW[frame]),
        len(maps_F3HW),
        context_11D=context_11D,
        image_14hw=image_14hw,
        noise_T4hw=noise,
        steps=steps,
        scale=SCALE,
        overlap=OVERLAP - 1,
        pilot=Pilot(
            wish=wish, needed_bytes={"sequential": 0, "batched": 0}, free_bytes=lambda: free_memory_now("cpu")[1]
        ),
    )
    yield from stages.frames(latents_F4hw, 8, 0)


@contextmanager
def _weights(size: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{size}.safetensors"
        write_random(SIZES[size], path)
        yield path


def main() -> None:
    """Run all, or one way when called as a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 16, 72, 73, 100])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1, help="of every row; the fastest counts, the largest peak")
    parser.add_argument("--ways", nargs="+", choices=list(OURS), default=list(OURS), help="beside the loop's")
    parser.add_argument("--way")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        (frames,) = arguments.frames
        print(json.dumps(run_way(arguments.way, arguments.weights, frames, arguments.steps, arguments.out)))
        return
    rows: list[list[str]] = []
    watch = Watch()
    with _weights(arguments.size) as weights:
        for frames in arguments.frames:
            rows += _rows(arguments, weights, frames)
    print_table(["network", "frames", "way", "s", "speed", "peak GB", "of the loop's", "difference"], rows)
    print(conditions_line(watch.conditions()))


def _rows(arguments: argparse.Namespace, weights: Path, frames: int) -> Iterator[list[str]]:
    ways = (LOOP, *arguments.ways)
    # In turns, so that what else the machine does meets every way alike.
    runs = [{way: _child(way, weights, frames, arguments.steps) for way in ways} for _ in range(arguments.repeats)]
    best = {way: {key: [run[way][key] for run in runs] for key in ("seconds", "peak_bytes")} for way in ways}
    base = runs[0][LOOP]["frames"]
    base_s, base_bytes = min(best[LOOP]["seconds"]), max(best[LOOP]["peak_bytes"])
    for way in ways:
        seconds, peak_bytes = min(best[way]["seconds"]), max(best[way]["peak_bytes"])
        apart = np.abs(runs[0][way]["frames"] - base)
        row = [
            arguments.size,
            str(frames),
            way,
            f"{seconds:.1f}",
            f"{base_s / seconds:.2f}x",
            f"{peak_bytes / 1e9:.2f}",
            f"{peak_bytes / base_bytes:.2f}",
            f"{apart.mean():.2f} levels",
        ]
        print("  ".join(row), file=sys.stderr)
        yield row


def _child(way: str, weights: Path, frames: int, steps: int) -> dict[str, Any]:
    out = weights.with_name("frames.npy")
    command = [sys.executable, __file__, "--way", way, "--weights", str(weights), "--out", str(out)]
    command += ["--frames", str(frames), "--steps", str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) | {"frames": np.load(out).astype(int)}


if __name__ == "__main__":
    main()
