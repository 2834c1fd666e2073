"""How many items go through at once after memory ran out, per canvas shape: less at first, later more again.

In: which batch sizes ran out of memory and which went through. Out: the largest size to use now, and what changed as
decisions. Pure logic and safe for threads; memory is read nowhere, because whoever asks would know too late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from vitruvian.fit.decisions import Decision

Shape = tuple[int, int]
"""Height and width of a canvas."""

PATIENCE = 8
"""Full batches that must go through before a larger one is tried."""


@dataclass(kw_only=True, slots=True)
class _Known:
    """What is known about one shape."""

    limit: int
    good: int = 0
    """Largest size that went through since it last failed."""
    failed: set[int] = field(default_factory=set)
    """Sizes that ran out of memory and did not go through since."""
    ever_failed: set[int] = field(default_factory=set)
    patience: int = PATIENCE
    successes: int = 0
    """Full batches since the limit changed."""
    trying: bool = False
    """Whether the limit was raised and no full batch came back yet."""


class BatchLimit:
    """Halves after a failure, then closes in on what fits by bisection; a size that fails again is tried less often."""

    def __init__(self, maximum: int) -> None:
        """`maximum`: the planned batch, at least 1; the limit of every shape until something fails."""
        self._maximum = maximum
        self._known: dict[Shape, _Known] = {}
        self._turn = Lock()

    def limit(self, shape: Shape) -> int:
        """The largest batch to run now."""
        with self._turn:
            return self._of(shape).limit

    def failed(self, shape: Shape, batch: int) -> Decision | None:
        """A batch ran out of memory: fall back to a size that is known to fit, or to the half.

        A batch above the limit tells nothing new: it was gathered before another thread lowered the limit.
        """
        with self._turn:
            known = self._of(shape)
            if batch > known.limit:
                known.failed.add(batch)
                return None
            if batch in known.ever_failed:
                known.patience *= 2
            known.failed.add(batch)
            known.ever_failed.add(batch)
            if known.good >= batch:
                known.good = 0
            known.limit = known.good or max(1, batch // 2)
            known.successes, known.trying = 0, False
            because = f"{batch} ran out of memory" if batch > 1 else "even 1 ran out of memory beside other work"
            return Decision(what="micro_batch", value=known.limit, because=because, measured=True)

    def succeeded(self, shape: Shape, batch: int) -> Decision | None:
        """A batch went through; after enough full ones the limit is raised."""
        with self._turn:
            known = self._of(shape)
            if batch > known.limit:
                return None
            known.good = max(known.good, batch)
            healed = {size for size in known.failed if size <= batch}
            if healed:
                known.failed -= healed
                known.patience = max(PATIENCE, known.patience // 2)
            if batch < known.limit or (known.limit >= self._maximum and not known.trying):
                return None
            decision = self._told(known, healed) if known.trying else None
            known.trying = False
            known.successes += 1
            if known.successes >= known.patience:
                raised = self._next_try(known)
                known.trying = raised > known.limit
                known.limit, known.successes = raised, 0
            return decision

    def narrowed(self, maximum: int) -> BatchLimit:
        """The same failures under another maximum, for a precision that takes more memory; what fitted is forgotten."""
        other = BatchLimit(maximum)
        with self._turn:
            for shape, known in self._known.items():
                other._known[shape] = _Known(
                    limit=min(known.limit, maximum),
                    failed=set(known.failed),
                    ever_failed=set(known.ever_failed),
                    patience=known.patience,
                )
        return other

    def _of(self, shape: Shape) -> _Known:
        return self._known.setdefault(shape, _Known(limit=self._maximum))

    def _next_try(self, known: _Known) -> int:
        """Half-way to the smallest size that failed; that size itself once the way is too short to matter."""
        bad = min((size for size in known.failed if size > known.good), default=self._maximum)
        gap = bad - known.good
        candidate = bad if gap <= max(1, known.good // 8) else known.good + gap // 2
        return max(known.limit, min(candidate, self._maximum))

    def _told(self, known: _Known, healed: set[int]) -> Decision:
        if healed:
            because = f"{max(healed)} had run out of memory and now goes through"
        else:
            because = f"{min(known.failed, default=self._maximum)} ran out of memory, {known.limit} goes through"
        return Decision(what="micro_batch", value=known.limit, because=because, measured=True)
