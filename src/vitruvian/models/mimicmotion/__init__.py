"""MimicMotion: a person from one picture moves as the poses of a video do (Zhang et al. 2024).

The library's own Stable Video Diffusion network with pose features added after its first convolution.
"""

from vitruvian.models.mimicmotion.pose_net import PoseNet
from vitruvian.models.mimicmotion.unet import PosedUnet, constant_cross_attention

__all__ = ["PoseNet", "PosedUnet", "constant_cross_attention"]
