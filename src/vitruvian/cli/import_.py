"""`vitruvian import`: old weight files become safetensors files that say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvian.cli.options import Json


def import_weights(
    old: Annotated[
        Path,
        typer.Argument(
            metavar="OLD_FILE", help="Weights of any kind: .pth, _torchscript.pt2, _bfloat16.pt2, .safetensors."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="NEW.safetensors", help="File to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Rescue the weights of an old file; nothing in it is run, its values stay as they are."""
    from vitruvian.importing import import_file

    done = import_file(old, out, overwrite=overwrite)
    if json:
        from vitruvian.media.documents import json_text

        print(json_text(done.to_json(), indent=2))
        return
    from vitruvian.hardware import format_bytes

    layout = f"laid out like {done.layout}" if done.layout else "a layout of its own"
    height, width = done.input_hw
    print(f"read    {done.old}: {_FORMATS[done.format]}, sha256 {done.old_sha256}")
    print(f"network {done.task}, {layout}, {done.parameters / 1e6:.2f} M parameters, input {height}x{width}")
    print(f"licence {done.licence}")
    for note in done.notes:
        print(f"note    {note}")
    print(f"wrote   {done.new}: {format_bytes(done.size_bytes)}, sha256 {done.new_sha256}")


_FORMATS = {
    "safetensors": "safetensors",
    "pth": "a PyTorch checkpoint",
    "torchscript": "a TorchScript archive",
    "exported-program": "an exported program",
}
