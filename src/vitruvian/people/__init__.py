"""Synthetic persons with exact labels, by analytic ray casting of capsules and ellipsoids on a posable skeleton.

Inputs -> outputs: seed -> `Scene` -> `View` (RGB, person ids, part labels, depth, normals, keypoints, boxes), and
`Clip`s of moving persons. Everything is determined by the seed.

Conventions: camera frame x right, y down, z forward in metres; depth is z; normals are unit vectors towards the
camera; pixel centres at integer coordinates; left and right are the person's; keypoint visibility is 0 outside the
picture, 1 covered, 2 visible.
"""

from vitruvian.people.camera import Camera
from vitruvian.people.clips import Clip, random_clip
from vitruvian.people.labels import KEYPOINT_NAMES, PartLabel
from vitruvian.people.person import Person
from vitruvian.people.render import View, render
from vitruvian.people.scene import Scene, random_scene

__all__ = [
    "KEYPOINT_NAMES",
    "Camera",
    "Clip",
    "PartLabel",
    "Person",
    "Scene",
    "View",
    "random_clip",
    "random_scene",
    "render",
]
