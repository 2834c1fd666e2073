"""What stands between us and the hub's client library: its settings as they are now, and its errors in our words.

Addresses, cache folder, offline mode and tokens come from the client's documented environment variables. The client
reads most of them once, at its import; here they are read at each call and handed to it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from vitruvian import __version__
from vitruvian.errors import DoesNotFitError, RefusedError, UsageError, VitruvianError


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file of a repository on the hub."""

    repo_id: str
    """Owner and name, e.g. `facebook/sapiens-pose-1b`."""
    filename: str
    """Path inside the repository, `/` between the parts."""
    revision: str | None
    """Branch, tag or commit; None is the main branch."""
    sha256: str | None
    """Hash of the contents when known, 64 lower-case hexadecimal digits."""
    confirmed: bool
    """Whether somebody has seen the file under this id."""
    index: str = "facebook/sapiens"
    """Repository or page on the hub from which the publisher links the family's files."""


def client() -> ModuleType:
    """The client library, told before it is first imported to send no telemetry and no advice about links."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_SYMLINKS_WARNING", "1")
    import huggingface_hub

    return huggingface_hub


def headers() -> dict[str, str]:
    """What we say about ourselves."""
    return {"user-agent": f"vitruvian/{__version__}"}


def endpoint() -> str:
    """Address of the hub or of the mirror in use, without a slash at the end."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def cache_folder() -> Path:
    """The client's cache folder by its documented variables, as they stand now."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.path.expandvars(os.environ[variable])).expanduser().absolute()
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return (Path(os.path.expandvars(home)).expanduser() / "hub").absolute()


def is_offline() -> bool:
    """Whether the user has forbidden network access."""
    named = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return named.upper() in {"1", "ON", "YES", "TRUE"}


@contextmanager
def quiet() -> Iterator[None]:
    """The client's progress bars off; progress goes through `report`. The user's own switch for them wins."""
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    name = "huggingface_hub.http_get"
    ours = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not are_progress_bars_disabled(name)
    if ours:
        disable_progress_bars(name)
    try:
        yield
    finally:
        if ours:
            enable_progress_bars(name)


@contextmanager
def explained(file: RemoteFile) -> Iterator[None]:
    """Turns the client's errors into ours."""
    client()
    from huggingface_hub import errors

    # The HTTP library underneath changed twice; whatever it is, its base class is the first base of this one.
    transport: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    try:
        yield
    except VitruvianError:
        raise
    except errors.HFValidationError as error:
        raise UsageError(
            f"got the repository id {file.repo_id!r}; expected OWNER/NAME as the hub spells it; correct it, or pass "
            "a local file"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise offline_error(file) from error
    except errors.HfHubHTTPError as error:
        raise _answered(file, error) from error
    except (OSError, transport) as error:
        raise _failed(file, error) from error


def _answered(file: RemoteFile, error: Any) -> VitruvianError:
    """The hub answered, but not with the file."""
    from huggingface_hub import errors

    status = getattr(error.response, "status_code", 0)
    page = f"{endpoint()}/{file.repo_id}"
    gated = isinstance(error, errors.GatedRepoError)
    missing = isinstance(error, errors.RepositoryNotFoundError) or status == 404
    if missing and not gated and not file.confirmed:
        return UsageError(
            f"got no file {file.filename} in {file.repo_id} at {endpoint()} ({status}); this id is not confirmed: it "
            f"follows the publisher's naming, and nobody has seen it yet; look for the file from the index page "
            f"{endpoint()}/{file.index}, download it by hand and pass its path (if it asks for an account: "
            "`hf auth login`)"
        )
    if gated or status in (401, 403):
        return RefusedError(
            f"got {status} for {file.filename}: {file.repo_id} is gated, private or gone; expected an account that "
            f"may read it; open {page}, accept its conditions, then run `hf auth login` or set HF_TOKEN"
        )
    if missing:
        return UsageError(
            f"got no file {file.filename} at revision {file.revision or 'main'} in {file.repo_id} ({status}); it was "
            f"moved or removed; look at {page}, download the file by hand and pass its path"
        )
    return UsageError(
        f"got the answer {status} from {endpoint()} for {file.filename}; expected the file; the hub has a problem or "
        "limits requests: try again later, or set HF_ENDPOINT to a mirror"
    )


def _failed(file: RemoteFile, error: Exception) -> VitruvianError:
    """No answer, a broken transfer, or a disk that does not take the file."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DoesNotFitError(
            f"got a full disk in {cache_folder()} while downloading {file.filename}; free some space, or set "
            "HF_HUB_CACHE to a folder on a larger disk; what has arrived is kept"
        )
    if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)):
        return UsageError(
            f"got the cache folder {cache_folder()}, which cannot be written ({error.strerror}); expected a folder "
            "of yours; set HF_HUB_CACHE to one"
        )
    return UsageError(
        f"got no connection to {endpoint()}, or one that broke, for {file.filename} ({type(error).__name__}); "
        "expected the file; check the network and proxy and run the command again: what has arrived is kept and taken "
        "up; or set HF_ENDPOINT to a mirror, or pass the path of a local file"
    )


def offline_error(file: RemoteFile) -> UsageError:
    """Offline, and the file is not here."""
    return UsageError(
        f"got offline mode (HF_HUB_OFFLINE) and no copy of {file.filename} of {file.repo_id} in {cache_folder()}; "
        "expected a cached file; run once with a network, copy the cache from another machine, or pass a local path"
    )


def mismatch(file: RemoteFile, found: str, then: str) -> RefusedError:
    """The contents are not those that were published; `then` says what was done about it."""
    return RefusedError(
        f"got {file.filename} of {file.repo_id} with sha256 {found}; expected {file.sha256 or 'what the hub names'}; "
        f"{then}; if the publisher replaced the file, pass its path to use it anyway, else download it again"
    )


def size_text(count_bytes: int) -> str:
    """Bytes for people, in powers of ten."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count_bytes >= factor:
            return f"{count_bytes / factor:.1f} {unit}"
    return f"{count_bytes} bytes"
