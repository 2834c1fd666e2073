"""What fine-tuning gains on another domain, by what learns and by patch size: a table of `docs/fine-tuning.md`.

python benchmarks/finetuning_domain.py FOLDER [--steps 300] [--train 400] [--held-out 100]

The embedded normals network, trained on rendered people in colour, meets a thermal camera: persons are bright, rooms
are dark, there is no colour. Trained and held-out pictures come from different seeds; the numbers are those of
`vitruvian eval` at source size. On two cores: half an hour, two thirds of it for patch 8.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vitruvian.media.png import encode_png
from vitruvian.people import random_scene, render

SIDE_HW = (256, 192)
MODEL = "sapiens-normal-nano"
TRAIN_SEED, HELD_OUT_SEED = 500_000, 700_000
SETTINGS = (
    "batch_size=16 lr=3e-4 layer_decay=1 weight_decay=0.05 validation_limit=0 log_every=50 augment.resize=[0.8,1.25]"
)
ROWS = {
    "full": "",
    "LoRA and head": "trainable=lora",
    "head only": "trainable=head",
    "full, patch 8": "patch_size=8",
    "full, patch 32": "patch_size=32",
}
SHOWN = ("mean deg", "median deg", "below 11.25 deg", "below 30 deg")


def write_sample(folder: Path, seed: int) -> None:
    """One picture as a thermal camera might show it, its normals and the person's mask."""
    view = render(random_scene(seed, height=SIDE_HW[0], width=SIDE_HW[1], framing="full"))
    rng = np.random.default_rng(seed)
    person_HW = view.part_labels_HW > 0
    facing_HW = np.clip(-view.normals_HW3[..., 2], 0, 1)
    gray_HW = cv2.cvtColor(view.image_HW3, cv2.COLOR_RGB2GRAY).astype(np.float32)
    warm_HW = np.where(person_HW, 130 + 70 * facing_HW + 0.15 * gray_HW, 20 + 0.25 * (255 - gray_HW))
    level_HW = cv2.GaussianBlur(warm_HW.astype(np.float32), (0, 0), 1.0) + rng.normal(0, 6, person_HW.shape)
    image_HW3 = np.repeat(np.clip(level_HW, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    (folder / "images" / f"{seed}.png").write_bytes(encode_png(image_HW3))
    (folder / "masks" / f"{seed}.png").write_bytes(encode_png(person_HW.astype(np.uint8) * 255))
    np.save(folder / "normals" / f"{seed}.npy", view.normals_HW3.astype(np.float32))


def write_set(folder: Path, first: int, count: int) -> None:
    """A data set in the published layout; nothing where it is there already."""
    if folder.exists():
        return
    for name in ("images", "masks", "normals"):
        (folder / name).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write_sample, folder), range(first, first + count)))


def vitruvian(*arguments: object) -> str:
    """Run the command line; its output."""
    done = subprocess.run([sys.executable, "-m", "vitruvian", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def scores(model: str | Path, data: Path) -> list[str]:
    """The numbers of an evaluation."""
    numbers = json.loads(vitruvian("eval", model, data, "--task", "normal", "--json"))["numbers"]
    return [f"{numbers[name]:.3g}" for name in SHOWN]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=100)
    arguments = parser.parse_args()
    train, held_out = arguments.folder / "train", arguments.folder / "held-out"
    write_set(train, TRAIN_SEED, arguments.train)
    write_set(held_out, HELD_OUT_SEED, arguments.held_out)
    print(f"| {arguments.steps} steps of 16 | {' | '.join(SHOWN)} | images/s | peak |\n|---|---|---|---|---|---|---|")
    print(f"| before | {' | '.join(scores(MODEL, held_out))} | | |", flush=True)
    for place, (name, settings) in enumerate(ROWS.items()):
        run = arguments.folder / f"run-{place}"
        own = [*SETTINGS.split(), f"steps={arguments.steps}", *settings.split()]
        vitruvian("finetune", "--task", "normal", "--model", MODEL, "--data", train, "-o", run, "--overwrite", *own)
        outcome = json.loads((run / "run.json").read_text(encoding="utf-8"))["outcome"]
        pace = f"{outcome['images_per_s']:.3g} | {outcome['peak_bytes'] / 1e9:.2f} GB"
        print(f"| {name} | {' | '.join(scores(run, held_out))} | {pace} |", flush=True)


if __name__ == "__main__":
    main()
