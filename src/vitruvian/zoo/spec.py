"""What the catalogue knows about a model, whatever its family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

from torch import nn

from vitruvian.errors import UsageError
from vitruvian.fit.workload import TensorSpec, Workload
from vitruvian.models.assembly import Loaded
from vitruvian.tasks.base import Task
from vitruvian.tasks.normal import PUBLISHED, NormalFrame
from vitruvian.tasks.sizing import at_size
from vitruvian.zoo.sources import PackagedFile, WeightSource

TaskName = Literal["pose", "seg", "depth", "normal", "features", "detect"]


CONFIG_KEY = "vitruvian_config"
"""Entry of a weight file's metadata with the JSON of its network's configuration."""
LICENCE_KEY = "licence"


class NetworkConfig(Protocol):
    """What every family's configuration can tell; a frozen dataclass."""

    @property
    def input_hw(self) -> tuple[int, int]:
        """Canvas height and width the network was made for."""

    @property
    def parameters(self) -> int:
        """Number of weights."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers; equal for networks of the same structure and no others."""


def _no_knobs(config: Any) -> frozenset[str]:
    return frozenset()


def _no_patches(config: Any) -> None:
    return None


def _never(config: Any) -> bool:
    return False


NETWORK_KEY = "vitruvian_network"
"""Entry of a weight file's metadata with the name of its network's family."""


def plain_metadata(spec: ModelSpec) -> dict[str, str]:
    """Configuration and licence as text."""
    return {CONFIG_KEY: json.dumps(spec.config.to_json(), sort_keys=True), LICENCE_KEY: spec.licence}


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How the networks of one family are built, filled and used.

    Values and plain functions, which travel to child processes.
    """

    name: str
    """In metadata of weight files."""
    build: Callable[[Any], nn.Module]
    """Configuration -> network on meta, ready to run."""
    load: Callable[..., Loaded]
    """(configuration, tensors, device=, dtype_of=) -> network with weights; `RefusedError` where they do not belong. On
    the device `meta` it only finds out whether they do."""
    make_task: Callable[[ModelSpec], Task]
    """What is before and after the network."""
    metadata: Callable[[ModelSpec], dict[str, str]] = plain_metadata
    """Text to write into a weight file, by which `zoo.spec_of_file` knows the network again."""
    islands: tuple[str, ...] = ()
    """Patterns of module names that stay in float32."""
    blocks: tuple[str, ...] = ()
    """Patterns of the repeated blocks."""
    head: tuple[str, ...] = ()
    """Modules that are not the encoder."""
    stem: tuple[str, ...] = ()
    """Patterns of parameters before the blocks: patches, positions, class token."""
    undecayed: tuple[str, ...] = ()
    """Patterns of parameters without weight decay, beside biases and scales: position tables."""
    knobs: Callable[[Any], frozenset[str]] = _no_knobs
    """Configuration -> measures that the network itself offers."""
    patch_size: Callable[[Any], int | None] = _no_patches
    """Configuration -> side of a token in pixels, where crops may be trained at another patch size."""
    stride: Callable[[Any], int | None] = _no_patches
    """Configuration -> what the sides of other canvases are multiples of; None: it takes no other."""
    person_wise: bool = True
    """Whether it can look at one person after the other."""
    fits: Callable[[Any], bool] = _never
    """Configuration -> whether canvases may take each picture's own aspect."""
    runner: str = ""
    """Packaged program, in `bundled.bundled_runner`, that runs an ONNX file of such a network without this package."""
    resized: Callable[[Any, tuple[int, int], int], Any] | None = None
    """(configuration, canvas, patch size) -> configuration, where a network can be resized."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """One model: enough to build it, load it, run it and plan it."""

    name: str
    task: TaskName
    family: Family
    config: NetworkConfig
    files: tuple[WeightSource, ...]
    """Weight files; their tensors together are the network's. Empty: the layout is known, nothing was published."""
    licence: str
    normal_frame: NormalFrame = PUBLISHED
    """Frame of a normal network's output."""
    canvas_hw: tuple[int, int] | None = None
    """Canvas to run on; None: the one that the network was made for."""
    fit: bool = False
    """Whether each picture gets a canvas in its own aspect, with at most as many pixels."""

    @property
    def input_hw(self) -> tuple[int, int]:
        """Canvas height and width that pictures are brought to."""
        return self.canvas_hw or self.config.input_hw

    def at_size(self, canvas_hw: tuple[int, int]) -> ModelSpec:
        """The same network, run on another canvas.

        Raises:
            UsageError: no canvas that the network can take.
        """
        if canvas_hw == self.config.input_hw:
            return replace(self, canvas_hw=None)
        stride = self.family.stride(self.config)
        if stride is None or any(side < stride or side % stride for side in canvas_hw):
            wanted = f"multiples of {stride}" if stride else "its own size: this network knows no other"
            size = "x".join(map(str, canvas_hw))
            raise UsageError(f"got the size {size} (height x width); expected {wanted}; change or leave it out")
        return replace(self, canvas_hw=canvas_hw)

    def fitted(self) -> ModelSpec:
        """The same network with canvases in each picture's own aspect.

        Raises:
            UsageError: the network cannot.
        """
        if not self.family.fits(self.config):
            raise UsageError(
                f"got --canvas fit for {self.name}; expected fixed, or a size: its weights know one canvas only; "
                "metric3d-vit models can"
            )
        return replace(self, fit=True)

    @property
    def embedded(self) -> bool:
        """Whether the weights come with the package."""
        return all(isinstance(file, PackagedFile) for file in self.files) and bool(self.files)

    @property
    def workload(self) -> Workload:
        """The network as planners and exporters see it."""
        family, config = self.family, self.config
        return Workload(
            name=self.name,
            build=partial(family.build, config),
            inputs=partial(picture_inputs, self.input_hw),
            islands=family.islands,
            knobs=family.knobs(config),
            blocks=family.blocks,
            head=family.head,
            input_hw=self.input_hw,
            patch_size=family.patch_size(config),
            resized=self._resized if family.resized else None,
            key=json.dumps({**config.to_json(), "canvas_hw": self.input_hw}, sort_keys=True),
        )

    def _resized(self, input_hw: tuple[int, int], patch_size: int) -> Workload:
        """The workload at another crop and patch size; positions are resampled, so it is not the pretrained network."""
        assert self.family.resized is not None
        return replace(self, config=self.family.resized(self.config, input_hw, patch_size), canvas_hw=None).workload

    def make_task(self) -> Task:
        """The pre- and post-processing of this network."""
        task = self.family.make_task(self)
        return task if self.canvas_hw is None else at_size(task, self.canvas_hw)


def picture_inputs(input_hw: tuple[int, int], batch: int) -> dict[str, TensorSpec]:
    """Normalised canvases."""
    return {"x_B3HW": TensorSpec(shape=(batch, 3, *input_hw))}
