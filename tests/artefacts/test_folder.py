"""An artefact's folder is whole or not there, and its files are those that were written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import small_artefacts
from small_artefacts import contents, copied, document, known
from vitruvian.artefacts import folder as folders
from vitruvian.artefacts.artefact import open_artefact
from vitruvian.artefacts.folder import check_files, empty, is_whole, move_into, staged
from vitruvian.artefacts.manifest import MANIFEST, WEIGHTS, read_manifest
from vitruvian.errors import DoesNotFitError, RefusedError, UsageError

OURS = b'{"made_by": "vitruvian 1"}'


def fill(draft: Path, text: str) -> None:
    (draft / MANIFEST).write_bytes(OURS)
    (draft / "network.pt2").write_text(text, encoding="utf-8")
    (draft / "logs").mkdir()
    (draft / "logs" / "a.log").write_text(text, encoding="utf-8")


def export(out: Path, text: str, **options: Any) -> None:
    with staged(out, **options) as draft:
        fill(draft, text)


def texts(out: Path) -> dict[str, str]:
    return {name: data.decode() for name, data in contents(out).items() if name != MANIFEST}


WHOLE = {"logs/a.log": "new", "network.pt2": "new"}


@pytest.mark.parametrize("before", ["nothing", "empty folder"])
def test_a_new_folder_appears_at_the_end(before: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    if before == "empty folder":
        out.mkdir(parents=True)
    with staged(out) as draft:
        fill(draft, "new")
        assert not out.exists() or not any(out.iterdir())
    assert texts(out) == WHOLE
    assert os.listdir(out.parent) == ["out"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), UsageError("x"), SystemExit(1)])
@pytest.mark.parametrize("before", [False, True])
def test_an_error_inside_leaves_everything_as_it_was(error: BaseException, before: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if before:
        export(out, "old")
    with pytest.raises(type(error)), staged(out, overwrite=True) as draft:
        fill(draft, "new")
        raise error
    assert os.listdir(tmp_path) == (["out"] if before else [])
    assert not before or set(texts(out).values()) == {"old"}


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, DoesNotFitError, "does not fit"),
        (errno.EACCES, UsageError, "cannot be written"),
        (errno.EROFS, UsageError, "cannot be written"),
        (errno.EIO, OSError, "Input/output error"),
    ],
)
def test_what_the_disk_says_is_explained(number: int, kind: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said), staged(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
    assert not os.listdir(tmp_path)


def foreign(out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work", encoding="utf-8")


def web_page(out: Path) -> None:
    foreign(out)
    (out / MANIFEST).write_text('{"name": "my site", "icons": []}', encoding="utf-8")


def old(out: Path) -> None:
    out.mkdir()
    fill(out, "old")


def damaged(out: Path) -> None:
    old(out)
    (out / MANIFEST).write_bytes(OURS[:-1])


@pytest.mark.parametrize(
    ("before", "overwrite", "said"),
    [
        (foreign, False, "a folder with other files"),
        (foreign, True, "a folder with other files"),
        (web_page, False, "a folder with other files"),
        (web_page, True, "a folder with other files"),
        (lambda out: out.write_text("x"), False, "which is a file"),
        (lambda out: out.write_text("x"), True, "which is a file"),
        (old, False, "holds an artefact; .*--overwrite"),
        (damaged, False, "holds an artefact"),
    ],
)
@pytest.mark.parametrize("early", [True, False], ids=["there", "put there meanwhile"])
def test_what_stands_in_its_place_is_left_alone(
    before: Callable[[Path], object], overwrite: bool, said: str, early: bool, tmp_path: Path
) -> None:
    out, twin = tmp_path / "out", tmp_path / "twin"
    before(twin)
    if early:
        before(out)
    with pytest.raises(UsageError, match=f"got -o out, .*{said}"), staged(out, overwrite=overwrite) as draft:
        assert not early, "refused before anything is built"
        fill(draft, "new")
        before(out)
    assert sorted(os.listdir(tmp_path)) == ["out", "twin"]
    if out.is_dir():
        assert contents(out) == contents(twin)
    else:
        assert out.read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize("before", [old, damaged])
def test_an_artefact_is_replaced_as_a_whole(before: Callable[[Path], object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    before(out)
    (out / "of_old_only.txt").write_text("x", encoding="utf-8")
    with staged(out, overwrite=True) as draft:
        fill(draft, "new")
        assert "old" in texts(out).values()
    assert texts(out) == WHOLE
    assert os.listdir(tmp_path) == ["out"]


def test_two_into_one_folder_exclude_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out) as draft:
        fill(draft, "first")
        with pytest.raises(UsageError, match="another export is writing"), staged(out):
            pytest.fail("let in")
        with staged(tmp_path / "other") as other:
            fill(other, "second")
        assert (draft / "network.pt2").read_text(encoding="utf-8") == "first"
    assert set(texts(out).values()) == {"first"}
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]
    export(out, "third", overwrite=True)


def test_a_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    out = tmp_path / "out"
    out.symlink_to(tmp_path / "disk" / "real", target_is_directory=True)
    export(out, "old")
    export(out, "new", overwrite=True)
    assert out.is_symlink()
    assert texts(tmp_path / "disk" / "real") == WHOLE
    assert os.listdir(tmp_path / "disk") == ["real"]


def test_a_mounted_disk_is_refused_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "out")
    with pytest.raises(UsageError, match="expected a folder inside it; -o out/NAME"), staged(tmp_path / "out"):
        pytest.fail("let in")


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="something else stands in its place"), staged(tmp_path / "file" / "out"):
        pytest.fail("let in")


def in_a_child(action: Callable[[], object]) -> int:
    """Run something in a copy of this process; the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="copies of a process are POSIX's")


