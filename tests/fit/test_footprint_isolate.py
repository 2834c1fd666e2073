"""The child process that traces: what it returns, and what happens when it ends."""

from __future__ import annotations

import operator
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.fit.footprint.isolate import Child, TraceFailedError, UnreadableError

HELPERS = """
import os, sys, time
from vitruvian.errors import UsageError

def chatter():
    print("not an answer"); sys.stdout.flush(); os.write(1, b"nor this")
    return 5

def refuse():
    raise UsageError("as it was raised")

def stumble():
    raise RuntimeError("the network's own")

def end(code):
    sys.stderr.write("last words"); sys.stderr.flush()
    os._exit(code)
"""


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child(timeout_s=60)
    yield made
    made.close()


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[..., object]]:
    """Functions that the child can import."""
    (tmp_path / "footprint_helpers.py").write_text(HELPERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("footprint_helpers")
    return lambda name: getattr(module, name)


def test_calls_share_one_process(child: Child) -> None:
    first = child.call("it", os.getpid)
    assert first == child.call("it", os.getpid) != os.getpid()


def test_what_a_network_prints_is_not_taken_for_an_answer(
    child: Child, helpers: Callable[[str], Callable[..., object]]
) -> None:
    assert child.call("it", helpers("chatter")) == 5
    assert child.call("it", operator.add, 2, 3) == 5


def test_errors_of_ours_come_through_and_others_are_explained(
    child: Child, helpers: Callable[[str], Callable[..., object]]
) -> None:
    with pytest.raises(UsageError, match="as it was raised"):
        child.call("it", helpers("refuse"))
    with pytest.raises(TraceFailedError, match=r"failure while tiny ran on shapes.*RuntimeError: the network's own"):
        child.call("tiny", helpers("stumble"))
    assert child.call("it", operator.add, 2, 3) == 5


def test_an_abort_is_an_error_and_the_next_call_works(child: Child) -> None:
    with pytest.raises(TraceFailedError, match=r"while tiny ran.*ended \(signal SIGABRT\)"):
        child.call("tiny", os.abort)
    assert child.call("it", operator.add, 2, 3) == 5


def test_the_last_words_are_passed_on(child: Child, helpers: Callable[[str], Callable[..., object]]) -> None:
    with pytest.raises(TraceFailedError, match=r"ended \(exit code 3\): last words"):
        child.call("tiny", helpers("end"), 3)


def test_a_call_that_takes_too_long_is_ended() -> None:
    impatient = Child(timeout_s=0.5)
    with pytest.raises(TraceFailedError, match=r"no answer within 0\.5 s"):
        impatient.call("tiny", time.sleep, 600)
    assert impatient._process is None


def test_what_cannot_be_carried_over_says_so(child: Child) -> None:
    with pytest.raises(UnreadableError):
        child.call("it", lambda: 1)
    assert child.call("it", operator.add, 2, 3) == 5


def test_what_the_child_cannot_import_says_so(child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert child.call("it", operator.add, 2, 3) == 5
    (tmp_path / "later_helpers.py").write_text("def five():\n    return 5\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnreadableError, match="later_helpers"):
        child.call("it", __import__("later_helpers").five)


def test_an_idle_child_ends() -> None:
    brief = Child(idle_s=0.05)
    brief.call("it", os.getpid)
    process = brief._process
    assert process is not None
    assert process.wait(timeout=30) == 0
    assert brief.call("it", operator.add, 2, 3) == 5
    brief.close()


def test_a_close_under_way_leaves_the_next_child_alone() -> None:
    child, opened = Child(), threading.Event()
    child.call("it", os.getpid)
    first = child._process
    assert first is not None
    wait = first.wait

    def slow_wait(timeout: float | None = None) -> int:
        opened.wait(30)
        return wait(timeout)

    first.wait = slow_wait  # type: ignore[method-assign]
    closing = threading.Thread(target=child.close)
    closing.start()
    while child._process is not None:
        time.sleep(0.01)
    assert child.call("it", operator.add, 2, 3) == 5
    opened.set()
    closing.join(30)
    with pytest.raises(TraceFailedError, match="exit code 3"):
        child.call("it", os._exit, 3)
