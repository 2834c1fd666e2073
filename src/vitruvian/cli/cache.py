"""`vitruvian cache show|clear`: what is remembered on this machine, and forgetting it."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvian.cli.options import Json

app = typer.Typer(no_args_is_help=True, help="What is remembered on this machine between runs: show or clear it.")


@app.command()
def show(json: Json = False) -> None:
    """Predictions, measurements, audits and consents that are remembered, and what they take."""
    from vitruvian.kept import kept, kept_text

    if json:
        from vitruvian.media.documents import json_text

        print(json_text([one.to_json() for one in kept()], indent=2))
        return
    print(kept_text(kept()))


@app.command()
def clear(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="footprints, calibration, verdicts, machine, licences. (default: all but licences)",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Forget; costs only the time to find it out again. Weights are not touched."""
    from vitruvian.kept import forget

    for kind, files in forget(kinds or ()).items():
        print(f"{kind}: {files} files removed" if files else f"{kind}: nothing there")
