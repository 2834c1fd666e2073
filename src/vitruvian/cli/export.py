"""`vitruvian export`: a model as an artefact that runs elsewhere."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvian.cli.options import Accept, Budget, Device, Dtype, Json, Name, Quality, Quiet, Trust
from vitruvian.errors import UsageError

if TYPE_CHECKING:
    from vitruvian.exporting import Exported


Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the artefact.", show_default=False)]
BackendName = Annotated[
    str,
    typer.Option(
        "--backend",
        help="auto (the first of aoti, export, eager that is verified), best (the fastest of them), or one by name: "
        "also onnx, onnx-int8, int8, fp8, torchscript.",
    ),
]
MaxBatch = Annotated[
    str,
    typer.Option(
        "--max-batch", metavar="N|none", help="Largest batch of a call; runs split. (auto: the largest that works)"
    ),
]
Size = Annotated[
    str | None, typer.Option("--size", metavar="HxW", help="Canvas height and width. (default: the network's own)")
]
AnySize = Annotated[bool, typer.Option("--dynamic-size", help="Height and width may change from call to call.")]
WithPost = Annotated[
    bool, typer.Option("--with-post", help="Bytes of canvases in, keypoints, labels or normals out: all is inside.")
]
CheckOn = Annotated[
    Path | None,
    typer.Option("--check-on", metavar="DIR", help="Compare on these pictures too: 1, 8, then 64 of them."),
]
Reuse = Annotated[
    Path | None,
    typer.Option("--reuse", metavar="DIR", help="Take over the compiled file of this artefact of the same network."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an artefact that is there.")]
Random = Annotated[
    bool, typer.Option("--random-weights", help="Noise instead of the published weights, for measurements.")
]


def export(
    model: Name,
    out: Out,
    backend: BackendName = "auto",
    dtype: Dtype = None,
    max_batch: MaxBatch = "auto",
    size: Size = None,
    dynamic_size: AnySize = False,
    with_post: WithPost = False,
    check_on: CheckOn = None,
    reuse: Reuse = None,
    overwrite: Overwrite = False,
    quality: Quality = "balanced",
    device: Device = None,
    budget: Budget = None,
    random_weights: Random = False,
    trust: Trust = False,
    accept_licence: Accept = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A model as a folder that runs elsewhere: compiled where that works, verified against float32, with a manifest."""
    from vitruvian.cli.screen import ask_on_terminal, say
    from vitruvian.exporting import export as run

    exported = run(
        model,
        out=out,
        backend=backend,
        dtype=dtype,
        max_batch=max_batch,
        size=_size(size),
        dynamic_size=dynamic_size,
        with_post=with_post,
        check_on=check_on,
        reuse=reuse,
        overwrite=overwrite,
        quality=quality,
        device=device,
        budget=budget,
        random_weights=random_weights,
        trust=trust,
        accept_licence=accept_licence or (),
        ask=ask_on_terminal(),
        report=(lambda line: None) if quiet or json else say,
    )
    for note in exported.notes:
        say(f"note: {note}")
    if json:
        print(json_module.dumps(exported.manifest.to_json(), indent=1))
    elif not quiet:
        print(_summary(exported))


def _size(text: str | None) -> tuple[int, int] | None:
    from vitruvian.exporting.batches import parse_size

    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise UsageError(f"got --size {text}; expected height and width such as 1024x768; write it so") from error


def _summary(exported: Exported) -> str:
    """What was tried, what was taken, and how to run it."""
    from vitruvian.hardware import format_bytes

    manifest = exported.manifest
    largest = manifest.batch_range[1]
    lines = []
    for attempt in exported.attempts:
        speed = ""
        if attempt.examined is not None:
            fastest = max(attempt.examined.batches, key=lambda seen: seen.images_per_s)
            peak = format_bytes(fastest.peak_bytes)
            speed = f", {fastest.images_per_s:.3g} images/s at batch {fastest.batch}, peak {peak}"
        built = f"built in {attempt.build_s:.0f} s" if attempt.state in ("verified", "missed") else "not taken"
        lines.append(f"{attempt.backend}: {attempt.state} ({built}{speed}): {attempt.because}")
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    lines.append(
        f"{exported.folder}: {manifest.backend}, {manifest.precision}, batches 1 to {largest or 'any'}, "
        f"{format_bytes(size_bytes)}"
    )
    lines.append(f"run it: vitruvian {manifest.task} PICTURES -o OUT --model {exported.folder}")
    if manifest.runner:
        program = exported.folder / manifest.runner
        lines.append(
            "without this program, with NumPy, ONNX Runtime and Pillow alone: "
            f"python {program} {exported.folder} PICTURES -o OUT"
        )
    return "\n".join(lines)
