"""A Metric3D v2 network as it is trained: the states of all its steps come out, not the last one's result alone.

In: normalised RGB (B,3,H,W). Out: `states` (B,T,6,h,w), the first estimate and all refinements but the last at 1/4 of
the canvas, and `canvas` (B,6,H,W), the last one on the canvas; both raw (see `Refinement`), float32. The state dict is
that of the network. What lies on a float32 island computes in float32 under autocast, too: one unit of the state is
100 m. Training dominates memory by the maps of all steps at 1/4.
"""

# Shape suffixes: B pictures, T predictions before the last, S = 6 state channels, H W canvas, h w a quarter of it.

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from vitruvian.errors import UsageError
from vitruvian.fit.parts import outermost
from vitruvian.models.metric3d import ISLANDS, Metric3dConfig, Metric3dNetwork
from vitruvian.models.metric3d.config import RefinerConfig
from vitruvian.models.metric3d.refiner import CANVAS_FACTOR, MASK_SCALE, Refinement, Refiner

STATES, CANVAS = "states", "canvas"


class SteppedNetwork(nn.Module):
    """The network around the same weights."""

    def __init__(self, network: Metric3dNetwork) -> None:
        """Raises `UsageError` for a network of the first kind, which has no steps."""
        super().__init__()
        refiner_of(network.config)
        self.config: Metric3dConfig = network.config
        self.depth_model = network.depth_model
        for name in outermost(self, ISLANDS):
            _Float32Island().attach(self.get_submodule(name))

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        decoder = self.depth_model.decoder
        assert isinstance(decoder, Refiner)
        refinement = decoder.start(*self.depth_model.encoder(x_B3HW))
        states_BSHW = []
        for _ in range(decoder.config.steps):
            states_BSHW.append(refinement.state_BSHW)
            refinement = decoder.step(refinement)
        return {STATES: torch.stack(states_BSHW, dim=1), CANVAS: on_canvas(decoder, refinement)}


def refiner_of(config: Metric3dConfig) -> RefinerConfig:
    """The decoder of a network that can be trained step by step.

    Raises:
        UsageError: a network of the first kind.
    """
    if not isinstance(config.decoder, RefinerConfig):
        raise UsageError("got a Metric3D v1 network to train step by step; expected v2 (metric3d-vit-...); name one")
    return config.decoder


def on_canvas(decoder: Refiner, refinement: Refinement) -> Tensor:
    """A state on the canvas, raw: `Refiner.outputs` cuts depth to its range, beyond which nothing could be learnt."""
    logits_BMHW = MASK_SCALE * decoder.update_block.mask(refinement.hidden.quarter)
    return decoder.upsample(refinement.state_BSHW, logits_BMHW)


def quarter_of(map_BxHW: Tensor) -> Tensor:
    """The pixel of a map on the canvas nearest to the middle of each pixel of the states, last two axes."""
    return map_BxHW[..., CANVAS_FACTOR // 2 :: CANVAS_FACTOR, CANVAS_FACTOR // 2 :: CANVAS_FACTOR]


class _Float32Island:
    """Hooks that keep autocast away from a module and give it float32; they stay when knobs change."""

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def attach(self, module: nn.Module) -> None:
        module.register_forward_pre_hook(self._enter)
        module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        device = next(value.device.type for value in inputs if isinstance(value, Tensor))
        context = torch.autocast(device, enabled=False)
        context.__enter__()
        self._entered.append(context)
        return tree_map(_widened, inputs)

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._entered.pop().__exit__(None, None, None)


def _widened(value: Any) -> Any:
    narrow = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if narrow else value
