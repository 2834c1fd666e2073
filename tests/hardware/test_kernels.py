"""Which builds of torch serve which card: lists of kernels as published builds carry them."""

from __future__ import annotations

import pytest

from vitruvian.hardware import kernels_missing
from vitruvian.hardware.kernels import hip_kernels_missing

CUDA_126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CUDA_128 = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
CUDA_130 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CUDA_126_LATE = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86"]
ARM_SERVERS = ["sm_80", "sm_90", "sm_100", "sm_110", "sm_120"]
JETPACK = ["sm_72", "sm_87"]


@pytest.mark.parametrize(
    ("capability", "arch_list"),
    [
        pytest.param((6, 1), CUDA_126, id="GTX 1080 by the binary for 6.0"),
        pytest.param((5, 2), CUDA_126, id="Maxwell"),
        pytest.param((7, 0), CUDA_128, id="V100"),
        pytest.param((7, 5), CUDA_130, id="T4"),
        pytest.param((8, 0), CUDA_130, id="A100"),
        pytest.param((8, 6), CUDA_130, id="RTX 3090"),
        pytest.param((8, 9), CUDA_130, id="RTX 4090 by the binary for 8.6"),
        pytest.param((9, 0), CUDA_130, id="H100"),
        pytest.param((12, 0), CUDA_128, id="RTX 5090"),
        pytest.param((12, 1), CUDA_130, id="a later minor version"),
        pytest.param((13, 0), CUDA_130, id="a later major version by intermediate code"),
        pytest.param((8, 7), JETPACK, id="Orin"),
        pytest.param((8, 7), ["sm_80", "compute_80"], id="Orin by intermediate code"),
        pytest.param((9, 0), ["sm_90a"], id="exactly that device"),
        pytest.param((10, 3), ["sm_100f"], id="of the family"),
        pytest.param((7, 5), [], id="a build that does not tell"),
    ],
)
def test_cards_that_are_served(capability: tuple[int, int], arch_list: list[str]) -> None:
    assert kernels_missing(capability, arch_list, "2.13.0", "13.0") == ""


@pytest.mark.parametrize(
    ("capability", "arch_list", "advice"),
    [
        pytest.param((6, 1), CUDA_128, "install a build of torch for CUDA 12.6", id="GTX 1080"),
        pytest.param((5, 0), CUDA_130, "install a build of torch for CUDA 12.6", id="Maxwell"),
        pytest.param((7, 0), CUDA_130, "install a build of torch for CUDA 12.6", id="V100"),
        pytest.param((3, 7), CUDA_126, "use --device cpu", id="Kepler"),
        pytest.param((12, 0), CUDA_126, "CUDA 12.8 or newer", id="RTX 5090"),
        pytest.param((10, 0), CUDA_126, "torch 2.7 or newer", id="B200"),
        pytest.param((9, 0), CUDA_126_LATE, "CUDA 12.8 or newer", id="H100 on the build for old cards"),
        pytest.param((13, 0), CUDA_128, "or newer", id="a card of the future"),
        pytest.param((8, 7), ARM_SERVERS, "this board's JetPack", id="Orin on a build for servers"),
        pytest.param((5, 3), CUDA_126, "this board's JetPack", id="Jetson Nano"),
        pytest.param((7, 2), CUDA_128, "this board's JetPack", id="Xavier"),
        pytest.param((8, 0), ["sm_86"], "CUDA 12.8 or newer", id="an older minor version"),
        pytest.param((8, 0), JETPACK, "CUDA 12.8 or newer", id="a card with a board's build"),
        pytest.param((9, 1), ["sm_90a"], "CUDA 12.8 or newer", id="made for one device only"),
        pytest.param((8, 0), ["gibberish"], "CUDA 12.8 or newer", id="names that cannot be read"),
    ],
)
def test_cards_that_are_not_served_learn_which_build_would(
    capability: tuple[int, int], arch_list: list[str], advice: str
) -> None:
    sentence = kernels_missing(capability, arch_list, "2.13.0+cu130", "13.0")
    assert sentence.startswith(f"whose compute capability is {capability[0]}.{capability[1]}; expected ")
    assert f"this torch 2.13.0+cu130 for CUDA 13.0 has kernels for ({', '.join(arch_list)})" in sentence
    assert advice in sentence
    assert "http" not in sentence


@pytest.mark.parametrize(
    ("gcn_arch", "arch_list", "served"),
    [
        ("gfx90a:sramecc+:xnack-", ["gfx906", "gfx90a"], True),
        ("gfx1030", ["gfx906", "gfx90a"], False),
        ("gfx1030", [], True),
        ("", ["gfx906"], True),
    ],
)
def test_amd_chips_go_by_their_name(gcn_arch: str, arch_list: list[str], served: bool) -> None:
    sentence = hip_kernels_missing(gcn_arch, arch_list, "2.13.0+rocm7")
    assert (sentence == "") is served
    assert served or ("which is a gfx1030" in sentence and "--device cpu" in sentence)
