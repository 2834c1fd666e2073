"""`vitruvian bench`: precision x batch of one model on this machine, the recommended row marked."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvian.cli.options import Accept, Budget, Device, Json, Name, On, Quiet
from vitruvian.errors import DoesNotFitError, UsageError


def bench(
    model: Name,
    on: On = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="LIST", help="Comma list of types. (default: all that are native)")
    ] = "",
    backend: Annotated[
        str,
        typer.Option(
            "--backend", metavar="LIST", help="Comma list of eager and rungs of export, such as eager,aoti,export,onnx."
        ),
    ] = "eager",
    batch: Annotated[
        str, typer.Option("--batch", metavar="LIST", help="Comma list of sizes. (default: 1,2,4,... while they pay)")
    ] = "",
    device: Device = None,
    quality: Annotated[
        str, typer.Option("--quality", help="What a recommended row must keep: exact, balanced or fast.")
    ] = "balanced",
    budget: Budget = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Noise instead of the published weights: only time and memory.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Time for the readings of all rows.")] = 60.0,
    accept_licence: Accept = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Images/s, latency, peak memory and distance from float32 for each precision and batch (exit 4: nothing fits)."""
    from vitruvian.bench import run_bench
    from vitruvian.cli.screen import ask_on_terminal, say

    found = run_bench(
        model,
        on=on,
        device=device,
        dtypes=_list(dtype),
        backends=_list(backend),
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
