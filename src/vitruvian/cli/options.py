"""Options that several verbs take, each said once; a verb's own stand in its own file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps. (default: chosen)")]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="float32, bfloat16 or float16. (default: chosen and checked)")
]
Quality = Annotated[
    str, typer.Option("--quality", help="How far results may be from float32: exact, balanced or fast.")
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", metavar="SIZE", help="Memory this may take, e.g. 12GB. (default: what is free)"),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Crops per network call. (default: measured)")]
Objective = Annotated[str, typer.Option("--objective", help="throughput (pictures per second) or latency.")]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-licence", metavar="NAME", help="Accept a licence of weights, e.g. cc-by-nc-4.0."),
]
FlipTest = Annotated[
    bool, typer.Option("--flip-test", help="Average with the mirrored crop, as published numbers do; twice the time.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code of an artefact that was not made on this machine.")]
Rebuild = Annotated[
    str,
    typer.Option(
        "--rebuild", metavar="auto|never", help="An artefact of another machine: export its weights again, or refuse."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="Catalogue name or weight file.")]
On = Annotated[
    Path | None, typer.Option("--on", metavar="DIR", help="Folder of pictures to compare on. (default: bundled)")
]
