"""`vitruvian bench`: precision x batch of one model on this machine, the recommended row marked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvian.errors import DoesNotFitError, UsageError


def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Catalogue name or weight file.")],
    on: Annotated[
        Path | None, typer.Option("--on", metavar="DIR", help="Pictures to compare on. (default: bundled)")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="LIST", help="Comma list of types. (default: all that are native)")
    ] = "",
    batch: Annotated[
        str, typer.Option("--batch", metavar="LIST", help="Comma list of sizes. (default: 1,2,4,... while they pay)")
    ] = "",
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps. (default: chosen)")] = None,
    quality: Annotated[
        str, typer.Option("--quality", help="What a recommended row must keep: exact, balanced or fast.")
    ] = "balanced",
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="SIZE", help="Memory to stay under, e.g. 12GB. (default: free)")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Noise instead of the published weights: only time and memory.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Time for the readings of all rows.")] = 60.0,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option("--accept-licence", metavar="NAME", help="Accept a licence of weights, e.g. cc-by-nc-4.0."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what is going on.")] = False,
) -> None:
    """Images/s, latency, peak memory and distance from float32 for each precision and batch (exit 4: nothing fits)."""
    from vitruvian.bench import run_bench
    from vitruvian.cli.screen import ask_on_terminal, say

    found = run_bench(
        model,
        on=on,
        device=device,
        dtypes=_list(dtype),
        batches=[_whole(number) for number in _list(batch)],
        quality=quality,
        budget=budget,
        random_weights=random_weights,
        time_s=seconds,
        accept_licence=accept_licence or (),
        ask=ask_on_terminal(),
        report=(lambda line: None) if quiet else say,
    )
    if json:
        from vitruvian.media.documents import json_text

        print(json_text(found.to_json(), indent=2))
    else:
        print(found.text())
    if all(row.images_per_s is None for row in found.rows):
        raise DoesNotFitError(f"got no row of {found.model} that ran; expected one; {found.rows[0].not_run}")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"got --batch {text}; expected whole numbers such as 1,2,4; leave it out for these")
    return int(text)
