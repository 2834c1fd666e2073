"""The ledger of artefacts that were made on this machine: only their code is run without being asked.

One small JSON file in the cache folder: the hash of each manifest written here. A manifest holds the hashes of all
files and the ranges that inputs are checked against, so a changed byte anywhere is another artefact.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vitruvian.cache import cache_dir
from vitruvian.errors import RefusedError, UsageError

FILE = "artefacts.json"
REBUILT = "artefacts"
"""Below the cache folder: artefacts of other machines, rebuilt for this one."""
_LOCK_SECONDS = 5.0


def remember(manifest: bytes, name: str) -> str:
    """Enter an artefact that was just made; a sentence for the user where that was not possible, else nothing."""
    try:
        path = cache_dir() / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            today = datetime.date.today().isoformat()
            _write(path, entries() | {_hash(manifest): {"name": name, "made": today}})
    except (OSError, Timeout, UsageError) as error:
        held = isinstance(error, Timeout)
        why = "another program holds it" if held else getattr(error, "strerror", None) or error
        return f"this machine's ledger could not be written ({why}); loading the artefact will need --trust"
    return ""


def require(manifest: bytes, name: str) -> None:
    """Let pass what was made here.

    Raises:
        RefusedError: the ledger does not know it.
    """
    if not is_known(manifest):
        raise RefusedError(
            f"got the artefact {name}, which holds code and was not made on this machine (or was changed since); "
            "expected one of its own; add --trust if you trust its source, or export the model again"
        )


def is_known(manifest: bytes) -> bool:
    """Whether an artefact was made on this machine."""
    return _hash(manifest) in entries()


def entries() -> dict[str, dict[str, Any]]:
    """What is known, by the hash of the manifest; a damaged ledger knows nothing, nor does one that has no place."""
    try:
        document = json.loads((cache_dir() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, UsageError):
        return {}
    table = document.get("artefacts") if isinstance(document, dict) else None
    rows = table.items() if isinstance(table, dict) else ()
    return {key: value for key, value in rows if isinstance(key, str) and isinstance(value, dict)}


def _hash(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def _write(path: Path, table: dict[str, dict[str, Any]]) -> None:
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=FILE, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"artefacts": table}, file, indent=1)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
