"""The published recipes as values, and what they make of a training's length."""

from __future__ import annotations

import pytest

from vitruvian.datasets.augment import DenseRecipe, PoseRecipe
from vitruvian.errors import UsageError
from vitruvian.finetuning.recipe import RECIPES, Recipe, recipe_for
from vitruvian.models.sapiens import published_config
from vitruvian.training.schedules import Cosine, Linear, Poly, Stepwise


@pytest.mark.parametrize(
    ("size", "kind", "channels", "expected"),
    [
        ("0.3b", "pose", 17, {"lr": 5e-4, "layer_decay": 0.85, "hardest": None, "batch_size": 32, "epochs": 210}),
        ("0.3b", "pose", 133, {"lr": 5e-4, "layer_decay": 0.75}),
        ("1b", "pose", 133, {"lr": 5e-4, "layer_decay": 0.85}),
        ("0.3b", "pose", 308, {"lr": 5e-5, "layer_decay": 0.85, "hardest": 128}),
        ("0.6b", "pose", 308, {"lr": 5e-5, "layer_decay": 0.85, "hardest": None}),
        ("1b", "pose", 308, {"lr": 5e-5, "layer_decay": 0.95, "hardest": 128}),
        ("1b", "seg", 28, {"lr": 5e-4, "schedule": "linear", "epochs": 200, "weighted": True}),
        ("1b", "seg", 20, {"schedule": "cosine", "epochs": 400}),
        ("1b", "seg", 19, {"weighted": False}),
        ("2b", "depth", 1, {"batch_size": 16, "warmup": 400, "guard": None}),
        ("2b", "normal", 3, {"weight_decay": 0.1, "clip_norm": 1.0, "drop_path": 0.0}),
    ],
)
def test_published_recipes(size: str, kind: str, channels: int, expected: dict[str, object]) -> None:
    recipe = recipe_for(published_config(size, kind, channels))  # type: ignore[arg-type]
    assert {name: getattr(recipe, name) for name in expected} == expected


def test_augmentation_belongs_to_the_task() -> None:
    assert isinstance(RECIPES["pose"].augment, PoseRecipe)
    turns = {kind: RECIPES[kind].augment.turn_deg for kind in ("seg", "depth", "normal")}  # type: ignore[index, union-attr]
    assert turns == {"seg": 45, "depth": 60, "normal": 0}
    parsing = recipe_for(published_config("1b", "seg", 20)).augment
    assert isinstance(parsing, DenseRecipe)
    assert parsing.outside == "ignore"


@pytest.mark.parametrize(
    ("recipe", "samples", "steps"),
    [(Recipe(epochs=10, batch_size=16), 160, 100), (Recipe(epochs=0.001), 10, 1), (Recipe(steps=7, epochs=99), 160, 7)],
)
def test_steps_come_from_epochs_unless_they_are_given(recipe: Recipe, samples: int, steps: int) -> None:
    assert recipe.steps_for(samples) == steps


def test_a_short_training_has_a_short_warmup() -> None:
    recipe = Recipe(warmup=400)
    assert [recipe.warmup_for(steps) for steps in (5, 100, 4000, 10_000)] == [0, 10, 400, 400]


def test_schedules_end_where_the_training_ends() -> None:
    steps, samples = 200, 160
    linear = Recipe(epochs=20).schedule_for(steps, samples)
    assert isinstance(linear, Linear)
    assert linear.held == 10  # the published rate falls from epoch to epoch
    assert linear(199) == pytest.approx(linear(190))
    assert linear(199) < linear(189)
    smooth = Recipe(steps=steps).schedule_for(steps, samples)
    assert smooth(199) < smooth(198)
    assert isinstance(Recipe(schedule="cosine").schedule_for(steps, samples), Cosine)
    assert isinstance(Recipe(schedule="stepwise").schedule_for(steps, samples), Stepwise)
    assert Recipe(schedule="poly").schedule_for(steps, samples) == Poly(steps=steps, warmup=20)
    assert Recipe(schedule="constant").schedule_for(steps, samples)(199) == 1


@pytest.mark.parametrize(
    "field",
    [
        {"lr": 0.0},
        {"lr": 50.0},
        {"batch_size": 0},
        {"steps": 0},
        {"layer_decay": 1.5},
        {"drop_path": 1.0},
        {"average": 1.0},
        {"validation_share": 1.0},
        {"guard": 1.0},
        {"checkpoint_minutes": 0.0},
    ],
    ids=str,
)
def test_what_no_training_can_have_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        Recipe(**field)  # type: ignore[arg-type]
