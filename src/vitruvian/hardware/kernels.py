"""Whether a build of torch carries kernels for a CUDA device, and if not, which build does. Pure: no device is asked.

Rules of CUDA: a binary `sm_XY` runs on devices of the same major version X with a minor of Y or more, `sm_XYa` on
exactly that device; intermediate code `compute_XY` is compiled by the driver for any device of XY or newer. Boards with
the GPU on the chip (Jetson) run only binaries made for exactly them.
"""

from __future__ import annotations

import re

_ON_CHIP = ((5, 3), (6, 2), (7, 2), (8, 7))
"""Compute capabilities of Jetson Nano and TX1, TX2, Xavier, Orin."""
_OLDEST, _TURING = (5, 0), (7, 5)
_BLACKWELL = (10, 0)
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")

FOR_OLD_CARDS = (
    "a build of torch for CUDA 12.6 (its version ends in +cu126): those still carry kernels for Maxwell, Pascal and "
    "Volta, while builds for CUDA 12.8 and later have dropped them one after another since torch 2.8"
)
FOR_NEW_CARDS = "a build of torch 2.7 or newer for CUDA 12.8 or newer (its version ends in +cu128, +cu130 or higher)"


def kernels_missing(
    capability: tuple[int, int], arch_list: list[str], torch_version: str, cuda_version: str | None
) -> str:
    """Why no kernel in a torch build can serve a device, and what to install; empty where one can.

    Args:
        capability: CUDA compute capability of the device.
        arch_list: As `torch.cuda.get_arch_list()` gives it; an empty one tells nothing, and so does this.
        torch_version: As torch gives it.
        cuda_version: As `torch.version.cuda` gives it.
    """
    if not arch_list or any(_serves(arch, capability) for arch in arch_list):
        return ""
    here = f"this torch {torch_version} for CUDA {cuda_version}"
    return (
        f"whose compute capability is {capability[0]}.{capability[1]}; expected one that {here} has kernels for "
        f"({', '.join(arch_list)}); {_remedy(capability)}"
    )


def _serves(arch: str, capability: tuple[int, int]) -> bool:
    match = _ARCHITECTURE.fullmatch(arch)
    if match is None:
        return False
    kind, suffix = match[1], match[4]
    made_for = (int(match[2]), int(match[3]))
    if made_for == capability:
        return True
    if suffix == "a":
        return False
    if kind == "compute" and not suffix:
        return made_for <= capability
    if made_for in _ON_CHIP or capability in _ON_CHIP:
        return False
    return made_for[0] == capability[0] and made_for[1] <= capability[1]


def _remedy(capability: tuple[int, int]) -> str:
    if capability in _ON_CHIP:
        return "install the torch that NVIDIA publishes for this board's JetPack release"
    if capability < _OLDEST:
        return "no torch that Vitruvian supports (2.6 or newer) has any; use --device cpu"
    if capability < _TURING:
        return f"install {FOR_OLD_CARDS}"
    if capability < _BLACKWELL:
        # Builds for CUDA 12.6 began to leave out newer cards when they became the builds for old ones.
        return "install a build of torch for CUDA 12.8 or newer (its version ends in +cu128, +cu130 or higher)"
    return f"install {FOR_NEW_CARDS}"


def hip_kernels_missing(gcn_arch: str, arch_list: list[str], torch_version: str) -> str:
    """The same for an AMD device: its `gfx` name, without features, must be among those built."""
    chip = gcn_arch.partition(":")[0]
    if not arch_list or not chip or chip in (arch.partition(":")[0] for arch in arch_list):
        return ""
    return (
        f"which is a {chip}; expected one that this torch {torch_version} for ROCm has kernels for "
        f"({', '.join(arch_list)}); install a build of torch for a ROCm release that lists it, or use --device cpu"
    )
