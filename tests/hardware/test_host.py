"""Host facts under control groups, from files written by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vitruvian.hardware import host

GIB = 1 << 30
TOTAL, FREE = 64 * GIB, 32 * GIB
V1_UNLIMITED = "9223372036854771712"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "10000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000"}, 8),
    ],
)
def test_usable_cores_obey_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert host.usable_cores(write(tmp_path, files), tmp_path / "listing") == cores


@pytest.mark.parametrize(("counted", "cores"), [(6, 6), (None, 1)])
def test_without_an_affinity_all_cores_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: int | None, cores: int
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert host.usable_cores(tmp_path, tmp_path / "listing") == cores


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (TOTAL, FREE)),
        ({"memory.max": "max", "memory.current": str(5 * GIB)}, (TOTAL, FREE)),
        ({"memory.max": str(16 * GIB)}, (16 * GIB, 16 * GIB)),
        ({"memory.max": str(16 * GIB), "memory.current": str(6 * GIB)}, (16 * GIB, 10 * GIB)),
        ({"memory.max": str(48 * GIB), "memory.current": str(GIB)}, (48 * GIB, FREE)),
        ({"memory.max": str(128 * GIB), "memory.current": str(GIB)}, (TOTAL, FREE)),
        ({"memory.max": str(4 * GIB), "memory.current": str(5 * GIB)}, (4 * GIB, 0)),
        (  # cache of files that were read is given back on demand
            {
                "memory.max": str(16 * GIB),
                "memory.current": str(15 * GIB),
                "memory.stat": f"anon {3 * GIB}\ninactive_file {11 * GIB}\nactive_file {GIB}",
            },
            (16 * GIB, 13 * GIB),
        ),
        (  # counters are read one after the other and may disagree for a moment
            {"memory.max": str(16 * GIB), "memory.current": "5", "memory.stat": "inactive_file 6"},
            (16 * GIB, 16 * GIB),
        ),
        ({"memory.max": "0"}, (0, 0)),
        (
            {"memory/memory.limit_in_bytes": str(8 * GIB), "memory/memory.usage_in_bytes": str(3 * GIB)},
            (8 * GIB, 5 * GIB),
        ),
        (
            {
                "memory/memory.limit_in_bytes": str(8 * GIB),
                "memory/memory.usage_in_bytes": str(7 * GIB),
                "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {2 * GIB}",
            },
            (8 * GIB, 3 * GIB),
        ),
        ({"memory/memory.limit_in_bytes": V1_UNLIMITED, "memory/memory.usage_in_bytes": "7"}, (TOTAL, FREE)),
    ],
)
def test_memory_is_cut_by_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(host, "_system_memory", lambda: (TOTAL, FREE))
    assert host.memory_bytes(write(tmp_path, files), tmp_path / "listing") == expected


def test_the_system_itself_tells_sane_numbers() -> None:
    total, free = host.memory_bytes()
    assert 0 < free <= total
    assert total > 256 << 20
    assert host.usable_cores() >= 1
    assert host.cpu_name().strip() == host.cpu_name() != ""


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: Imaginary CPU @ 3:00 GHz\nflags\t: x\n", "Imaginary CPU @ 3:00 GHz"),
        ("processor\t: 0\nBogoMIPS\t: 50\n", "riscv64"),
        (None, "riscv64"),
    ],
)
def test_a_processor_without_a_name_is_called_by_its_architecture(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, name: str
) -> None:
    def read_text(path: Path, **_: object) -> str:
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(host.platform, "processor", lambda: "")
    monkeypatch.setattr(host.platform, "machine", lambda: "riscv64")
    assert host.cpu_name() == name


def test_groups_within_groups_bind_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_system_memory", lambda: (TOTAL, FREE))
    files = {
        "a/memory.max": str(16 * GIB),
        "a/memory.current": str(15 * GIB),
        "a/b/memory.max": str(8 * GIB),
        "a/b/memory.current": str(2 * GIB),
    }
    (tmp_path / "listing").write_text("0::/a/b")
    assert host.memory_bytes(write(tmp_path, files), tmp_path / "listing") == (8 * GIB, GIB)


@pytest.mark.parametrize(
    ("text", "free_bytes"),
    [
        (
            "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:      100.\n"
            "Pages active:   900.\nPages inactive:  30.\nPages speculative: 4.\nPages wired down: 50.\n",
            134 * 16384,
        ),
        ("Mach Virtual Memory Statistics: (page size of 16384 bytes)\n", None),
        ("", None),
    ],
)
def test_macos_pages_become_bytes(text: str, free_bytes: int | None) -> None:
    assert host.free_of_vm_stat(text) == free_bytes
