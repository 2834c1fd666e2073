"""Weights by name from a hub: size and disk space first, then a download that can be taken up again.

The files lie in the hub client's own cache, in its layout, so other tools share them. The client of today starts
an interrupted file anew in the next run; so the transfer keeps its own partial file beside the cache's contents, checks
the whole by hash where one is known, and lets the client publish it. Time: the network's; memory: two chunks of 10 MB.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vitruvian.errors import DoesNotFitError, UsageError, VitruvianError
from vitruvian.hub_client import (
    RemoteFile,
    cache_folder,
    client,
    endpoint,
    explained,
    headers,
    is_offline,
    mismatch,
    offline_error,
    quiet,
    size_text,
)

__all__ = ["RemoteFile", "fetch", "remote_size", "revision_of"]

_PROGRESS_FROM_BYTES = 100 * 10**6
"""Smaller files arrive without intermediate reports."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Remote:
    """What the hub says about a file."""

    size_bytes: int
    etag: str
    commit: str


def remote_size(file: RemoteFile) -> int:
    """Size of a file on the hub in bytes, asked without downloading it.

    Raises:
        UsageError: the hub cannot be reached, or knows no such file.
        RefusedError: the file needs an account that has accepted its conditions.
    """
    if is_offline():
        raise offline_error(file)
    return _ask(file).size_bytes


def revision_of(path: Path) -> str | None:
    """Commit that a file returned by `fetch` belongs to; None for paths outside the hub's cache."""
    parts = path.parts
    for place, part in enumerate(parts[:-1]):
        if part == "snapshots" and _COMMIT.fullmatch(parts[place + 1]):
            return parts[place + 1]
    return None


def fetch(
    file: RemoteFile,
    *,
    report: Callable[[str], None],
    free_bytes: Callable[[Path], int] | None = None,
) -> Path:
    """The file on this machine, downloaded if the cache does not have it.

    `report` is told what comes, how large, from where, and where the licence stands, before anything is transferred.
    `free_bytes` says how much disk is free in a folder that may not exist yet (measured by default).
    A cached file is used without asking the hub when its commit or its hash is pinned, and with a report when the hub
    does not answer.

    Raises:
        DoesNotFitError: too little free disk.
        UsageError: no connection, offline without a cached copy, or no such file.
        RefusedError: the file needs an account, or is not what its hash says.
    """
    cached = _cached(file)
    if cached is not None and (
        is_offline() or _COMMIT.fullmatch(file.revision or "") or cached.resolve().name == file.sha256
    ):
        return _matching(file, cached)
    if is_offline():
        raise offline_error(file)
    try:
        remote = _ask(file)
    except VitruvianError as error:
        if cached is None:
            raise
        report(f"using the cached copy of {file.filename}, revision {revision_of(cached)}, because: {error}")
        return _matching(file, cached)
    if cached is not None and revision_of(cached) == remote.commit:
        return _matching(file, cached)
    if file.sha256 is not None and _SHA256.fullmatch(remote.etag) and remote.etag != file.sha256:
        raise mismatch(file, remote.etag, "nothing was downloaded")
    blob = _repository_folder(file) / "blobs" / remote.etag
    if not blob.exists():
        _download(file, remote, blob, report, free_bytes or _free_bytes)
    with explained(file), quiet():
        path = Path(
            client().hf_hub_download(
                file.repo_id,
                file.filename,
                revision=file.revision,
                cache_dir=cache_folder(),
                endpoint=endpoint(),
                headers=headers(),
            )
        )
        if not path.is_symlink():
            # Where links are not to be had, the client copied the blob; one copy is enough, and it looks there first.
            blob.unlink(missing_ok=True)
    return _matching(file, path)


