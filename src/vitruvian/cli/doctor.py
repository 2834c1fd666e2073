"""`vitruvian doctor`: is this machine fit to compute on? The page to paste into a bug report."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvian.cli.options import Device, Json, Quiet
from vitruvian.errors import CheckFailedError


def doctor(
    full: Annotated[
        bool,
        typer.Option("--full", help="Minutes: more pictures, every device, the compiler, a network of real size."),
    ] = False,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """This machine, and the embedded networks in every precision against known truth (exit 6: not safe)."""
    from vitruvian.cli.screen import say
    from vitruvian.doctor import run_doctor

    found = run_doctor(full, device=device, report=(lambda line: None) if quiet else say)
    if json:
        from vitruvian.media.documents import json_text

        print(json_text(found.to_json(), indent=2))
    else:
        print(found.text())
    if not found.safe:
        raise CheckFailedError(found.verdict)
