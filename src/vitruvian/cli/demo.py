"""`vitruvian demo`, `demo fit` and `demo animate`: see it work, without downloads or arguments."""

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


@app.command()
def animate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and videos.")] = Path(
        "vitruvian-demo-animate"
    ),
) -> None:
    """A drawn person moves as another one does, made by the embedded nano network; a minute or so."""
    from vitruvian.cli.screen import stage_line
    from vitruvian.demo_animate import run_demo_animate

    with stage_line(quiet=False) as on_progress:
        made = run_demo_animate(out, on_progress=on_progress)
    print(f"look at {made.sheet}, play {made.beside}")
    print("This is the embedded nano network: small, trained on synthetic people, here to show the road.")
