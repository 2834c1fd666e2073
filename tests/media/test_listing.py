"""What a user names becomes entries: all of them, once, in a stable order, under names that tell nothing private."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.media import listing
from vitruvian.media.items import Entry, Failure
from vitruvian.media.listing import list_inputs
from vitruvian.media.signatures import SNIFF_BYTES, has_picture_extension, picture_extension
from vitruvian.media.walking import walk_folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, one level below the test's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode("utf-8", "surrogateescape"))


def names(inputs: Iterable[object], *, recursive: bool = False, stdin: bytes = b"") -> list[str]:
    """Names of the entries; failures as `!name`."""
    found = list(list_inputs(list(inputs), recursive=recursive, stdin=io.BytesIO(stdin)))  # type: ignore[arg-type]
    assert [one.index for one in found] == list(range(len(found)))
    assert not any(Path(one.name).is_absolute() or ".." in one.name.split("/") for one in found)
    return [one.name if isinstance(one, Entry) else f"!{one.name}" for one in found]


def failure(inputs: Iterable[object], **options: object) -> Failure:
    found = list(list_inputs(list(inputs), recursive=False, **options))  # type: ignore[arg-type]
    assert isinstance(found[-1], Failure)
    return found[-1]


def test_folders_give_pictures_sorted_and_pass_over_the_rest() -> None:
    put("in/b.png", "in/a.JPG", "in/c.tiff", "in/notes.md", "in/.hidden.jpg", "in/sub/d.png", "in/noextension")
    assert names(["in"]) == ["a.JPG", "b.png", "c.tiff"]
    assert names(["in"], recursive=True) == ["a.JPG", "b.png", "c.tiff", "sub/d.png"]
    assert names([Path("in")]) == names(["in"])
    assert names(["in"]) == names("in" for _ in range(2))


def test_videos_are_listed_where_they_are_wanted() -> None:
    put("in/b.mp4", "in/a.png", "in/code.ts", "in/song.mp3", "in/.hidden.mp4", "in/sub/c.MKV")
    Path("in/stream.ts").write_bytes((b"G" + bytes(187)) * 4)

    def listed(given: str, **how: bool) -> list[str]:
        return [one.name for one in list_inputs([given], **{"recursive": False, "videos": True, **how})]

    assert listed("in") == ["a.png", "b.mp4", "stream.ts"]
    assert listed("in", recursive=True) == ["a.png", "b.mp4", "stream.ts", "sub/c.MKV"]
    assert listed("in/*") == ["in/a.png", "in/b.mp4", "in/stream.ts"]
    assert listed("in", videos=False) == ["a.png"]


def test_output_folders_inside_an_input_are_passed_over() -> None:
    put("in/a.png", "in/out/.vitruvian/ledger.jsonl", "in/out/a.png.seg.png")
    assert names(["in"], recursive=True) == ["a.png"]
    assert names(["in/out"], recursive=True) == ["a.png.seg.png"]


def test_files_keep_their_name_inside_the_current_folder(tmp_path: Path, here: Path) -> None:
    put("x/a.png", "b.dat", "../other/deep/c.png")
    assert names(["x/a.png", "b.dat"]) == ["x/a.png", "b.dat"]
    assert names(["./x/../x//a.png"]) == ["x/a.png"]
    assert names([here / "x" / "a.png"]) == ["x/a.png"]
    assert names([tmp_path / "other" / "deep" / "c.png"]) == ["c.png"]
    assert names(["../other/deep/c.png"]) == ["c.png"]


def test_the_same_file_is_listed_once() -> None:
    put("x/a.png")
    assert names(["x/a.png", "x/../x/a.png", Path("x/a.png").resolve(), "x"]) == ["x/a.png"]


def test_equal_names_of_different_files_are_refused_with_a_way_out() -> None:
    put("x/a.png", "y/a.png", "y/b.png")
    assert names(["x", "y"]) == ["a.png", "!a.png", "b.png"]
    found = list(list_inputs(["x", "y"], recursive=False))
    assert isinstance(found[1], Failure)
    assert "common parent folder" in found[1].reason


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", ["in/a.png", "in/c.png"]),
        ("in/*", ["in/a.png", "in/b.jpg", "in/c.png"]),
        ("in/[ab].*", ["in/a.png", "in/b.jpg"]),
        ("in/?.dat", ["in/e.dat"]),
        ("in/**/*.png", ["in/a.png", "in/c.png", "in/s/d.png", "in/s/t/f.png"]),
        ("in/**", ["in/a.png", "in/b.jpg", "in/c.png", "in/s/d.png", "in/s/t/f.png"]),
        ("**/t/*.png", ["in/s/t/f.png"]),
        ("**/**/d.*", ["in/s/d.png"]),
        ("in/s*/t/f.png", ["in/s/t/f.png"]),
        ("*/s/d.png", ["in/s/d.png"]),
        ("in/.h*.png", ["in/.h.png"]),
        ("in/*.webp", ["!in/*.webp"]),
    ],
)
def test_patterns(pattern: str, expected: list[str]) -> None:
    put("in/a.png", "in/b.jpg", "in/c.png", "in/e.dat", "in/s/d.png", "in/s/t/f.png", "in/.h.png", "in/readme.md")
    assert names([pattern]) == expected


def test_patterns_elsewhere_are_named_from_their_fixed_start(tmp_path: Path) -> None:
    put("../data/1/img.png", "../data/2/img.png")
    assert names([f"{tmp_path}/data/*/img.png"]) == ["1/img.png", "2/img.png"]


def test_a_file_named_like_a_pattern_is_that_file() -> None:
    put("a[1].png", "a1.png")
    assert names(["a[1].png"]) == ["a[1].png"]


def test_lists(tmp_path: Path) -> None:
    put("../data/x/a.png", "../data/x/b.png", "../data/c d.png", "here.png")
    lines = (
        "\ufeff# a comment\n\nx/a.png\r\n  c d.png  \nx/*.png\nmissing.png\n" + str(tmp_path / "here/here.png") + "\n"
    )
    (tmp_path / "data" / "list.txt").write_text(lines, "utf-8")
    expected = ["x/a.png", "c d.png", "x/b.png", "!missing.png", "here.png"]
    assert names(["../data/list.txt"]) == expected
    assert names(["@../data/list.txt"]) == expected
    (tmp_path / "data" / "list.txt").rename(tmp_path / "data" / "list.of.files")
    assert names(["@../data/list.of.files"]) == expected


def test_lists_that_are_none() -> None:
    put("picture.txt")
    Path("picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n....")
    Path("empty.txt").write_bytes(b"# nothing\n")
    Path("binary.txt").write_bytes(b"\0\1\2\n" * 9)
    assert names(["picture.txt"]) == ["picture.txt"]
    assert failure(["empty.txt"]).reason == "the list names no path; expected one per line"
    assert "not text" in failure(["binary.txt"]).reason
    assert failure(["@missing"]).reason == "the list cannot be read: No such file or directory"


def test_standard_input_as_a_list() -> None:
    put("a.png", "b.png", "a" * 100 + ".png")
    assert names(["-"], stdin=b"a.png\n# no\nb.png") == ["a.png", "b.png"]
    assert names(["-"], stdin=b"b.png\n" + b"a" * 100 + b".png\na.png\n") == ["b.png", "a" * 100 + ".png", "a.png"]
    assert names(["-"], stdin=b"") == ["!stdin"]


def test_standard_input_as_a_picture() -> None:
    data = b"\xff\xd8\xff" + bytes(range(256)) * 300
    found = list(list_inputs(["-"], recursive=False, stdin=io.BytesIO(data)))
    assert found == [Entry(name="stdin.jpg", path=None, payload=data, index=0)]


def test_standard_input_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_ENCODED_BYTES", 100)
    (found,) = list_inputs(["-"], recursive=False, stdin=io.BytesIO(b"\xff\xd8\xff" + bytes(5000)))
    assert isinstance(found, Entry)
    assert isinstance(found.payload, bytes)
    assert len(found.payload) == 101


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"GIF89a", "gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"BM" + b"\0" * 12 + b"\x28\0\0\0", "bmp"),
        (b"II\x2a\0", "tif"),
        (b"P6\n60 40\n255\n", "pnm"),
        (b"\0\0\0\x1cftypavif", "avif"),
        (b"BMW/front/left/one.jpg\nBMW/two.jpg", None),
        (b"P5 holiday/1.jpg\n", None),
        (b"GIF folder/a.gif\n", None),
        (b"", None),
    ],
)
def test_signatures_do_not_take_words_for_pictures(head: bytes, expected: str | None) -> None:
    assert picture_extension(head[:SNIFF_BYTES]) == expected


def test_arrays() -> None:
    array = np.zeros((2, 3, 3), np.uint8)
    found = list(list_inputs([array, array], recursive=False))
    assert [one.name for one in found] == ["array_000000", "array_000001"]
    assert isinstance(found[0], Entry)
    assert found[0].payload is array
    assert len(list(list_inputs(array, recursive=False))) == 1  # type: ignore[arg-type]
    assert len(list(list_inputs("nothing.png", recursive=False))) == 1
    with pytest.raises(UsageError, match="expected a path"):
        list(list_inputs([7], recursive=False))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("missing.png", "does not exist"),
        ("missing/a.png", "does not exist"),
        ("a.png/b.png", "does not exist"),
        ("empty", "--recursive"),
        ("empty/*.png", "no picture found"),
        ("nul\0.png", "not a usable path"),
        ("x" * 5000, "too long"),
        ("none*/a.png", "no picture found"),
    ],
)
def test_what_cannot_be_found_is_a_failure(tmp_path: Path, given: str, words: str) -> None:
    put("a.png")
    Path("empty").mkdir()
    found = failure([given])
    assert words in found.reason
    assert str(tmp_path) not in found.reason + found.name


def test_private_paths_stay_private(tmp_path: Path) -> None:
    for given in (tmp_path / "missing" / "a.png", tmp_path / "nothing*", "@" + str(tmp_path / "no.list")):
        found = failure([given])
        assert str(tmp_path) not in found.reason + found.name


def test_an_unreadable_folder_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    put("in/a.png", "in/locked/b.png", "in/z/c.png")
    real = os.scandir

    def scan(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(Path(path).resolve()))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert names(["in"], recursive=True) == ["a.png", "!locked", "z/c.png"]
    assert names(["in/**/*.png"]) == ["in/a.png", "!in/locked", "in/z/c.png"]


@pytest.fixture
def link() -> Callable[[str, str], None]:
    def made(name: str, target: str) -> None:
        try:
            Path(name).symlink_to(target)
        except (OSError, NotImplementedError):
            pytest.skip("no symbolic links")

    return made


def test_links_in_circles_end(link: Callable[[str, str], None]) -> None:
    put("in/a.png", "in/z/b.png")
    folders = [f"in/n{number}" for number in range(8)]
    for folder in folders:
        put(f"{folder}/p.png")
    for folder in folders:
        for number, other in enumerate(folders):
            link(f"{folder}/to{number}", f"../{Path(other).name}")
    link("in/up", "..")
    link("in/a_link_to_z", "z")
    link("in/self.png", "self.png")
    expected = ["a.png", "self.png", *(f"n{number}/p.png" for number in range(8)), "z/b.png"]
    assert names(["in"], recursive=True) == expected
    assert names(["in/**/b.png"]) == ["in/z/b.png"]


def test_linked_files_and_folders_are_followed(link: Callable[[str, str], None]) -> None:
    put("store/1.png", "in/own.png")
    link("in/photo.png", "../store/1.png")
    link("in/more", "../store")
    link("in/broken.png", "nowhere")
    assert names(["in"], recursive=True) == ["broken.png", "own.png", "photo.png", "more/1.png"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_not_utf8() -> None:
    name = os.fsdecode(b"in/b\xff.png")
    try:
        put(name)
    except OSError:
        pytest.skip("this file system wants UTF-8")
    assert names(["in"]) == ["b\udcff.png"]
    assert names(["-"], stdin=b"in/b\xff.png\n") == ["in/b\udcff.png"]


def test_listing_is_lazy(here: Path) -> None:
    put(*(f"in/{number:03d}/{number:03d}.png" for number in range(50)))
    taken = list(
        islice(walk_folder(here / "in", recursive=True, wanted=lambda path: has_picture_extension(path.name)), 2)
    )
    assert [path.name for path in taken] == ["000.png", "001.png"]  # type: ignore[union-attr]
    found = list_inputs(["in/000/000.png"], recursive=False)
    Path("in/000/000.png").unlink()
    assert isinstance(next(found), Failure)
