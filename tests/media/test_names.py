"""Names become files inside the folder, acceptable everywhere, and stay different."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.media.names import MAX_PART_BYTES, output_name, printable, relative_inside, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("sub/a b (1).jpg", "sub/a b (1).jpg"),
        ("grün/日本.png", "grün/日本.png"),
        ("100%.png", "100%.png"),
        ("a%20b.png", "a%2520b.png"),
        ("a:b.png", "a%3Ab.png"),
        ("C:/x.png", "C%3A/x.png"),
        ('q"<>|?*\\.png', "q%22%3C%3E%7C%3F%2A%5C.png"),
        ("line\nfeed.png", "line%0Afeed.png"),
        ("bad\udcff.png", "bad%FF.png"),
        ("lone\ud800.png", "lone%ED%A0%80.png"),
        ("CON.png", "%43ON.png"),
        ("lpt1", "%6Cpt1"),
        ("console.png", "console.png"),
        ("dot./x.png", "dot%2E/x.png"),
        ("space /x.png", "space%20/x.png"),
        (".vitruvian/ledger.jsonl", "%2Evitruvian/ledger.jsonl"),
        (".vitruvian-1.tmp", "%2Evitruvian-1.tmp"),
    ],
)
def test_output_names(name: str, expected: str) -> None:
    assert output_name(name) == expected


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "a//b", "", ".", "a/.", ".."])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="relative path"):
        output_name(name)


def test_different_inputs_keep_different_names() -> None:
    names = [
        "a:b",
        "a%3Ab",
        "a%3ab",
        "a%:b",
        "a%3A%b",
        "a\nb",
        "a%0Ab",
        "%",
        "%%",
        "%25",
        "a.",
        "a%2E",
        "x" * 300,
        "x" * 301,
    ]
    assert len({output_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["x" * 250 + ".jpg", "日" * 100 + ".jpg", ":" * 100 + ".jpg"])
def test_long_names_leave_room_for_a_suffix(name: str) -> None:
    stored = output_name(name)
    assert len(stored.encode("utf-8")) <= MAX_PART_BYTES
    assert stored == output_name(name)
    assert stored != output_name(name.replace(".jpg", ".png"))


def test_printable_text_is_one_line_of_utf8() -> None:
    assert printable("a\nb\udcffc\x1b[0m") == "a\\nb\\udcffc\\x1b[0m"
    assert printable("grün 日本") == "grün 日本"


def test_shown_paths_are_never_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "here"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert shown(inner / "sub" / "x.png") == "sub/x.png"
    assert shown(tmp_path / "elsewhere" / "x.png") == "x.png"
    assert shown(Path("sub/../y")) == "y"


@pytest.mark.parametrize(("path", "expected"), [("a/b.jpg", "b.jpg"), ("a/../a/b", "b"), ("a", None), ("a/../b", None)])
def test_relative_inside(path: str, expected: str | None) -> None:
    assert relative_inside(Path(path), Path("a")) == expected
