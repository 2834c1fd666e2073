"""Host facts that Python does not give directly: processor name, usable cores, memory under a control group."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def cpu_name() -> str:
    """Marketing name of the processor, or the architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def usable_cores(root: Path = CGROUP_ROOT) -> int:
    """Cores this process may keep busy: its affinity, cut by a control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = _quota_cores(root)
    return max(1, min(allowed, int(quota)) if quota else allowed)


def memory_bytes(root: Path = CGROUP_ROOT) -> tuple[int, int]:
    """(total, free) bytes of host memory for this process, the control group's limit included."""
    total, free = _system_memory()
    limit = _first_number(root / "memory.max", root / "memory" / "memory.limit_in_bytes")
    used = _first_number(root / "memory.current", root / "memory" / "memory.usage_in_bytes")
    if limit is not None:  # "no limit" reads as no number, or as one far beyond any memory
        total = min(total, limit)
        held = max(0, (used or 0) - _reclaimable_bytes(root))
        free = min(free, max(0, limit - held))
    return total, free


def _quota_cores(root: Path) -> float | None:
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass  # no version 2 group here
    quota_us = _first_number(root / "cpu" / "cpu.cfs_quota_us")
    period_us = _first_number(root / "cpu" / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def _reclaimable_bytes(root: Path) -> int:
    """File cache that a control group counts as used but gives back on demand: gigabytes after reading weight files."""
    for path, key in (
        (root / "memory.stat", "inactive_file"),
        (root / "memory" / "memory.stat", "total_inactive_file"),
    ):
        try:
            rows = dict(line.split() for line in path.read_text().splitlines())
            return int(rows[key])
        except (OSError, ValueError, KeyError):
            continue
    return 0


def _first_number(*paths: Path) -> int | None:
    for path in paths:
        try:
            return int(path.read_text().strip())
        except (OSError, ValueError):
            continue
    return None


def _system_memory() -> tuple[int, int]:
    try:
        rows = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if ":" in line
        )
        return tuple(int(rows[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]
    except (OSError, KeyError):
        pass  # not Linux
    if sys.platform == "win32":
        return _windows_memory()
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    # macOS tells no "available" figure here; half is a cautious stand-in until the memory meter exists.
    return pages * page_bytes, pages * page_bytes // 2


def _windows_memory() -> tuple[int, int]:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "page", "pagefree", "virt", "virtfree", "ext")),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return status.total, status.free