@needs_fork
@pytest.mark.parametrize("before", [False, True])
def test_a_killed_export_leaves_what_was_there_and_the_next_one_succeeds(before: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if before:
        export(out, "old")

    def half() -> None:
        with staged(out, overwrite=True) as draft:
            fill(draft, "half")
            kill()

    assert in_a_child(half) == signal.SIGKILL
    assert out.exists() == before
    assert not before or set(texts(out).values()) == {"old"}
    export(out, "new", overwrite=before)
    assert texts(out) == WHOLE
    assert os.listdir(tmp_path) == ["out"]


@needs_fork
@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_kill_while_it_is_replaced_loses_neither(moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before, between and after the two moves; what a killed one took away is put back by the next."""
    out = tmp_path / "out"
    export(out, "old")

    def killed_at_a_move() -> None:
        left, move = [moves], os.replace

        def replace(source: Path, target: Path) -> None:
            if not left[0]:
                kill()
            left[0] -= 1
            move(source, target)

        monkeypatch.setattr(folders.os, "replace", replace)
        monkeypatch.setattr(folders.shutil, "rmtree", lambda path, **options: left[0] or not out.exists() or kill())
        with staged(out, overwrite=True) as draft:
            fill(draft, "new")

    assert in_a_child(killed_at_a_move) == signal.SIGKILL
    with pytest.raises(UsageError, match="holds an artefact"), staged(out):
        pytest.fail("let in")
    assert set(texts(out).values()) == ({"new"} if moves == 2 else {"old"})
    export(out, "third", overwrite=True)
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_is_emptied_and_filled_from_a_backends_own(tmp_path: Path) -> None:
    for name in ("aoti/network.pt2", "aoti/logs2/x", "export/program.pt2", "logs/a.log", "weights.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    move_into(tmp_path / "aoti", tmp_path, keep=("logs",))
    assert sorted(contents(tmp_path)) == ["logs/a.log", "logs2/x", "network.pt2"]
    empty(tmp_path)
    assert not os.listdir(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    moved = path.with_name("moved")
    path.rename(moved)
    path.symlink_to(moved)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (cut, r"has \d+ bytes instead of \d+"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), r"has \d+ bytes instead of \d+"),
    "one bit": (flip, "has other contents than were written"),
    "gone": (Path.unlink, "is missing"),
    "a folder": (as_folder, "is missing"),
    "a link": (link, "is a link to elsewhere"),
    "a link to nothing": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "is a link to elsewhere"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("file", ["network.pt2", WEIGHTS])
def test_damage_to_any_file_is_seen(
    native: Path, damage: Callable[[Path], object], said: str, file: str, tmp_path: Path
) -> None:
    folder = copied(native, tmp_path / "copy")
    damage(folder / file)
    expected = rf"got the artefact copy, in which {file} {said}.*; expected the files of its manifest\.json; copy it"
    with pytest.raises(RefusedError, match=expected):
        open_artefact(folder)
    with pytest.raises(RefusedError, match=expected):
        open_artefact(folder, trust=True)


def test_a_linked_folder_inside_is_seen(tmp_path: Path) -> None:
    export(tmp_path / "out", "new")
    files = {"logs/a.log": folders._entry(tmp_path / "out" / "logs" / "a.log")}
    check_files(tmp_path / "out", files)
    shutil.move(tmp_path / "out" / "logs", tmp_path / "logs")
    (tmp_path / "out" / "logs").symlink_to(tmp_path / "logs", target_is_directory=True)
    with pytest.raises(RefusedError, match=r"logs/a\.log is a link to elsewhere"):
        check_files(tmp_path / "out", files)


def test_an_artefact_behind_a_link_is_one(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(plain, target_is_directory=True)
    check_files(tmp_path / "link", read_manifest(plain)[0].files)


def test_sizes_alone_tell_a_whole_folder_from_a_cut_one(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "copy")
    files = read_manifest(folder)[0].files
    assert is_whole(folder, files)
    cut(folder / WEIGHTS)
    assert not is_whole(folder, files)
    (folder / WEIGHTS).unlink()
    assert not is_whole(folder, files)


def test_further_files_are_never_looked_at(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "copy")
    (folder / "constants.safetensors").write_bytes(b"not one")
    (folder / "README.md").write_bytes(b"hello")
    opened = open_artefact(folder)
    assert opened(small_artefacts.pictures(1)).keys() == {"logits"}


@pytest.mark.parametrize("trust", [False, True])
def test_files_of_another_artefact_are_refused(native: Path, trust: bool, tmp_path: Path) -> None:
    """Another training of the same network: every name and shape agrees."""
    folder = copied(native, tmp_path / "copy")
    small_artefacts.weight_file(folder / WEIGHTS, seed=2)
    with pytest.raises(RefusedError, match=rf"{WEIGHTS} has other contents"):
        open_artefact(folder, trust=trust)


def test_swapped_weights_with_a_forged_manifest_are_refused_by_the_ledger(native: Path, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy")
    small_artefacts.weight_file(folder / WEIGHTS, seed=2)
    forged = document(folder)
    entry = folders._entry(folder / WEIGHTS)
    forged["files"][WEIGHTS] = {"sha256": entry.sha256, "size_bytes": entry.size_bytes}
    (folder / MANIFEST).write_text(json.dumps(forged), encoding="utf-8")
    check_files(folder, read_manifest(folder)[0].files)
    with pytest.raises(RefusedError, match="not made on this machine"):
        open_artefact(folder)
    open_artefact(known(folder))
