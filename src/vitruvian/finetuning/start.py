"""The network that a fine-tuning starts from: pretrained weights brought to the task, crop and patch asked for.

In: the spec of the base and what is wanted -> the spec of the network to train, which planners use too; with the base's
weights -> the network, and what was adapted. Reading the weights dominates time. Memory: the network, beside the base's
file, which stays mapped until the last tensor is taken.
"""

# Shape suffixes: N tokens with the class slot if there is one, C token width, 3 = RGB, p side of a patch.

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.models.assembly import assemble
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network
from vitruvian.models.sapiens.backbone import resize_position_table
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.models.sapiens.heads import FINAL_NAME, HEAD_PREFIX
from vitruvian.models.sapiens.network import TaskNetwork
from vitruvian.models.sapiens.resampling import resample_patch_kernel
from vitruvian.tasks.base import Provenance
from vitruvian.tasks.normal import CAMERA, NormalFrame
from vitruvian.training.fresh import initialise_head
from vitruvian.training.workload import training_config
from vitruvian.weights import FoundWeights

TRUNK = "backbone."
CLASS_TOKEN, POSITIONS, KERNEL = "cls_token", "pos_embed", "patch_embed.projection.weight"
"""Keys inside a trunk that depend on its input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A network ready to be trained, and what it was made of."""

    spec: zoo.ModelSpec
    """Of this network: task, configuration with crop and patch size, frame; name and licence of the base; no files."""
    network: nn.Module
    """Float32 on the CPU, in memory of its own, all of it to be trained; in training mode, as a new module is."""
    fresh: tuple[str, ...]
    """What the keys begin with that start anew: the whole head or its last layer; empty: nothing does."""
    base: Provenance
    """Where the pretrained weights come from."""
    notes: tuple[str, ...]
    """What was adapted and what to think of it, one sentence each."""


def start_spec(
    base: zoo.ModelSpec,
    task: HeadKind,
    *,
    channels: int | None = None,
    input_hw: tuple[int, int] | None = None,
    patch_size: int | None = None,
    normal_frame: NormalFrame | None = None,
) -> zoo.ModelSpec:
    """The network to train, before any weights are here.

    Args:
        base: an encoder, a network of the task or of another one.
        task: of the network to train.
        channels: outputs of its head; None: as the base's own head has, or the usual number of a fresh one.
        input_hw: crop height and width, multiples of the patch; None: as the base, or as the recipes for an encoder.
        patch_size: side of a token in pixels; None: as the base. Another one leaves the pretrained network.
        normal_frame: axes of the normals it will give; None: those of a base that gives normals, else the camera's.

    Raises:
        UsageError: no Sapiens network, no such task, or channels, a crop or a patch that the network cannot have.
    """
    config = training_config(base, task, channels, input_hw=input_hw, patch_size=patch_size)
    usual = base.normal_frame if base.task == "normal" else CAMERA
    return replace(base, task=task, config=config, files=(), canvas_hw=None, normal_frame=normal_frame or usual)


def start(found: FoundWeights, spec: zoo.ModelSpec, *, seed: int) -> Start:
    """Give the network of `start_spec(found.spec, ...)` the base's weights, and first values to what begins anew.

    A trunk goes on whole: a class token is left out, the position table is resized from the base's own grid, the patch
    kernel resampled where the patch has another size. A head goes on where the base does the task; with other channels
    all of it but its last layer.

    Args:
        found: the base's weights; random ones (no paths) make the whole network noise.
        spec: as `start_spec` gave it for this base.
        seed: of the first values; the same seed gives the same network.

    Raises:
        UsageError: the spec is of another base.
        RefusedError: the base's file does not hold its network.
    """
    before, after = zoo.sapiens_config(found.spec), zoo.sapiens_config(spec)
    head = _checked_head(found.spec, spec)
    if not found.paths:
        noise = FoundWeights(spec=spec, provenance=found.provenance, paths=()).build()
        return _started(found, spec, noise.network, (), noise.notes)
    loaded = found.build()
    notes = loaded.notes
    tensors = {_key_in_task(key, before): value for key, value in loaded.network.state_dict().items()}
    del loaded  # else every tensor taken out below would live on in it
    fresh = _fresh_parts(before.head, head)
    network = build_network(after)
    kept = _trunk(tensors, before.backbone, after.backbone)
    for key, value in network.state_dict().items():
        if key.startswith(fresh):
            kept[key] = torch.empty(value.shape)
        elif key not in kept:
            kept[key] = tensors.pop(key).clone()
    assemble(network, kept, device="cpu")
    if fresh:
        assert isinstance(network, TaskNetwork)
        final_only = _continues(before.head, head)
        initialise_head(network, torch.Generator().manual_seed(seed), final_only=final_only)
    return _started(found, spec, network, fresh, (*notes, *_notes(found.spec, spec, fresh)))


