"""Only code that was made on this machine runs without being asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import small_artefacts
from small_artefacts import contents, copied, document
from vitruvian.artefacts import trust
from vitruvian.artefacts.artefact import open_artefact
from vitruvian.artefacts.manifest import MANIFEST, WEIGHTS, read_manifest
from vitruvian.cache import cache_dir
from vitruvian.errors import RefusedError, UsageError


@pytest.fixture
def own(native: Path, program: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder in which nothing is known; artefacts are made before it is the one in use."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("VITRUVIAN_CACHE", str(cache))
    return cache


def test_what_was_remembered_is_known_whole(own: Path) -> None:
    assert not trust.is_known(b"one")
    assert trust.remember(b"one", "first") == ""
    assert trust.remember(b"two", "second") == ""
    assert trust.is_known(b"one")
    assert trust.is_known(b"two")
    assert not trust.is_known(b"one ")
    trust.require(b"one", "first")
    assert [entry["name"] for entry in trust.entries().values()] == ["first", "second"]
    assert [path.name for path in own.iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize("backend", ["native", "program"])
def test_code_that_nobody_knows_is_refused_unless_it_is_trusted(
    backend: str, own: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(backend)
    with pytest.raises(RefusedError, match=r"holds code and was not made on this machine.*--trust") as error:
        open_artefact(folder)
    assert error.value.exit_code == 5
    assert not own.exists(), "asking is not remembering"


def test_trust_opens_it_once_and_is_not_remembered(native: Path, own: Path) -> None:
    x = small_artefacts.pictures(2)
    assert torch.equal(open_artefact(native, trust=True)(x)["logits"], open_artefact(native, trust=True)(x)["logits"])
    with pytest.raises(RefusedError, match="not made on this machine"):
        open_artefact(native)


def test_weights_alone_need_no_trust(plain: Path, own: Path) -> None:
    x = small_artefacts.pictures(3)
    with torch.no_grad():
        assert torch.equal(open_artefact(plain)(x)["logits"], small_artefacts.network(plain)(x)["logits"])


def test_a_copy_is_the_same_artefact(native: Path, tmp_path: Path) -> None:
    assert open_artefact(copied(native, tmp_path / "elsewhere")).manifest.model == "tiny"


def widened(folder: Path) -> dict[str, object]:
    manifest = document(folder)
    manifest["batch"]["maximum"] = 64
    for contract in (*manifest["inputs"], *manifest["outputs"]):
        contract["shape"][0]["maximum"] = 64
    return manifest


def test_a_range_that_was_widened_by_hand_is_refused(native: Path, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy", **widened(native))
    assert read_manifest(folder)[0].batch_range == (1, 64)
    with pytest.raises(RefusedError, match="was changed since"):
        open_artefact(folder)


def test_a_byte_between_the_lines_makes_it_another_artefact(native: Path, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy")
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b"\n")
    with pytest.raises(RefusedError, match="was changed since"):
        open_artefact(folder)


def test_calling_code_eager_does_not_run_it(native: Path, tmp_path: Path) -> None:
    """What needs no trust is opened as weights; the code beside them is never touched."""
    files = {WEIGHTS: document(native)["files"][WEIGHTS]}
    folder = copied(native, tmp_path / "copy", backend="eager", entry="", files=files)
    (folder / "network.pt2").write_bytes(b"dangerous")
    x = small_artefacts.pictures(2)
    with torch.no_grad():
        assert torch.equal(open_artefact(folder)(x)["logits"], small_artefacts.network(native)(x)["logits"])


LEDGERS = [b"", b"{", b"[]", b"null", b"3", b'{"artefacts": []}', b'{"artefacts": {"x": 3}}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("damaged", LEDGERS)
def test_a_damaged_ledger_knows_nothing_and_is_written_anew(damaged: bytes, own: Path) -> None:
    own.mkdir()
    (own / trust.FILE).write_bytes(damaged)
    assert trust.entries() == {}
    with pytest.raises(RefusedError, match="not made on this machine"):
        trust.require(b"one", "first")
    assert trust.remember(b"one", "first") == ""
    assert trust.is_known(b"one")
    assert list(json.loads((own / trust.FILE).read_bytes())) == ["artefacts"]


def as_file(own: Path) -> None:
    own.write_bytes(b"in the way")


def as_folder(own: Path) -> None:
    (own / trust.FILE).mkdir(parents=True)


@pytest.mark.parametrize("obstacle", [as_file, as_folder])
def test_a_ledger_that_cannot_be_written_is_said_and_nothing_is_lost(
    obstacle: Callable[[Path], None], own: Path
) -> None:
    obstacle(own)
    note = trust.remember(b"one", "first")
    assert note.startswith("this machine's ledger could not be written (")
    assert note.endswith("loading the artefact will need --trust")
    assert str(own) not in note
    assert not trust.is_known(b"one")
    assert own.is_file() or list(contents(own)) in ([], ["artefacts.lock"])


def test_a_ledger_that_is_held_is_not_waited_for_long(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_LOCK_SECONDS", 0.1)
    own.mkdir()
    with FileLock(cache_dir() / "artefacts.lock"):
        assert "another program holds it" in trust.remember(b"one", "first")


def test_without_a_home_nothing_is_known_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise UsageError("got no home folder; expected one")

    monkeypatch.setattr(trust, "cache_dir", homeless)
    assert "got no home folder" in trust.remember(b"one", "first")
    with pytest.raises(RefusedError, match="not made on this machine"):
        trust.require(b"one", "first")
