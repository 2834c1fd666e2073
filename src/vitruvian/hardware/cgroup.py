"""Limits that Linux control groups put on this process: versions 1 and 2, both at once, groups within groups.

Inputs: the listing of the process's groups (`/proc/self/cgroup`) and the tree of groups (`/sys/fs/cgroup`).
Outputs: limits of every group on the way from the process's own to the root, for the caller to take the tightest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
LISTING = Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLimit:
    """What one group allows and what its processes hold of it."""

    limit_bytes: int
    held_bytes: int
    """Without file cache that the kernel gives back on demand."""

    @property
    def left_bytes(self) -> int:
        """What its processes can still get."""
        return max(0, self.limit_bytes - self.held_bytes)


def memory_limits(root: Path = ROOT, listing: Path = LISTING) -> tuple[MemoryLimit, ...]:
    """Memory limits that bind this process; an unlimited version 1 group reads as one far beyond any memory."""
    found = []
    for folder in _folders(root, listing, "memory"):
        for limits, used in (
            # Above memory.high the kernel reclaims and brakes until the process crawls: as good as a wall.
            (("memory.max", "memory.high"), "memory.current"),
            (("memory.limit_in_bytes",), "memory.usage_in_bytes"),
        ):
            numbers = [number for name in limits if (number := _number(folder / name)) is not None]
            if numbers:
                held = max(0, (_number(folder / used) or 0) - _reclaimable_bytes(folder / "memory.stat"))
                found.append(MemoryLimit(limit_bytes=min(numbers), held_bytes=held))
    return tuple(found)


def quota_cores(root: Path = ROOT, listing: Path = LISTING) -> float | None:
    """Processor time per time that the tightest group allows; None without a quota."""
    quotas = [quota for folder in _folders(root, listing, "cpu") if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _folders(root: Path, listing: Path, controller: str) -> Iterator[Path]:
    """The process's group of a controller and all groups above it, in every hierarchy that may carry it.

    A container often sees its own group as the root while the listing still names the path outside: folders that do
    not exist give no numbers, and the root itself always comes last.
    """
    seen = set()
    for mount, group in _mounts(root, listing, controller):
        for folder in (mount / group, *(mount / above for above in group.parents)):
            if folder not in seen:
                seen.add(folder)
                yield folder


def _mounts(root: Path, listing: Path, controller: str) -> Iterator[tuple[Path, PurePosixPath]]:
    for controllers, group in _listed(listing):
        if not controllers:
            # Alone, version 2 lies at the root; beside version 1 (hybrid), in a folder of its own.
            yield root, group
            yield root / "unified", group
        elif controller in controllers.split(","):
            yield root / controllers, group
            yield root / controller, group
    yield root, PurePosixPath()
    yield root / controller, PurePosixPath()


def _listed(listing: Path) -> list[tuple[str, PurePosixPath]]:
    """(controllers, group) of each hierarchy; no controllers: version 2."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []  # not Linux, or no /proc
    rows = [line.split(":", 2) for line in lines]
    # A group outside of what this namespace sees is listed with "..": its limits are out of sight, the root's are not.
    return [
        (row[1], PurePosixPath(*(part for part in PurePosixPath(row[2]).parts if part not in ("/", ".."))))
        for row in rows
        if len(row) == 3
    ]


def _quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no version 2 group here
    quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def _reclaimable_bytes(stat: Path) -> int:
    """File cache that counts as used but is given back on demand: gigabytes after reading weight files.

    Pages that were read twice are "active" and just as clean; those that some process has mapped are in use.
    Version 1 counts a group without the groups below it, and everything again under `total_`.
    """
    try:
        rows = dict(line.split() for line in stat.read_text(encoding="ascii").splitlines())
        prefix = "total_" if "total_inactive_file" in rows else ""
        mapped = "total_mapped_file" if prefix else "mapped_file" if "mapped_file" in rows else "file_mapped"
        active = int(rows.get(f"{prefix}active_file", 0)) - int(rows.get(mapped, 0))
        return int(rows.get(f"{prefix}inactive_file", 0)) + max(0, active)
    except (OSError, ValueError):
        return 0  # no such file, or one of another system: nothing is known to be reclaimable


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None  # no such file, or "max"