def _download(
    file: RemoteFile, remote: _Remote, blob: Path, report: Callable[[str], None], free_bytes: Callable[[Path], int]
) -> None:
    """Fetch into a partial file beside the blob, taking up what an earlier run left; publish it when it is whole."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with explained(file):
        blob.parent.mkdir(parents=True, exist_ok=True)
        partial = blob.with_name(f"{remote.etag}.vitruvian-partial")
        with _alone(file, remote, report):
            if blob.exists():
                return
            present_bytes = partial.stat().st_size if partial.exists() else 0
            if present_bytes > remote.size_bytes:
                partial.unlink()
                present_bytes = 0
            _check_disk(file, remote.size_bytes, present_bytes, free_bytes)
            taken_up = f", {size_text(present_bytes)} of it already here" if present_bytes else ""
            report(
                f"downloading {file.filename} ({size_text(remote.size_bytes)}{taken_up}) from {file.repo_id} at "
                f"{remote.commit[:12]}; its licence stands at {endpoint()}/{file.repo_id}"
            )
            url = client().hf_hub_url(file.repo_id, file.filename, revision=remote.commit, endpoint=endpoint())
            with quiet(), _Reporting(partial, file.filename, remote.size_bytes, report) as target:
                http_get(
                    url,
                    target,
                    resume_size=present_bytes,
                    headers=build_hf_headers(headers=headers()),
                    expected_size=remote.size_bytes,
                )
            expected = file.sha256 or (remote.etag if _SHA256.fullmatch(remote.etag) else None)
            if expected is not None and (found := _sha256_of(partial)) != expected:
                partial.unlink()
                raise mismatch(file, found, "the download was deleted")
            os.replace(partial, blob)


@contextmanager
def _alone(file: RemoteFile, remote: _Remote, report: Callable[[str], None]) -> Iterator[None]:
    """Holds the client's own lock for this file, so that no process on this machine fetches it twice."""
    path = cache_folder() / ".locks" / _repository_folder(file).name / f"{remote.etag}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"waiting for another process that downloads {file.filename}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Reporting(io.BufferedWriter):
    """A file opened for appending that says after each tenth of a large file how far it is."""

    def __init__(self, path: Path, name: str, total_bytes: int, report: Callable[[str], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._name = name
        self._total_bytes = total_bytes
        self._report = report
        self._tenths = path.stat().st_size * 10 // max(1, total_bytes)

    def write(self, data: Any) -> int:
        count = super().write(data)
        tenths = self.tell() * 10 // max(1, self._total_bytes)
        if self._total_bytes >= _PROGRESS_FROM_BYTES and self._tenths < tenths < 10:
            self._tenths = tenths
            self._report(f"{self._name}: {tenths * 10} % of {size_text(self._total_bytes)}")
        return count


def _ask(file: RemoteFile) -> _Remote:
    """Size, content tag and commit of a file, by one request without a body."""
    with explained(file):
        hub = client()
        url = hub.hf_hub_url(file.repo_id, file.filename, revision=file.revision, endpoint=endpoint())
        metadata = hub.get_hf_file_metadata(url, headers=headers())
    if metadata.size is None or metadata.commit_hash is None or not _PLAIN_NAME.fullmatch(metadata.etag or ""):
        raise UsageError(
            f"got an answer without size, commit or tag for {file.filename} from {endpoint()}; expected a hub or a "
            "faithful mirror of one; check HF_ENDPOINT, or download the file by hand and pass its path"
        )
    return _Remote(size_bytes=metadata.size, etag=metadata.etag, commit=metadata.commit_hash)


def _check_disk(file: RemoteFile, size_bytes: int, present_bytes: int, free_bytes: Callable[[Path], int]) -> None:
    from huggingface_hub.file_download import are_symlinks_supported

    folder = cache_folder()
    # Where links are not to be had (Windows without developer mode), the client copies what it publishes.
    copies_bytes = 0 if are_symlinks_supported(folder) else size_bytes
    needed_bytes = size_bytes - present_bytes + copies_bytes
    free = free_bytes(folder)
    if free < needed_bytes:
        raise DoesNotFitError(
            f"got {size_text(free)} of free disk in {folder}; expected {size_text(needed_bytes)} for {file.filename} "
            f"of {file.repo_id} ({size_text(size_bytes)}); free some space, or set HF_HUB_CACHE to a folder on a "
            "larger disk"
        )


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _cached(file: RemoteFile) -> Path | None:
    with explained(file):
        found = client().try_to_load_from_cache(
            file.repo_id, file.filename, cache_dir=cache_folder(), revision=file.revision
        )
    return Path(found) if isinstance(found, str) else None


def _matching(file: RemoteFile, path: Path) -> Path:
    """The path, if its contents are what the known hash says; a blob named by its hash was checked on arrival."""
    if file.sha256 is not None and path.resolve().name != file.sha256 and (found := _sha256_of(path)) != file.sha256:
        raise mismatch(file, found, f"the copy in the cache is not used; delete {path.resolve()}")
    return path


def _sha256_of(path: Path) -> str:
    from vitruvian.models.weight_files import sha256_of  # brings torch, which looking at the cache does not need

    return sha256_of(path)


def _repository_folder(file: RemoteFile) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return cache_folder() / repo_folder_name(repo_id=file.repo_id, repo_type="model")
