"""A training run as a program: arguments, pictures, one process a core, weights at the end.

In: a recipe and the functions of a network. Out: a folder with pictures, state, log and weights. The network dominates
time, and before that the rendering of its pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitruvian.fit.knobs import TrainingKnobs
from vitruvian.hardware import probe
from vitruvian.training.ahead import Ahead
from vitruvian.training.loop import Loop
from vitruvian.training.optimizers import make_optimizer
from vitruvian.training.parameter_groups import parameter_groups
from vitruvian.training.ranks import join_ranks
from vitruvian.training.recipe import Recipe
from vitruvian.training.schedules import Cosine

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def read_arguments(module: str, description: str | None, recipe: AnyRecipe) -> tuple[AnyRecipe, dict[str, Any]]:
    """The recipe as the command line changes it, and the options of `train`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("run", type=Path, help="folder for pictures, state, log and weights")
    parser.add_argument("--pictures", type=int, default=recipe.pictures)
    parser.add_argument("--steps", type=int, default=recipe.loop.steps)
    parser.add_argument("--batch", type=int, default=recipe.batch, help="canvases per step and process")
    parser.add_argument("--threads", type=int, help="cores for each process [default: all, shared evenly]")
    parser.add_argument("--device", help="cpu, cuda, ... [default: the first accelerator, else the CPU]")
    parser.add_argument("--start-from", type=Path, help="state.pt of another run, whose averaged weights go on here")
    parser.add_argument("--render-only", action="store_true", help="stop after the pictures")
    options = vars(parser.parse_args())
    options["device"] = probe().device(options["device"] or probe().default_device).device
    loop = replace(recipe.loop, steps=options.pop("steps"))
    return replace(recipe, pictures=options.pop("pictures"), batch=options.pop("batch"), loop=loop), options


def train(
    recipe: AnyRecipe,
    run: Path,
    *,
    rendered: Callable[..., Any],
    network: Callable[[], nn.Module],
    batch_of: Callable[[Any, AnyRecipe, int, int], Any],
    loss: Callable[..., tuple[Tensor, Mapping[str, float]]],
    write: Callable[[Mapping[str, Tensor], Path], int],
    device: str = "cpu",
    threads: int | None = None,
    start_from: Path | None = None,
    render_only: bool = False,
) -> None:
    """The whole job; every stage goes on where an earlier call stopped.

    Args:
        run: folder for pictures, state, log and weights.
        rendered: (recipe, folder, workers=) -> pictures, rendering what is not on disk yet.
        network: makes the network to begin with.
        batch_of: (pictures, recipe, step, number) -> dataclass of tensors; pure; processes differ in numbers.
        loss: (network, batch, recipe=, autocast_bf16=) -> scalar loss and numbers worth logging.
        write: (averaged weights, run) -> bytes of the weight files that it wrote.
        device: of torch.
        threads: cores for each process; None: all, shared evenly.
        start_from: `state.pt` of another run, whose averaged weights go on here.
        render_only: stop after the pictures.
    """
    started, cpu, ranks = time.perf_counter(), probe().cpu, join_ranks()
    if ranks.leads:
        rendered(recipe, run / "pictures", workers=cpu.cores)
        (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")
    if render_only:
        return
    ranks.wait()
    pictures = rendered(recipe, run / "pictures", workers=1)
    cv2.setNumThreads(1)  # canvases are small, and threads of OpenCV would take cores from the network
    torch.set_num_threads(threads or max(1, cpu.cores // ranks.count))
    torch.manual_seed(recipe.seed)
    module = network()
    if start_from:
        module.load_state_dict(torch.load(start_from, weights_only=True, map_location="cpu")["average"])
    module.to(device)
    on_cpu = device == "cpu"
    ahead = 1 if on_cpu else cpu.cores
    make_ahead = Ahead(lambda step: batch_of(pictures, recipe, step, step * ranks.count + ranks.rank), threads=ahead)
    loop = Loop(
        config=recipe.loop,
        module=module,
        optimizer=_optimizer(module, recipe),
        batch_of=lambda step: _on_device(make_ahead(step), device),
        loss_of=partial(loss, recipe=recipe, autocast_bf16=cpu.bf16 == "native" if on_cpu else True),
        rate_of=Cosine(steps=recipe.loop.steps, warmup=min(recipe.warmup, recipe.loop.steps // 10)),
        run=run,
        ranks=ranks,
    )
    average = loop.train()
    if ranks.leads:
        minutes = (time.perf_counter() - started) / 60
        print(f"wrote {write(average, run) / 1e6:.2f} MB of weights after {minutes:.0f} minutes here")


def _optimizer(module: nn.Module, recipe: Recipe) -> Optimizer:
    groups = parameter_groups(module, (), weight_decay=recipe.weight_decay)
    return make_optimizer(groups, TrainingKnobs(), recipe.loop.lr)


def _on_device(batch: Any, device: str) -> Any:
    return replace(batch, **{field.name: getattr(batch, field.name).to(device) for field in fields(batch)})
