"""Official Sapiens tensors -> our network: strict, with every difference named and what to do about it.

In: {official key: tensor} as `models/weight_files` reads it. Out: a network whose parameters ARE those tensors (built
on meta, assigned, converted one at a time), so loading holds little more than the larger of file and network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32, assemble
from vitruvian.models.sapiens.backbone import resize_position_table
from vitruvian.models.sapiens.config import (
    HEAD_WIDTHS,
    PATCH_PADDING,
    SIZES,
    BackboneConfig,
    HeadConfig,
    HeadKind,
    SapiensConfig,
)
from vitruvian.models.sapiens.network import build_network

POSITION_KEY = "pos_embed"
TRAINING_ONLY = ("neck.", "mask_token", "data_preprocessor.")
"""Keys of pretraining snapshots that no encoder needs: the reconstruction decoder."""


def load_network(
    config: SapiensConfig,
    tensors: Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype_of: DtypeOf = all_float32,
) -> Loaded:
    """Build the network of `config` and give it these weights, each in the type that `dtype_of` says for its key.

    Raises:
        RefusedError: a key is missing, unexpected or misshapen; the message lists them and says what to do.
    """
    network = build_network(config)
    tensors, notes = _align_prefix(tensors, config)
    tensors, position_notes = _fit_position_table(tensors, config.backbone)
    assemble(network, tensors, device=device, dtype_of=dtype_of, advice=_advice)
    return Loaded(network=network, notes=(*notes, *position_notes))


def config_of(tensors: Mapping[str, Tensor]) -> SapiensConfig:
    """Work out size, head and class token of an official file from its shapes.

    The number of attention heads leaves no trace in the shapes, so only published widths are recognised.

    Raises:
        RefusedError: not a Sapiens file, or a size or head that was never published.
    """
    prefix = "backbone." if any(key.startswith("backbone.") for key in tensors) else ""
    projection = tensors.get(f"{prefix}patch_embed.projection.weight")
    if projection is None or f"{prefix}{POSITION_KEY}" not in tensors:
        some = ", ".join(list(tensors)[:3]) or "no tensors"
        raise RefusedError(
            f"got tensors named {some}; expected a Sapiens checkpoint ('patch_embed.projection.weight', 'pos_embed'); "
            "give a Sapiens file, or name the model with --model"
        )
    width = projection.shape[0]
    size = next((name for name, shape in SIZES.items() if shape["width"] == width), None)
    if size is None:
        known = ", ".join(f"{shape['width']} ({name})" for name, shape in SIZES.items())
        raise RefusedError(
            f"got a Sapiens-like file of width {width}; expected one of {known}; "
            "other sizes need their configuration in the safetensors metadata, as files written by this project have"
        )
    head = _head_of(tensors)
    class_token = head is None and f"{prefix}cls_token" in tensors
    padding = "corner" if head is None else PATCH_PADDING.get((head.kind, head.channels), "corner")
    input_hw = (1024, 1024) if head is None else (1024, 768)
    backbone = BackboneConfig(**SIZES[size], input_hw=input_hw, patch_padding=padding, class_token=class_token)
    return SapiensConfig(backbone=backbone, head=head)


def _head_of(tensors: Mapping[str, Tensor]) -> HeadConfig | None:
    kind: HeadKind
    if (final := tensors.get("head.final_layer.weight")) is not None:
        kind = "pose"
    elif (final := tensors.get("decode_head.conv_seg.weight")) is not None:
        kind = "depth" if final.shape[0] == 1 else "normal" if final.shape[0] == 3 else "seg"
    else:
        return None
    channels = int(final.shape[0])
    if (kind, channels) not in PATCH_PADDING:
        known = sorted(count for name, count in PATCH_PADDING if name == kind)
        raise RefusedError(
            f"got a {kind} head with {channels} channels; expected one of {known}; "
            "a head of your own needs its configuration in the safetensors metadata, as files of this project have"
        )
    return HeadConfig(kind=kind, channels=channels, **HEAD_WIDTHS[kind])


def _align_prefix(tensors: Mapping[str, Tensor], config: SapiensConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Bring bare and prefixed files to the names of the wanted network, dropping what only pretraining needs."""
    notes = []
    kept = {key: value for key, value in tensors.items() if not key.startswith(TRAINING_ONLY)}
    if len(kept) < len(tensors):
        notes.append(f"left out {len(tensors) - len(kept)} tensors of the pretraining decoder")
    prefixed = any(key.startswith("backbone.") for key in kept)
    if config.head is not None and not prefixed:
        kept = {f"backbone.{key}": value for key, value in kept.items()}
    if config.head is None and prefixed:
        heads = [key for key in kept if not key.startswith("backbone.")]
        if heads:
            notes.append(f"left out {len(heads)} tensors of a task head")
        kept = {key.removeprefix("backbone."): value for key, value in kept.items() if key.startswith("backbone.")}
    token_key = "cls_token" if config.head is None else "backbone.cls_token"
    if not config.backbone.class_token and token_key in kept:
        del kept[token_key]
        notes.append("left out the class token: this network has none")
    return kept, notes


