"""A task whose normalisation and post-processing are inside the network already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from vitruvian.tasks.base import Gathering, Geometry, Provenance, Region, Result, Task


@dataclass(frozen=True, kw_only=True)
class InsideTask:
    """The same task with bytes for the network and finished tensors from it."""

    task: Task

    @property
    def name(self) -> str:
        """pose, seg, depth, normal, features or detect."""
        return self.task.name

    @property
    def result(self) -> type[Result]:
        """The kind of its results."""
        return self.task.result

    @property
    def input_hw(self) -> tuple[int, int]:
        """Canvas height and width."""
        return self.task.input_hw

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """Cut one canvas out of a picture."""
        return self.task.prepare(image_HW3, region)

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """The bytes themselves."""
        return canvas_BHW3

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the network gave."""
        return dict(raw)

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing: it is there already."""
        return {}

    def constants(self) -> dict[str, Any]:
        """What other programs must know."""
        return self.task.constants()

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Result]:
        """Results of one region in source pixels."""
        return self.task.finish(tensors, geometry, provenance)

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> Gathering:
        """What makes one result per kind for a picture."""
        return self.task.gather(source_hw, provenance)

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """How far two results of one picture are apart."""
        return self.task.discrepancy(a, b)
