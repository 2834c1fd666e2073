"""The trial of generated kernels: in a child, once, remembered."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.hardware import compiler_works, probe
from vitruvian.hardware.compiler import run_child


@pytest.mark.parametrize(("code", "works"), [(0, True), (1, False), (-11, False), (None, False)])
def test_the_childs_end_is_the_answer_and_is_remembered(code: int | None, works: bool) -> None:
    children: list[list[str]] = []

    def run(command: list[str], environment: Mapping[str, str], timeout_s: float) -> int | None:
        children.append(command)
        assert Path(environment["TORCHINDUCTOR_CACHE_DIR"]).is_dir(), "kernels of earlier runs are out of the way"
        assert environment["PATH"] == os.environ["PATH"]
        assert 10 < timeout_s < 600
        return code

    assert probe().cpu.compiler is None
    assert compiler_works("cpu", run=run) is works
    assert compiler_works("cpu", run=run) is works
    assert len(children) == 1
    assert children[0][-1] == "cpu"
    assert probe().cpu.compiler is works


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match="got --device tpu"):
        compiler_works("tpu")


def test_a_child_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        f"grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(grandchild.pid))\n"
        "time.sleep(60)\n"
    )
    assert run_child([sys.executable, "-c", program], os.environ, 3.0) is None
    pid = int((tmp_path / "pid").read_text())
    if sys.platform == "linux":
        assert ends(pid)


def ends(pid: int) -> bool:
    """Whether a process is gone soon: signals take their time on a busy machine."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("code", [0, 3])
def test_a_childs_code_is_told(code: int) -> None:
    assert run_child([sys.executable, "-c", f"import sys; print('x'); sys.exit({code})"], os.environ, 30.0) == code


@pytest.mark.slow
def test_this_machine_really_compiles_or_says_no() -> None:
    import shutil

    assert compiler_works("cpu") is (shutil.which("g++") is not None)
