"""Kill, go on, replace, exclude: the output folder ends as one undisturbed run would leave it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.media import ledger as module
from vitruvian.media.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, write_atomic
from vitruvian.media.ledger import LEDGER, Ledger, Mode, fingerprint

RUN = {"model": "abc", "options": {"dtype": "bf16", "formats": ["png"]}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def finish(ledger: Ledger, out: Path, name: str, *suffixes: str, size: int = 10, modified_ns: int = 5) -> None:
    """One input from start to end, as the road does it."""
    files = [f"{name}.{suffix}" for suffix in suffixes or ("seg.png",)]
    for file in files:
        ledger.announce(file)
        write_atomic(out / file, file.encode())
    ledger.record(name, size, modified_ns, files)


def files_in(out: Path) -> set[str]:
    return {
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and not path.relative_to(out).as_posix().startswith(".vitruvian/")
    }


def ready(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger:
        finish(ledger, out, "a.jpg")
        finish(ledger, out, "sub/b.jpg", "seg.png", "depth.npy")


def test_what_matches_is_done(out: Path) -> None:
    ready(out)
    with Ledger.open(out, mode="resume", run=dict(reversed(RUN.items()))) as ledger:
        assert ledger.done("a.jpg", 10, 5)
        assert ledger.done("sub/b.jpg", 10, 5)
        assert not ledger.done("c.jpg", 10, 5)
    assert files_in(out) == {"a.jpg.seg.png", "sub/b.jpg.seg.png", "sub/b.jpg.depth.npy"}


@pytest.mark.parametrize(
    ("size", "modified_ns", "run"), [(11, 5, RUN), (10, 6, RUN), (10, 5, {**RUN, "model": "other"}), (10, 5, {})]
)
def test_what_changed_is_done_again_without_strays(
    out: Path, size: int, modified_ns: int, run: dict[str, object]
) -> None:
    ready(out)
    with Ledger.open(out, mode="resume", run=run) as ledger:
        assert not ledger.done("sub/b.jpg", size, modified_ns)
        assert files_in(out) == {"a.jpg.seg.png"}
        finish(ledger, out, "sub/b.jpg", "pose.json", size=size, modified_ns=modified_ns)
    with Ledger.open(out, mode="resume", run=run) as ledger:
        assert ledger.done("sub/b.jpg", size, modified_ns)
    assert files_in(out) == {"a.jpg.seg.png", "sub/b.jpg.pose.json"}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")])
def test_lost_and_cut_files_are_made_again(out: Path, damage: object) -> None:
    ready(out)
    damage(out / "sub/b.jpg.seg.png")  # type: ignore[operator]
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert not ledger.done("sub/b.jpg", 10, 5)
        assert ledger.done("a.jpg", 10, 5)
    assert files_in(out) == {"a.jpg.seg.png"}


def test_what_belongs_to_a_changed_video_is_dropped_together(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger:
        for name in ("a.mp4.frames/00000000", "a.mp4.frames/00000001", "b.mp4.frames/00000000"):
            finish(ledger, out, name, "seg.png")
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        ledger.drop("a.mp4.frames/")
        assert not (out / "a.mp4.frames").exists()
        assert (out / "b.mp4.frames" / "00000000.seg.png").is_file()
        assert not ledger.done("a.mp4.frames/00000001", 10, 5)


def test_an_input_without_files_is_done_too(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger:
        ledger.record("empty.jpg", 1, 2, [])
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert ledger.done("empty.jpg", 1, 2)


def test_resume_of_nothing_is_a_new_run(out: Path) -> None:
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert not ledger.done("a.jpg", 1, 1)


def test_folders_that_are_not_empty_are_refused(out: Path) -> None:
    ready(out)
    with pytest.raises(UsageError, match=r"--resume.*--overwrite") as caught:
        Ledger.open(out, mode="new", run=RUN)
    assert str(out) not in str(caught.value)
    assert len(files_in(out)) == 3


@pytest.mark.parametrize("mode", ["new", "resume"])
def test_foreign_folders_are_refused_untouched(out: Path, mode: Mode) -> None:
    out.mkdir()
    (out / "thesis.tex").write_bytes(b"")
    with pytest.raises(UsageError, match="--overwrite"):
        Ledger.open(out, mode=mode, run=RUN)
    assert os.listdir(out) == ["thesis.tex"]


def test_an_empty_folder_and_one_that_only_has_bookkeeping_are_new(out: Path) -> None:
    out.mkdir()
    for _ in range(2):
        with Ledger.open(out, mode="new", run=RUN) as ledger:
            assert ledger.notes == ()


def test_overwrite_removes_what_the_ledger_lists_and_nothing_else(out: Path) -> None:
    ready(out)
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        ledger.announce("c.jpg.seg.png")
        write_atomic(out / "c.jpg.seg.png", b"never finished")
    (out / "sub" / "mine.txt").write_bytes(b"")
    (out / "d.jpg.seg.png").write_bytes(b"foreign, named like ours")
    with Ledger.open(out, mode="overwrite", run=RUN) as ledger:
        assert ledger.notes == ()
        assert files_in(out) == {"sub/mine.txt", "d.jpg.seg.png"}
        assert not ledger.done("a.jpg", 10, 5)
    (out / "sub" / "mine.txt").unlink()
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert not ledger.done("a.jpg", 10, 5)


def test_overwrite_leaves_no_empty_folders_of_ours(out: Path) -> None:
    ready(out)
    Ledger.open(out, mode="overwrite", run=RUN).close()
    assert sorted(os.listdir(out)) == [".vitruvian"]


def test_overwrite_without_a_ledger_keeps_foreign_files_and_says_so(out: Path) -> None:
    out.mkdir()
    (out / "mine.txt").write_bytes(b"")
    with Ledger.open(out, mode="overwrite", run=RUN) as ledger:
        assert "its files stay" in ledger.notes[0]
    assert files_in(out) == {"mine.txt"}


@pytest.mark.parametrize(
    "name", ["../mine.txt", "/etc/x", "a/../../mine.txt", ".vitruvian/lock", "C:/x", "a\\..\\x", ""]
)
def test_a_ledger_cannot_reach_outside(out: Path, name: str) -> None:
    ready(out)
    (out.parent / "mine.txt").write_bytes(b"")
    with (out / LEDGER).open("ab") as file:
        file.write(json.dumps({"file": name}).encode() + b"\n")
    for mode in ("resume", "overwrite"):
        with pytest.raises(UsageError, match="no file of a run"):
            Ledger.open(out, mode=mode, run=RUN)
    assert (out.parent / "mine.txt").exists()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_dropped(out: Path, cut: int) -> None:
    ready(out)
    data = (out / LEDGER).read_bytes()
    (out / LEDGER).write_bytes(data[:-cut])
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert ledger.done("a.jpg", 10, 5)
        assert not ledger.done("sub/b.jpg", 10, 5)
        assert files_in(out) == {"a.jpg.seg.png"}
        finish(ledger, out, "sub/b.jpg")
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert ledger.done("sub/b.jpg", 10, 5)


@pytest.mark.parametrize(
    ("line", "words"), [(b"garbage\n", "damaged"), (b"[1]\n", "damaged"), (b'{"ledger": 99}\n', "version 99")]
)
def test_other_damage_is_told(out: Path, line: bytes, words: str) -> None:
    ready(out)
    data = (out / LEDGER).read_bytes()
    (out / LEDGER).write_bytes(line + data)
    with pytest.raises(UsageError, match=words):
        Ledger.open(out, mode="resume", run=RUN)
    with Ledger.open(out, mode="overwrite", run=RUN):
        assert files_in(out) == set()


def test_leftovers_are_swept(out: Path) -> None:
    ready(out)
    leftover = out / "sub" / f"{TEMPORARY_PREFIX}1{TEMPORARY_SUFFIX}"
    leftover.write_bytes(b"half")
    Ledger.open(out, mode="resume", run=RUN).close()
    assert not leftover.exists()


def test_nothing_private_is_written(out: Path) -> None:
    ready(out)
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        ledger.announce("bad\udcff.png")
    assert str(out.parent).encode() not in (out / LEDGER).read_bytes()


def test_a_second_run_is_refused_until_the_first_ends(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN):
        for mode in ("new", "resume", "overwrite"):
            with pytest.raises(UsageError, match="another run is writing into"):
                Ledger.open(out, mode=mode, run=RUN)
    Ledger.open(out, mode="resume", run=RUN).close()


CHILD = """
import sys, time
from pathlib import Path
from vitruvian.media.atomic import write_atomic
from vitruvian.media.ledger import Ledger
mode, names, pause = sys.argv[1], sys.argv[2].split(","), float(sys.argv[3])
out = Path("out")
with Ledger.open(out, mode=mode, run={"model": "m"}) as ledger:
    print("open", flush=True)
    for name in names:
        if ledger.done(name, 1, 1):
            continue
        files = [f"{name}.{number}.bin" for number in range(3)]
        for file in files:
            ledger.announce(file)
            write_atomic(out / file, file.encode() * 500)
        ledger.record(name, 1, 1, files)
        time.sleep(pause)
    print("end", flush=True)
