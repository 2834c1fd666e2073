"""The denoising network: the library's spatio-temporal UNet, with pose features and a short cut.

In: latents (B,F,8,h,w), a noise level, one token of context a row, time ids, pose features. Out: v (B,F,4,h,w). Nothing
of the library's forward is repeated: pose features join by a hook on the first convolution, which offloading keeps.
"""

# Shape suffixes: B rows (branches of guidance), F frames, C channels, D context width, R rows of a layer's input, N its
# tokens, h w latents.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class PosedUnet(nn.Module):
    """The library's network and the pose features of the call that is on its way."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self._pose_BFChw: Tensor | None = None
        unet.get_submodule("conv_in").register_forward_hook(self._with_pose)

    def forward(
        self,
        sample_BF8hw: Tensor,
        timestep: Tensor,
        context_B1D: Tensor,
        time_ids_B3: Tensor,
        pose_BFChw: Tensor | None = None,
    ) -> Tensor:
        """`pose_BFChw`: what to add after the first convolution; None adds nothing."""
        self._pose_BFChw = pose_BFChw
        try:
            return self.unet(sample_BF8hw, timestep, context_B1D, time_ids_B3, return_dict=False)[0]
        finally:
            self._pose_BFChw = None

    def _with_pose(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output if self._pose_BFChw is None else output + self._pose_BFChw.flatten(0, 1).to(output.dtype)


class Constants:
    """Answers of all layers that look at the context, by branch; `rows` says which branches the next call has."""

    def __init__(self) -> None:
        self.rows = slice(None)


class _Constant:
    """Stands for the attention of a layer to a context of one token: whatever is asked, that token is the answer."""

    def __init__(self, values_BD: Tensor, constants: Constants) -> None:
        self.values_BD, self.constants = values_BD, constants

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        rows, tokens = hidden_states.shape[:2]
        chosen_BD = self.values_BD[self.constants.rows].to(hidden_states)
        # Rows are frames or pixels of one branch, then those of the next.
        own = chosen_BD.repeat_interleave(rows // len(chosen_BD), dim=0)
        return own[:, None].expand(rows, tokens, own.shape[1])


@contextmanager
def constant_cross_attention(unet: nn.Module, context_B1D: Tensor) -> Iterator[Constants]:
    """Inside, every attention to the context gives the values computed here once: exact, because one token gets it all.

    Args:
        unet: the library's network.
        context_B1D: the one token of each branch; what is yielded says which of them a call has: all, or a slice.

    Raises:
        ValueError: a context of several tokens.
    """
    if context_B1D.shape[1] != 1:
        raise ValueError(f"got a context of {context_B1D.shape[1]} tokens; expected one: only then nothing is weighed")
    layers: dict[str, Any] = {name: module for name, module in unet.named_modules() if name.endswith(".attn2")}
    before = {name: module.processor for name, module in layers.items()}
    constants = Constants()
    try:
        with torch.no_grad():
            for module in layers.values():
                weight = module.to_v.weight
                value_B1C = module.to_v(context_B1D.to(weight))
                for part in module.to_out:
                    value_B1C = part(value_B1C)
                module.processor = _Constant(value_B1C[:, 0], constants)
        yield constants
    finally:
        for name, module in layers.items():
            module.processor = before[name]
