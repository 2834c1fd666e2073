"""`vitruvian models`: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    task: Annotated[
        str | None, typer.Option("--task", help="Only one task: pose, seg, depth, normal, features.")
    ] = None,
) -> None:
    """List every model: task, size, licence, where the weights come from."""
    from vitruvian.catalogue import ADVICE, rows

    listed = rows(task)
    if json:
        import json as encoder

        print(encoder.dumps([row.to_json() for row in listed], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "task", "parameters", "input", "licence", "weights"):
        table.add_column(column, no_wrap=column != "weights", overflow="fold")
    for row in listed:
        table.add_row(row.name, row.task, row.parameters_text, row.input_text, row.licence, row.weights)
    Console().print(table)
    print(ADVICE)
