"""Host facts that Python does not give directly: the processor's name, usable cores, memory that can still be had."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from vitruvian.hardware import cgroup


def cpu_name() -> str:
    """Marketing name of the processor, or the architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def usable_cores(root: Path = cgroup.ROOT, listing: Path = cgroup.LISTING) -> int:
    """Cores this process may keep busy: its affinity, cut by the control groups' quotas."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = cgroup.quota_cores(root, listing)
    return max(1, min(allowed, int(quota)) if quota else allowed)


def memory_bytes(root: Path = cgroup.ROOT, listing: Path = cgroup.LISTING) -> tuple[int, int]:
    """(total, free) bytes of host memory for this process: other processes counted, control groups' limits included."""
    total, free = _system_memory()
    for group in cgroup.memory_limits(root, listing):
        total = min(total, group.limit_bytes)
        free = min(free, group.left_bytes)
    return total, free


def _system_memory() -> tuple[int, int]:
    try:
        rows = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if ":" in line
        )
        # "Available" is free memory plus file cache that the kernel would drop for us.
        return int(rows["MemTotal"].split()[0]) * 1024, int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        pass  # not Linux
    if sys.platform == "win32":
        return _windows_memory()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = free_of_vm_stat(_output("vm_stat"))
    # Where nothing tells what is available, half is a cautious stand-in.
    return total, total // 2 if free is None else min(total, free)


def free_of_vm_stat(text: str) -> int | None:
    """Bytes that macOS can hand out, from the page counts that its `vm_stat` prints; None where they are missing."""
    size = re.search(r"page size of (\d+) bytes", text)
    # Inactive and speculative pages are mostly file cache, which is given back on demand.
    pages = re.findall(r"^Pages (?:free|inactive|speculative):\s+(\d+)\.", text, re.M)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""  # a tool that this system lacks; callers have a stand-in


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
