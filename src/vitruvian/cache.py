"""Where Vitruvian keeps its own small files (consents, ledgers, measurements); weights live in the hub's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vitruvian.errors import UsageError


def cache_dir() -> Path:
    """Folder for small files, read from the environment at each call; it need not exist yet.

    `VITRUVIAN_CACHE` names it; otherwise it is `vitruvian` in the platform's cache folder.

    Raises:
        UsageError: there is neither a home folder nor `VITRUVIAN_CACHE`.
    """
    named = os.environ.get("VITRUVIAN_CACHE")
    if named:
        return Path(named).expanduser()
    return _platform_cache_dir() / "vitruvian"


def _platform_cache_dir() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else _home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules say that a relative path there is to be ignored.
    return Path(xdg) if Path(xdg).is_absolute() else _home() / ".cache"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise UsageError("got no home folder; expected one for small files; set VITRUVIAN_CACHE to a folder") from error
