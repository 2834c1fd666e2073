"""Official Metric3D tensors -> our network: strict, with every difference named and what to do about it.

In: {official key: tensor} as `models/weight_files` reads it. Out: a network whose parameters ARE those tensors (built
on meta, assigned, converted one at a time), so loading holds little more than the larger of file and network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32, assemble
from vitruvian.models.metric3d.config import PUBLISHED, Metric3dConfig, VitConfig
from vitruvian.models.metric3d.network import build_network

MASK_TOKEN = "depth_model.encoder.mask_token"
TWIN_KEYS = "depth_model.decoder.context_feature_encoder.outputs*.downsample.1.*"
LEFT_OUT: dict[str, str] = {
    MASK_TOKEN: "stands for hidden patches in the encoder's own pretraining, no part of any result",
    TWIN_KEYS: "second name of the same block's norm3, checked to hold the same values",
}
"""Patterns of official keys that our networks do not have, each with the reason."""

VIT_PATCH = "depth_model.encoder.patch_embed.proj.weight"
CONVNEXT_STEM = "depth_model.encoder.downsample_layers.0.0.weight"


def load_network(
    config: Metric3dConfig,
    tensors: Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype_of: DtypeOf = all_float32,
) -> Loaded:
    """Build the network of `config` and give it these weights, each in the type that `dtype_of` says for its key.

    Raises:
        RefusedError: a key is missing, unexpected or misshapen, or what should be one tensor under two names is two;
            the message lists them and says what to do.
    """
    network = build_network(config)
    kept, notes = _without_left_out(tensors)
    assemble(network, kept, device=device, dtype_of=dtype_of, advice=_advice)
    return Loaded(network=network, notes=notes)


def config_of(tensors: Mapping[str, Tensor]) -> Metric3dConfig:
    """Which published model an official file holds, from its shapes.

    Heads and refinement steps leave no trace in the shapes, so only published widths are recognised.

    Raises:
        RefusedError: not a Metric3D file, or a size that was never published.
    """
    for key in (VIT_PATCH, CONVNEXT_STEM):
        if key in tensors:
            width = tensors[key].shape[0]
            break
    else:
        some = ", ".join(list(tensors)[:3]) or "no tensors"
        raise RefusedError(
            f"got tensors named {some}; expected a Metric3D checkpoint ({VIT_PATCH!r} or {CONVNEXT_STEM!r}); give a "
            "Metric3D file, or name the model with --model"
        )
    known = {}
    for name, config in PUBLISHED.items():
        encoder = config.encoder
        is_vit = isinstance(encoder, VitConfig)
        if is_vit == (key == VIT_PATCH):
            known[encoder.width if isinstance(encoder, VitConfig) else encoder.widths[0]] = (name, config)
    if width not in known:
        listed = ", ".join(f"{width} ({name})" for width, (name, _) in known.items())
        raise RefusedError(
            f"got a Metric3D-like file of width {width}; expected one of {listed}; other sizes need their "
            "configuration in the safetensors metadata, as files written by this project have"
        )
    return known[width][1]


def _without_left_out(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    kept, dropped = {}, []
    for key, value in tensors.items():
        if fnmatchcase(key, TWIN_KEYS):
            _check_twin(tensors, key, key.replace(".downsample.1.", ".norm3."))
        if any(fnmatchcase(key, pattern) for pattern in LEFT_OUT):
            dropped.append(key)
        else:
            kept[key] = value
    twins = len(dropped) - (MASK_TOKEN in dropped)
    notes = []
    if MASK_TOKEN in dropped:
        notes.append("left out the mask token of the encoder's pretraining")
    if twins:
        notes.append(f"left out {twins} second names of norms")
    return kept, tuple(notes)


def _check_twin(tensors: Mapping[str, Tensor], key: str, twin: str) -> None:
    """The norm's own name is what is loaded; a file without it is refused as incomplete later."""
    if twin not in tensors or tensors[key].device.type == "meta" or tensors[key] is tensors[twin]:
        return
    if not torch.equal(tensors[key], tensors[twin]):
        raise RefusedError(
            f"got different values in {key} and {twin}; expected one tensor under two names; the file was changed by "
            "a tool that broke this: fetch the original"
        )


def _advice(missing: Sequence[str], misshapen: Sequence[str]) -> str:
    if missing and all(".decoder." in key for key in missing):
        return "The file holds an encoder only or another version's decoder: fetch the whole model's file."
    if misshapen:
        return "The file is of another size: name the model it was made for, or leave --model to the file itself."
    return "The file is of another model or incomplete: name the model it was made for, or fetch it again."
