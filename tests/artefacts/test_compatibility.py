"""Which machines an artefact belongs to, as a table of imagined ones, and what is said about the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from small_artefacts import target
from vitruvian.artefacts.compatibility import MismatchError, differences, require_match
from vitruvian.artefacts.ladder import RUNGS
from vitruvian.artefacts.rung import Bond, Rung
from vitruvian.errors import RefusedError

BONDS: tuple[Bond, ...] = ("torch", "device", "architecture", "instructions", "system")
BOUND = replace(RUNGS["aoti"], bonds=frozenset(BONDS))
CPU = target()
GPU = target(
    torch="2.13.0+cu130", toolkit="CUDA 13.0", driver="580.1", device="cuda", device_name="card", architecture="sm_90"
)
ARM = target(machine="aarch64", device_name="Grace", instructions=("asimd", "sve"))


def bound_by(*bonds: Bond) -> Rung:
    return replace(BOUND, bonds=frozenset(bonds))


@pytest.mark.parametrize(
    ("made", "here", "said"),
    [
        pytest.param(CPU, CPU, (), id="the same machine"),
        pytest.param(CPU, target(device_name="another", driver="1"), (), id="another name and driver"),
        pytest.param(CPU, target(instructions=("amx_bf16", "avx", "avx2", "fma3")), (), id="more instructions here"),
        pytest.param(
            target(instructions=("amx_bf16", "avx", "avx2", "avx512_f")),
            CPU,
            ("a processor with amx_bf16, avx512_f, which paper CPU has not",),
            id="fewer instructions here",
        ),
        pytest.param(
            CPU, target(torch="2.12.1+cpu"), ("torch 2.13.0+cpu, here is 2.12.1+cpu",), id="an older torch here"
        ),
        pytest.param(CPU, target(torch="2.13.1+cpu"), ("torch 2.13.0+cpu, here is 2.13.1+cpu",), id="a patch release"),
        pytest.param(
            GPU,
            replace(GPU, toolkit="CUDA 12.8"),
            ("torch 2.13.0+cu130 (CUDA 13.0), here is 2.13.0+cu130 (CUDA 12.8)",),
            id="another toolkit",
        ),
        pytest.param(GPU, replace(GPU, driver="535.0"), (), id="another driver"),
        pytest.param(GPU, replace(GPU, architecture="sm_80"), ("x86_64 sm_90, here is x86_64 sm_80",), id="older card"),
        pytest.param(
            GPU,
            CPU,
            (
                "cuda, this would run on cpu",
                "x86_64 sm_90, here is x86_64",
                "torch 2.13.0+cu130 (CUDA 13.0), here is 2.13.0+cpu",
            ),
            id="no card here",
        ),
        pytest.param(
            CPU,
            ARM,
            ("x86_64, here is aarch64", "a processor with avx, avx2, fma3, which Grace has not"),
            id="another kind of processor",
        ),
        pytest.param(CPU, target(system="Windows"), ("Linux, here is Windows",), id="another system"),
    ],
)
def test_native_code_is_bound_to_everything(made: Any, here: Any, said: tuple[str, ...]) -> None:
    assert differences(BOUND, made, here) == said


@pytest.mark.parametrize(
    ("bond", "here"),
    [
        ("torch", replace(CPU, torch="2.6.0+cpu")),
        ("torch", replace(CPU, toolkit="CUDA 12.8")),
        ("device", replace(CPU, device="cuda")),
        ("architecture", replace(CPU, architecture="sm_90")),
        ("architecture", replace(CPU, machine="aarch64")),
        ("instructions", replace(CPU, instructions=())),
        ("system", replace(CPU, system="Darwin")),
    ],
)
def test_a_backend_is_bound_by_what_it_names_alone(bond: Bond, here: Any) -> None:
    assert len(differences(bound_by(bond), CPU, here)) == 1
    assert differences(bound_by(*(other for other in BONDS if other != bond)), CPU, here) == ()
    assert differences(bound_by(), CPU, here) == ()


def test_what_the_rungs_are_bound_by() -> None:
    assert RUNGS["aoti"].bonds == set(BONDS)
    assert {"torch", "device"} <= RUNGS["export"].bonds
    assert RUNGS["eager"].bonds == set()
    assert [name for name in ("aoti", "export", "eager") if not RUNGS[name].executes] == ["eager"]


def test_the_sentence_names_both_sides_and_the_command() -> None:
    here = target(torch="2.6.0+cpu", instructions=("avx",))
    with pytest.raises(MismatchError) as error:
        require_match(BOUND, CPU, here, "mine", "sapiens-seg-1b")
    assert str(error.value) == (
        "got the artefact mine, made for torch 2.13.0+cpu, here is 2.6.0+cpu; for a processor with avx2, fma3, which "
        "paper CPU has not; expected one made here; leave --rebuild at auto, or: vitruvian export sapiens-seg-1b -o DIR"
    )
    assert isinstance(error.value, RefusedError)
    assert error.value.exit_code == 5
    require_match(bound_by("system"), CPU, here, "mine", "sapiens-seg-1b")


def test_what_a_stranger_wrote_does_not_reach_the_terminal_as_it_is() -> None:
    with pytest.raises(MismatchError, match=r"made for torch \\x1b\[2J\\n, here is") as error:
        require_match(BOUND, target(torch="\x1b[2J\n"), CPU, "mine\n", "\x07")
    assert str(error.value).isprintable()
    with pytest.raises(MismatchError, match="vitruvian export MODEL -o DIR"):
        require_match(BOUND, target(torch="1"), CPU, "mine", "")
