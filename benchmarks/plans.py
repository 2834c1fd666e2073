"""Predicted tables of `docs/planning.md`: the published zoo on cards of several sizes, patch sizes and crops.

python benchmarks/plans.py [--only inference,patches,training]

Nothing runs but predictions; cold it takes some ten minutes on two cores, remembered a few seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

from vitruvian import zoo
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.plan_values import Plan
from vitruvian.hardware import Hardware
from vitruvian.hardware.catalogue import MACHINES
from vitruvian.models.sapiens import SIZES
from vitruvian.planning import footprints_for, plan, workload_of

BUDGETS_GB = (8, 12, 16, 24, 40, 80, 141)
HOST_BYTES = 128 * 10**9
KINDS = ("pose-{}-17", "pose-{}-133", "pose-{}-308", "seg-{}", "depth-{}", "normal-{}", "pretrain-{}")
SHAPES = (((1024, 768), 8), ((1024, 768), 16), ((1024, 768), 32), ((768, 576), 16), ((512, 384), 16))


def card(memory_gb: int) -> Hardware:
    """An A100 of another size, in a host of 128 GB."""
    machine = MACHINES["a100-80gb"]
    size = memory_gb * 10**9
    gpu = replace(machine.accelerators[0], name=f"{memory_gb} GB card", total_bytes=size, free_bytes=size)
    host = replace(machine.cpu, total_bytes=HOST_BYTES, free_bytes=HOST_BYTES)
    return replace(machine, cpu=host, accelerators=(gpu,))


def inference() -> Iterator[tuple[str, ...]]:
    """Peaks of every published network, and the largest batch by budget."""
    yield "model", "float32, 1", "bfloat16, 1", "bfloat16, 8", *(f"{size} GB" for size in BUDGETS_GB)
    for kind in KINDS:
        for name in filter(zoo.MODELS.__contains__, (f"sapiens-{kind.format(size)}" for size in SIZES)):
            footprints = footprints_for(workload_of(name), "cuda")
            single, half = footprints(Knobs()), footprints(Knobs(dtype="bfloat16"))
            peaks = single.peak_bytes(1), half.peak_bytes(1), half.peak_bytes(8)
            plans = [plan(name, machine=card(size)) for size in BUDGETS_GB]
            yield name, *map(_gb, peaks), *map(_batch, plans)


def patches() -> Iterator[tuple[str, ...]]:
    """The two patch sizes: tokens, inference, training without and with checkpointing, one picture each."""
    yield "size", "crop", "ViT patch", "tokens", "inference", "training", "training, checkpointed"
    for size in ("0.3b", "1b", "2b"):
        running = footprints_for(workload_of(f"sapiens-normal-{size}"), "cuda")
        learning = footprints_for(workload_of(f"sapiens-{size}", train="normal"), "cuda")
        for hw, patch in SHAPES:
            knobs = Knobs(dtype="bfloat16", input_hw=hw, patch_size=patch)
            plain = replace(knobs, training=TrainingKnobs(precision="autocast"))
            saving = replace(knobs, training=TrainingKnobs(precision="autocast", checkpointing="blocks"))
            peaks = running(knobs), learning(plain), learning(saving)
            tokens = str(hw[0] * hw[1] // patch**2)
            yield size, f"{hw[0]}x{hw[1]}", str(patch), tokens, *(_gb(one.peak_bytes(1)) for one in peaks)


def training() -> Iterator[tuple[str, ...]]:
    """What fine-tuning takes as published (batch 1 and 2), and what the planner does by budget."""
    yield "encoder, task", "as published", *(f"{size} GB" for size in BUDGETS_GB)
    for size in SIZES:
        for task in ("pose", "seg", "depth", "normal"):
            plans = [plan(f"sapiens-{size}", train=task, machine=card(memory)) for memory in BUDGETS_GB]
            one, two, *_ = (_gb(row.breakdown.total_bytes) for row in plans[0].rows)
            yield f"{size} {task}", f"{one} / {two}", *map(_way, plans)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f}"


def _batch(made: Plan) -> str:
    return f"{made.knobs.micro_batch}{' c' if made.knobs.chunked_head else ''}" if made.fits else "-"


def _way(made: Plan) -> str:
    training = made.knobs.training
    if not made.fits or training is None:
        return "-"
    words = {
        "pure": training.precision == "pure",
        training.trainable: training.trainable != "all",
        "ckpt": training.checkpointing == "blocks",
        "sel": training.checkpointing == "selective",
        "host": training.state == "host",
        "8bit": training.optimizer == "adamw-8bit",
        "crop {}x{}".format(*made.knobs.input_hw or ()): made.knobs.input_hw != (1024, 768),
    }
    return " ".join([word for word, said in words.items() if said] + [f"x{made.knobs.micro_batch}"])


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="inference,patches,training")
    for name in parser.parse_args().only.split(","):
        rows = {"inference": inference, "patches": patches, "training": training}[name]()
        print(f"\n## {name}\n")
        for place, row in enumerate(rows):
            print(f"| {' | '.join(row)} |", flush=True)
            if not place:
                print("|" + "---|" * len(row), flush=True)


if __name__ == "__main__":
    main()
