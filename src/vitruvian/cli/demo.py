"""`vitruvian demo` and `vitruvian demo fit`: see it work, without downloads or arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvian.cli.options import Device

app = typer.Typer(no_args_is_help=False)


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results and contact sheet.")] = Path(
        "vitruvian-demo"
    ),
) -> None:
    """Pose, body parts, depth and normals on bundled pictures with the embedded nano networks."""
    if context.invoked_subcommand is not None:
        return
    from vitruvian.demo import run_demo
    from vitruvian.hardware import probe
    from vitruvian.zoo_plan import zoo_plan, zoo_text

    print(probe().line())
    print(zoo_text(zoo_plan()))
    made = run_demo(out)
    print(f"look at {made.sheet}")
    print("These are the embedded nano networks: small, trained on synthetic people, here to show the road.")


@app.command()
def fit(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for plot, data and results.")] = Path(
        "vitruvian-demo-fit"
    ),
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="SIZE", help="Memory to be held to. (default: just enough)")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Segmentation network.")] = "sapiens-seg-0.3b",
    device: Device = None,
) -> None:
    """A network of real size under a budget that the usual flow would break; minutes, draws one plot."""
    from vitruvian.demo_fit import run_demo_fit

    made = run_demo_fit(out, budget=budget, model=model, device=device)
    print(f"look at {made.plot}")
