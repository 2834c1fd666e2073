"""`vitruvian models`: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvian.cli.options import Json


def models(
    json: Json = False,
    task: Annotated[
        str | None, typer.Option("--task", help="Only one task: pose, seg, depth, normal, features.")
    ] = None,
) -> None:
    """List every model: task, size, licence, where the weights come from."""
    from vitruvian.catalogue import ADVICE, rows, table

    listed = rows(task)
    if json:
        import json as encoder

        print(encoder.dumps([row.to_json() for row in listed], indent=2))
        return
    print(table(listed))
    print(f"\n{ADVICE}")
