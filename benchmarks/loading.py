"""Peak host memory while a published size is loaded, against the larger of its file and its parameters in memory.

Weights are noise, written into a temporary folder, one file at a time. Each file is loaded in a fresh process: the
high-water mark of its resident memory (mapped pages of the file included) is reset before, every parameter is read once
after, as a first picture would, and what the process held before (interpreter, torch) is subtracted. Linux only.
Run: python benchmarks/loading.py [--sizes 0.3b,1b] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from side_by_side import Watch, conditions_line, print_json, print_table, random_network
from vitruvian import zoo
from vitruvian.weights import load_weights

KINDS = ("float32.safetensors", "float32.pth", "bfloat16.safetensors")
AIM = 1.2
"""Largest accepted ratio of the peak to the larger of file and parameters."""


def write_weights(size: str, path: Path) -> None:
    """Random weights of the segmentation network of this size, as a published file has them."""
    network = random_network(zoo.sapiens_config(zoo.find(f"sapiens-seg-{size}")))
    dtype = torch.bfloat16 if path.name.endswith(KINDS[2]) else torch.float32
    state = {key: value.to(dtype) for key, value in network.state_dict().items()}
    if path.suffix == ".pth":
        torch.save({"meta": {}, "state_dict": state}, path)
    else:
        save_file(state, path)


def load_here(path: Path) -> dict[str, Any]:
    """Load a file as `vitruvian.load` does and read every parameter once; bytes and seconds of this process."""
    load_weights("sapiens-seg-nano")
    Path("/proc/self/clear_refs").write_text("5")
    before_bytes, start_s = _memory_bytes("VmRSS"), time.perf_counter()
    loaded = load_weights(path)
    loading_s = time.perf_counter() - start_s
    parameters = list(loaded.network.parameters())
    for parameter in parameters:
        parameter.sum()
    return {
        "file_bytes": path.stat().st_size,
        "parameter_bytes": sum(parameter.nbytes for parameter in parameters),
        "before_bytes": before_bytes,
        "peak_bytes": _memory_bytes("VmHWM") - before_bytes,
        "seconds": round(loading_s, 2),
    }


def _memory_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in the process status")


def measure(size: str, kind: str, folder: Path) -> dict[str, Any]:
    """Write, load in a fresh process and remove one file; a JSON-able row."""
    path = folder / f"sapiens-seg-{size}.{kind}"
    here = str(Path(__file__).resolve())
    try:
        subprocess.run([sys.executable, here, "--write", size, str(path)], check=True)
        answer = subprocess.run([sys.executable, here, "--load", str(path)], capture_output=True, text=True, check=True)
    finally:
        path.unlink(missing_ok=True)
    row = json.loads(answer.stdout)
    larger = max(row["file_bytes"], row["parameter_bytes"])
    return {"size": size, "kind": kind, **row, "ratio": round(row["peak_bytes"] / larger, 3)}


def main() -> None:
    """Print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0.3b", help="comma list of published sizes")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"comma list of {', '.join(KINDS)}")
    parser.add_argument("--folder", type=Path, help="where to write the files [the system's temporary folder]")
    parser.add_argument("--write", nargs=2, metavar=("SIZE", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, metavar="PATH", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        return write_weights(arguments.write[0], Path(arguments.write[1]))
    if arguments.load:
        return print(json.dumps(load_here(arguments.load)))

    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="vitruvian-loading-", dir=arguments.folder) as folder:
        rows = [
            measure(size, kind, Path(folder))
            for size in arguments.sizes.split(",")
            for kind in arguments.kinds.split(",")
        ]
    found = watch.conditions()
    print(conditions_line(found))
    header = ("file", "file GB", "parameters GB", "before GB", "peak GB", "peak / larger", "aim", "seconds")
    print_table(header, [_cells(row) for row in rows])
    print_json({"benchmark": "loading", **found, "rows": rows})
    return None


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    sizes = (f"{row[name] / 1e9:.2f}" for name in ("file_bytes", "parameter_bytes", "before_bytes", "peak_bytes"))
    return (f"{row['size']} {row['kind']}", *sizes, f"{row['ratio']:.2f}", f"<= {AIM}", row["seconds"])


if __name__ == "__main__":
    main()
