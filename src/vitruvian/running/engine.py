"""Groups of canvases through a network, whatever memory and numbers do on the way.

In: canvases of one shape. Out: one row per canvas, in order, each exactly once. A group that runs out of memory is
split; a group with non-finite outputs is run again in a safer precision. The engine also says how many canvases to
gather next, from what it measured. Costs beside the network: one sum over its raw outputs.
"""

# Shape suffixes: B canvases in a group, H W their height and width, 3 = RGB.

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.fit.batch_limit import BatchLimit, Shape
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knee import Aim, Knee
from vitruvian.running.guard import MemoryGuard, OutOfMemory

T = TypeVar("T")

MAX_DECISIONS = 40
"""A run of a million pictures on a machine with changing memory must not fill its report."""

Canvases = Sequence[np.ndarray]
"""uint8 RGB pictures (H,W,3) of one shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NonFinite:
    """A canvas for which the network gave no numbers, and no safer precision to change to."""

    reason: str
    """One line for the user."""


Row = dict[str, Tensor] | NonFinite
"""What `finish_tensors` gave for one canvas, without the batch axis; views of the group's tensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Safer:
    """A network was put into a safer precision."""

    precision: str
    """Its name for messages."""
    max_batch: int
    """The planned batch in this precision."""


@dataclass(kw_only=True, slots=True)
class _Regime:
    """All that holds for one precision."""

    precision: str
    max_batch: int
    limits: BatchLimit
    safest: bool = False
    """Whether it is known that no safer precision is left."""
    knees: dict[Shape, Knee] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ran:
    """A group that went through the network."""

    tensors: dict[str, Tensor]
    seconds: float
    bad: dict[int, tuple[str, ...]]
    """Raw outputs with non-finite values, by place in the group."""


