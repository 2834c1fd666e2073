"""The arguments of a training run; a run itself is tested with the detector's weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vitruvian.training.detector.recipe import DetectorRecipe
from vitruvian.training.job import read_arguments


def test_arguments_change_the_recipe_and_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, given = DetectorRecipe(), "--pictures 7 --steps 9 --batch 3 --threads 2 --start-from state.pt --render-only"
    options = {"run": Path("folder"), "device": "cpu", "threads": None, "start_from": None, "render_only": False}
    monkeypatch.setattr(sys, "argv", ["detector", "folder", "--device", "cpu"])
    assert read_arguments("detector", "about", plain) == (plain, options)
    monkeypatch.setattr(sys, "argv", [*sys.argv, *given.split()])
    recipe = replace(plain, pictures=7, batch=3, loop=replace(plain.loop, steps=9))
    changed = {"threads": 2, "start_from": Path("state.pt"), "render_only": True}
    assert read_arguments("detector", "about", plain) == (recipe, options | changed)
