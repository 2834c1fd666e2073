"""Runs the real command line: in this process for speed, in a child where the process itself is under test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vitruvian.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


class Command:
    """`command("seg", folder, "-o", out)` -> exit code and what was printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["vitruvian", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = self._capsys.readouterr()
        return Ran(int(stop.value.code or 0), printed.out, printed.err)


def start(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command in a child process of its own, which hears interrupts even if whoever started the tests does not.

    A shell's background jobs ignore them, and what they start inherits that.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "vitruvian.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=None if os.name == "nt" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