def _started(
    found: FoundWeights, spec: zoo.ModelSpec, network: nn.Module, fresh: tuple[str, ...], notes: tuple[str, ...]
) -> Start:
    network.requires_grad_(True).train()
    return Start(spec=spec, network=network, fresh=fresh, base=found.provenance, notes=notes)


def _checked_head(base: zoo.ModelSpec, spec: zoo.ModelSpec) -> HeadConfig:
    """The head of a spec, if the base's weights can become its network."""
    before, after = zoo.sapiens_config(base), zoo.sapiens_config(spec)
    trunk, head = before.backbone, after.head
    resized = replace(
        after.backbone,
        input_hw=trunk.input_hw,
        patch=trunk.patch,
        patch_padding=trunk.patch_padding,
        class_token=trunk.class_token,
    )
    own = before.head if head is not None and _continues(before.head, head) else head
    if head is None or own is None or resized != trunk or replace(head, channels=own.channels) != own:
        raise UsageError(
            f"got {base.name} to start {spec.name} for {spec.task} from, which is another network; expected a spec "
            "made from the base's; pass start_spec(found.spec, task)"
        )
    return head


def _continues(before: HeadConfig | None, after: HeadConfig) -> bool:
    """Whether a head of the same task is there; its last layer may yet have other channels."""
    return before is not None and before.kind == after.kind


def _key_in_task(key: str, config: SapiensConfig) -> str:
    """The name that a base's tensor has in a network with a head."""
    return key if config.head is not None else TRUNK + key


def _fresh_parts(before: HeadConfig | None, after: HeadConfig) -> tuple[str, ...]:
    prefix = f"{HEAD_PREFIX[after.kind]}."
    if before is None or not _continues(before, after):
        return (prefix,)
    return () if before.channels == after.channels else (f"{prefix}{FINAL_NAME[after.kind]}.",)


def _trunk(tensors: dict[str, Tensor], before: BackboneConfig, after: BackboneConfig) -> dict[str, Tensor]:
    """The trunk's tensors, taken out of a base's and brought to another input.

    Each is copied and let go. Training writes into them, so they must not be the pages of a file that may change, and
    their alignment in memory, on which rounding depends, must not hang on the length of a file's header.
    """
    own = {key.removeprefix(TRUNK): key for key in list(tensors) if key.startswith(TRUNK)}
    trunk: dict[str, Tensor] = {}
    for name, key in own.items():
        value = tensors.pop(key)
        if name == POSITIONS:
            value = _positions(value, before, after)
        elif name == KERNEL:
            value = resample_patch_kernel(value, after.patch)
        if name != CLASS_TOKEN or after.class_token:
            trunk[key] = value.clone()
    return trunk


def _positions(table_1NC: Tensor, before: BackboneConfig, after: BackboneConfig) -> Tensor:
    table_1NC = table_1NC[:, int(before.class_token) :]
    from_hw, to_hw = before.grid_hw(), after.grid_hw()
    return table_1NC if from_hw == to_hw else resize_position_table(table_1NC, from_hw, to_hw)


def _notes(base: zoo.ModelSpec, spec: zoo.ModelSpec, fresh: tuple[str, ...]) -> list[str]:
    before, after = zoo.sapiens_config(base).backbone, zoo.sapiens_config(spec).backbone
    notes = []
    if before.class_token:
        notes.append("left out the class token: a network with a head has none")
    from_hw, to_hw = before.grid_hw(), after.grid_hw()
    if from_hw != to_hw:
        notes.append(
            f"resized the position table from {from_hw[0]}x{from_hw[1]} to {to_hw[0]}x{to_hw[1]} tokens for the input "
            f"of {after.input_hw[0]}x{after.input_hw[1]}"
        )
    if before.patch != after.patch:
        notes.append(
            f"resampled the patch kernel from {before.patch} to {after.patch} pixels: this leaves the pretrained "
            "configuration and costs accuracy that training must win back; a smaller crop saves memory without"
        )
    elif before.patch_padding != after.patch_padding:
        notes.append(
            f"the patch padding is {after.patch_padding}, as in the published networks of the task, where the base "
            f"has {before.patch_padding}: what a token sees is shifted by some pixels"
        )
    if fresh:
        what = "the head's last layer begins" if base.task == spec.task else "the whole head begins"
        notes.append(f"{what} anew ({fresh[0]}*)")
    if base.task == spec.task == "normal" and base.normal_frame != spec.normal_frame:
        notes.append(
            f"normals will be in the frame {spec.normal_frame.name!r}, and the head gave them in "
            f"{base.normal_frame.name!r}: it has to learn the axes anew"
        )
    return notes
