"""The arguments of a training run; a run itself is tested with the detector's weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vitruvian.training.job import read_arguments
from vitruvian.training.nano.recipe import NanoRecipe


def test_arguments_change_the_recipe_and_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, given = NanoRecipe(), "--pictures 7 --steps 9 --batch 3 --threads 2 --start-from state.pt --render-only"
    options = {"run": Path("folder"), "device": "cpu", "threads": None, "start_from": None, "render_only": False}
    monkeypatch.setattr(sys, "argv", ["nano", "folder", "--device", "cpu"])
    assert read_arguments("nano", "about", plain) == (plain, options)
    monkeypatch.setattr(sys, "argv", [*sys.argv, *given.split()])
    recipe = replace(plain, pictures=7, batch=3, loop=replace(plain.loop, steps=9))
    changed = {"threads": 2, "start_from": Path("state.pt"), "render_only": True}
    assert read_arguments("nano", "about", plain) == (recipe, options | changed)