class Engine:
    """A network that can be called with any number of canvases by several threads at once.

    `largest_batch` tells the largest group that went through so far.
    """

    def __init__(
        self,
        *,
        network: Callable[[Canvases], Mapping[str, Tensor]],
        finish_tensors: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
        guard: MemoryGuard,
        max_batch: int,
        own_range: tuple[int, int | None] = (1, None),
        aim: Aim | None,
        precision: str = "float32",
        step_down: Callable[[], Safer | None] = lambda: None,
        observe: Callable[[float], str] = lambda items_per_s: "",
        non_finite: Callable[[Mapping[str, Tensor]], dict[int, tuple[str, ...]]] | None = None,
        synchronize: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Put a network under guard.

        Args:
            network: canvases -> raw outputs with a batch axis; called without gradients.
            finish_tensors: raw outputs -> what the rows hold; see `Task.finish_tensors`.
            guard: shared by all that computes on the device.
            max_batch: largest batch of the plan, at least 1.
            own_range: smallest and largest batch the network itself takes; None for no largest.
            aim: what the batch is chosen for by measuring; None leaves it at `max_batch`, as a user set it.
            precision: name of the precision the network runs in, for messages.
            step_down: puts the network into a safer precision, or gives None where none is left. Called alone.
            observe: hears the rate of every call and says what is wrong with the device, once, or nothing.
            non_finite: raw outputs -> names of those that hold values which are no numbers, by place in the group;
                None: looks at every value.
            synchronize: waits until the device has done what was queued.
            clock: seconds.

        Raises:
            UsageError: the network does not take single canvases.
        """
        smallest, largest = own_range
        _require_single(smallest)
        self._network = network
        self._finish_tensors = finish_tensors
        self._guard = guard
        self._own_max = largest
        self._aim = aim
        self._step_down = step_down
        self._observe = observe
        self._non_finite = non_finite or values_not_finite
        self.largest_batch = 0
        self._synchronize = synchronize
        self._clock = clock
        self._journal: dict[Decision, None] = {}
        self._unlisted = 0
        self._turn = Lock()
        if largest is not None and largest < max_batch:
            because = "the most that this file was exported for; export it again with a larger --max-batch"
            self._note(Decision(what="max_batch", value=largest, because=because))
        bounded = self._bounded(max_batch)
        self._regime = _Regime(precision=precision, max_batch=bounded, limits=BatchLimit(bounded))

    def wanted_batch(self, shape: Shape) -> int:
        """How many canvases of a height and width to gather for the next group."""
        regime = self._regime
        limit = regime.limits.limit(shape)
        if self._aim is None:
            return limit
        with self._turn:
            return min(limit, self._knee(regime, shape).next_batch)

    def run(self, canvases: Canvases) -> list[Row]:
        """One row per canvas, in order. Any number of canvases; they are cut to what fits.

        Raises:
            DoesNotFitError: one canvas does not fit even when nothing else computes.
        """
        return list(self.rows(canvases))

    def rows(self, canvases: Canvases) -> Iterator[Row]:
        """The same one by one, each as soon as it is there: what is done with a row at once need not be kept beside the
        rows that follow."""
        waiting = deque([canvases] if len(canvases) else [])
        while waiting:
            group = waiting.popleft()
            limit = self._regime.limits.limit(_shape(group))
            if len(group) > limit:
                waiting.extendleft(reversed(list(_even_parts(group, limit))))
                continue
            done = self._through(group)
            if done is None:
                waiting.appendleft(group)
            else:
                yield from done
            del done  # the network's next call does not have to fit beside it

    def guarded(self, what: str, function: Callable[..., T], *args: Any) -> T:
        """A function's value. Where memory runs out, the call is made again when nothing else computes.

        The function must bear being called again after it failed half-way, and must not wait for other threads of the
        road. `what` names it in messages. A guarded call inside a guarded call leaves memory to the outer one.

        Raises:
            DoesNotFitError: memory ran out again.
        """
        outcome = self._guard.attempt(function, *args)
        if isinstance(outcome, OutOfMemory):
            outcome = self._guard.alone(what, function, *args)
            self._note_alone(what)
        return outcome

    def decisions(self) -> tuple[Decision, ...]:
        """What happened so far, each thing once and not too many of them, and the batch chosen for each shape."""
        regime = self._regime
        with self._turn:
            happened = list(self._journal)
            if self._unlisted:
                because = f"only the first {MAX_DECISIONS} are listed"
                happened.append(Decision(what="further_changes", value=self._unlisted, because=because))
            chosen = {shape: knee.decision(regime.limits.limit(shape)) for shape, knee in sorted(regime.knees.items())}
        if len(chosen) == 1:
            return (*happened, *chosen.values())
        return (
            *happened,
            *(replace(decision, because=f"{decision.because}; {_named(shape)}") for shape, decision in chosen.items()),
        )

    def _through(self, group: Canvases) -> list[Row] | None:
        """Rows of a group, or None where it has to be tried again: in parts, or in another precision."""
        shape, regime = _shape(group), self._regime
        ran = self._guard.attempt(self._forward, group, regime)
        if isinstance(ran, OutOfMemory):
            self._note(regime.limits.failed(shape, len(group)))
            if len(group) > 1:
                return None
            what = f"one picture of {_named(shape)} in the network"
            ran = self._guard.alone(what, self._forward, group, regime)
            self._note_alone(what)
        elif ran is not None:
            self._note(regime.limits.succeeded(shape, len(group)))
            self.largest_batch = max(self.largest_batch, len(group))
            self._measured(regime, shape, len(group), ran.seconds)
            warning = self._observe(len(group) / max(ran.seconds, 1e-9))
            if warning:
                self._note(Decision(what="memory", value="spilled", because=warning, measured=True))
        if ran is None:
            return None
        if ran.bad and not regime.safest:
            bad = ran.bad
            del ran  # a safer precision takes more memory
            self._leave(regime, bad)
            return None
        return [_row(ran, place, regime) for place in range(len(group))]

    def _forward(self, group: Canvases, regime: _Regime) -> _Ran | None:
        """One call of the network; None where the precision was changed while this thread waited for its turn."""
        if self._regime is not regime:
            return None
        started = self._clock()
        with torch.inference_mode():
            raw = self._network(group)
            tensors = self._finish_tensors(raw)
            self._synchronize()
            seconds = self._clock() - started
            bad = self._non_finite(raw)
        lengths = {name: len(value) for name, value in tensors.items() if len(value) != len(group)}
        if lengths:
            raise ValueError(f"got {lengths} rows for {len(group)} canvases; expected one row each")
        return _Ran(tensors=tensors, seconds=seconds, bad=bad)

    def _leave(self, regime: _Regime, bad: Mapping[int, Sequence[str]]) -> None:
        """Put the network into a safer precision, unless another thread did that already or none is left."""

        def change() -> None:
            if self._regime is not regime:
                return
            safer = self._step_down()
            if safer is None:
                regime.safest = True
                return
            named = ", ".join(sorted({name for names in bad.values() for name in names}))
            because = f"{regime.precision} gave non-finite values in {named}"
            self._note(Decision(what="dtype", value=safer.precision, because=because, measured=True))
            bounded = self._bounded(safer.max_batch)
            limits = regime.limits.narrowed(bounded)
            self._regime = _Regime(precision=safer.precision, max_batch=bounded, limits=limits)

        self._guard.alone("the change to a safer precision", change)

    def _bounded(self, max_batch: int) -> int:
        return max_batch if self._own_max is None else min(max_batch, self._own_max)

    def _knee(self, regime: _Regime, shape: Shape) -> Knee:
        """The ramp of a shape; call with the lock held."""
        assert self._aim is not None
        if shape not in regime.knees:
            regime.knees[shape] = Knee(maximum=regime.max_batch, aim=self._aim)
        return regime.knees[shape]

    def _measured(self, regime: _Regime, shape: Shape, batch: int, seconds: float) -> None:
        if self._aim is not None:
            with self._turn:
                self._knee(regime, shape).record(batch, seconds)

    def _note_alone(self, what: str) -> None:
        because = f"{what} ran out of memory beside other work and went through by itself"
        self._note(Decision(what="memory", value="waited", because=because, measured=True))

    def _note(self, decision: Decision | None) -> None:
        with self._turn:
            if decision is None or decision in self._journal:
                return
            if len(self._journal) < MAX_DECISIONS:
                self._journal[decision] = None
            else:
                self._unlisted += 1


def values_not_finite(raw: Mapping[str, Tensor]) -> dict[int, tuple[str, ...]]:
    """Names of the tensors with non-finite values, by place in the batch; only places that have any.

    One sum a row and one wait for the device: a sum is finite only if all its terms are. Rows whose sum is not are
    looked at value by value, because a sum of large numbers overflows, too.
    """
    floating = {name: value_B for name, value_B in raw.items() if value_B.is_floating_point()}
    sums = [row.sum(dtype=torch.float32) for value_B in floating.values() for row in value_B]
    if not sums or torch.stack(sums).isfinite().all():
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for name, value_B in floating.items():
        for place, row in enumerate(value_B):
            if not row.isfinite().all():
                found[place] = (*found.get(place, ()), name)
    return found


def _require_single(smallest: int) -> None:
    if smallest > 1:
        raise UsageError(
            f"got a network that takes at least {smallest} pictures at a time; expected one that takes any number "
            "from 1, as the last pictures of a run need; export it again with 1 as its smallest batch"
        )


def _row(ran: _Ran, place: int, regime: _Regime) -> Row:
    if place not in ran.bad:
        return {name: value[place] for name, value in ran.tensors.items()}
    return NonFinite(
        reason=f"got values that are no numbers in {', '.join(ran.bad[place])} in {regime.precision}, with "
        "no safer precision to change to; expected finite ones; look at this picture, or check the weights with: "
        "vitruvian verify"
    )


def _shape(group: Canvases) -> Shape:
    return (group[0].shape[0], group[0].shape[1])


def _named(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"


def _even_parts(group: Canvases, limit: int) -> Iterator[Canvases]:
    """As few parts as the limit allows, of nearly equal length."""
    parts = -(-len(group) // limit)
    start = 0
    for part in range(parts):
        end = start + len(group) // parts + (part < len(group) % parts)
        yield group[start:end]
        start = end
