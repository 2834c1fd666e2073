"""Which golden files belong to which family, and what checks them.

Each family supplies `discover(folder) -> cases` from its README. A file that no discoverer of a built family claims
becomes a failing case; families that are not built yet become skipped cases by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True, kw_only=True)
class Case:
    """One golden case: the files it claims and the check that must pass."""

    family: str
    name: str
    files: tuple[Path, ...] = field(default=(), repr=False)
    check: Callable[[], None] = field(repr=False)

    @property
    def id(self) -> str:
        return f"{self.family}/{self.name}"


NOT_BUILT = ("sapiens2",)


def cases_under(golden: Path) -> list[Case]:
    """All cases of a golden folder: one sub-folder a family, or one family's folder itself."""
    from parity import legacy, metric3d, mimicmotion, sapiens

    discoverers = {
        "sapiens": sapiens.discover,
        "metric3d": metric3d.discover,
        "mimicmotion": mimicmotion.discover,
        "legacy": legacy.discover,
    }
    known = {*discoverers, *NOT_BUILT}
    folders = [golden] if golden.name in known else sorted(path for path in golden.iterdir() if path.is_dir())
    cases: list[Case] = []
    for folder in folders:
        family = folder.name
        if family in NOT_BUILT:
            cases.append(Case(family=family, name="all", check=_skip(family)))
        elif family in discoverers:
            found = discoverers[family](folder)
            cases += found
            cases += _unclaimed(family, folder, found)
        else:
            cases.append(Case(family=family, name="unknown", check=_fail(f"{family} is no family of this project")))
    return cases


def _unclaimed(family: str, folder: Path, found: Iterable[Case]) -> list[Case]:
    claimed = {path for case in found for path in case.files}
    return [
        Case(family=family, name=f"unclaimed-{path.name}", check=_fail(f"no check of {family} claims {path.name}"))
        for path in sorted(folder.iterdir())
        if path not in claimed and path.name != "README.md"
    ]


def _skip(family: str) -> Callable[[], None]:
    return lambda: pytest.skip(f"the {family} family is not built yet")


def _fail(reason: str) -> Callable[[], None]:
    return lambda: pytest.fail(reason)
