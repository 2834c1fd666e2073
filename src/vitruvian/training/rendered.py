"""A rendered training set on disk: memory-mapped arrays, filled once, chunk by chunk, by several processes.

In: what the arrays hold and a function that draws one picture into them. Out: a folder with an `.npy` file per array,
one marker per finished chunk, so that an interrupted rendering goes on where it stopped, and a note of what decided
the pictures. Time: the function's.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib.format import open_memmap

CHUNK = 200
"""Pictures that are drawn, and lost if interrupted, together."""
NOTE = "drawn_by.json"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedSet:
    """What is to be on disk; picklable."""

    count: int
    """Pictures."""
    layout: Mapping[str, tuple[tuple[int, ...], str]]
    """Array name -> shape of one picture's values, and their type."""
    drawn_by: Mapping[str, Any]
    """Everything that decides what the pictures look like, JSON-able: equal shapes do not make equal pictures."""
    draw: Callable[[Arrays, int], None]
    """Writes the picture of an index into that row of every array; rows are zeros before."""

    def on_disk(self, folder: Path, *, workers: int, report: Callable[[str], None] = print) -> dict[str, np.memmap]:
        """The arrays, read only, drawing what is not there yet; pictures drawn by something else are dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        if not self._is_here(folder):
            for stale in (*folder.glob("chunk_*.done"), *folder.glob("*.npy")):
                stale.unlink()
            for name, (shape, dtype) in self.layout.items():
                whole = (self.count, *shape)
                open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.dtype(dtype), shape=whole).flush()
            (folder / NOTE).write_text(json.dumps(self.drawn_by), encoding="utf-8")
        todo = [start for start in range(0, self.count, CHUNK) if not _marker(folder, start).exists()]
        if todo:
            with _pool(min(workers, len(todo))) as pool:
                futures = [pool.submit(self._draw_chunk, folder, start, CHUNK) for start in todo]
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    if done % 10 == 0 or done == len(todo):
                        report(f"rendered {done} of {len(todo)} chunks of {CHUNK} pictures")
        return self._arrays(folder, "r")

    def _is_here(self, folder: Path) -> bool:
        files = (folder / NOTE, *(folder / f"{name}.npy" for name in self.layout))
        return all(file.exists() for file in files) and files[0].read_text("utf-8") == json.dumps(self.drawn_by)

    def _draw_chunk(self, folder: Path, start: int, chunk: int) -> None:
        cv2.setNumThreads(1)  # one process a core is enough
        arrays = self._arrays(folder, "r+")
        for index in range(start, min(start + chunk, self.count)):
            self.draw(arrays, index)
        for array in arrays.values():
            array.flush()
        _marker(folder, start).touch()

    def _arrays(self, folder: Path, mode: Any) -> dict[str, np.memmap]:
        return {name: np.load(folder / f"{name}.npy", mmap_mode=mode) for name in self.layout}


def row(array_N: np.ndarray, index: int) -> np.ndarray:
    """A row, read from its file where the array is mapped: pages of a map would count as this process's memory."""
    if not isinstance(array_N, np.memmap):
        return np.asarray(array_N[index])
    assert array_N.filename is not None
    shape = array_N.shape[1:]
    count = int(np.prod(shape))
    start_bytes = array_N.offset + index * count * array_N.itemsize
    return np.fromfile(array_N.filename, array_N.dtype, count, offset=start_bytes).reshape(shape)


def _marker(folder: Path, start: int) -> Path:
    return folder / f"chunk_{start:07d}.done"


def _pool(workers: int) -> Executor:
    """One worker needs no process; others are spawned, not forked: torch's threads do not survive a fork."""
    if workers == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
