"""What was measured or tried on this machine, kept in one small file between runs: `machine.json` in the cache folder.

Everything in it can be found out again: a file that is missing, damaged or cannot be written costs only that.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from vitruvian.cache import cache_dir
from vitruvian.errors import UsageError
from vitruvian.hardware.values import Rates

FILE_NAME = "machine.json"
_RATES, _COMPILER = "rates", "compiler"


def machine_file() -> Path | None:
    """The file; None where there is no folder for it."""
    try:
        return cache_dir() / FILE_NAME
    except UsageError:
        return None  # no home folder: a service account, say; nothing is remembered then


def recall(kind: str, key: str) -> Any:
    """What was stored under a kind and a key; None if nothing."""
    entries = _entries().get(kind)
    return entries.get(key) if isinstance(entries, dict) else None


def remember(kind: str, key: str, value: Any) -> None:
    """Store a plain JSON value, replacing an older one. Two processes at once may lose a value, never the file."""
    path = machine_file()
    if path is None:
        return
    entries = _entries()
    kept = entries.get(kind)
    entries[kind] = {**(kept if isinstance(kept, dict) else {}), key: value}
    with contextlib.suppress(OSError):  # a folder that cannot be written: found out again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=FILE_NAME)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(entries, file, indent=1, sort_keys=True)
        os.replace(draft, path)


def recall_rates(key: str) -> Rates | None:
    """Measured rates stored under a device's key; None without any, or with some of an older form."""
    stored = recall(_RATES, key)
    try:
        return Rates(**stored, source="measured") if isinstance(stored, dict) else None
    except TypeError:
        return None


def remember_rates(key: str, rates: Rates) -> None:
    """Store measured rates under a device's key."""
    remember(
        _RATES,
        key,
        {
            "float32_tflops": rates.float32_tflops,
            "bfloat16_tflops": rates.bfloat16_tflops,
            "float16_tflops": rates.float16_tflops,
            "bandwidth_gb_s": rates.bandwidth_gb_s,
        },
    )


def device_key(name: str, cores: int, torch_version: str) -> str:
    """What measurements hold for; 0 cores for accelerators."""
    return " | ".join([name, f"{cores} cores", f"torch {torch_version}"] if cores else [name, f"torch {torch_version}"])


def recall_compiler(kind: str, name: str) -> bool | None:
    """Whether generated kernels ran on a kind of device (cpu, cuda, ...) by name; None: not tried as things stand."""
    known = recall(_COMPILER, _compiler_key(kind, name))
    return known if isinstance(known, bool) else None


def remember_compiler(kind: str, name: str, works: bool) -> None:
    """Store whether generated kernels ran."""
    remember(_COMPILER, _compiler_key(kind, name), works)


def _compiler_key(kind: str, name: str) -> str:
    # The compiler is part of what the answer holds for: one that is installed later must be tried.
    compiler = os.environ.get("CXX") or next(
        (found for found in map(shutil.which, ("g++", "clang++", "c++", "cl")) if found), "no C++ compiler"
    )
    return f"{kind} | {device_key(name, 0, torch.__version__)} | {os.path.basename(compiler)}"


def _entries() -> dict[str, Any]:
    path = machine_file()
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
