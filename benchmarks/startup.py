"""How long `vitruvian --help` takes beyond the start of Python itself.

Both are started in turn; importing the package's command line is all that lies between them.
Run: python benchmarks/startup.py [--rounds N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from side_by_side import Watch, conditions_line, interleaved_best, print_json, print_table

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "help": [sys.executable, "-c", "from vitruvian.cli.main import main; main()", "--help"],
}
"""The second is what the installed `vitruvian` command runs."""

AIM_S = 0.3


def main() -> None:
    """Print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each command; the best counts")
    rounds = parser.parse_args().rounds
    watch = Watch()

    def start(name: str) -> None:
        subprocess.run(COMMANDS[name], check=True, capture_output=True)

    best = interleaved_best({"python": lambda: start("python"), "help": lambda: start("help")}, rounds)
    beyond_s = best["help"].wall_s - best["python"].wall_s
    found = watch.conditions()
    print(conditions_line(found) + f"; best of {rounds}")
    print_table(
        ("command", "seconds", "beyond Python", "aim"),
        (
            ("python -c pass", f"{best['python'].wall_s:.3f}", "", ""),
            ("vitruvian --help", f"{best['help'].wall_s:.3f}", f"{beyond_s:.3f}", f"<= {AIM_S}"),
        ),
    )
    row = {"python_s": best["python"].wall_s, "help_s": best["help"].wall_s, "beyond_s": beyond_s}
    print_json({"benchmark": "startup", **found, "rounds": rounds, **{key: round(v, 4) for key, v in row.items()}})


if __name__ == "__main__":
    main()
