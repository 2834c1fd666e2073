"""Torch files from before the zip layout: five pickles in a row, then every storage with its length before it.

Input: a file; output: the value of its fourth pickle and the place of each storage. Cost: one seek per storage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vitruvian.errors import RefusedError
from vitruvian.models.weight_files.archive import Span
from vitruvian.models.weight_files.inert_pickle import read_pickle
from vitruvian.models.weight_files.inert_values import StorageRecord
from vitruvian.models.weight_files.storages import item_bytes

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""First pickle of every such file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyFile:
    """What such a file holds."""

    value: Any
    places: dict[str, Span]

    def locate(self, record: StorageRecord) -> Span:
        """Where a storage's bytes lie."""
        span = self.places.get(record.key)
        if span is None:
            raise RefusedError(f"got a file without the storage {record.key!r}; it is damaged, download it again")
        return span


def read_legacy(path: Path) -> LegacyFile:
    """Read the pickles and find the storages.

    Raises:
        RefusedError: the file does not start like one of torch's, or is cut off.
    """
    with path.open("rb") as file:
        if read_pickle(file) != MAGIC_NUMBER:
            raise RefusedError(
                f"got {path.name}, a pickle that torch did not write; expected .safetensors, .pth or .pt2 weights; "
                "save the weights alone as safetensors"
            )
        read_pickle(file)
        system = read_pickle(file)
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise RefusedError(f"got {path.name}, written on a big-endian machine; save it again on a common one")
        records: dict[str, StorageRecord] = {}
        value = read_pickle(file, records)
        keys = read_pickle(file)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise RefusedError(f"got {path.name} with a damaged list of storages; download it again")
        return LegacyFile(value=value, places=_places(file, path, keys, records))


def _places(file: BinaryIO, path: Path, keys: list[str], records: dict[str, StorageRecord]) -> dict[str, Span]:
    size_bytes = path.stat().st_size
    places = {}
    for key in keys:
        header = file.read(8)
        if key not in records or len(header) != 8:
            raise RefusedError(f"got {path.name}, cut off or with storages that no tensor uses; download it again")
        storage_bytes = struct.unpack("<q", header)[0] * item_bytes(records[key])
        if storage_bytes < 0 or file.tell() + storage_bytes > size_bytes:
            raise RefusedError(f"got {path.name}, cut off inside a storage; download it again")
        places[key] = Span(path=path, start=file.tell(), size_bytes=storage_bytes)
        file.seek(storage_bytes, 1)
    return places
