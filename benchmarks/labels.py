"""Labels at 4K: 28-class logits 512x384 -> 3840x2160 labels, our border-only method against upsample-then-arg-max.

The usual way is bound by memory traffic: all classes at source size. Time is measured in one process, interleaved;
extra memory in a fresh process per method, as the growth of its resident memory's high-water mark during the call
(reset first; Linux only, elsewhere the columns stay empty). Run: python benchmarks/labels.py
"""

# Shape suffixes: C classes, h w logits size, H W source size.

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from side_by_side import interleaved_best
from vitruvian.hardware.host import usable_cores
from vitruvian.tasks.upsample_labels import upsample_labels

CLASSES, LOGITS_HW, SOURCE_HW = 28, (512, 384), (2160, 3840)
THREADS = min(2, usable_cores())
BLOB_PX = 24
"""Size of the random blobs in logits pixels: more border than the outlines of a person have."""


def smooth_logits(seed: int = 0) -> Tensor:
    """Random logits (C,h,w) whose classes form blobs, with a little noise on top."""
    torch.manual_seed(seed)
    coarse = torch.randn(1, CLASSES, LOGITS_HW[0] // BLOB_PX, LOGITS_HW[1] // BLOB_PX)
    logits_Chw = functional.interpolate(coarse, LOGITS_HW, mode="bicubic")[0] * 5
    return logits_Chw.add_(torch.randn(LOGITS_HW) * 0.02)


def upsample_then_argmax(logits_Chw: Tensor, source_hw: tuple[int, int]) -> Tensor:
    """The usual way: every class at source size, then arg-max."""
    upsampled = functional.interpolate(logits_Chw[None], source_hw, mode="bilinear", align_corners=False)
    return upsampled[0].argmax(dim=0).to(torch.uint8)


METHODS = {"usual": upsample_then_argmax, "ours": upsample_labels}


def border_share(logits_Chw: Tensor) -> float:
    """Share of cells whose four corners do not agree on a class."""
    label_hw = logits_Chw.argmax(dim=0)
    same = (label_hw[:-1, :-1] == label_hw[1:, :-1]) & (label_hw[:-1, :-1] == label_hw[:-1, 1:])
    return 1 - float((same & (label_hw[:-1, :-1] == label_hw[1:, 1:])).float().mean())


def _memory_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"no {field} in the process status")


def extra_bytes_here(method: str) -> int | None:
    """Growth of this process' peak resident memory while the method runs once; None where it cannot be read."""
    torch.set_num_threads(THREADS)
    logits_Chw = smooth_logits()
    METHODS[method](logits_Chw[:, :32, :32].contiguous(), (64, 64))
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before_kib = _memory_kib("VmRSS")
        METHODS[method](logits_Chw, SOURCE_HW)
        return (_memory_kib("VmHWM") - before_kib) * 1024
    except OSError:
        return None


def _extra_bytes(method: str) -> int | None:
    command = [sys.executable, str(Path(__file__).resolve()), "--memory-of", method]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def measure(rounds: int = 5) -> dict[str, Any]:
    """Time and memory of both methods, and how many labels differ; returns one JSON-able row with its conditions."""
    torch.set_num_threads(THREADS)
    logits_Chw = smooth_logits()
    labels: dict[str, Tensor] = {}

    def run(method: str) -> None:
        labels[method] = METHODS[method](logits_Chw, SOURCE_HW)

    best = interleaved_best({"usual": lambda: run("usual"), "ours": lambda: run("ours")}, rounds)
    extra = {method: _extra_bytes(method) for method in METHODS}
    return {
        "benchmark": "labels",
        "classes": CLASSES,
        "logits_hw": LOGITS_HW,
        "source_hw": SOURCE_HW,
        "border_share": round(border_share(logits_Chw), 4),
        "threads": THREADS,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "rounds": rounds,
        "usual_s": round(best["usual"].wall_s, 4),
        "ours_s": round(best["ours"].wall_s, 4),
        "speed_up": round(best["usual"].wall_s / best["ours"].wall_s, 1),
        "usual_extra_bytes": extra["usual"],
        "ours_extra_bytes": extra["ours"],
        "different_labels": int((labels["usual"] != labels["ours"]).sum()),
    }


def main() -> None:
    """Print a table and one JSON line."""
    row = measure()
    print(f"{CLASSES} classes, {LOGITS_HW} -> {SOURCE_HW}, {row['border_share']:.1%} border cells, {THREADS} threads")
    print(f"{'method':<26}{'seconds':>10}{'speed-up':>10}{'extra MiB':>12}")
    for name, title, speed_up in (("usual", "upsample all, arg-max", 1.0), ("ours", "border only", row["speed_up"])):
        extra = row[f"{name}_extra_bytes"]
        memory = "unknown" if extra is None else f"{extra / 2**20:.0f}"
        print(f"{title:<26}{row[f'{name}_s']:>10.3f}{speed_up:>10.1f}{memory:>12}")
    print(f"{row['different_labels']} labels differ")
    print(json.dumps(row))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory-of"]:
        print(json.dumps(extra_bytes_here(sys.argv[2])))
    else:
        main()
