"""The same task for canvases of another size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from vitruvian.tasks.base import Task


def at_size(task: Task, input_hw: tuple[int, int]) -> Task:
    """The task with another canvas height and width; every task is a frozen dataclass that holds them."""
    return cast(Task, replace(cast(Any, task), input_hw=input_hw))
