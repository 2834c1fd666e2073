"""What a Metric3D network looks like, as values; the five published models as a plain dict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from vitruvian.errors import RefusedError, UsageError

CANONICAL_FOCAL_PX = 1000.0
"""Focal length, in pixels of the network's canvas, of the one camera whose metres every network answers in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VitConfig:
    """Encoder of v2: DINOv2 with register tokens (Oquab et al. 2023; Darcet et al. 2023)."""

    width: int
    """Token width D."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads; must divide the width."""
    mlp_width: int
    """Hidden width of the feed-forward part."""
    gated: bool = False
    """Feed-forward part with a gate (SwiGLU) instead of two layers with GELU."""
    quarter_taps: bool = False
    """The decoder reads raw tokens after each quarter of the blocks; else the final norm's tokens, four times."""
    registers: int = 4
    grid: int = 37
    """Rows and columns of the position table."""
    patch: int = 14

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UsageError(f"got width {self.width} with {self.heads} heads; expected heads that divide the width")
        if self.quarter_taps and self.depth % 4:
            raise UsageError(f"got {self.depth} blocks read after each quarter; expected a multiple of 4")

    @property
    def parameters(self) -> int:
        """Number of parameters, from the widths alone."""
        width = self.width
        inner = (3 if self.gated else 2) * width * self.mlp_width + (2 if self.gated else 1) * self.mlp_width + width
        block = 4 * width * (width + 1) + inner + 6 * width
        rows = 1 + self.registers + 1 + self.grid**2
        return self.depth * block + _conv(3, width, self.patch) + (rows + 2) * width


