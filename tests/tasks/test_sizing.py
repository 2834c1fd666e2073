"""Every task can be had for another canvas, and is otherwise the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from vitruvian import zoo
from vitruvian.tasks.normal import CAMERA, NormalTask
from vitruvian.tasks.sizing import at_size

PICTURE = np.zeros((50, 70, 3), np.uint8)


@pytest.mark.parametrize("name", zoo.DEFAULT_MODELS.values())
def test_only_the_canvas_changes(name: str) -> None:
    task: Any = zoo.MODELS[name].make_task()
    before = task.input_hw
    other = at_size(task, (96, 32))
    assert (other.input_hw, task.input_hw) == ((96, 32), before)
    assert type(other) is type(task)
    kept = [one.name for one in fields(task) if one.name != "input_hw"]
    assert all(getattr(other, name) == getattr(task, name) for name in kept)
    canvas, geometry = other.prepare(PICTURE, None)
    assert (canvas.shape, geometry.canvas_hw) == ((96, 32, 3), (96, 32))
    assert other.constants()["canvas_hw"] == [96, 32]
    assert at_size(other, before) == task


def test_what_is_not_the_default_stays() -> None:
    other = at_size(NormalTask(input_hw=(64, 48), frame=CAMERA), (32, 32))
    assert isinstance(other, NormalTask)
    assert other.frame == CAMERA
