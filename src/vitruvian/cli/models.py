"""`vitruvian models`: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvian.cli.options import Json


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Show this one alone: its files and their licences.")
    ] = None,
    json: Json = False,
    task: Annotated[
        str | None, typer.Option("--task", help="Only one task: pose, seg, depth, normal, features, detect, animate.")
    ] = None,
) -> None:
    """List every model: task, size, licence, where the weights come from. Or show one with its files."""
    import json as encoder

    if name is not None:
        from vitruvian.catalogue_details import details
        from vitruvian.errors import UsageError

        if task is not None:
            raise UsageError(f"got {name} and --task {task}; expected one of them; leave the other out")
        found = details(name)
        print(encoder.dumps(found.to_json(), indent=2) if json else found.text)
        return
    from vitruvian.catalogue import ADVICE, rows, table

    listed = rows(task)
    if json:
        print(encoder.dumps([row.to_json() for row in listed], indent=2))
        return
    print(table(listed))
    print(f"\n{ADVICE}")
