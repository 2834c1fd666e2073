"""What MimicMotion's networks look like, as values: the published ones, and any smaller ones of the same classes.

Field names are those of the libraries that build the networks, so that a published `config.json` can be read off; what
follows from other numbers is no field. Takes no time and needs no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vitruvian.errors import RefusedError, UsageError

LATENT_STRIDE = 8
"""Pixels to a latent along each side: of the image codec by its four levels, of PoseNet by its three halvings."""
NORM_GROUPS = 32
"""Of the libraries' group norms; channels are multiples of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnetConfig:
    """Denoising network: spatio-temporal UNet of Stable Video Diffusion (Blattmann et al. 2023)."""

    block_out_channels: tuple[int, ...]
    """Channels of each level; all but the last look at the context."""
    num_attention_heads: tuple[int, ...]
    """Of each level; 64 channels a head in the published network."""
    cross_attention_dim: int
    """Width of the context, which is the reference's embedding."""
    addition_time_embed_dim: int
    """Sines and cosines of each of the three time ids."""
    layers_per_block: int = 2
    transformer_layers_per_block: int = 1
    in_channels: int = 8
    """Noisy latents and the reference's."""
    out_channels: int = 4
    sample_size: int = 96
    num_frames: int = 25
    """Of the base network's own clips; no weight depends on it."""

    def __post_init__(self) -> None:
        if len(self.block_out_channels) != len(self.num_attention_heads) or len(self.block_out_channels) < 2:
            raise UsageError(
                f"got channels {self.block_out_channels} with heads {self.num_attention_heads}; expected two or more "
                "levels with heads for each"
            )
        _check_channels(self.block_out_channels)
        pairs = zip(self.block_out_channels, self.num_attention_heads, strict=True)
        if any(heads < 1 or channels % heads for channels, heads in pairs):
            raise UsageError(
                f"got channels {self.block_out_channels} with heads {self.num_attention_heads}; expected heads that "
                "divide the channels of their level"
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """What the library's class is made with."""
        attending = len(self.block_out_channels) - 1
        return asdict(self) | {
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * attending + ("DownBlockSpatioTemporal",),
            "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * attending,
            "projection_class_embeddings_input_dim": 3 * self.addition_time_embed_dim,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeConfig:
    """Image codec: frames to latents one by one, latents to frames with a look at their neighbours in time."""

    block_out_channels: tuple[int, ...]
    """Channels of each level; each but the last halves the sides."""
    layers_per_block: int = 2
    latent_channels: int = 4
    in_channels: int = 3
    out_channels: int = 3
    sample_size: int = 768
    scaling_factor: float = 0.18215
    """The denoising network's latents are the codec's times this."""
    force_upcast: bool = True
    """The base's own advice to run it in float32; the published pipeline runs it in float16 all the same."""

    def __post_init__(self) -> None:
        if 2 ** (len(self.block_out_channels) - 1) != LATENT_STRIDE:
            raise UsageError(
                f"got an image codec of {len(self.block_out_channels)} levels; expected 4: pose features have an "
                f"eighth of a frame's sides, and latents must, too"
            )
        _check_channels(self.block_out_channels)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the library's class is made with."""
        return asdict(self) | {"down_block_types": ("DownEncoderBlock2D",) * len(self.block_out_channels)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEncoderConfig:
    """Image encoder: the vision side of CLIP with its projection (Radford et al. 2021)."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    projection_dim: int
    """Width of the embedding."""
    patch_size: int = 14
    image_size: int = 224
    num_channels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise UsageError(
                f"got width {self.hidden_size} with {self.num_attention_heads} heads; expected heads that divide it"
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """What the library's configuration is made with."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """Noise levels and the step between them: Euler's (Karras et al. 2022) on predictions of v."""

    sigma_min: float = 0.002
    sigma_max: float = 700.0
    use_karras_sigmas: bool = True
    prediction_type: str = "v_prediction"
    timestep_type: str = "continuous"
    """A network is told a quarter of the noise level's logarithm."""
    timestep_spacing: str = "leading"
    """By the library's rule the first noise is then multiplied by sqrt(sigma_max^2 + 1)."""
    steps_offset: int = 1
    final_sigmas_type: str = "zero"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    num_train_timesteps: int = 1000
    interpolation_type: str = "linear"

    @property
    def arguments(self) -> dict[str, Any]:
        """What the library's class is made with."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class MimicMotionConfig:
    """All networks of one model, and the clips it was trained on."""

    unet: UnetConfig
    vae: VaeConfig
    image_encoder: ImageEncoderConfig
    scheduler: SchedulerConfig
    tile_frames: int
    """Frames it was trained on at once."""
    input_hw: tuple[int, int]
    """Height and width it was trained at; it takes others."""
    pose_canvas: int = 2160
    """Shorter side that its pose maps are drawn at, in lines of a few pixels, before they are made as large as a frame.
    A network for small frames needs a smaller canvas: lines would fall between its pixels."""

    def __post_init__(self) -> None:
        latent = self.vae.latent_channels
        if (self.unet.in_channels, self.unet.out_channels) != (2 * latent, latent):
            raise UsageError(
                f"got a denoising network from {self.unet.in_channels} to {self.unet.out_channels} channels; expected "
                f"{2 * latent} to {latent}: noisy latents and the reference's in, latents out"
            )
        if self.unet.cross_attention_dim != self.image_encoder.projection_dim:
            raise UsageError(
                f"got a context of width {self.unet.cross_attention_dim} and embeddings of width "
                f"{self.image_encoder.projection_dim}; expected the same: the embedding is the context"
            )
        if self.tile_frames < 1 or any(side < LATENT_STRIDE or side % LATENT_STRIDE for side in self.input_hw):
            raise UsageError(
                f"got {self.tile_frames} frames of {self.input_hw[0]}x{self.input_hw[1]} (height x width); expected "
                f"one or more of sides that are multiples of {LATENT_STRIDE}"
            )

    @property
    def pose_features(self) -> int:
        """Channels of PoseNet's output: those of the layer it is added to."""
        return self.unet.block_out_channels[0]

    def to_json(self) -> dict[str, Any]:
        """Plain containers, as stored in the metadata of our own safetensors files."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MimicMotionConfig:
        """Inverse of `to_json`; lists become tuples.

        Raises:
            RefusedError: fields that this release does not know.
            UsageError: numbers that do not go together.
            KeyError, TypeError: something else than such a document.
        """
        whole = _checked(cls, document)
        kinds = {"unet": UnetConfig, "vae": VaeConfig, "image_encoder": ImageEncoderConfig}
        parts = {name: kind(**_checked(kind, whole[name])) for name, kind in kinds.items()}
        scheduler = SchedulerConfig(**_checked(SchedulerConfig, whole["scheduler"]))
        return cls(**{**whole, **parts, "scheduler": scheduler})


def _check_channels(channels: tuple[int, ...]) -> None:
    if any(count < NORM_GROUPS or count % NORM_GROUPS for count in channels):
        raise UsageError(f"got channels {channels}; expected multiples of {NORM_GROUPS}, which are normalised together")


def _checked(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    if unknown := sorted(values.keys() - names):
        raise RefusedError(
            f"got {', '.join(unknown)} in the configuration of {kind.__name__}; expected {', '.join(sorted(names))}; "
            "the file was written by another release: update this package, or fetch the file again"
        )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def published_config(tile_frames: int) -> MimicMotionConfig:
    """The published networks; versions differ in the frames they were trained on."""
    return MimicMotionConfig(
        unet=UnetConfig(
            block_out_channels=(320, 640, 1280, 1280),
            num_attention_heads=(5, 10, 20, 20),
            cross_attention_dim=1024,
            addition_time_embed_dim=256,
        ),
        vae=VaeConfig(block_out_channels=(128, 256, 512, 512)),
        image_encoder=ImageEncoderConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=16,
            projection_dim=1024,
        ),
        scheduler=SchedulerConfig(),
        tile_frames=tile_frames,
        input_hw=(576, 1024),
    )


NANO = MimicMotionConfig(
    unet=UnetConfig(
        block_out_channels=(96, 96),
        num_attention_heads=(3, 3),
        cross_attention_dim=128,
        addition_time_embed_dim=32,
        layers_per_block=1,
        sample_size=16,
        num_frames=8,
    ),
    vae=VaeConfig(block_out_channels=(96, 96, 96, 96), layers_per_block=1, sample_size=128),
    image_encoder=ImageEncoderConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=128,
        patch_size=28,
    ),
    scheduler=SchedulerConfig(sigma_min=2.0, sigma_max=80.0),
    tile_frames=8,
    input_hw=(128, 96),
    pose_canvas=288,
)
"""The same classes, small enough for the package; trained on rendered persons.

Three channels for every group that is normalised together: a group of one forgets what is the same everywhere in a
picture, one of two the most of it, and with that its colours. Noise from 80, in which nothing is left to see, down to
2: below that, so short a training leaves more noise than it clears.
"""
NANO_PARAMETERS = 9_913_407
"""Weights of its four networks."""
PUBLISHED: Mapping[str, MimicMotionConfig] = {"1.1": published_config(72), "1.0": published_config(16)}
"""The released models, by what follows `mimicmotion-` in their names."""
PUBLISHED_PARAMETERS = 2_254_648_286
"""Weights of all four networks; the denoising network alone has 1 524 623 082."""
