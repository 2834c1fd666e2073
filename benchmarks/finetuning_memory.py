"""Peaks of real fine-tuning runs beside their predictions, knob by knob: the tables of `docs/fine-tuning.md`.

python benchmarks/finetuning_memory.py [--model sapiens-normal-0.3b] [--crop 512x384] [--device cpu] [--only "A;B"]

Random weights, rendered people, two optimizer steps a row, each row in a process of its own. On two cores, 0.3b at
512x384: a quarter of an hour and 11 GB. Rows that run out of memory stay in the table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vitruvian.hardware import format_bytes
from vitruvian.media.png import encode_png
from vitruvian.people import random_scene, render

PLAIN = "dtype=float32 checkpointing=none micro_batch=1 batch_size=1"
AUTOCAST = "dtype=bfloat16 precision=autocast micro_batch=1 batch_size=1"
PURE = "dtype=bfloat16 precision=pure micro_batch=1 batch_size=1"
ROWS = {
    "float32": PLAIN,
    "float32, batch 2": "dtype=float32 checkpointing=none micro_batch=2 batch_size=2",
    "float32, accumulation 2": "dtype=float32 checkpointing=none micro_batch=1 batch_size=2",
    "float32, materialised attention": f"{PLAIN} attention=materialised",
    "float32, foreach AdamW": f"{PLAIN} optimizer=adamw-foreach",
    "float32, checkpointed": f"{PLAIN} checkpointing=blocks",
    "float32, selective": f"{PLAIN} checkpointing=selective",
    "float32, gradients released": f"{PLAIN} gradients=released",
    "bfloat16 autocast": f"{AUTOCAST} checkpointing=none",
    "bfloat16 autocast, checkpointed": f"{AUTOCAST} checkpointing=blocks",
    "pure bfloat16": f"{PURE} checkpointing=none",
    "pure bfloat16, checkpointed": f"{PURE} checkpointing=blocks",
    "pure bfloat16, 8-bit state": f"{PURE} checkpointing=none optimizer=adamw-8bit",
    "LoRA": f"{AUTOCAST} checkpointing=none trainable=lora",
    "half frozen": f"{AUTOCAST} checkpointing=none trainable=half",
    "head only": f"{AUTOCAST} checkpointing=none trainable=head",
}


def write_data(folder: Path, count: int = 8) -> None:
    """Pictures and normals in the plain layout."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for seed in range(count):
        view = render(random_scene(seed, height=384, width=288, framing="full"))
        (folder / "images" / f"{seed:03d}.png").write_bytes(encode_png(view.image_HW3))
        person_HW1 = view.part_labels_HW[..., None] > 0
        np.save(folder / "labels" / f"{seed:03d}.npy", np.where(person_HW1, view.normals_HW3, -1000).astype(np.float32))


def measured(model: str, data: Path, run: Path, settings: str, crop: str, device: str) -> tuple[str, ...]:
    """One row: predicted, measured, difference, pace."""
    options = ["--task", "normal", "--model", model, "--data", str(data), "-o", str(run), "--device", device]
    recipe = ["steps=2", "validation_limit=0", "log_every=1", "checkpoint_minutes=1000", f"crop={crop}"]
    command = [sys.executable, "-m", "vitruvian", "finetune", *options, "--random-weights", "-q", *recipe]
    done = subprocess.run([*command, *settings.split()], capture_output=True, text=True, check=False)
    document = json.loads((run / "run.json").read_text(encoding="utf-8")) if (run / "run.json").exists() else {}
    outcome = document.get("outcome")
    if outcome is None:
        reason = done.stderr.strip().splitlines()[-1][:90] if done.stderr.strip() else "no reason given"
        return "-", "-", "-", f"failed: {reason}"
    predicted, peak = document["predicted_bytes"], outcome["peak_bytes"]
    pace = f"{outcome['images_per_s']:.2g}"
    return format_bytes(predicted), format_bytes(peak), f"{predicted / peak - 1:+.1%}", pace


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sapiens-normal-0.3b")
    parser.add_argument("--crop", default="512x384")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", help="rows, with ; between them")
    arguments = parser.parse_args()
    names = arguments.only.split(";") if arguments.only else list(ROWS)
    print(
        f"| {arguments.model}, {arguments.crop} | predicted | measured | difference | images/s |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_data(data)
        for place, name in enumerate(names):
            run = Path(folder) / f"run-{place}"
            cells = measured(arguments.model, data, run, ROWS[name], arguments.crop, arguments.device)
            shutil.rmtree(run, ignore_errors=True)  # its state is as large as the network in training
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
