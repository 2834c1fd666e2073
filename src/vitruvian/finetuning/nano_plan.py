"""What a training of a small network will do and take, before a picture is rendered.

In: wishes, machine. Out: a `PlannedNano`. Several processes train copies side by side; the plan is that of one of them,
with its share of the batch. Costs tracing ways to run, some seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vitruvian.errors import UsageError
from vitruvian.finetuning.joint_nano import JOINT_NANO
from vitruvian.finetuning.nano_kind import NanoKind, PictureRecipe
from vitruvian.finetuning.progress import duration
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.wishes import AUGMENT, HEAD_KEY, Wishes, read_wishes
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan_values import Plan
from vitruvian.hardware import probe
from vitruvian.planning import footprints_for
from vitruvian.planning import plan as make_plan
from vitruvian.training.ranks import announced_ranks

PICTURES = "pictures"
"""Key of the number of pictures, beside those of a recipe and of knobs."""
MEANINGLESS = (AUGMENT, "hardest", "heat_sigma", "weighted", "validation_share", "corrupt_limit")
"""Keys that mean something for data of one's own alone."""
SAMPLES_HELD = 3
"""Batches of samples: those of two steps, and the one at work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NanoPlanner:
    """Plans for one of several processes."""

    kind: NanoKind
    share: int
    """Samples of a step that the process trains on."""
    processes: int
    averaged: bool
    device: str | None

    def plan(self, settings: Mapping[str, Any], budget_bytes: int | None) -> Plan:
        """The way to train that fits, these settings kept.

        Raises:
            UsageError: knobs that the network or several processes cannot have.
        """
        own = {key: value for key, value in settings.items() if key != "parallel"} | {"trainable": "all"}
        made = make_plan(
            workload=self.kind.workload(),
            train=True,
            device=self.device,
            budget=budget_bytes,
            batch=self.share,
            settings=own,
            beside_bytes=self.beside_bytes,
        )
        training = made.knobs.training
        assert training is not None
        if self.processes == 1:
            return made
        parallel = settings.get("parallel", "ddp")
        training = replace(training, gpus=self.processes, parallel="ddp" if parallel == "none" else parallel)
        return replace(made, knobs=replace(made.knobs, training=training))

    def predicted(self, knobs: Knobs) -> Breakdown:
        """What some knobs take, by the footprint alone."""
        return (
            footprints_for(self.kind.workload(), self._device_kind)(knobs)
            .with_beside(self.beside_bytes)
            .at(knobs.micro_batch)
        )

    @property
    def beside_bytes(self) -> int:
        """Samples, where host and device are one, and the average of the weights."""
        samples_bytes = SAMPLES_HELD * self.share * self.kind.sample_bytes if self._device_kind == "cpu" else 0
        parameters = sum(parameter.numel() for parameter in self.kind.workload().build().parameters())
        return samples_bytes + 4 * parameters * self.averaged

    @property
    def _device_kind(self) -> str:
        hardware = probe()
        return hardware.device(self.device or hardware.default_device).kind


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedNano:
    """Everything that is known beforehand."""

    kind: NanoKind
    nano: PictureRecipe
    recipe: Recipe
    steps: int
    plan: Plan
    planner: NanoPlanner
    budget_bytes: int | None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights; JSON-able."""
        nano = {f"nano.{key}": value for key, value in asdict(self.nano).items()}
        return {"task": self.kind.task, "steps": self.steps, **nano, **self.recipe.identity}

    def text(self) -> str:
        """The training in a few lines, without the plan's table."""
        recipe, pictures = self.recipe, self.nano.pictures
        passes = self.steps * recipe.batch_size / pictures
        shared = self.plan.device == "cpu"  # by all processes: the plan's pace is that of the machine
        pace = (self.plan.items_per_s or 0) * (1 if shared else self.planner.processes)
        time = f", about {duration(self.steps * recipe.batch_size / pace)} by the plan's estimate" if pace else ""
        return "\n".join(
            [
                f"{self.kind.what}, from nothing, on {pictures} synthetic pictures, which are rendered first "
                f"({pictures * self.kind.picture_bytes / 1e9:.2g} GB in the folder of the training)",
                f"{self.steps} steps of {recipe.batch_size} crops ({passes:.3g} passes), learning rate {recipe.lr:g} "
                f"{recipe.schedule}{time}",
            ]
        )