"""


def child(cwd: Path, env: dict[str, str], mode: str, names: list[str], pause: float = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, mode, ",".join(names), str(pause)]
    return subprocess.Popen(arguments, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_another_process_is_excluded_and_a_killed_one_lets_go(
    tmp_path: Path, out: Path, child_env: dict[str, str]
) -> None:
    with child(tmp_path, child_env, "new", ["a"], pause=60) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(UsageError, match="another run"):
            Ledger.open(out, mode="resume", run=RUN)
        first.kill()
    Ledger.open(out, mode="resume", run=RUN).close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9")
def test_killed_anywhere_and_resumed_equals_undisturbed(tmp_path: Path, out: Path, child_env: dict[str, str]) -> None:
    names = [f"s{number % 7}/{number:04d}.jpg" for number in range(3000)]
    whole = {f"{name}.{number}.bin" for name in names for number in range(3)}
    mode, kills = "new", 0
    for growth_bytes in (300, 9_000, 30_000, 2_500):
        with child(tmp_path, child_env, mode, names) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "open\n"
            enough = (out / LEDGER).stat().st_size + growth_bytes
            while (out / LEDGER).stat().st_size < enough:
                time.sleep(0.001)
            running.send_signal(signal.SIGKILL)
        kills += running.returncode == -signal.SIGKILL
        mode = "resume"
    assert kills == 4
    assert 0 < len(files_in(out)) < len(whole)
    few = names[:200]
    with child(tmp_path, child_env, "resume", few) as running:
        output, errors = running.communicate()
    assert output == "open\nend\n", errors
    recorded = {json.loads(line)["item"] for line in (out / LEDGER).read_bytes().splitlines() if b'"item"' in line}
    assert set(few) <= recorded
    assert files_in(out) == {f"{name}.{number}.bin" for name in recorded for number in range(3)}
    assert all((out / file).read_bytes() == file.encode() * 500 for file in files_in(out))


def test_files_of_an_unfinished_input_go_even_if_the_options_changed(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger:
        for file in ("a.jpg.depth.exr", "a.jpg.depth.npy"):
            ledger.announce(file)
            write_atomic(out / file, b"x")
    with Ledger.open(out, mode="resume", run={**RUN, "options": {}}) as ledger:
        assert not ledger.done("a.jpg", 10, 5)
        finish(ledger, out, "a.jpg", "depth.png")
    assert files_in(out) == {"a.jpg.depth.png"}


def test_threads_may_share_it(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger:

        def work(number: int) -> None:
            for turn in range(20):
                finish(ledger, out, f"{number}-{turn}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert all(ledger.done(f"{n}-{i}", 10, 5) for n in range(4) for i in range(20))


def test_a_file_that_is_not_there_cannot_be_recorded(out: Path) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger, pytest.raises(UsageError, match="not there"):
        ledger.record("a", 1, 1, ["a.png"])


def test_an_output_that_is_a_file_is_refused(out: Path) -> None:
    out.write_bytes(b"")
    with pytest.raises(UsageError, match="is a file"):
        Ledger.open(out, mode="overwrite", run=RUN)


@pytest.mark.parametrize(("code", "words"), [(errno.EROFS, "cannot be written"), (errno.EACCES, "cannot be written")])
def test_a_folder_that_cannot_be_written_is_refused_at_once(
    out: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    real = os.open

    def refuse(path: str, flags: int, *rest: int, **options: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UsageError, match=words) as caught:
        Ledger.open(out, mode="new", run=RUN)
    assert str(out.parent) not in str(caught.value)


def test_a_full_disk_leaves_a_whole_ledger(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(out, mode="new", run=RUN) as ledger:
        finish(ledger, out, "a.jpg")
        before = (out / LEDGER).read_bytes()
        real = os.write

        def half(number: int, data: bytes) -> int:
            real(number, bytes(data[:7]))
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(module.os, "write", half)
        with pytest.raises(DoesNotFitError, match="--resume"):
            ledger.announce("b.jpg.seg.png")
        assert (out / LEDGER).read_bytes() == before


def test_short_writes_are_continued(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda number, data: real(number, bytes(data[:3])))
    ready(out)
    with Ledger.open(out, mode="resume", run=RUN) as ledger:
        assert ledger.done("sub/b.jpg", 10, 5)


def test_fingerprints_do_not_depend_on_order() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_unknown_modes_are_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="expected new, resume or overwrite"):
        Ledger.open(out, mode="append", run=RUN)  # type: ignore[arg-type]
