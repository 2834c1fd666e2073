"""Downloads from a hub: against a local endpoint that answers as the hub does, so no network is used."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from filelock import FileLock

from vitruvian import __version__, hub
from vitruvian.errors import DoesNotFitError, RefusedError, UsageError
from vitruvian.hub import RemoteFile, fetch, remote_size, revision_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REPO = "facebook/sapiens-seg-1b"
NAME = "sapiens_1b_seg.pth"


@dataclass
class Hub:
    """What the endpoint serves, what it was asked, and how it misbehaves."""

    files: dict[str, bytes] = field(default_factory=lambda: {f"{REPO}/{NAME}": CONTENT})
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path, Range."""
    agents: set[str] = field(default_factory=set)
    tokens: set[tuple[bool, str | None]] = field(default_factory=set)
    """Whether the second address was asked, and the token sent."""
    refuse: tuple[int, str] | None = None
    """Status and error code for every request."""
    break_after: int | None = None
    """Bytes after which transfers break off."""
    breaks_left: int = 0
    elsewhere: bool = False
    """Whether the contents come from a second address by redirection, as large files do."""
    etag: str = SHA256
    address: str = ""

    def ranges(self) -> list[str | None]:
        return [asked for method, path, asked in self.requests if method == "GET" and "/api/" not in path]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        served = self.hub
        served.requests.append((self.command, self.path, self.headers.get("Range")))
        served.agents.add(self.headers.get("User-Agent", ""))
        served.tokens.add((self.path.startswith("/cdn/"), self.headers.get("Authorization")))
        if served.refuse is not None:
            return self._refuse(*served.refuse)
        found = re.fullmatch(r"/(?:cdn/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(self.path))
        if found is None:
            return self._refuse(404, "RepoNotFound")
        repo, revision, name = found.groups()
        if not any(key.startswith(f"{repo}/") for key in served.files):
            return self._refuse(401, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        content = served.files.get(f"{repo}/{name}")
        if content is None:
            return self._refuse(404, "EntryNotFound")
        if served.elsewhere and not self.path.startswith("/cdn/"):
            return self._redirect(content)
        return self._content(content, with_body)

    def _redirect(self, content: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", f"{self.hub.address.replace('127.0.0.1', 'localhost')}/cdn{self.path}")
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{self.hub.etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, content: bytes, with_body: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{self.hub.etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not with_body:
            return
        body = content[start:]
        if self.hub.breaks_left and self.hub.break_after is not None:
            self.hub.breaks_left -= 1
            body = body[: self.hub.break_after]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running endpoint, with the environment pointing to it and to an empty cache."""
    content = Hub()
    handler = type("Handler", (_Handler,), {"hub": content})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    content.address = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", content.address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    yield content
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits a second between attempts, and loses what it has of a chunk of 10 MB."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)


@pytest.fixture
def lines() -> list[str]:
    return []


def remote(
    *,
    repo_id: str = REPO,
    filename: str = NAME,
    revision: str | None = None,
    sha256: str | None = None,
    confirmed: bool = True,
) -> RemoteFile:
    return RemoteFile(repo_id=repo_id, filename=filename, revision=revision, sha256=sha256, confirmed=confirmed)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("revision", [None, "main", COMMIT])
@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_arrives(
    served: Hub, lines: list[str], tmp_path: Path, elsewhere: bool, revision: str | None, sha256: str | None
) -> None:
    served.elsewhere = elsewhere
    file = remote(revision=revision, sha256=sha256)
    assert remote_size(file) == len(CONTENT)
    path = fetch(file, report=lines.append)
    assert path.read_bytes() == CONTENT
    assert path.name == NAME
    assert tmp_path / "cache" in path.parents
    assert revision_of(path) == COMMIT
    assert lines == [
        f"downloading {NAME} (1.0 MB) from {REPO} at {COMMIT[:12]}; its licence stands at {served.address}/{REPO}"
    ]
    assert os.listdir(path.resolve().parent) == [SHA256]
    assert served.agents == {f"vitruvian/{__version__}"}


def test_a_cached_file_is_not_transferred_again(served: Hub, lines: list[str]) -> None:
    first = fetch(remote(), report=lines.append)
    assert fetch(remote(), report=lines.append) == first
    assert len(lines) == 1
    assert len(served.ranges()) == 1


@pytest.mark.parametrize("pinned", [{"revision": COMMIT}, {"sha256": SHA256}])
def test_a_pinned_cached_file_needs_no_question(served: Hub, lines: list[str], pinned: dict[str, str]) -> None:
    fetch(remote(), report=lines.append)
    asked = len(served.requests)
    fetch(remote(**pinned), report=lines.append)  # type: ignore[arg-type]
    assert len(served.requests) == asked


def test_a_new_commit_with_the_same_contents_is_not_transferred(served: Hub, lines: list[str], tmp_path: Path) -> None:
    path = fetch(remote(), report=lines.append)
    (tmp_path / "cache" / f"models--{REPO.replace('/', '--')}" / "refs" / "main").write_text("9" * 40)
    assert fetch(remote(), report=lines.append) == path
    assert len(served.ranges()) == 1


def test_without_links_one_copy_is_kept_and_two_must_fit(
    served: Hub, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    with pytest.raises(DoesNotFitError):
        fetch(remote(), report=lines.append, free_bytes=lambda folder: 2 * len(CONTENT) - 1)
    path = fetch(remote(sha256=SHA256), report=lines.append, free_bytes=lambda folder: 2 * len(CONTENT))
    large = [file for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.stat().st_size > 10**5]
    assert large == [path]
    assert fetch(remote(), report=lines.append) == path
    assert served.ranges() == [None]


def test_the_token_goes_to_the_hub_alone(served: Hub, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    served.elsewhere = True
    fetch(remote(), report=lines.append)
    assert served.tokens == {(False, "Bearer hf_secret"), (True, None)}


def test_another_client_finds_the_file(served: Hub, lines: list[str], tmp_path: Path) -> None:
    """The cache keeps the client library's own layout."""
    from huggingface_hub import hf_hub_download, scan_cache_dir

    path = fetch(remote(), report=lines.append)
    assert hf_hub_download(REPO, NAME, cache_dir=tmp_path / "cache", local_files_only=True) == str(path)
    repositories = list(scan_cache_dir(tmp_path / "cache").repos)
    assert [repository.repo_id for repository in repositories] == [REPO]
    assert repositories[0].size_on_disk == len(CONTENT)


def test_too_little_disk_stops_before_the_transfer(served: Hub, lines: list[str], tmp_path: Path) -> None:
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return 1_000_000

    with pytest.raises(DoesNotFitError, match=r"1\.0 MB of free disk.*expected 1\.0 MB.*HF_HUB_CACHE"):
        fetch(remote(), report=lines.append, free_bytes=free)
    assert asked == [tmp_path / "cache"]
    assert served.ranges() == []
    assert lines == []
    assert fetch(remote(), report=lines.append, free_bytes=lambda folder: len(CONTENT)).exists()


def test_a_break_is_taken_up_within_a_run(served: Hub, lines: list[str]) -> None:
    served.break_after, served.breaks_left = 300_000, 2
    assert fetch(remote(), report=lines.append).read_bytes() == CONTENT
    assert served.ranges() == [None, "bytes=300000-", "bytes=600000-"]


def test_an_interruption_is_taken_up_by_the_next_run(
    served: Hub, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.break_after, served.breaks_left = 300_000, 1

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.time.sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(remote(), report=lines.append)
    path = fetch(remote(), report=lines.append, free_bytes=lambda folder: len(CONTENT) - 300_000)
    assert path.read_bytes() == CONTENT
    assert served.ranges() == [None, "bytes=300000-"]
    assert "300.0 kB of it already here" in lines[-1]


def test_a_second_process_waits_for_the_first(served: Hub, lines: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / ".locks" / f"models--{REPO.replace('/', '--')}"
    folder.mkdir(parents=True)
    said: list[str] = []
    with FileLock(folder / f"{SHA256}.lock"):
        second = threading.Thread(target=lambda: fetch(remote(), report=said.append))
        second.start()
        while not said:
            second.join(0.01)
            assert second.is_alive()
        assert said == [f"waiting for another process that downloads {NAME}"]
        assert served.ranges() == []
    second.join()
    assert served.ranges() == [None]


def test_a_partial_file_with_other_contents_is_noticed(served: Hub, lines: list[str], tmp_path: Path) -> None:
    blobs = tmp_path / "cache" / f"models--{REPO.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{SHA256}.vitruvian-partial").write_bytes(b"not the beginning of that file")
    with pytest.raises(RefusedError, match=r"sha256.*deleted"):
        fetch(remote(), report=lines.append)
    assert fetch(remote(), report=lines.append).read_bytes() == CONTENT


def test_a_file_that_is_not_what_was_published_is_refused(served: Hub, lines: list[str]) -> None:
    wrong = "0" * 64
    with pytest.raises(RefusedError, match=f"sha256 {SHA256}; expected {wrong}; nothing was downloaded"):
        fetch(remote(sha256=wrong), report=lines.append)
    assert served.ranges() == []
    served.etag = "a" * 40
    with pytest.raises(RefusedError, match=f"sha256 {SHA256}; expected {wrong}; the download was deleted"):
        fetch(remote(sha256=wrong), report=lines.append)


def test_a_damaged_cached_file_is_refused(served: Hub, lines: list[str]) -> None:
    served.etag = "a" * 40
    path = fetch(remote(sha256=SHA256), report=lines.append)
    path.resolve().write_bytes(b"x")
    with pytest.raises(RefusedError, match="the copy in the cache is not used; delete"):
        fetch(remote(sha256=SHA256), report=lines.append)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"repo_id": "facebook/sapiens-seg-9b", "confirmed": False}, "not confirmed.*facebook/sapiens,.*its path"),
        ({"filename": "other.pth", "confirmed": False}, "not confirmed.*facebook/sapiens,.*its path"),
        ({"filename": "other.pth"}, "moved or removed.*its path"),
        ({"revision": "v7"}, "no file .* at revision v7"),
        ({"repo_id": "not an id"}, "OWNER/NAME"),
    ],
)
@pytest.mark.parametrize("act", [remote_size, lambda file: fetch(file, report=print)], ids=["size", "fetch"])
def test_what_is_not_there_is_explained(
    served: Hub, act: Callable[[RemoteFile], object], file: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        act(remote(**file))  # type: ignore[arg-type]


@pytest.mark.parametrize("refusal", [(401, "GatedRepo"), (403, "GatedRepo"), (403, ""), (401, "RepoNotFound")])
def test_closed_doors_say_how_to_log_in(served: Hub, lines: list[str], refusal: tuple[int, str]) -> None:
    served.refuse = refusal
    with pytest.raises(RefusedError, match=rf"{served.address}/{REPO}.*hf auth login.*HF_TOKEN"):
        fetch(remote(), report=lines.append)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_named(served: Hub, lines: list[str], status: int) -> None:
    served.refuse = (status, "")
    with pytest.raises(UsageError, match=f"the answer {status}.*HF_ENDPOINT"):
        fetch(remote(), report=lines.append)


def test_an_answer_that_is_no_hubs_is_refused(served: Hub, lines: list[str]) -> None:
    served.etag = "../../../escape"
    with pytest.raises(UsageError, match="faithful mirror"):
        fetch(remote(), report=lines.append)


def test_no_connection(served: Hub, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"no connection to http://127\.0\.0\.1:9.*local file"):
        fetch(remote(), report=lines.append)
    monkeypatch.setenv("HF_ENDPOINT", served.address)
    path = fetch(remote(), report=lines.append)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(remote(), report=lines.append) == path
    assert lines[-1].startswith(f"using the cached copy of {NAME}, revision {COMMIT}, because: got no connection")


def test_a_transfer_that_never_gets_through(served: Hub, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    served.break_after, served.breaks_left = 0, 100
    with pytest.raises(UsageError, match=r"or one that broke.*taken up"):
        fetch(remote(), report=lines.append)


def test_offline(served: Hub, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"offline mode \(HF_HUB_OFFLINE\).*cached file"):
        fetch(remote(), report=lines.append)
    with pytest.raises(UsageError, match="offline"):
        remote_size(remote())
    assert served.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = fetch(remote(), report=lines.append)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(served.requests)
    assert fetch(remote(), report=lines.append) == path
    assert len(served.requests) == asked


def test_a_cache_folder_that_cannot_be_written(
    served: Hub, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match=r"cannot be written.*HF_HUB_CACHE"):
        fetch(remote(), report=lines.append)


def test_progress_of_large_files_goes_through_report(
    served: Hub, lines: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "_PROGRESS_FROM_BYTES", 10**6)
    fetch(remote(), report=lines.append)
    assert [line.partition(": ")[2] for line in lines[1:]] == [f"{tenth}0 % of 1.0 MB" for tenth in range(1, 10)]
    assert capfd.readouterr() == ("", "")


CHILD = """
import json, sys
from vitruvian.hub import RemoteFile, fetch
file = RemoteFile(repo_id=sys.argv[1], filename=sys.argv[2], revision=None, sha256=None, confirmed=True)
lines = []
print(json.dumps([str(fetch(file, report=lines.append)), lines]))
"""


def test_a_fresh_process_is_quiet_and_reads_the_environment(served: Hub, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path / "other")}
    del environment["HF_HUB_CACHE"]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, REPO, NAME], capture_output=True, text=True, check=True, env=environment
    )
    path, lines = json.loads(child.stdout)
    assert Path(path).read_bytes() == CONTENT
    assert tmp_path / "other" / "hub" in Path(path).parents
    assert len(lines) == 1
    assert child.stderr == ""
    assert not [path for _, path, _ in served.requests if "/api/" in path]
    assert served.agents == {f"vitruvian/{__version__}"}


@pytest.mark.parametrize(
    ("path", "commit"),
    [(f"a/snapshots/{COMMIT}/sub/w.pth", COMMIT), ("a/snapshots/main/w.pth", None), ("w.pth", None), ("", None)],
)
def test_revision_of(path: str, commit: str | None) -> None:
    assert revision_of(Path(path)) == commit
