"""Published MimicMotion files -> its networks: which file holds which, then strict loading of one network at a time.

In: {key: tensor} as `models/weight_files` reads it: the official file (`unet.*` and `pose_net.*`), re-packs with one
network a file and no prefix, files of the base in its own layout, or ours with all networks by prefix. Out: a network
whose parameters ARE those tensors, so loading holds little more than the larger of file and network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian.errors import RefusedError
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32, assemble
from vitruvian.models.mimicmotion.config import MimicMotionConfig
from vitruvian.models.mimicmotion.networks import PARTS, Part, build_network, fill_tables

BASE_PARTS: tuple[Part, ...] = ("vae", "image_encoder")
"""Networks of the base that were not trained on."""
BASE_NAMES: Mapping[Part, tuple[str, ...]] = {
    "vae": ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"),
    "image_encoder": ("model.fp16.safetensors", "model.safetensors"),
}
"""Names inside the folder of a network, the published pipeline's first."""
POSE_NET_NAME = "mimic_motion_pose_net.safetensors"
"""Beside a re-packed denoising network."""
_BARE: Mapping[Part, tuple[str, ...]] = {
    "unet": ("time_embedding.linear_1.weight", "add_embedding.linear_1.weight"),
    "pose_net": ("conv_layers.0.weight", "final_proj.weight"),
    "vae": ("encoder.conv_in.weight", "decoder.time_conv_out.weight"),
    "image_encoder": ("vision_model.embeddings.class_embedding", "visual_projection.weight"),
}
"""Keys that together tell a file with one network and no prefix."""
LEFT_OUT: Mapping[str, str] = {
    "vision_model.embeddings.position_ids": "numbers 0, 1, 2, ... that older releases of the library saved"
}
"""Keys of published files that the networks do not have, each with the reason."""


def layout_of(keys: Collection[str]) -> dict[Part, str]:
    """Which networks a file with these keys holds, and what stands before the keys of each; empty: none of them."""
    prefixed = {part: f"{part}." for part in PARTS if any(key.startswith(f"{part}.") for key in keys)}
    if prefixed:
        return prefixed
    return next(({part: ""} for part, marks in _BARE.items() if all(mark in keys for mark in marks)), {})


def is_mimicmotion(keys: Collection[str]) -> bool:
    """Whether a weight file with these keys holds a network of MimicMotion; parts of the base alone do not count."""
    found = layout_of(keys)
    return bool(found) and ("unet" in found or "pose_net" in found)


def check_layout(keys: Collection[str], name: str) -> dict[Part, str]:
    """`layout_of` for a file that must hold networks of MimicMotion and nothing else.

    Raises:
        RefusedError: it holds none, or keys that belong to none.
    """
    found = layout_of(keys)
    if not found:
        raise RefusedError(
            f"got {name} with tensors named {_some(keys)}; expected MimicMotion's ('unet.*' and 'pose_net.*', or one "
            "network without prefix); give its checkpoint, or name the model with --model"
        )
    strange = sorted(key for key in keys if not key.startswith(tuple(found.values())))
    if strange:
        raise RefusedError(
            f"got {name} with {len(strange)} unexpected: {_some(strange)}; expected keys of {', '.join(found)} alone; "
            "fetch the published file again"
        )
    return found


def taken(part: Part, tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one network, taken out of a file's, by their keys in the network."""
    keys = [key for key in tensors if key.startswith(prefix)]
    return {key.removeprefix(prefix): tensors.pop(key) for key in keys}


def load_network(
    part: Part,
    config: MimicMotionConfig,
    tensors: dict[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype_of: DtypeOf = all_float32,
) -> Loaded:
    """Build one network and give it these weights, each in the type that `dtype_of` says for its key.

    The dict is emptied on the way, so that no tensor that is converted stays beside its result.

    Args:
        part: which network.
        config: of all networks.
        tensors: by key in the network, without prefix.
        device: where to; `meta` only finds out whether the weights belong.
        dtype_of: key in the network -> type.

    Raises:
        RefusedError: a key is missing, unexpected or misshapen; the message counts them and names the first.
        UsageError: the library that builds the network is missing.
    """
    network = build_network(part, config)
    notes = [f"left out {key}: {why}" for key, why in LEFT_OUT.items() if tensors.pop(key, None) is not None]
    try:
        assemble(network, tensors, device=device, dtype_of=dtype_of, advice=partial(_advice, part))
    except RefusedError as error:
        raise RefusedError(f"{part}: {error}") from error
    fill_tables(part, network, device)
    return Loaded(network=network, notes=tuple(notes))


def is_whole(part: Part, config: MimicMotionConfig, keys: Collection[str]) -> bool:
    """Whether these keys, without prefix, are all of a network's."""
    return build_network(part, config).state_dict().keys() <= set(keys)


def tensors_of(networks: Mapping[Part, nn.Module]) -> dict[str, Tensor]:
    """Weights of all networks as our own files hold them: by prefix, in one table.

    Raises:
        RefusedError: a network is missing; a file of ours is whole.
    """
    if absent := [part for part in PARTS if part not in networks]:
        raise RefusedError(f"got networks without {', '.join(absent)}; expected all of {', '.join(PARTS)}; add them")
    return {f"{part}.{key}": value for part in PARTS for key, value in networks[part].state_dict().items()}


def base_file(part: Part, folder: Path) -> Path | None:
    """The weight file of a network of the base in a folder laid out as the base is; None: there is none."""
    names = (folder / part / name for name in BASE_NAMES[part])
    return next((path for path in names if path.is_file()), None)


def _some(keys: Collection[str]) -> str:
    first = [key if key.isprintable() else ascii(key) for key in list(keys)[:6]]
    return ", ".join(key[:100] for key in first) + (", ..." if len(keys) > 6 else "")


def _advice(part: Part, missing: Sequence[str], misshapen: Sequence[str]) -> str:
    if misshapen:
        return "The file is of another size or another network: name the model it was made for."
    if part in BASE_PARTS:
        return "The file is not that of stable-video-diffusion-img2vid-xt-1-1, or incomplete: fetch it again."
    return "The file is of another model or incomplete: fetch the published one again."
