"""From the results of a picture's regions to the picture's own, where results are small or there is one region only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vitruvian.errors import UsageError
from vitruvian.tasks.base import Geometry, Result

Join = Callable[[Sequence[Result]], Sequence[Result]]


class InTurn:
    """Keeps the results of all regions and joins them in the regions' order."""

    def __init__(self, join: Join) -> None:
        self._join = join
        self._of_place: dict[int, Sequence[Result]] = {}

    def add(self, place: int, geometry: Geometry, results: Sequence[Result]) -> None:
        """Keep them."""
        self._of_place[place] = results

    def results(self) -> Sequence[Result]:
        """Joined."""
        return self._join([result for place in sorted(self._of_place) for result in self._of_place[place]])


def only_one(results: Sequence[Result]) -> Sequence[Result]:
    """The one result of a whole picture; `UsageError` for any other number."""
    if len(results) != 1:
        raise UsageError(f"got {len(results)} results for one picture; expected one; run it without boxes")
    return results
