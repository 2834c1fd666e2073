"""What a fine-tuning will do and take, before anything is loaded.

In: task, base, data, wishes, machine. Out: a `PlannedTraining`: the recipe with every number filled in, the samples,
the memory plan. Costs reading the folder's names (or annotations) and tracing ways to run that were never traced here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.finetuning.memory import MemoryPlanner
from vitruvian.finetuning.progress import duration
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.samples import TrainingData
from vitruvian.finetuning.trainee import Asked, Trainee
from vitruvian.finetuning.trainees import trainee_of
from vitruvian.finetuning.wishes import Wishes
from vitruvian.fit.decisions import Decision
from vitruvian.fit.plan_values import Plan
from vitruvian.fit.workload import Workload
from vitruvian.media.names import shown
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.tasks.normal import NORMAL_FRAMES, NormalFrame
from vitruvian.training.ranks import announced_ranks
from vitruvian.training.workload import trainable_spec

KEPT_ON_RESUME = ("precision", "optimizer", "trainable", "gradients", "checkpointing", "attention", "parallel")
"""Knobs of training that a resumed one keeps, beside type, crop, patch and micro-batch."""


@dataclass(frozen=True, kw_only=True)
class PlannedTraining:
    """Everything that is known beforehand."""

    trainee: Trainee
    task: HeadKind
    base: zoo.ModelSpec
    spec: zoo.ModelSpec
    """Of the network to train."""
    recipe: Recipe
    steps: int
    data: TrainingData[Any]
    data_name: str
    plan: Plan
    planner: MemoryPlanner
    budget_bytes: int | None
    decisions: tuple[Decision, ...]

    @property
    def workload(self) -> Workload:
        """The network at the size that will be trained."""
        return self.trainee.workload(self.spec)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights, apart from those that the training starts from; JSON-able."""
        names = "\n".join(sample.name for part in (self.data.train, self.data.validation) for sample in part)
        return {
            "task": self.task,
            "model": self.base.name,
            "network": self.spec.config.to_json(),
            "normal_frame": self.spec.normal_frame.name if self.task == "normal" else None,
            "data": self.data_name,
            "samples": [len(self.data.train), len(self.data.validation)],
            "names": hashlib.sha256(_bytes(names)).hexdigest()[:16],
            "steps": self.steps,
            **self.data.identity,
            **self.recipe.identity,
        }

    def text(self) -> str:
        """The training in a few lines, without the plan's table."""
        recipe, samples = self.recipe, len(self.data.train)
        passes = self.steps * recipe.batch_size / samples
        pace = self.plan.items_per_s
        time = f", about {duration(self.steps * recipe.batch_size / pace)} by the plan's estimate" if pace else ""
        lines = [
            f"{self.base.name} for {self.task} on {self.data_name} ({self.data.layout}): "
            f"{samples} samples to train on, {len(self.data.validation)} to validate on",
            f"{self.steps} steps of {recipe.batch_size} samples ({passes:.3g} passes), learning rate {recipe.lr:g} "
            f"{recipe.schedule}{time}",
            *(f"  {decision}" for decision in self.decisions),
        ]
        if self.data.missing:
            lines.append(f"note: {len(self.data.missing)} files left out, the first: {self.data.missing[0]}")
        return "\n".join(lines)


