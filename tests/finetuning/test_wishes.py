"""What users write: the command line and TOML say the same, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.finetuning.recipe import RECIPES, Recipe
from vitruvian.finetuning.wishes import read_wishes


def test_keys_are_sorted_by_whose_they_are() -> None:
    wishes = read_wishes(["lr=1e-4", "crop=768x576", "channels=19", "checkpointing=blocks", "augment.turn_deg=30"])
    assert wishes.recipe == {"lr": 1e-4, "augment.turn_deg": 30}
    assert wishes.knobs == {"input_hw": (768, 576), "checkpointing": "blocks"}
    assert wishes.channels == 19


def test_a_recipe_file_has_the_same_keys_and_the_command_line_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'lr = 1e-4\nsteps = 50\nschedule = "cosine"\ncrop = "64x48"\nbetas = [0.8, 0.9]\n[augment]\nturn_deg = 5\n'
    )
    wishes = read_wishes(["lr=2e-4"], file, {"steps": 60})
    recipe = wishes.applied(RECIPES["depth"])
    assert (recipe.lr, recipe.steps, recipe.schedule, recipe.betas) == (2e-4, 60, "cosine", (0.8, 0.9))
    assert recipe.augment.turn_deg == 5.0  # type: ignore[union-attr]
    assert recipe.augment.mirror_probability == 0.5  # type: ignore[union-attr]
    assert wishes.knobs == {"input_hw": (64, 48)}


def test_knobs_from_python_may_be_values() -> None:
    wishes = read_wishes(more={"crop": (64, 48), "micro_batch": 2, "batch_size": 8})
    assert wishes.knobs == {"input_hw": (64, 48), "micro_batch": 2}
    assert wishes.applied(RECIPES["seg"]).batch_size == 8


def test_augmentation_can_be_switched_off_and_optional_numbers_too() -> None:
    recipe = read_wishes(["augment=false", "guard=none"]).applied(RECIPES["pose"])
    assert recipe.augment is None
    assert recipe.guard is None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["lr"], "expected key=value"),
        (["learning_rate=1"], "got the key 'learning_rate'"),
        (["lr=fast"], "got lr=fast; expected a number"),
        (["steps=2.5"], "expected a whole number or none"),
        (["weighted=1"], "expected true or false"),
        (["schedule=exponential"], "expected one of linear, cosine, stepwise, constant, poly"),
        (["betas=[0.9]"], r"expected \[a number, a number\]"),
        (["augment.shear=3"], "got augment.shear"),
        (["augment.canvas_hw=[3, 4]"], "got augment.canvas_hw"),
        (["augment=false", "augment.turn_deg=3"], "augment.turn_deg with augment=false"),
        (["lr=-1"], "got lr=-1.0"),
        (["crop=wide"], "height x width"),
    ],
)
def test_mistakes_are_named(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_wishes(pairs).applied(RECIPES["normal"])


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("lr: 3")
    with pytest.raises(UsageError, match=r"got the recipe bad\.toml"):
        read_wishes([], file)


def test_no_wishes_change_nothing() -> None:
    assert read_wishes().applied(Recipe()) == Recipe()
