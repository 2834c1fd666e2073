"""Which way to generate a clip: the least altered one whose every stage stays under the budget.

In: a clip, what the user insists on, a budget. Out: a plan with every stage's need, and why it was chosen. What gives
the same numbers is altered first: feed-forward layers in parts, smaller chunks of decoding, weights streamed from the
host. Shorter tiles, which a network was not trained for, come last and are said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vitruvian.animating.needs import Clipping, StageNeed, seconds_of
from vitruvian.animating.way import Way, with_knobs
from vitruvian.animation.tiles import even_tiles
from vitruvian.fit.budget import Budget
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knobs import Knobs
from vitruvian.generation.denoising import Strategy
from vitruvian.generation.measures import PARTS, Measures
from vitruvian.generation.strategy import BATCHED, SEQUENTIAL
from vitruvian.hardware import format_bytes

SHORTER_TILES = (48, 32, 24, 16, 12, 8, 4)
CHUNKS = (8, 4, 2, 1)
"""Frames decoded together; 8 is published."""
FREED_FACTOR = 2.5
"""Times the prediction that must fit for freed memory to be kept on a processor: holes made it 2.3 at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """What was decided and what it takes."""

    way: Way
    size_hw: tuple[int, int]
    frames: int
    """The reference among them."""
    steps: int
    tiles: int
    stages: tuple[StageNeed, ...]
    batched: StageNeed
    """Denoising with both branches in a call."""
    fits: bool
    batched_fits: bool
    budget_bytes: int
    missing_bytes: int
    """What the largest stage is short of, its margin included."""
    decisions: tuple[Decision, ...]

    @property
    def seconds(self) -> float | None:
        """Of all stages, one branch after the other; estimated."""
        return seconds_of(self.stages)

    def step_bytes(self) -> dict[Strategy, int]:
        """What a call of each strategy makes beside what lies there already."""
        one = next(stage for stage in self.stages if stage.name == "denoising")
        parts = {SEQUENTIAL: one.breakdown, BATCHED: self.batched.breakdown}
        return {name: part.activations_bytes + part.workspace_bytes for name, part in parts.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain containers for `run.json` and `--json`."""
        needs = (*self.stages, self.batched)
        return {
            "fits": self.fits,
            "budget_bytes": self.budget_bytes,
            "missing_bytes": self.missing_bytes,
            "size_hw": list(self.size_hw),
            "frames": self.frames,
            "steps": self.steps,
            "tiles": self.tiles,
            "way": self.way.to_json(),
            "batched_fits": self.batched_fits,
            "stages": [
                {
                    "name": need.name,
                    "peak_bytes": need.breakdown.total_bytes,
                    "breakdown_bytes": need.breakdown.to_json(),
                    "seconds": None if need.seconds is None else round(need.seconds, 1),
                    "calls": need.calls,
                }
                for need in needs
            ],
            "decisions": [decision.to_json() for decision in self.decisions],
        }


@dataclass(frozen=True, kw_only=True)
class ClipPlanner:
    """Plans for one clip."""

    clip: Clipping
    budget: Budget
    first: Way
    """As the preset has it, types chosen: what is taken where everything fits."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Knobs the user set; never changed."""

    def plan(self) -> ClipPlan:
        """The first way that fits, or the thriftiest where none does."""
        made = self.plan_of(next(iter(self._ways())))
        for way in self._candidates():
            made = self.plan_of(way)
            if made.fits:
                break
        return replace(made, decisions=tuple(self._decisions(made)))

    def after(self, way: Way) -> ClipPlan | None:
        """What to go on with where memory gave out although a way was predicted to fit; None: nothing takes less."""
        ways = list(self._candidates())
        place = [_rung(other) for other in ways].index(_rung(way))
        if place + 1 == len(ways):
            return None
        return self.plan_of(with_knobs(replace(ways[place + 1], freed="returned"), self.fixed))

    def plan_of(self, way: Way) -> ClipPlan:
        """What a given way takes."""
        stages, batched = self.clip.needs(way), self.clip.denoising(way, 2)
        missing = max(self._missing_bytes(stage, way) for stage in stages)
        host_bytes = self._host_bytes(way)
        on_host = max(0, host_bytes - self.budget.host_bytes) if self.budget.device.kind != "cpu" else 0
        return ClipPlan(
            way=way,
            size_hw=self.clip.size_hw,
            frames=self.clip.frames,
            steps=self.clip.steps,
            tiles=len(even_tiles(self.clip.frames, way.tile, way.overlap)),
            stages=stages,
            batched=batched,
            fits=missing + on_host == 0,
            batched_fits=self._missing_bytes(batched, way) == 0,
            budget_bytes=self.budget.total_bytes,
            missing_bytes=missing + on_host,
            decisions=(),
        )

    def _candidates(self) -> Iterator[Way]:
        """Ways with what no other stage depends on chosen by what fits."""
        for way in self._ways():
            yield self._with_freed(self._with_features(self._with_chunk(way)))

    def _with_features(self, way: Way) -> Way:
        """With pose features on the device where both strategies fit beside them, else in the host's memory.

        They are made anew for every tile where that has no room for all of them.
        """
        if "features" in self.fixed or self.budget.device.kind == "cpu":
            return way
        near = replace(way, features="device")
        if not self._missing_bytes(self.clip.denoising(near, 2), near):
            return near
        return way if self._host_bytes(way) <= self.budget.host_bytes else replace(way, features="recomputed")

    def _with_freed(self, way: Way) -> Way:
        """With freed memory kept where the holes that this makes fit."""
        if "freed" in self.fixed or self.budget.device.kind != "cpu":
            return way
        roomy = FREED_FACTOR * self._worst_bytes(way) <= self.budget.total_bytes
        return replace(way, freed="kept" if roomy else "returned")

    def _worst_bytes(self, way: Way) -> int:
        needs = (*self.clip.needs(way), self.clip.denoising(way, 2))
        return max(need.breakdown.total_bytes for need in needs)

    def _ways(self) -> Iterator[Way]:
        """From the least altered on."""
        base = with_knobs(self.first, self.fixed)
        tiles = [base.tile]
        if "tile" not in self.fixed:
            tiles += [tile for tile in SHORTER_TILES if tile < base.tile]
        for tile in tiles:
            shorter = replace(base, tile=tile, overlap=min(base.overlap, max(1, tile - 2)))
            for measures in self._measures():
                yield with_knobs(replace(shorter, measures=measures), self.fixed)

    def _measures(self) -> Iterator[Measures]:
        yield Measures()
        yield Measures(feed_forward_parts=PARTS)
        if self.budget.device.kind != "cpu":  # there, host and device are one
            yield Measures(feed_forward_parts=PARTS, streamed=True)

    def _with_chunk(self, way: Way) -> Way:
        """With the largest chunk of decoding that fits."""
        if "decode_chunk" in self.fixed:
            return way
        for chunk in CHUNKS:
            overlap = min(way.decode_overlap, chunk - 1) if "decode_overlap" not in self.fixed else way.decode_overlap
            if overlap >= chunk:
                break
            tried = replace(way, decode_chunk=chunk, decode_overlap=overlap)
            if not self._missing_bytes(self.clip.decoding(tried), tried):
                return tried
        return tried

    def _missing_bytes(self, need: StageNeed, way: Way) -> int:
        knobs = Knobs(dtype=way.dtype)
        breakdown = self.budget.corrected(need.breakdown, knobs)
        wanted = breakdown.total_bytes + self.budget.margin_bytes(breakdown, knobs)
        return max(0, wanted - self.budget.total_bytes)

    def _host_bytes(self, way: Way) -> int:
        """Of what leaves the device."""
        weights = next(need for need in self.clip.needs(replace(way, measures=Measures())) if need.name == "denoising")
        streamed = weights.breakdown.weights_bytes if way.measures.streamed else 0
        return streamed + (self.clip.features_bytes(way.dtype) if way.features == "host" else 0)

    def _decisions(self, made: ClipPlan) -> Iterator[Decision]:
        way, first = made.way, with_knobs(self.first, self.fixed)
        budget = format_bytes(made.budget_bytes)
        needs = {stage.name: format_bytes(stage.breakdown.total_bytes) for stage in made.stages}
        if not made.fits:
            yield Decision(
                what="fits", value=False, because=f"{format_bytes(made.missing_bytes)} more than {budget} are needed"
            )
        yield Decision(
            what="tile",
            value=way.tile,
            because=f"denoising takes {needs['denoising']} of {budget}"
            + (
                f"; {first.tile} frames, which the network was trained for, do not fit" if way.tile < first.tile else ""
            ),
        )
        if way.measures != Measures():
            kept = with_knobs(replace(way, measures=Measures()), self.fixed)
            without = self.clip.denoising(kept, 1).breakdown.total_bytes
            why = f"without, denoising takes {format_bytes(without)}" if kept != way else "asked for"
            yield Decision(what="measures", value=str(way.measures), because=why)
        yield Decision(
            what="decode_chunk", value=way.decode_chunk, because=f"decoding takes {needs['decoding']} of {budget}"
        )
        if way.features != first.features:
            size = format_bytes(self.clip.features_bytes(way.dtype))
            near = f"both strategies of guidance fit beside all of them ({size})"
            far = f"all of them take {size} of host memory"
            yield Decision(what="features", value=way.features, because=near if way.features == "device" else far)
        if way.freed == "kept":
            most = format_bytes(FREED_FACTOR * self._worst_bytes(way))
            why = f"layers get memory that was cleared before; with the holes this makes, at most {most} of {budget}"
            yield Decision(what="freed", value="kept", because=why if "freed" not in self.fixed else "asked for")
        both = format_bytes(made.batched.breakdown.total_bytes)
        fitting = "fits, and is timed against" if made.batched_fits else "does not fit beside"
        yield Decision(
            what="guidance_by_prediction",
            value=BATCHED if made.batched_fits else SEQUENTIAL,
            because=f"both branches in a call take {both}, which {fitting} one after the other",
        )


def _rung(way: Way) -> Way:
    """The way without what does not tell ways apart."""
    return replace(way, decode_chunk=1, decode_overlap=0, freed="returned")


def shortfall(plan: ClipPlan) -> str:
    """What a user is told where nothing fits."""
    worst = max(plan.stages, key=lambda stage: stage.breakdown.total_bytes)
    return (
        f"got {format_bytes(plan.budget_bytes)} to work in; expected {format_bytes(plan.missing_bytes)} more for "
        f"{worst.name} ({format_bytes(worst.breakdown.total_bytes)} and what predictions leave free); take a lower "
        "--resolution, a shorter --tile, or another machine"
    )