def plan_training(
    task: str,
    model: str | Path,
    data: Path,
    wishes: Wishes,
    *,
    budget_bytes: int | None = None,
    device: str | None = None,
    frame: str | None = None,
) -> PlannedTraining:
    """Plan a fine-tuning; nothing is loaded.

    Args:
        task: pose, seg, depth or normal.
        model: a catalogue name (`sapiens-2b`: the pretrained encoder), a weight file or a training's folder; of a
            Metric3D network depth alone, which teaches normals, too.
        data: folder in one of the layouts of `vitruvian.datasets`.
        wishes: recipe and knobs that the user insists on.
        budget_bytes: for the whole process on its device; None: what is free.
        device: torch device string; None: the machine's first.
        frame: axes of the data's normals, by name; None: those that the base gives, else the camera's.

    Raises:
        UsageError: no such task, model, data, device or knob.
    """
    if task not in get_args(HeadKind):
        raise UsageError(f"got the task {task!r}; expected one of {', '.join(get_args(HeadKind))}; name one (--task)")
    kind, base = cast(HeadKind, task), trainable_spec(model)
    trainee = trainee_of(base)
    plain = Asked(task=kind, channels=wishes.channels, frame=_frame(frame))
    asked = replace(plain, input_hw=wishes.knobs.get("input_hw"), patch_size=wishes.knobs.get("patch_size"))
    spec = trainee.spec(base, asked)
    recipe = _recipe(trainee.recipe(spec, wishes), wishes)
    found = trainee.data(data, spec, recipe)
    planner = _planner(trainee, trainee.spec(base, plain), recipe, device)
    plan = planner.plan(wishes.knobs, budget_bytes)
    if plan.knobs.input_hw not in (None, spec.config.input_hw):  # the plan took a smaller crop
        spec = trainee.spec(base, replace(asked, input_hw=plan.knobs.input_hw))
        found = trainee.data(data, spec, recipe)
    steps = recipe.steps_for(len(found.train))
    return PlannedTraining(
        trainee=trainee,
        task=kind,
        base=base,
        spec=spec,
        recipe=recipe,
        steps=steps,
        data=found,
        data_name=shown(Path(data.resolve().name)),
        plan=plan,
        planner=planner,
        budget_bytes=budget_bytes,
        decisions=(*found.decisions, *_decisions(trainee, recipe, steps, wishes)),
    )


def _planner(trainee: Trainee, spec: zoo.ModelSpec, recipe: Recipe, device: str | None) -> MemoryPlanner:
    """For a network of the base's own canvas."""
    gpus = announced_ranks()[1]
    if recipe.batch_size % gpus:
        raise UsageError(
            f"got batch_size={recipe.batch_size} for {gpus} processes; expected a multiple; change one of them"
        )
    return MemoryPlanner(
        sample=trainee.sample_bytes(spec),
        workload=trainee.workload(spec),
        batch_size=recipe.batch_size,
        averaged=recipe.average > 0,
        device=device,
        gpus=gpus,
    )


def _recipe(recipe: Recipe, wishes: Wishes) -> Recipe:
    """Without what the knobs exclude."""
    return replace(recipe, clip_norm=0.0) if wishes.knobs.get("gradients") == "released" else recipe


def kept_settings(knobs: dict[str, Any], *, exactly: bool) -> dict[str, Any]:
    """Settings that keep a training what it is, from the knobs of its state.

    Args:
        knobs: as `Knobs.to_json` gave them.
        exactly: everything that changes rounding, too, where as many processes train as before; else only what changes
            what is learnt.
    """
    exactly = exactly and knobs["gpus"] == announced_ranks()[1]
    names = [name for name in KEPT_ON_RESUME if exactly or name not in ("checkpointing", "attention", "parallel")]
    kept = {name: knobs[name] for name in names}
    kept["dtype"] = knobs["dtype"]
    if knobs["input_hw"] is not None:
        kept["input_hw"] = tuple(knobs["input_hw"])
    if knobs["patch_size"] is not None:
        kept["patch_size"] = knobs["patch_size"]
    if exactly:
        kept |= {"micro_batch": knobs["micro_batch"], "state": knobs["state"]}
    return kept


def _decisions(trainee: Trainee, recipe: Recipe, steps: int, wishes: Wishes) -> list[Decision]:
    decisions = [
        Decision(what=f"lr of {names}", value=f"{factor:g} of the others'", because="as published")
        for names, factor in trainee.rates.items()
    ]
    warmup = recipe.warmup_for(steps)
    if warmup != recipe.warmup:
        because = f"a tenth of the training at most; {recipe.warmup} steps are meant for a longer one"
        decisions.append(Decision(what="warmup", value=warmup, because=because))
    if recipe.clip_norm == 0 and wishes.knobs.get("gradients") == "released":
        because = "gradients are applied as they are made"
        decisions.append(Decision(what="clip_norm", value="none", because=because))
    return decisions


def _frame(name: str | None) -> NormalFrame | None:
    if name is None:
        return None
    if name not in NORMAL_FRAMES:
        raise UsageError(f"got --frame {name}; expected one of {', '.join(NORMAL_FRAMES)}; name one")
    return NORMAL_FRAMES[name]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
