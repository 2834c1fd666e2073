"""A network of the catalogue on real crops: inputs, float32 results, differences in task units and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.artefacts.wrapping import PostInside
from vitruvian.audit import Crop
from vitruvian.tasks.base import Origin, Provenance, Result, Task
from vitruvian.tasks.metrics import relative_l2

RAW = "relative_l2"


def post_inside(network: nn.Module, task: Task) -> PostInside:
    """The network with its task's normalisation and post-processing."""

    def after(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        finished = task.finish_tensors(raw)
        return {**finished, **task.ready_tensors(finished)}

    return PostInside(network, task.network_input, after)


@dataclass(kw_only=True)
class PictureSubject:
    """Crops of pictures, and what float32 makes of them."""

    task: Task
    provenance: Provenance
    crops: Sequence[Crop]
    with_post: bool
    reference: Sequence[Mapping[str, Tensor]] | None
    """Finished tensors of each crop in float32, on the host; None: float32 does not fit."""
    meaningless: bool = False
    """Random weights: the artefact's outputs themselves are compared, and are what `reference` holds."""

    @property
    def count(self) -> int:
        """How many crops there are."""
        return len(self.crops)

    def inputs(self, places: Sequence[int]) -> tuple[Tensor, ...]:
        """Canvases as the artefact takes them: bytes where post-processing is inside, else normalised."""
        canvas_BHW3 = torch.from_numpy(np.stack([self.crops[place].canvas_HW3 for place in places]))
        return (canvas_BHW3 if self.with_post else self.task.network_input(canvas_BHW3),)

    def distances(self, places: Sequence[int], row: int, outputs: Mapping[str, Tensor]) -> dict[str, float]:
        """Task units between what these outputs and what float32 says about a picture."""
        assert self.reference is not None
        place = places[row]
        true = self.reference[place]
        if self.meaningless:
            pairs = [(outputs[name].nan_to_num(), true[name].nan_to_num()) for name in true]
            return {RAW: max(relative_l2(one.float().numpy(), other.float().numpy()) for one, other in pairs)}
        finished = self.finished(outputs)
        return self.task.discrepancy(self._result(place, finished), self._result(place, true))

    def finished(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One row of outputs -> one row of finished tensors."""
        if self.with_post:
            return dict(outputs)  # what is there beside the finished tensors is not looked at
        tensors = self.task.finish_tensors({name: value[None] for name, value in outputs.items()})
        return {name: value[0] for name, value in tensors.items()}

    def _result(self, place: int, finished: Mapping[str, Tensor], image_HW3: np.ndarray | None = None) -> Result:
        (result, *_) = self.task.finish(finished, self.crops[place].geometry, self.provenance)
        if image_HW3 is None:
            return result
        return replace(result, origin=Origin(name="worst", index=place, time_s=None, image_HW3=image_HW3))

    def drawn(self, place: int, outputs: Mapping[str, Tensor], image_HW3: np.ndarray) -> np.ndarray:
        """Float32, the artefact, and where their drawings differ (eight times as strong), side by side; uint8 RGB."""
        assert self.reference is not None
        first = self._result(place, self.reference[place], image_HW3).draw()
        second = self._result(place, self.finished(outputs), image_HW3).draw()
        difference = np.abs(first.astype(np.int16) - second.astype(np.int16)) * 8
        return np.concatenate([first, second, np.minimum(difference, 255).astype(np.uint8)], axis=1)


@torch.inference_mode()
def float32_of(
    network: nn.Module, task: Task, crops: Sequence[Crop], device: str, *, finished: bool
) -> list[dict[str, Tensor]]:
    """Raw or finished tensors of each crop, one call a crop, on the host."""
    found = []
    for crop in crops:
        canvas_BHW3 = torch.from_numpy(crop.canvas_HW3)[None].to(device)
        tensors = network(task.network_input(canvas_BHW3))
        if finished:
            tensors = task.finish_tensors(tensors)
        found.append({name: value[0].cpu() for name, value in tensors.items()})
    return found