def _fit_position_table(
    tensors: dict[str, Tensor], config: BackboneConfig
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    key = next((name for name in (POSITION_KEY, f"backbone.{POSITION_KEY}") if name in tensors), None)
    if key is None or tensors[key].ndim != 3:
        return tensors, ()
    table, note = adapt_position_table(tensors[key], config)
    return {**tensors, key: table}, (note,) if note else ()


def adapt_position_table(table_1NC: Tensor, config: BackboneConfig) -> tuple[Tensor, str]:
    """Fit a stored position table to a network, by row count and never by oddness.

    A table that already has the needed rows is kept; one row more, or a square plus one, loses its class slot (or
    keeps it for a network with a class token); what is then square is resized. Returns the table and a note ("" if
    untouched).

    Raises:
        RefusedError: the row count is none of these, so the source grid would have to be guessed.
    """
    rows, slots = table_1NC.shape[1], int(config.class_token)
    needed = config.position_rows
    if rows == needed:
        return table_1NC, ""
    square_plus_one = math.isqrt(rows - 1) ** 2 == rows - 1 and math.isqrt(rows) ** 2 != rows
    has_slot = square_plus_one or (not slots and rows == needed + 1)
    grid_rows = rows - int(has_slot)
    if slots and not has_slot:
        raise RefusedError(
            f"got a position table of {rows} rows without a class slot; expected {needed} rows for a network with a "
            "class token; load it into a network without one"
        )
    patches = table_1NC[:, int(has_slot) :]
    note = "dropped the class slot of the position table" if has_slot and not slots else ""
    if grid_rows == needed - slots:
        return patches, note
    side = math.isqrt(grid_rows)
    if side * side != grid_rows:
        raise RefusedError(
            f"got a position table of {rows} rows; expected {needed}, {needed + 1}, or a square grid (plus a class "
            "slot); the grid it was made for cannot be guessed: load it into a network of its own input size first"
        )
    grid_hw = config.grid_hw()
    resized = resize_position_table(patches, (side, side), grid_hw)
    note = (note + "; " if note else "") + f"resized the position table from {side}x{side} to {grid_hw[0]}x{grid_hw[1]}"
    return torch.cat([table_1NC[:, :slots], resized], dim=1), note


def _advice(missing: Sequence[str], misshapen: Sequence[str]) -> str:
    if any("final_layer" in row or "conv_seg" in row for row in misshapen) and len(misshapen) <= 2:
        return "The last layer has another number of channels: name the model with that keypoint or class count."
    if missing and all("head." in key for key in missing):
        return "The file holds an encoder only: use it as a features model, or fine-tune a head on it."
    if misshapen:
        return "The file is of another size: name the model it was made for, or leave --model to the file itself."
    return "The file is of another task or incomplete: name the model it was made for, or fetch it again."
