"""Sapiens (v1): one plain ViT encoder, four convolutional heads. Khirodkar et al., "Sapiens", ECCV 2024."""

from vitruvian.models.sapiens.checkpoint import config_of, load_network
from vitruvian.models.sapiens.config import (
    SIZES,
    BackboneConfig,
    HeadConfig,
    SapiensConfig,
    nano_config,
    published_config,
)
from vitruvian.models.sapiens.network import build_network

__all__ = [
    "SIZES",
    "BackboneConfig",
    "HeadConfig",
    "SapiensConfig",
    "build_network",
    "config_of",
    "load_network",
    "nano_config",
    "published_config",
]
