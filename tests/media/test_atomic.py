"""A file is whole or absent, and every refusal of the operating system becomes an instruction."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.media import atomic
from vitruvian.media.atomic import sweep, write_atomic


def test_files_are_written_replaced_and_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    write_atomic(path, b"one")
    write_atomic(path, lambda file: file.writelines([b"t", b"wo"]))
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    write_atomic(tmp_path / "ours", b"")
    (tmp_path / "usual").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def half(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, half)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, DoesNotFitError, "--resume"),
        (errno.EDQUOT, DoesNotFitError, "--resume"),
        (errno.EFBIG, DoesNotFitError, "2.5 MB"),
        (errno.EROFS, UsageError, "-o"),
        (errno.EACCES, UsageError, "-o"),
        (errno.EPERM, UsageError, "-o"),
        (errno.EISDIR, UsageError, "stands in its place"),
        (errno.ENAMETOOLONG, UsageError, "too long"),
    ],
)
def test_refusals_are_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception], words: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path / "secret"))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(kind, match=words) as caught:
        write_atomic(tmp_path / "out" / "a.png", b"x" * 2_500_000)
    assert str(tmp_path) not in str(caught.value)
    assert os.listdir(tmp_path / "out") == []


def test_unknown_errors_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="broken") as caught:
        write_atomic(tmp_path / "a", b"")
    assert type(caught.value) is OSError


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(UsageError, match="stands in its place"):
        write_atomic(tmp_path / "out" / "a.png", b"")


@pytest.mark.skipif(os.name == "nt", reason="no file size limit")
@pytest.mark.parametrize("kind", ["bytes", "npy", "exr"])
def test_a_full_disk_stops_with_a_message_and_no_partial_file(
    tmp_path: Path, child_env: dict[str, str], kind: str
) -> None:
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
from vitruvian.errors import DoesNotFitError
from vitruvian.media.atomic import write_atomic
from vitruvian.media.sinks import FolderSink
{"import OpenEXR" if kind == "exr" else ""}
sink = FolderSink(Path("out"), ["{kind}"] if "{kind}" == "exr" else ["npy"]).item("a.jpg")
noise = np.random.default_rng(0).random((200, 300), np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    if "{kind}" == "bytes":
        write_atomic(Path("out/a.bin"), bytes(10_000))
    elif "{kind}" == "npy":
        sink.write_array("depth.npy", noise, {{}})
    else:
        sink.write_exr("depth.exr", {{"Z": noise}}, {{}})
except DoesNotFitError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=child_env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == DoesNotFitError.exit_code, ran.stderr
    assert "does not fit into out" in ran.stdout
    assert list((tmp_path / "out").rglob("*")) == []


def test_sweep_removes_leftovers_but_nothing_foreign(tmp_path: Path) -> None:
    leftover = f"{atomic.TEMPORARY_PREFIX}0{atomic.TEMPORARY_SUFFIX}"
    for folder in ("", "sub", "other/deep", "other/.vitruvian"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / leftover).write_bytes(b"")
    for keep in ("photo.tmp", ".vitruvian-notes", "sub/.hidden.tmp"):
        (tmp_path / keep).write_bytes(b"")
    assert sweep(tmp_path) == 2
    kept = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {
        "photo.tmp",
        ".vitruvian-notes",
        "sub/.hidden.tmp",
        f"other/deep/{leftover}",
        f"other/.vitruvian/{leftover}",
    }
