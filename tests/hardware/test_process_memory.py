"""Memory of this process, from the real system and from files written by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vitruvian.hardware.process_memory import process_memory, restart_peak, trim_heap

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
STATUS = "Name:\tpython\nVmPeak:\t 900 kB\nVmHWM:\t 500 kB\nVmRSS:\t 400 kB\nRssAnon:\t 300 kB\nRssFile:\t 90 kB\n"


@linux
@pytest.mark.parametrize(
    ("text", "figures"),
    [
        (f"{STATUS}RssShmem:\t 10 kB\nVmData:\t 700 kB\nThreads:\t3\n", (400, 310, 500, 700)),
        ("VmRSS:\t 400 kB\n", (400, 400, 400, 0)),
        ("VmHWM:\t 300 kB\nVmRSS:\t 400 kB\n", (400, 400, 400, 0)),
    ],
)
def test_linux_figures_are_read(tmp_path: Path, text: str, figures: tuple[int, ...]) -> None:
    (tmp_path / "status").write_text(text)
    memory = process_memory(tmp_path / "status")
    found = (memory.resident_bytes, memory.private_bytes, memory.peak_bytes, memory.data_bytes)
    assert found == tuple(1024 * figure for figure in figures)


def test_this_process_is_sane() -> None:
    memory = process_memory()
    assert 50e6 < memory.resident_bytes < 20e9
    assert 0 < memory.private_bytes <= memory.resident_bytes <= memory.peak_bytes


@linux
def test_a_spike_is_seen_after_it_is_gone() -> None:
    assert restart_peak()
    before = process_memory()
    block = torch.ones(25_000_000)
    del block
    after = process_memory()
    assert after.resident_bytes - before.resident_bytes < 50e6
    assert after.peak_bytes - before.peak_bytes > 80e6
    restart_peak()
    assert process_memory().peak_bytes < after.peak_bytes - 50e6


def test_a_peak_that_cannot_be_restarted_says_so(tmp_path: Path) -> None:
    assert not restart_peak(tmp_path / "none" / "clear_refs")


@linux
def test_the_heap_gives_pages_back() -> None:
    small = [bytearray(2000) for _ in range(50_000)]
    full = process_memory().resident_bytes
    del small[:-1]
    assert trim_heap() > 50e6
    assert process_memory().resident_bytes < full - 50e6


HOLES = """
import sys
from contextlib import nullcontext
from vitruvian.hardware.process_memory import large_blocks_apart, process_memory
big = bytearray(30 << 20); del big  # from here on glibc takes blocks of this size from its heap, by itself
before = process_memory().data_bytes
with large_blocks_apart() if sys.argv[1] == "apart" else nullcontext():
    blocks = [bytearray(8 << 20) for _ in range(40)]
del blocks[::2]
print(process_memory().data_bytes - before)
"""


KEPT = """
import sys
from vitruvian.hardware.process_memory import freed_memory_kept, heap_free_bytes, process_memory
before = process_memory().resident_bytes
with freed_memory_kept() as kept:
    if not kept:
        sys.exit("skip")
    block = bytearray(200 << 20)
    del block
    inside, free = process_memory().resident_bytes - before, heap_free_bytes()
    block = bytearray(200 << 20)
    again = process_memory().resident_bytes - before
    del block
after = process_memory().resident_bytes - before
block = bytearray(200 << 20)
del block
print(inside, free, again, after, process_memory().resident_bytes - before)
"""


@linux
def test_freed_memory_is_kept_for_what_comes_next_and_given_back_at_the_end() -> None:
    ran = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True)
    if ran.stderr.strip() == "skip":
        pytest.skip("no glibc of 2.33 or newer")
    inside, free, again, after, later = map(int, ran.stdout.split())
    assert inside > 200e6
    assert free > 200e6
    assert again < inside + 20e6
    assert after < 50e6
    assert later < 50e6


@linux
def test_large_blocks_leave_no_holes() -> None:
    def data_bytes(how: str) -> int:
        ran = subprocess.run([sys.executable, "-c", HOLES, how], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert data_bytes("apart") < 200e6
    assert data_bytes("as it comes") > 300e6
