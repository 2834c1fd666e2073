"""`vitruvian data check`: what is wrong with a folder of training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvian.cli.options import Json
from vitruvian.errors import CheckFailedError, UsageError

app = typer.Typer(no_args_is_help=True, help="Training data: check a folder before it is trained on.")


@app.callback()
def data() -> None:
    """Keeps `check` a verb of its own while it is the only one."""


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of training data.")],
    task: Annotated[str, typer.Option("--task", help="What it is for: seg, depth, normal or pose.")],
    classes: Annotated[
        int | None, typer.Option("--classes", min=2, max=255, help="Number of label classes, background included.")
    ] = None,
    keypoints: Annotated[
        int | None, typer.Option("--keypoints", help="17, 133 or 308. (default: what the annotations have)")
    ] = None,
    frame: Annotated[
        str, typer.Option("--frame", help="Axes of normals: camera (y down, z forward) or published.")
    ] = "camera",
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="Write a contact sheet of samples (PNG).")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Decode all samples. (default: 200, evenly spread)")
    ] = False,
    json: Json = False,
) -> None:
    """Missing pairs, sizes, values, axes, sides (exit 6: something is wrong; hints alone are 0)."""
    from vitruvian.datasets.checking import LIMIT, check_data
    from vitruvian.datasets.sheet import Sheet
    from vitruvian.tasks.normal import NORMAL_FRAMES

    if frame not in NORMAL_FRAMES:
        raise UsageError(f"got --frame {frame}; expected one of {', '.join(NORMAL_FRAMES)}; name one of them")
    shown = Sheet() if sheet is not None else None
    report = check_data(
        folder,
        task,
        classes=classes,
        keypoints=keypoints,
        frame=NORMAL_FRAMES[frame],
        limit=None if everything else LIMIT,
        sheet=shown,
    )
    if sheet is not None and shown is not None:
        shown.write(sheet)
    if json:
        from vitruvian.media.documents import json_text

        print(json_text(report.to_json(), indent=2))
    else:
        print(report.text())
    if report.wrong:
        raise CheckFailedError(report.verdict)
