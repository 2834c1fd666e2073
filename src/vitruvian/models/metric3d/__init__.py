"""Metric3D: metric depth and normals from one picture.

v1 (Yin et al., "Metric3D", ICCV 2023): ConvNeXt and an hourglass. v2 (Hu et al., "Metric3D v2", TPAMI 2024): a ViT and
recurrent refinement.
"""

from vitruvian.models.metric3d.checkpoint import LEFT_OUT, config_of, load_network
from vitruvian.models.metric3d.config import (
    CANONICAL_FOCAL_PX,
    NANO,
    PUBLISHED,
    ConvNextConfig,
    HourglassConfig,
    Metric3dConfig,
    RefinerConfig,
    VitConfig,
    check_canvas,
)
from vitruvian.models.metric3d.network import ISLANDS, Metric3dNetwork, build_network

__all__ = [
    "CANONICAL_FOCAL_PX",
    "ISLANDS",
    "LEFT_OUT",
    "NANO",
    "PUBLISHED",
    "ConvNextConfig",
    "HourglassConfig",
    "Metric3dConfig",
    "Metric3dNetwork",
    "RefinerConfig",
    "VitConfig",
    "build_network",
    "check_canvas",
    "config_of",
    "load_network",
]
