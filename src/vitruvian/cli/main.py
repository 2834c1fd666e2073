"""`vitruvian`: the verbs, and how errors become exit codes."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from vitruvian import __version__
from vitruvian.cli import (
    animate,
    bench,
    cache,
    data,
    demo,
    depth,
    doctor,
    eval,
    export,
    finetune,
    import_,
    models,
    plan,
    run,
    verify,
)
from vitruvian.errors import EXIT_OK, VitruvianError
from vitruvian.media.names import printable

app = typer.Typer(
    name="vitruvian",
    help="Dense vision models of people and scenes: pose, body parts, depth and normals on the machine you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(demo.app, name="demo")
app.command()(doctor.doctor)
app.command()(run.pose)
app.command()(run.seg)
app.command()(depth.depth)
app.command()(run.normal)
app.command()(run.features)
app.command()(animate.animate)
app.command()(models.models)
app.command()(plan.plan)
app.command()(bench.bench)
app.command()(verify.verify)
app.command()(export.export)
app.command()(finetune.finetune)
app.command("import")(import_.import_weights)
app.command("eval")(eval.evaluate)
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vitruvian {__version__}")
        raise typer.Exit(EXIT_OK)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options before the verb."""


def main() -> None:
    """Run the command line; explained errors go to standard error with their exit code."""
    # Pictures with damaged metadata are read all the same; the library's remarks would break the progress line.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        app(standalone_mode=True)
    except VitruvianError as error:
        said = "\n".join(map(printable, str(error).splitlines()))  # names in it may hold anything
        print(f"vitruvian: {said}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
