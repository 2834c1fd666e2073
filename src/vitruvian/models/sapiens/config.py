"""What a Sapiens network looks like, as values; the published sizes and heads as plain dicts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, TypedDict

from vitruvian.errors import UsageError

Padding = int | Literal["corner"]
HeadKind = Literal["pose", "seg", "depth", "normal"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """The ViT encoder."""

    width: int
    """Token width C."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads; must divide the width."""
    mlp_width: int
    """Hidden width of the two-layer MLP in each block."""
    input_hw: tuple[int, int]
    """Height and width the position table was made for."""
    patch_padding: Padding
    """Symmetric zero padding of the patch convolution, or "corner": zeros at bottom and right up to a multiple of the
    patch. The wrong choice loads cleanly and shifts the sampling grid, so every checkpoint states its own."""
    class_token: bool = False
    """Pretrained encoders carry one; fine-tuned models do not."""
    patch: int = 16

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UsageError(f"got width {self.width} with {self.heads} heads; expected heads that divide the width")

    def grid_hw(self, input_hw: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of patch tokens for an input of this size (default: the construction size)."""
        height, width = input_hw or self.input_hw
        if self.patch_padding == "corner":
            return math.ceil(height / self.patch), math.ceil(width / self.patch)
        extra = 2 * self.patch_padding - self.patch
        return (height + extra) // self.patch + 1, (width + extra) // self.patch + 1

    @property
    def position_rows(self) -> int:
        """Rows of the position table, class slot included."""
        rows, columns = self.grid_hw()
        return rows * columns + int(self.class_token)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig:
    """Stages of stride-2 deconvolution, then 1x1 convolutions, then one linear 1x1 convolution."""

    kind: HeadKind
    channels: int
    """Output channels: keypoints, classes, 1 or 3."""
    deconv_widths: tuple[int, ...]
    conv_widths: tuple[int, ...]

    def output_hw(self, grid_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the head's output for a token grid."""
        scale = 2 ** len(self.deconv_widths)
        return grid_hw[0] * scale, grid_hw[1] * scale


@dataclass(frozen=True, kw_only=True, slots=True)
class SapiensConfig:
    """One network: encoder and head; no head means the feature encoder itself."""

    backbone: BackboneConfig
    head: HeadConfig | None

    def to_json(self) -> dict[str, Any]:
        """Plain containers, as stored in the metadata of our own safetensors files."""
        return asdict(self)

    @property
    def input_hw(self) -> tuple[int, int]:
        """Canvas height and width the network was made for."""
        return self.backbone.input_hw

    @property
    def parameters(self) -> int:
        """Number of parameters, from the widths alone; tests compare it with the published counts."""
        net = self.backbone
        block = 4 * net.width * (net.width + 1) + 2 * net.width * net.mlp_width + net.mlp_width + 5 * net.width
        patch = net.width * (3 * net.patch**2 + 1)
        total = net.depth * block + patch + (net.position_rows + int(net.class_token) + 2) * net.width
        if self.head is None:
            return total
        stages = len(self.head.deconv_widths)
        widths = (net.width, *self.head.deconv_widths, *self.head.conv_widths, self.head.channels)
        pairs = list(pairwise(widths))
        deconvs = sum(16 * before * after for before, after in pairs[:stages])
        return total + deconvs + sum((before + 1) * after for before, after in pairs[stages:])

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> SapiensConfig:
        """Inverse of `to_json`; lists become tuples."""
        backbone = {**document["backbone"], "input_hw": tuple(document["backbone"]["input_hw"])}
        head = document["head"]
        if head is not None:
            head = HeadConfig(
                **{**head, "deconv_widths": tuple(head["deconv_widths"]), "conv_widths": tuple(head["conv_widths"])}
            )
        return cls(backbone=BackboneConfig(**backbone), head=head)


class SizeFields(TypedDict):
    """What one published size decides."""

    width: int
    depth: int
    heads: int
    mlp_width: int


SIZES: dict[str, SizeFields] = {
    "0.3b": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096},
    "0.6b": {"width": 1280, "depth": 32, "heads": 16, "mlp_width": 5120},
    "1b": {"width": 1536, "depth": 40, "heads": 24, "mlp_width": 6144},
    "2b": {"width": 1920, "depth": 48, "heads": 32, "mlp_width": 7680},
}

HEAD_WIDTHS: dict[HeadKind, dict[str, tuple[int, ...]]] = {
    "pose": {"deconv_widths": (768, 768), "conv_widths": (768, 768)},
    "seg": {"deconv_widths": (768, 768, 768), "conv_widths": (768, 768, 768)},
    "depth": {"deconv_widths": (384, 384, 384, 384), "conv_widths": (384, 384)},
    "normal": {"deconv_widths": (768, 768, 768), "conv_widths": (768, 768, 768)},
}

PATCH_PADDING: dict[tuple[str, int], Padding] = {
    ("pose", 17): 2,
    ("pose", 133): 2,
    ("pose", 308): 2,
    ("seg", 28): "corner",  # the published 1b configuration leaves 2 in a comment; unconfirmed on real weights
    ("seg", 20): 2,
    ("seg", 19): "corner",
    ("depth", 1): "corner",
    ("normal", 3): 2,
}
"""Padding of the released checkpoints by (head kind, output channels)."""


def published_config(
    size: str, kind: HeadKind | Literal["features"], channels: int = 0, *, padding: Padding | None = None
) -> SapiensConfig:
    """Configuration of a released checkpoint: size, head kind and its output channels (ignored for features)."""
    if kind == "features":
        backbone = BackboneConfig(**SIZES[size], input_hw=(1024, 1024), patch_padding="corner", class_token=True)
        return SapiensConfig(backbone=backbone, head=None)
    chosen = PATCH_PADDING.get((kind, channels), "corner") if padding is None else padding
    backbone = BackboneConfig(**SIZES[size], input_hw=(1024, 768), patch_padding=chosen)
    return SapiensConfig(backbone=backbone, head=HeadConfig(kind=kind, channels=channels, **HEAD_WIDTHS[kind]))


NANO_BACKBONE = BackboneConfig(width=192, depth=6, heads=3, mlp_width=768, input_hw=(256, 192), patch_padding="corner")
"""Trunk of the embedded networks; shared by the four tasks."""

NANO_HEADS: dict[HeadKind, HeadConfig] = {
    "pose": HeadConfig(kind="pose", channels=17, deconv_widths=(64, 48), conv_widths=(48,)),
    "seg": HeadConfig(kind="seg", channels=28, deconv_widths=(64, 32, 32), conv_widths=()),
    "depth": HeadConfig(kind="depth", channels=1, deconv_widths=(32, 24, 16, 8), conv_widths=()),
    "normal": HeadConfig(kind="normal", channels=3, deconv_widths=(64, 32, 32), conv_widths=()),
}


def nano_config(kind: HeadKind | Literal["features"]) -> SapiensConfig:
    """Configuration of an embedded network."""
    return SapiensConfig(backbone=NANO_BACKBONE, head=None if kind == "features" else NANO_HEADS[kind])
