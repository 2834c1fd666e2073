"""Consent to licences: asked once at a terminal, refused with the flag's name without one, remembered in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vitruvian.cache import cache_dir
from vitruvian.errors import RefusedError, UsageError
from vitruvian.licences import LICENCES, require

RESTRICTED = "cc-by-nc-4.0"


class Person:
    """Somebody at a terminal who answers always alike."""

    def __init__(self, *, says: bool) -> None:
        self.says = says
        self.questions: list[str] = []

    def __call__(self, question: str) -> bool:
        self.questions.append(question)
        return self.says


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "new" / "licences.json"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def agree(store: Path, lines: list[str]) -> Callable[..., None]:
    """`require` for one model, with the record in a temporary folder."""

    def act(ask: Person | None, *, licence: str = RESTRICTED, accepted: tuple[str, ...] = ()) -> None:
        require(licence, model="sapiens-seg-1b", accepted=accepted, ask=ask, store=store, report=lines.append)

    return act


def test_a_terminal_is_asked_once(agree: Callable[..., None], store: Path, lines: list[str]) -> None:
    person = Person(says=True)
    agree(person)
    agree(person)
    agree(None)
    assert len(person.questions) == 1
    assert "non-commercial use only" in person.questions[0]
    assert len(lines) == 1
    assert "sapiens-seg-1b" in lines[0]
    assert LICENCES[RESTRICTED].url in lines[0]
    assert list(json.loads(store.read_text())["accepted"]) == [RESTRICTED]
    assert [entry.name for entry in store.parent.iterdir()] == ["licences.json"]


def test_no_is_a_refusal_and_is_not_remembered(agree: Callable[..., None], store: Path) -> None:
    person = Person(says=False)
    for _ in range(2):
        with pytest.raises(RefusedError, match="got no to the licence"):
            agree(person)
    assert len(person.questions) == 2
    assert not store.exists()


def test_without_a_terminal_the_flag_is_named(agree: Callable[..., None], lines: list[str]) -> None:
    with pytest.raises(RefusedError, match=r"--accept-licence cc-by-nc-4\.0") as refusal:
        agree(None)
    assert refusal.value.exit_code == 5
    assert len(lines) == 1
    with pytest.raises(RefusedError):
        agree(None, accepted=("apache-2.0",))


def test_the_flag_counts_for_its_run(agree: Callable[..., None], store: Path, lines: list[str]) -> None:
    agree(None, accepted=(RESTRICTED,))
    assert len(lines) == 1
    assert not store.exists()


def test_free_licences_need_no_question(agree: Callable[..., None], lines: list[str]) -> None:
    agree(None, licence="apache-2.0")
    assert lines == []


def test_unknown_licence(agree: Callable[..., None]) -> None:
    with pytest.raises(UsageError, match=r"'mit-ish'; expected one of cc-by-nc-4\.0"):
        agree(None, licence="mit-ish")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"accepted": ["cc-by-nc-4.0"]}', b"\xff\xfe", b"null", b"{}"])
def test_a_damaged_record_asks_again_and_says_so(
    agree: Callable[..., None], store: Path, lines: list[str], content: bytes
) -> None:
    store.parent.mkdir()
    store.write_bytes(content)
    person = Person(says=True)
    agree(person)
    assert "cannot be read" in lines[0]
    assert len(person.questions) == 1
    agree(person)
    assert len(person.questions) == 1


def test_a_record_that_cannot_be_written_is_reported(agree: Callable[..., None], store: Path, lines: list[str]) -> None:
    store.parent.write_text("a file where the folder should be")
    agree(Person(says=True))
    assert "could not be remembered" in lines[-1]


def test_an_interrupted_write_leaves_the_old_record(
    agree: Callable[..., None], store: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.parent.mkdir()
    old = '{"accepted": {"another": "2020-01-01"}}'
    store.write_text(old)

    def fails(source: str, target: Path) -> None:
        raise OSError(5, "broken disk")

    with monkeypatch.context() as patch:
        patch.setattr("vitruvian.licences.os.replace", fails)
        agree(Person(says=True))
    assert store.read_text() == old
    assert [entry.name for entry in store.parent.iterdir()] == ["licences.json"]
    agree(Person(says=True))
    assert set(json.loads(store.read_text())["accepted"]) == {"another", RESTRICTED}


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path))
    require(RESTRICTED, model="m", accepted=(), ask=Person(says=True))
    assert (tmp_path / "licences.json").exists()
    out, err = capsys.readouterr()
    assert out == ""
    assert "cc-by-nc-4.0" in err


HOME = Path("/home/someone")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"VITRUVIAN_CACHE": "/big/disk"}, Path("/big/disk")),
        ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/vitruvian")),
        ("linux", {"XDG_CACHE_HOME": "relative"}, HOME / ".cache/vitruvian"),
        ("linux", {}, HOME / ".cache/vitruvian"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, HOME / "Library/Caches/vitruvian"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/vitruvian")),
        ("win32", {}, HOME / "AppData/Local/vitruvian"),
    ],
)
def test_cache_dir(monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: Path) -> None:
    for name in ("VITRUVIAN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: HOME)
    assert cache_dir() == expected


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    for name in ("VITRUVIAN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UsageError, match="VITRUVIAN_CACHE"):
        cache_dir()