def plan_nano(
    settings: Sequence[str] = (),
    *,
    kind: NanoKind = JOINT_NANO,
    file: Path | None = None,
    more: Mapping[str, Any] | None = None,
    kept: Mapping[str, Any] | None = None,
    budget_bytes: int | None = None,
    device: str | None = None,
) -> PlannedNano:
    """Plan a training of a small network; nothing is rendered.

    Args:
        settings: `key=value` texts: `pictures`, fields of `Recipe`, knobs of `fit.settings`.
        kind: which network.
        file: TOML file with the same keys, but `pictures`.
        more: the same keys as `settings`, as Python values.
        kept: knobs of a training that is resumed; `settings` go first.
        budget_bytes: for each process on its device; None: what is free.
        device: torch device string; None: the machine's first.

    Raises:
        UsageError: a key or value that this training cannot have, or a device that is not there.
    """
    nano, rest, others = _with_pictures(kind, settings, dict(more or {}))
    wishes = read_wishes(rest, file, others)
    _check(kind, wishes)
    recipe = wishes.applied(kind.training)
    if "epochs" in wishes.recipe and "steps" not in wishes.recipe:
        recipe = replace(recipe, steps=None)
    knobs = {**kind.knobs, **(kept or {}), **wishes.knobs}
    if recipe.clip_norm and knobs.get("gradients") == "released":
        recipe = replace(recipe, clip_norm=0.0)
    processes = announced_ranks()[1]
    if recipe.batch_size % processes:
        raise UsageError(
            f"got batch_size={recipe.batch_size} for {processes} processes; expected a multiple; change one of them"
        )
    planner = NanoPlanner(
        kind=kind,
        share=recipe.batch_size // processes,
        processes=processes,
        averaged=recipe.average > 0,
        device=device,
    )
    return PlannedNano(
        kind=kind,
        nano=nano,
        recipe=recipe,
        steps=recipe.steps_for(nano.pictures),
        plan=planner.plan(knobs, budget_bytes),
        planner=planner,
        budget_bytes=budget_bytes,
    )


def _with_pictures(
    kind: NanoKind, settings: Sequence[str], more: dict[str, Any]
) -> tuple[PictureRecipe, list[str], dict[str, Any]]:
    """The recipe of the pictures, and the wishes that are not about them."""
    texts = [pair.partition("=")[2] for pair in settings if pair.partition("=")[0] == PICTURES]
    rest = [pair for pair in settings if pair.partition("=")[0] != PICTURES]
    asked = more.pop(PICTURES, texts[-1] if texts else None)
    if isinstance(asked, str) and asked.isdecimal():
        asked = int(asked)
    if asked is None:
        return kind.pictures(), rest, more
    if not isinstance(asked, int) or asked < 1:
        raise UsageError(f"got {PICTURES}={asked}; expected a number of pictures to render, 1 or more; correct it")
    return kind.pictures(pictures=asked), rest, more


def _check(kind: NanoKind, wishes: Wishes) -> None:
    given = [key for key in wishes.recipe if key.partition(".")[0] in (*MEANINGLESS, *kind.meaningless)]
    if wishes.channels is not None:
        given.append(HEAD_KEY)
    if wishes.knobs.get("trainable", "all") != "all":
        given.append(f"trainable={wishes.knobs['trainable']}")
    if given:
        raise UsageError(
            f"got {given[0]} for --task {kind.task}, which begins from nothing on data of its own; expected keys "
            "such as pictures, steps, batch_size, lr, average, seed, validation_limit or knobs of memory; leave it out"
        )
