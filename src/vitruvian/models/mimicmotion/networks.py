"""The networks of MimicMotion and their scheduler, built by the libraries that have them.

In: a configuration. Out: a module on meta, in evaluation mode: no memory, no initial values, nothing looked up
anywhere; or, for training, one that nobody has trained. Time: 0.2 s of a core for the denoising network, and the
libraries' import once, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import nn

from vitruvian.errors import UsageError
from vitruvian.models.mimicmotion.config import MimicMotionConfig, SchedulerConfig
from vitruvian.models.mimicmotion.pose_net import PoseNet

Part = Literal["unet", "pose_net", "vae", "image_encoder"]
"""Denoising network, pose features, image codec, embedding of the reference."""
PARTS: tuple[Part, ...] = get_args(Part)


def build_network(part: Part, config: MimicMotionConfig) -> nn.Module:
    """One network on meta.

    Raises:
        UsageError: its library is missing.
    """
    with torch.device("meta"):
        network = _BUILDERS[part](config)
    # Some parameters of the library's are made where no device is asked for.
    return network.to("meta").eval().requires_grad_(False)


def fresh_network(part: Part, config: MimicMotionConfig) -> nn.Module:
    """One network on the CPU with the values that its class begins with, drawn by torch's generator; to be trained.

    Raises:
        UsageError: its library is missing.
    """
    return _BUILDERS[part](config).train().requires_grad_(True)


def build_scheduler(config: SchedulerConfig) -> Any:
    """The library's scheduler.

    Raises:
        UsageError: the library is missing.
    """
    return _diffusers("EulerDiscreteScheduler")(**config.arguments)


def fill_tables(part: Part, network: nn.Module, device: str | torch.device) -> None:
    """Give a network that was built on meta the tables that no file holds: its image encoder's position numbers.

    Raises:
        UsageError: the library has tables that this release does not know.
    """
    if torch.device(device).type == "meta":
        return
    if part == "image_encoder":
        embeddings: Any = network.get_submodule("vision_model.embeddings")
        rows = embeddings.position_ids.shape[-1]
        embeddings.register_buffer("position_ids", torch.arange(rows, device=device)[None], persistent=False)
    empty = [name for name, value in network.named_buffers() if value.is_meta]
    if empty:
        raise UsageError(
            f"got the tables {', '.join(empty[:6])} in the library's {part}; expected none that a weight file lacks; "
            "install the versions of diffusers and transformers that this release was tested with (constraints.txt)"
        )


def _unet(config: MimicMotionConfig) -> nn.Module:
    return _diffusers("UNetSpatioTemporalConditionModel")(**config.unet.arguments)


def _pose_net(config: MimicMotionConfig) -> nn.Module:
    return PoseNet(config.pose_features)


def _vae(config: MimicMotionConfig) -> nn.Module:
    return _diffusers("AutoencoderKLTemporalDecoder")(**config.vae.arguments)


def _image_encoder(config: MimicMotionConfig) -> nn.Module:
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise _missing("transformers (5 or newer)", error) from error
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**config.image_encoder.arguments))


_BUILDERS: Mapping[Part, Callable[[MimicMotionConfig], nn.Module]] = {
    "unet": _unet,
    "pose_net": _pose_net,
    "vae": _vae,
    "image_encoder": _image_encoder,
}


def _diffusers(name: str) -> Any:
    """A class of the library by its name; it is looked up in the module that has it, when it is asked for."""
    try:
        import diffusers

        return getattr(diffusers, name)
    except (ImportError, RuntimeError) as error:  # the library turns failures of its own parts into the latter
        raise _missing("diffusers (0.40 or newer)", error) from error


def _missing(library: str, error: Exception) -> UsageError:
    return UsageError(
        f"got no library {library} that works with this torch ({str(error).strip()[:120]}); expected it for "
        "MimicMotion's networks; run `pip install 'vitruvian[animate]'`"
    )
