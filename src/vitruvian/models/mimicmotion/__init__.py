"""MimicMotion: a person from one picture moves as the poses of a video do (Zhang et al. 2024).

The library's own Stable Video Diffusion network with pose features added after its first convolution.
"""

from vitruvian.models.mimicmotion.checkpoint import (
    BASE_PARTS,
    POSE_NET_NAME,
    base_file,
    check_layout,
    is_mimicmotion,
    is_whole,
    layout_of,
    load_network,
    taken,
    tensors_of,
)
from vitruvian.models.mimicmotion.config import (
    NANO,
    NANO_PARAMETERS,
    PUBLISHED,
    PUBLISHED_PARAMETERS,
    ImageEncoderConfig,
    MimicMotionConfig,
    SchedulerConfig,
    UnetConfig,
    VaeConfig,
)
from vitruvian.models.mimicmotion.networks import PARTS, Part, build_network, build_scheduler, fresh_network
from vitruvian.models.mimicmotion.pose_net import PoseNet
from vitruvian.models.mimicmotion.unet import Constants, PosedUnet, constant_cross_attention

__all__ = [
    "BASE_PARTS",
    "NANO",
    "NANO_PARAMETERS",
    "PARTS",
    "POSE_NET_NAME",
    "PUBLISHED",
    "PUBLISHED_PARAMETERS",
    "Constants",
    "ImageEncoderConfig",
    "MimicMotionConfig",
    "Part",
    "PoseNet",
    "PosedUnet",
    "SchedulerConfig",
    "UnetConfig",
    "VaeConfig",
    "base_file",
    "build_network",
    "build_scheduler",
    "check_layout",
    "constant_cross_attention",
    "fresh_network",
    "is_mimicmotion",
    "is_whole",
    "layout_of",
    "load_network",
    "taken",
    "tensors_of",
]