@dataclass(frozen=True, kw_only=True, slots=True)
class RefinerConfig:
    """Decoder of v2: token read-out, fusion, first estimate, and recurrent refinement on three levels."""

    quarter_width: int
    """Channels read from the tokens at 1/4 of the canvas."""
    seventh_width: int
    """The same at 1/7; at 1/14 there are as many as the encoder's width."""
    shared_width: int
    """Channels that the first estimates of depth and normals share."""
    hidden: int
    """Channels of the recurrent state on every level."""
    steps: int
    """Refinement steps; no weight depends on it."""
    anchors: int = 256
    """Depths that the first estimate chooses among."""
    normal_width: int = 128
    """Hidden width of the first estimate of normals."""
    near_m: float = 0.1
    far_m: float = 200.0

    def parameters(self, encoder: VitConfig) -> int:
        """Number of parameters behind an encoder."""
        width, quarter, seventh, hidden = encoder.width, self.quarter_width, self.seventh_width, self.hidden
        read = 4 * width * (width + 1 + (1 + encoder.registers) * width) + _conv(width, quarter)
        read += 4 * width * seventh + seventh
        fuse = 6 * _conv(width, width, 3) + 4 * _conv(seventh, seventh, 3)
        fuse += _conv(width, width) + _conv(width, seventh) + _conv(seventh, self.shared_width + 2)
        first = _conv(self.shared_width, self.anchors, 3) + _conv(self.anchors, self.anchors)
        inner = self.normal_width
        first += _conv(self.shared_width, inner, 3) + 2 * _conv(inner, inner) + _conv(inner, 3)
        context = 0
        for before in (quarter, seventh, width):
            skip = 0 if before == hidden else _conv(before, hidden) + 2 * hidden
            branch = _conv(before, hidden, 3) + 2 * _conv(hidden, hidden, 3) + 4 * hidden + skip
            context += 2 * branch + _conv(hidden, 3 * hidden, 3)
        update = 3 * sum(_conv(before, hidden, 3) for before in (2 * hidden + 6, 3 * hidden, 2 * hidden))
        update += 3 * _conv(hidden, hidden, 3) + _conv(hidden, 2, 3) + _conv(hidden, 4, 3) + _conv(hidden, 144)
        return read + fuse + first + context + update


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvNextConfig:
    """Encoder of v1: ConvNeXt (Liu et al. 2022)."""

    depths: tuple[int, int, int, int]
    """Blocks of each stage."""
    widths: tuple[int, int, int, int]
    """Channels of each stage: 1/4, 1/8, 1/16 and 1/32 of the canvas."""

    @property
    def parameters(self) -> int:
        """Number of parameters, from the widths alone."""
        total = _conv(3, self.widths[0], 4) + 2 * self.widths[0]
        for before, after in pairwise(self.widths):
            total += 2 * before + _conv(before, after, 2)
        blocks = zip(self.depths, self.widths, strict=True)
        return total + sum(depth * (8 * width**2 + (49 + 1 + 2 + 4 + 1 + 1) * width) for depth, width in blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class HourglassConfig:
    """Decoder of v1: fusion, a small U-net, depth among anchors, and a residual."""

    widths: tuple[int, int, int]
    """Channels of the fusion at 1/4, 1/8 and 1/16 of the canvas."""
    base: int = 128
    """Channels of the U-net's first level; halved three times."""
    features: int = 256
    """Channels of the U-net's result, its confidence not counted."""
    anchors: int = 512
    """Depths that the estimate chooses among."""
    residual_width: int = 16
    near_m: float = 0.3
    far_m: float = 150.0

    def parameters(self, encoder: ConvNextConfig) -> int:
        """Number of parameters behind an encoder, statistics of batch norms not counted."""
        quarter, eighth, sixteenth = self.widths
        stage = encoder.widths
        total = _conv(stage[3], sixteenth) + _conv(sixteenth + stage[2], sixteenth) + _conv(sixteenth, sixteenth)
        for before, after, skip in ((sixteenth, eighth, stage[1]), (eighth, quarter, stage[0])):
            total += _conv(before, after, 3) + _conv(after + skip, after, 3) + _conv(after, after)
        total += 9 * quarter * self.base + 2 * self.base
        levels = [self.base >> level for level in range(4)]
        for wide, narrow in pairwise(levels):
            total += 9 * (wide * narrow + narrow**2) + 4 * narrow + 9 * wide * narrow + 2 * wide
        total += _conv(self.base, self.features + 1)
        total += _conv(self.features, self.anchors, 3) + 2 * self.anchors + _conv(self.anchors, self.anchors)
        inner = self.residual_width
        return total + _conv(self.features + 3, inner, 3) + 2 * inner + 2 * _conv(inner, inner, 3) + _conv(inner, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric3dConfig:
    """One network: v2 is a `VitConfig` with a `RefinerConfig`, v1 a `ConvNextConfig` with an `HourglassConfig`."""

    encoder: VitConfig | ConvNextConfig
    decoder: RefinerConfig | HourglassConfig
    input_hw: tuple[int, int]
    """Canvas height and width that the network was made for."""

    def __post_init__(self) -> None:
        if isinstance(self.encoder, VitConfig) != isinstance(self.decoder, RefinerConfig):
            raise UsageError(
                f"got {type(self.encoder).__name__} with {type(self.decoder).__name__}; expected VitConfig with "
                "RefinerConfig (v2) or ConvNextConfig with HourglassConfig (v1)"
            )
        check_canvas(self, self.input_hw)

    @property
    def stride(self) -> int:
        """Sides of a canvas are multiples of this, so that the outputs have the canvas's size.

        v2 takes other sides, too, and answers in the nearest smaller or larger size; v1 does not.
        """
        return 2 * self.encoder.patch if isinstance(self.encoder, VitConfig) else 32

    @property
    def has_normals(self) -> bool:
        """Whether the network gives normals."""
        return isinstance(self.decoder, RefinerConfig)

    @property
    def depth_range_m(self) -> tuple[float, float]:
        """Least and greatest depth at the canonical focal length; v1 may leave it by its residual."""
        return self.decoder.near_m, self.decoder.far_m

    @property
    def parameters(self) -> int:
        """Number of parameters, from the widths alone; tests compare it with the published counts."""
        return self.encoder.parameters + self.decoder.parameters(self.encoder)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Plain containers, as stored in the metadata of our own safetensors files."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Metric3dConfig:
        """Inverse of `to_json`; lists become tuples."""
        encoder_type: type[VitConfig | ConvNextConfig] = (
            ConvNextConfig if "widths" in document["encoder"] else VitConfig
        )
        decoder_type: type[RefinerConfig | HourglassConfig] = (
            HourglassConfig if "widths" in document["decoder"] else RefinerConfig
        )
        return cls(
            encoder=_from_json(encoder_type, document["encoder"]),
            decoder=_from_json(decoder_type, document["decoder"]),
            input_hw=tuple(document["input_hw"]),
        )


def check_canvas(config: Metric3dConfig, canvas_hw: Sequence[int]) -> None:
    """Refuse a canvas whose outputs would not have its own size.

    Raises:
        UsageError: a side is no positive multiple of the network's stride.
    """
    stride = config.stride
    if any(side < stride or side % stride for side in canvas_hw):
        height, width = canvas_hw
        fitting = " x ".join(str(max(stride, round(side / stride) * stride)) for side in canvas_hw)
        raise UsageError(
            f"got a canvas of {height} x {width} (height x width); expected multiples of {stride}; take {fitting}"
        )


def _conv(before: int, after: int, side: int = 1) -> int:
    """Parameters of a convolution with bias."""
    return (side * side * before + 1) * after


def _from_json(kind: type, values: dict[str, Any]) -> Any:
    names = {field.name for field in fields(kind)}
    if unknown := sorted(values.keys() - names):
        raise RefusedError(
            f"got {', '.join(unknown)} in a network's configuration; expected {', '.join(sorted(names))}; "
            "the file was written by another release: update this package, or fetch the file again"
        )
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


VIT_HW = (616, 1064)
CONVNEXT_HW = (544, 1216)


PUBLISHED: dict[str, Metric3dConfig] = {
    "convnext-tiny": Metric3dConfig(
        encoder=ConvNextConfig(depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)),
        decoder=HourglassConfig(widths=(64, 128, 256)),
        input_hw=CONVNEXT_HW,
    ),
    "convnext-large": Metric3dConfig(
        encoder=ConvNextConfig(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536)),
        decoder=HourglassConfig(widths=(128, 256, 512)),
        input_hw=CONVNEXT_HW,
    ),
    "vit-small": Metric3dConfig(
        encoder=VitConfig(width=384, depth=12, heads=6, mlp_width=1536),
        decoder=RefinerConfig(quarter_width=96, seventh_width=192, shared_width=96, hidden=48, steps=4),
        input_hw=VIT_HW,
    ),
    "vit-large": Metric3dConfig(
        encoder=VitConfig(width=1024, depth=24, heads=16, mlp_width=4096),
        decoder=RefinerConfig(quarter_width=256, seventh_width=512, shared_width=256, hidden=128, steps=8),
        input_hw=VIT_HW,
    ),
    "vit-giant2": Metric3dConfig(
        encoder=VitConfig(width=1536, depth=40, heads=24, mlp_width=4096, gated=True, quarter_taps=True),
        decoder=RefinerConfig(quarter_width=384, seventh_width=768, shared_width=384, hidden=192, steps=8),
        input_hw=VIT_HW,
    ),
}
"""The released models, by what follows `metric3d-` in their names."""

NANO = Metric3dConfig(
    encoder=VitConfig(width=96, depth=6, heads=2, mlp_width=384, grid=20),
    decoder=RefinerConfig(
        quarter_width=24, seventh_width=32, shared_width=24, hidden=16, steps=3, anchors=48, normal_width=24
    ),
    input_hw=(140, 252),
)
"""A small network of the layout of v2, for demonstrations and tests: 1.7 million parameters, 3.5 MB in float16.

Its canvas has 180 tokens; one of 196x336 would take two and a half times as long to train. The position table is as
fine as the canvas needs: 1370 rows would be trained on a third of them at a time."""
