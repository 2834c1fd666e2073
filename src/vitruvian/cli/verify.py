"""`vitruvian verify`: is this network the official one?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvian.cli.options import Accept, On
from vitruvian.errors import CheckFailedError


def verify(
    model: Annotated[str, typer.Argument(metavar="NAME|PATH", help="Catalogue name or weight file.")],
    against: Annotated[
        Path | None, typer.Option("--against", help="Official _torchscript.pt2 file to compare with (needs --trust).")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Allow the file given with --against to run its code.")
    ] = False,
    on: On = None,
    accept_licence: Accept = None,
) -> None:
    """Strict load, sha256, and agreement with an official file in task units (exit 6 if it does not agree)."""
    from vitruvian.cli.screen import ask_on_terminal, say
    from vitruvian.verification import verify as run

    found = run(
        model,
        against=against,
        trust=trust,
        on=on,
        accept_licence=accept_licence or (),
        ask=ask_on_terminal(),
        report=say,
    )
    print(f"{found.model}: every key and shape matches, {found.parameters / 1e6:.2f} M parameters")
    print(f"sha256 {found.weights_sha256}")
    for note in found.notes:
        print(f"note: {note}")
    if found.discrepancies is None:
        print("not compared with an official file (--against FILE --trust does that)")
        return
    values = ", ".join(f"{unit} {value:.3g}" for unit, value in found.discrepancies.items())
    print(f"{found.pictures} pictures, patch padding {found.padding}: worst {values}")
    if not found.agrees:
        advice = (
            "with the other patch padding they agree: the catalogue's setting is wrong, please report it"
            if found.other_padding_agrees
            else "the other patch padding does not agree either: these are not the same weights"
        )
        raise CheckFailedError(f"got outputs that differ from {against and against.name}; expected agreement; {advice}")
    print("agrees with the official file")
