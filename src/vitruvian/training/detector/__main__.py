"""Reproduce the nano detector: render synthetic people, train, write the weight file.

One process a core is fastest on a CPU:
`torchrun --standalone --nproc-per-node 2 -m vitruvian.training.detector RUN`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import torch

from vitruvian.hardware import probe
from vitruvian.models.detectors.nano import NANO_DETECTOR
from vitruvian.training.detector.batches import DetectorBatch, make_batch
from vitruvian.training.detector.network import trainable_detector
from vitruvian.training.detector.objective import detector_loss
from vitruvian.training.detector.pictures import rendered_pictures
from vitruvian.training.detector.recipe import DetectorRecipe
from vitruvian.training.detector.weights import write_weights
from vitruvian.training.loop import Loop
from vitruvian.training.nano.batches import Ahead
from vitruvian.training.optimizer import adamw, warmup_cosine
from vitruvian.training.ranks import join_ranks


def main() -> None:
    """Render (or reuse) the pictures, train (or resume) and write RUN/detector.safetensors."""
    parser = argparse.ArgumentParser(prog="python -m vitruvian.training.detector", description=__doc__)
    parser.add_argument("run", type=Path, help="folder for pictures, state, log and weights")
    parser.add_argument("--pictures", type=int, default=DetectorRecipe().pictures)
    parser.add_argument("--steps", type=int, default=DetectorRecipe().loop.steps)
    parser.add_argument("--batch", type=int, default=DetectorRecipe().batch, help="canvases per step and process")
    parser.add_argument("--threads", type=int, help="cores for each process [default: all, shared evenly]")
    parser.add_argument("--device", help="cpu, cuda, ... [default: the first accelerator, else the CPU]")
    parser.add_argument("--start-from", type=Path, help="state.pt of another run, whose averaged weights go on here")
    parser.add_argument("--render-only", action="store_true", help="stop after the pictures")
    arguments = parser.parse_args()
    recipe = DetectorRecipe(
        pictures=arguments.pictures,
        batch=arguments.batch,
        loop=replace(DetectorRecipe().loop, steps=arguments.steps),
    )
    if arguments.start_from:
        recipe = replace(recipe, late_from=0.0)  # the first phase is for weights that know nothing
    device = probe().device(arguments.device or probe().default_device).device
    train(
        recipe,
        arguments.run,
        device=device,
        threads=arguments.threads,
        start_from=arguments.start_from,
        render_only=arguments.render_only,
    )


def train(
    recipe: DetectorRecipe,
    run: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    start_from: Path | None = None,
    render_only: bool = False,
) -> None:
    """The whole job; every stage goes on where an earlier call stopped."""
    cpu = probe().cpu
    started = time.perf_counter()
    ranks = join_ranks()
    if ranks.leads:
        rendered_pictures(recipe, run / "pictures", workers=cpu.cores)
        (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")
    if render_only:
        return
    ranks.wait()
    pictures = rendered_pictures(recipe, run / "pictures", workers=1)
    cv2.setNumThreads(1)  # canvases are small, and threads of OpenCV would take cores from the network
    torch.set_num_threads(threads or max(1, cpu.cores // ranks.count))
    torch.manual_seed(recipe.seed)
    network = trainable_detector(NANO_DETECTOR)
    if start_from:
        network.load_state_dict(torch.load(start_from, weights_only=True, map_location="cpu")["average"])
    network.to(device)
    on_cpu = device == "cpu"

    def batch_of(step: int) -> DetectorBatch:
        return make_batch(pictures, recipe, recipe.phase(step), step * ranks.count + ranks.rank)

    make_ahead = cast(Callable[[int], DetectorBatch], Ahead(cast(Any, batch_of), threads=1 if on_cpu else cpu.cores))
    loop = Loop(
        config=recipe.loop,
        module=network,
        optimizer=adamw(network, lr=recipe.loop.lr, weight_decay=recipe.weight_decay),
        batch_of=lambda step: make_ahead(step).to(device),
        loss_of=partial(detector_loss, recipe=recipe, autocast_bf16=cpu.bf16 == "native" if on_cpu else True),
        rate_of=partial(warmup_cosine, steps=recipe.loop.steps, warmup=recipe.warmup),
        run=run,
        ranks=ranks,
    )
    average = loop.train()
    if not ranks.leads:
        return
    size_bytes = write_weights(average, NANO_DETECTOR, run / "detector.safetensors")
    print(f"wrote {size_bytes / 1e6:.2f} MB of weights after {(time.perf_counter() - started) / 60:.0f} minutes here")


if __name__ == "__main__":
    main()
