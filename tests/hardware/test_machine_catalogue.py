"""Known machines: facts that follow from each other, names that people type, and the page that lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.hardware import MACHINES, Accelerator, aliases, catalogue_table, find_machine
from vitruvian.hardware.spec_sheets import SHEETS, rates_by_name, sheet_of

PAGE = Path(__file__).parents[2] / "docs" / "hardware.md"
EXPECTED = re.findall(
    r"\S+",
    """
    gtx-1080 titan-v v100-16gb v100-32gb t4 rtx-2080-ti rtx-3060-12gb rtx-3090 rtx-4060-ti-16gb rtx-4090 rtx-5090 a10
    l40s a100-40gb a100-80gb a800-80gb h20 h100 h800 h200 jetson-nano-4gb xavier-nx orin-8gb m2-max cpu-8gb cpu-32gb
    """,
)


def gpu(name: str) -> Accelerator:
    [one] = MACHINES[name].accelerators
    return one


def test_the_catalogue_is_whole() -> None:
    assert list(MACHINES) == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_a_machine_is_plausible(name: str) -> None:
    machine = MACHINES[name]
    device = machine.device(machine.default_device)
    assert 0 < device.free_bytes <= device.total_bytes
    assert 0 < machine.cpu.free_bytes < machine.cpu.total_bytes
    rates = device.rates
    assert rates is not None
    assert rates.source == ("assumed" if device.kind == "cpu" else "spec sheet")
    for dtype in ("bfloat16", "float16"):
        faster = rates.tflops(dtype) >= rates.float32_tflops
        assert faster == (device.support(dtype) == "native"), f"an emulated {dtype} gains nothing"
    assert not device.tested
    assert device.compiler is None
    stated = re.search(r"-(\d+)gb$", name)
    if stated and device.kind == "cuda":
        assert 0.92 < device.total_bytes / (int(stated[1]) * 2**30) <= 1.01


@pytest.mark.parametrize("name", [sheet.machine for sheet in SHEETS])
def test_accelerators_follow_their_generation(name: str) -> None:
    one = gpu(name)
    if one.kind == "mps":
        assert one.capability is None
        return
    assert one.capability is not None
    assert (one.bf16 == "native") == (one.capability >= (8, 0))
    assert (one.tf32 == "native") == (one.capability >= (8, 0))
    assert (one.fp8 == "native") == (one.capability >= (8, 9))
    assert ("flash" in one.attention) == (one.capability >= (8, 0))


@pytest.mark.parametrize(
    ("name", "gb", "shares"),
    [
        ("t4", 16.1, False),
        ("rtx-3090", 25.8, False),
        ("a100-80gb", 85.9, False),
        ("h200", 150.8, False),
        ("jetson-nano-4gb", 4.1, True),
        ("m2-max", 22.9, True),
    ],
)
def test_memory_is_as_drivers_report_it(name: str, gb: float, shares: bool) -> None:
    one, host = gpu(name), MACHINES[name].cpu
    assert one.total_bytes / 1e9 == pytest.approx(gb, abs=0.05)
    assert one.shares_host_memory is shares
    if shares:
        assert one.free_bytes <= host.free_bytes < host.total_bytes
    else:
        assert host.total_bytes >= max(32 * 10**9, 2 * one.total_bytes)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        *((name, name) for name in EXPECTED),
        ("T4", "t4"),
        ("Tesla T4", "t4"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("1080", "gtx-1080"),
        ("3060", "rtx-3060-12gb"),
        ("rtx_3060_12GB", "rtx-3060-12gb"),
        ("4060ti", "rtx-4060-ti-16gb"),
        ("2080 Ti", "rtx-2080-ti"),
        ("a100", "a100-40gb"),
        ("A100 80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("a800", "a800-80gb"),
        ("v100", "v100-16gb"),
        ("Tesla V100-SXM2-32GB", "v100-32gb"),
        ("titan v", "titan-v"),
        ("jetson nano", "jetson-nano-4gb"),
        ("xavier", "xavier-nx"),
        ("orin", "orin-8gb"),
        ("Apple M2 Max", "m2-max"),
        ("cpu", "cpu-8gb"),
    ],
)
def test_machines_are_found_by_what_people_type(typed: str, name: str) -> None:
    assert find_machine(typed) is MACHINES[name]


@pytest.mark.parametrize(
    ("typed", "near"),
    [("rtx-4080", "rtx-4090"), ("a30", "a10"), ("h300", "h200"), ("toaster", ""), ("", ""), ("rtx", "")],
)
def test_unknown_machines_name_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UsageError, match="expected one of gtx-1080, titan-v") as caught:
        find_machine(typed)
    hint = re.search(r"did you mean (.*)\?", str(caught.value))
    assert (near in hint[1].split(", ")) if hint else not near
    assert f"got a machine named {typed!r}" in str(caught.value)


def test_aliases_lead_somewhere() -> None:
    assert all(find_machine(alias) is MACHINES[name] for alias, name in aliases().items())


@pytest.mark.parametrize(
    ("driver_name", "machine"),
    [
        ("Tesla T4", "t4"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("Orin", None),
        ("", None),
    ],
)
def test_sheets_are_for_exactly_one_device(driver_name: str, machine: str | None) -> None:
    sheet = sheet_of(driver_name)
    assert (sheet and sheet.machine) == machine
    assert (rates_by_name(driver_name) is None) == (machine is None)


def test_the_page_lists_the_catalogue() -> None:
    assert catalogue_table() in PAGE.read_text(encoding="utf-8"), (
        "expected the present table in docs/hardware.md; print it with "
        "python -c 'from vitruvian.hardware import catalogue_table; print(catalogue_table())'"
    )
