"""Memory of this process as the system counts it: on Linux from `/proc/self/status`, elsewhere from system calls.

The forms for macOS and Windows follow their documentation and were not run.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"
"""What clear_refs takes as "begin the peak anew"."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""glibc's numbers of its parameters."""

_USUAL_THRESHOLD_BYTES = 2**25
"""Where glibc's own bound ends up once blocks of that size were freed."""

_USUAL_TRIM_BYTES = 2 * _USUAL_THRESHOLD_BYTES
"""What glibc leaves free at the heap's end beside that bound."""

_USUAL_MAPS = 2**16
"""Blocks that glibc takes apart from its heap, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessMemory:
    """Bytes of one moment."""

    resident_bytes: int
    """In physical memory, mapped files included: what `top` shows."""
    private_bytes: int
    """Resident without mapped files, whose pages the system may drop and read again."""
    peak_bytes: int
    """Highest resident figure since the start, or since `restart_peak`."""
    data_bytes: int
    """Private writable address space, touched or not: what RLIMIT_DATA counts. 0 where the system does not tell."""


def process_memory(status: Path = STATUS) -> ProcessMemory:
    """Read it; some 20 microseconds on Linux."""
    if sys.platform == "win32":
        return _windows()
    try:
        text = status.read_text(encoding="ascii", errors="replace")
    except OSError:
        return _macos()
    rows = {name: int(value) * 1024 for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
    resident = rows["VmRSS"]
    return ProcessMemory(
        resident_bytes=resident,
        private_bytes=rows.get("RssAnon", resident) + rows.get("RssShmem", 0),
        peak_bytes=max(resident, rows.get("VmHWM", 0)),
        data_bytes=rows.get("VmData", 0),
    )


def restart_peak(clear_refs: Path = _CLEAR_REFS) -> bool:
    """Begin the peak anew; False where the system does not allow it."""
    try:
        clear_refs.write_text(_CLEAR_PEAK, encoding="ascii")
    except OSError:
        return False  # not Linux, or a sandbox that forbids it
    return True


def trim_heap() -> int:
    """Give freed pages of the C library's heap back to the system.

    Returns:
        Bytes that the heap still has free: counted as data, mostly not resident, and used again without asking the
        system. 0 where the C library is not glibc.
    """
    if sys.platform != "linux":
        return 0
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        return 0
    library.malloc_trim(0)
    return heap_free_bytes()


def heap_free_bytes() -> int:
    """What the C library's heap has free; 0 where it is not glibc, or one before 2.33, which counts too little."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = _HeapCounters
    return int(library.mallinfo2().free)


@contextmanager
def large_blocks_apart() -> Iterator[bool]:
    """While weights come in, take every block from 1 MiB on from the system, one by one; afterwards from 32 MiB on.

    Weights stay and what they are made from goes: in one heap they leave holes, which count and cannot be predicted. A
    network of 0.3 billion parameters peaked at 1.43 GB instead of 1.5 to 1.8 GB. Not while it runs: the system clears
    every such block anew, and calls took 37 % longer. Gives whether there is a glibc that does so.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield False
        return
    library.mallopt(_M_MMAP_THRESHOLD, 2**20)
    try:
        yield True
    finally:
        library.mallopt(_M_MMAP_THRESHOLD, _USUAL_THRESHOLD_BYTES)


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """Inside, what is freed stays with this process for what is asked for next.

    Otherwise large activations go back to the system, which clears every page of the next ones anew: the codec of
    MimicMotion decoded 1.3 to 1.8 times as fast on two cores. The heap gets holes: its peak was 1.1 to 2.3 times as
    high. Gives whether there is a glibc that does so and that says what it keeps.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallinfo2"):
        yield False
        return
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield True
    finally:
        library.mallopt(_M_MMAP_MAX, _USUAL_MAPS)
        library.mallopt(_M_MMAP_THRESHOLD, _USUAL_THRESHOLD_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM_BYTES)
        trim_heap()


class _HeapCounters(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "chunks", "fast_chunks", "maps", "mapped", "peak", "fast_free", "used", "free", "top")
    )


def _macos() -> ProcessMemory:
    import os
    import resource

    # proc_taskinfo: six 64-bit numbers (virtual, resident, ...), then twelve 32-bit ones.
    numbers = (ctypes.c_uint64 * 12)()
    task_info_flavour = 4
    library = ctypes.CDLL("/usr/lib/libproc.dylib")
    read = library.proc_pidinfo(os.getpid(), task_info_flavour, ctypes.c_uint64(0), numbers, ctypes.sizeof(numbers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resident = int(numbers[1]) if read > 0 else peak
    return ProcessMemory(resident_bytes=resident, private_bytes=resident, peak_bytes=peak, data_bytes=0)


def _windows() -> ProcessMemory:
    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_ulong),
            ("faults", ctypes.c_ulong),
            ("peak", ctypes.c_size_t),
            ("resident", ctypes.c_size_t),
            *((f"pool_{index}", ctypes.c_size_t) for index in range(4)),
            ("pagefile", ctypes.c_size_t),
            ("pagefile_peak", ctypes.c_size_t),
            ("private", ctypes.c_size_t),
        )

    counters = Counters(size=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size)
    return ProcessMemory(
        resident_bytes=counters.resident,
        private_bytes=min(counters.private, counters.resident),
        peak_bytes=counters.peak,
        data_bytes=0,
    )
