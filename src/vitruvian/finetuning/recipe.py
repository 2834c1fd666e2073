"""What is learnt and how, as one value; the published recipes as a table.

Memory is not its business: knobs and plan belong to `vitruvian.fit`. Everything here changes what the weights become.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vitruvian.datasets.augment import DENSE_RECIPES, PARSING_RECIPE, DenseRecipe, PoseRecipe
from vitruvian.errors import UsageError
from vitruvian.models.sapiens import SIZES, SapiensConfig
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.training.metric.samples import MetricAugmentation
from vitruvian.training.schedules import Constant, Cosine, Linear, Poly, Schedule, Stepwise
from vitruvian.training.spike_guard import SPIKE_FACTOR

ScheduleName = Literal["linear", "cosine", "stepwise", "constant", "poly"]
Augmentation = DenseRecipe | PoseRecipe | MetricAugmentation
FREE_OF_IDENTITY = ("log_every", "checkpoint_minutes", "checkpoint_every", "corrupt_limit")
"""Fields that decide nothing about the weights."""
SHORT_WARMUP = 0.1
"""Of a training, at most: a published warm-up is meant for tens of thousands of steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what a fine-tuning makes of weights."""

    epochs: float = 200.0
    """Passes over the training samples; `steps` goes first."""
    steps: int | None = None
    """Optimizer steps; None: as many as the epochs take."""
    batch_size: int = 16
    """Samples of an optimizer step, over all micro-batches and devices."""
    lr: float = 5e-4
    schedule: ScheduleName = "linear"
    warmup: int = 400
    """Steps of linear warm-up from a thousandth; a tenth of the training at most."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float = 0.85
    """Factor of the learning rate from one block to the one before."""
    clip_norm: float = 1.0
    """Largest norm of all gradients; 0: they are not clipped."""
    drop_path: float = 0.0
    """Chance to leave out a residual branch of the last block; it falls to 0 at the first one."""
    average: float = 0.0
    """Decay of a running average of the weights, which is then what is measured and kept; 0: none."""
    hardest: int | None = None
    """Pose: keypoints of each person that count, the worst ones; None: all."""
    heat_sigma: float = 6.0
    """Pose: width of the targets in heat-map pixels, where maps are 192 wide."""
    guard: float | None = None
    """A batch is left out whose loss is so many times the one before; None: none is."""
    weighted: bool = True
    """Seg: classes weigh as published, where weights were published."""
    augment: Augmentation | None = None
    """How samples are varied by chance; None: not at all."""
    seed: int = 0
    validation_share: float = 0.05
    """Of the samples, held out where the data set has no part to validate on."""
    validation_limit: int = 200
    """Samples that are validated on, at most."""
    validate_every: int | None = None
    """Steps; None: twenty times in the training."""
    corrupt_limit: int | None = None
    """Samples that may be no use; None: a hundredth, 10 at least."""
    log_every: int = 10
    """Steps."""
    checkpoint_minutes: float = 5.0
    """Between two saved states."""
    checkpoint_every: int | None = None
    """Steps between two saved states, too; None: time alone counts."""

    def __post_init__(self) -> None:
        _check(self)

    def steps_for(self, samples: int) -> int:
        """Optimizer steps over so many training samples."""
        return self.steps or max(1, round(self.epochs * samples / self.batch_size))

    def warmup_for(self, steps: int) -> int:
        """Warm-up of a training of so many steps."""
        return min(self.warmup, int(SHORT_WARMUP * steps))

    def schedule_for(self, steps: int, samples: int) -> Schedule:
        """Factor of the learning rate by step; linear falls from epoch to epoch where epochs were asked for."""
        warmup = self.warmup_for(steps)
        if self.schedule == "constant":
            return Constant(warmup=warmup)
        if self.schedule == "cosine":
            return Cosine(steps=steps, warmup=warmup)
        if self.schedule == "stepwise":
            return Stepwise(steps=steps, warmup=warmup)
        if self.schedule == "poly":
            return Poly(steps=steps, warmup=warmup)
        held = 1 if self.steps or self.epochs < 2 else max(1, round(samples / self.batch_size))
        return Linear(steps=steps, warmup=warmup, held=held)

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the weights, by dotted names; the rest may differ in a resumed training."""
        return {f"recipe.{key}": value for key, value in asdict(self).items() if key not in FREE_OF_IDENTITY}

    def validation_interval(self, steps: int) -> int:
        """Steps between two validations."""
        return self.validate_every or max(1, steps // 20)


def _check(recipe: Recipe) -> None:
    """Refuse what no training can have."""
    rules: dict[str, tuple[bool, str]] = {
        "epochs": (recipe.epochs > 0, "a number above 0"),
        "steps": (recipe.steps is None or recipe.steps > 0, "1 or more"),
        "batch_size": (recipe.batch_size > 0, "1 or more"),
        "lr": (0 < recipe.lr < 10, "a rate such as 5e-4"),
        "warmup": (recipe.warmup >= 0, "0 or more"),
        "weight_decay": (recipe.weight_decay >= 0, "0 or more"),
        "layer_decay": (0 < recipe.layer_decay <= 1, "a factor above 0, up to 1"),
        "clip_norm": (recipe.clip_norm >= 0, "a norm, or 0 to clip nothing"),
        "drop_path": (0 <= recipe.drop_path < 1, "a share from 0 to below 1"),
        "average": (0 <= recipe.average < 1, "a decay from 0 to below 1"),
        "hardest": (recipe.hardest is None or recipe.hardest > 0, "1 or more"),
        "heat_sigma": (recipe.heat_sigma > 0, "a width above 0"),
        "guard": (recipe.guard is None or recipe.guard > 1, "a factor above 1"),
        "validation_share": (0 <= recipe.validation_share < 1, "a share from 0 to below 1"),
        "validation_limit": (recipe.validation_limit >= 0, "0 or more"),
        "validate_every": (recipe.validate_every is None or recipe.validate_every > 0, "1 or more"),
        "corrupt_limit": (recipe.corrupt_limit is None or recipe.corrupt_limit >= 0, "0 or more"),
        "log_every": (recipe.log_every > 0, "1 or more"),
        "checkpoint_minutes": (recipe.checkpoint_minutes > 0, "a number above 0"),
        "checkpoint_every": (recipe.checkpoint_every is None or recipe.checkpoint_every > 0, "1 or more"),
    }
    for name, (holds, expected) in rules.items():
        if not holds:
            raise UsageError(f"got {name}={getattr(recipe, name)}; expected {expected}; correct it")


RECIPES: Mapping[HeadKind, Recipe] = {
    "pose": Recipe(
        epochs=210, batch_size=32, schedule="stepwise", warmup=500, guard=SPIKE_FACTOR, augment=PoseRecipe()
    ),
    "seg": Recipe(augment=DENSE_RECIPES["seg"]),
    "depth": Recipe(augment=DENSE_RECIPES["depth"]),
    "normal": Recipe(augment=DENSE_RECIPES["normal"]),
}
"""Published training of each task, as far as one task has one."""

HARDEST_OF_308 = 128


def recipe_for(config: SapiensConfig) -> Recipe:
    """The published recipe of a network; canvas included."""
    assert config.head is not None
    kind, channels = config.head.kind, config.head.channels
    size = next((name for name, shape in SIZES.items() if shape["width"] == config.backbone.width), "")
    return replace(RECIPES[kind], **_exceptions(kind, channels, size))


def _exceptions(kind: HeadKind, channels: int, size: str) -> dict[str, Any]:
    """What the recipe of one number of outputs, and of one size, has otherwise."""
    if kind == "pose" and channels == 133 and size in ("0.3b", "0.6b"):
        return {"layer_decay": 0.75}
    if kind == "pose" and channels == 308:
        changed: dict[str, Any] = {"lr": 5e-5}
        if size in ("0.3b", "1b"):
            changed["hardest"] = HARDEST_OF_308
        if size == "1b":
            changed["layer_decay"] = 0.95
        return changed
    if kind == "seg" and channels == 20:
        return {"epochs": 400.0, "schedule": "cosine", "augment": PARSING_RECIPE}
    if kind == "seg" and channels == 19:
        return {"weighted": False}
    return {}
