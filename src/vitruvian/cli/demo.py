"""`vitruvian demo`: see it work, without downloads or arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results and contact sheet.")] = Path(
        "vitruvian-demo"
    ),
) -> None:
    """Pose, body parts, depth and normals on bundled pictures with the embedded nano networks."""
    from vitruvian.demo import run_demo
    from vitruvian.hardware import probe

    print(probe().line())
    made = run_demo(out)
    print(f"look at {made.sheet}")
    print("These are the embedded nano networks: small, trained on synthetic people, here to show the road.")
