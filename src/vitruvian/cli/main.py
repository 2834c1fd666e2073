"""`vitruvian`: the verbs, and how errors become exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vitruvian import __version__
from vitruvian.cli import demo, models, run, verify
from vitruvian.errors import EXIT_INTERRUPTED, EXIT_OK, VitruvianError

app = typer.Typer(
    name="vitruvian",
    help="Dense vision models of people: pose, body parts, depth and normals on the machine you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(run.pose)
app.command()(run.seg)
app.command()(run.depth)
app.command()(run.normal)
app.command()(run.features)
app.command()(models.models)
app.command()(verify.verify)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"vitruvian {__version__}")
        raise typer.Exit(EXIT_OK)


def main() -> None:
    """Run the command line; explained errors go to standard error with their exit code."""
    try:
        app(standalone_mode=True)
    except VitruvianError as error:
        print(f"vitruvian: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("vitruvian: interrupted; what is whole was kept, --resume goes on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
