"""What makes the denoising network take less memory, and how each is switched on.

In: the network as it was built. Out: the same network, in place. Feed-forward layers in parts and weights brought from
the host layer by layer give the same numbers; weights kept in eight bits do not, so nothing chooses them by itself.
"""

# Shape suffixes: N tokens, C channels.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitruvian.errors import UsageError
from vitruvian.hardware import Dtype

Storage = Literal["compute", "float8"]
"""compute: weights lie in the compute type."""
Attention = Literal["auto", "flash", "efficient", "cudnn"]
"""Kernel of the attention; auto: torch chooses call by call. None of them ever holds the scores of all tokens."""
_KERNELS: Mapping[Attention, SDPBackend] = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
_NO_KERNEL = ("No available kernel", "No viable backend")
"""How torch's errors begin."""
PARTS = 16
"""Parts of a feed-forward layer: its inner width is eight times its tokens', and parts of a sixteenth are small beside
what else is alive."""
_FEED_FORWARD = "FeedForward"
"""Name of the library's class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """How the denoising network is held and run."""

    feed_forward_parts: int = 1
    """Parts that the tokens of a feed-forward layer go through in."""
    streamed: bool = False
    """Weights stay in host memory; each layer's are brought when it runs."""
    storage: Storage = "compute"
    attention: Attention = "auto"

    def __str__(self) -> str:
        said = [
            f"feed-forward in {self.feed_forward_parts} parts" if self.feed_forward_parts > 1 else "",
            "weights streamed" if self.streamed else "",
            "weights in 8 bits" if self.storage == "float8" else "",
            f"{self.attention} attention" if self.attention != "auto" else "",
        ]
        return ", ".join(filter(None, said)) or "none"


def apply_measures(
    unet: nn.Module, measures: Measures, *, device: str, dtype: Dtype, islands: tuple[str, ...] = ()
) -> nn.Module:
    """Switch measures on.

    Args:
        unet: the library's network; on the host where its weights are to be streamed.
        measures: which.
        device: where it computes.
        dtype: compute type.
        islands: modules that keep float32.
    """
    network: Any = unet
    if measures.feed_forward_parts > 1:
        in_parts(unet, measures.feed_forward_parts)
    if measures.storage == "float8":
        network.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn,
            compute_dtype=getattr(torch, dtype),
            skip_modules_pattern=("norm", "time_mixer", "conv_in", "conv_out", *islands),
        )
    if measures.streamed:
        network.enable_group_offload(
            onload_device=torch.device(device),
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=device.startswith("cuda"),
        )
    return unet


@contextmanager
def attention_kernel(name: Attention) -> Iterator[None]:
    """Inside, attention is computed by this kernel.

    Raises:
        UsageError: it cannot run what is asked of it on this device.
    """
    if name == "auto":
        yield
        return
    try:
        with sdpa_kernel(_KERNELS[name]):
            yield
    except RuntimeError as error:
        if not str(error).startswith(_NO_KERNEL):
            raise
        raise UsageError(
            f"got attention={name}, which this device and torch have no kernel for in this compute type; expected one "
            "that they have; leave it at attention=auto"
        ) from error


def in_parts(unet: nn.Module, parts: int) -> None:
    """Let tokens go through the feed-forward layers in so many parts: every token for itself, so nothing changes."""
    for module in unet.modules():
        if type(module).__name__ == _FEED_FORWARD:
            module.forward = partial(_through_parts, module.forward, parts)


def largest_layer_weights(unet: nn.Module) -> int:
    """How many the largest layer has: with the next one's, all that is on the device where weights are streamed."""
    layers = (module for module in unet.modules() if not any(True for _ in module.children()))
    return max(sum(weight.numel() for weight in layer.parameters(False)) for layer in layers)


def _through_parts(forward: Callable[..., Tensor], parts: int, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    tokens_NC = hidden.reshape(-1, hidden.shape[-1])
    found_NC: Tensor | None = None
    done = 0
    for part_NC in tokens_NC.chunk(parts):
        out_NC = forward(part_NC, *args, **kwargs)
        if found_NC is None:
            found_NC = out_NC.new_empty((len(tokens_NC), out_NC.shape[-1]))
        found_NC[done : done + len(part_NC)] = out_NC
        done += len(part_NC)
    assert found_NC is not None
    return found_NC.reshape(*hidden.shape[:-1], -1)
