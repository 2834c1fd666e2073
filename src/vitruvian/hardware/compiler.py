"""Whether generated kernels compile and run on a device: tried once in a child process, then remembered.

A trial takes 5 to 60 s and may start compilers that hang or crash; in a child none of that reaches the caller.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping

from vitruvian.hardware.probe import probe
from vitruvian.hardware.remembered import recall_compiler, remember_compiler

TIMEOUT_S = 120.0
_PROGRAM = """
import sys, torch
device = sys.argv[1]
values = torch.linspace(-1, 1, 4096, device=device)
blend = torch.compile(lambda x: torch.relu(x * 2.0 + 1.0), fullgraph=True)
expected = (values * 2.0 + 1.0).clamp_min(0.0)
torch.testing.assert_close(blend(values), expected)
"""

Child = Callable[[list[str], Mapping[str, str], float], int | None]
"""Runs a command with an environment and a time limit in s -> its exit code, None when it ran out of time."""


def compiler_works(device: str = "cpu", *, run: Child | None = None) -> bool:
    """Compile and run a function of three operations on a device, unless the answer is remembered.

    The answer holds for the device's name, the torch version and the C++ compiler that is found; the next `probe()`
    carries it.

    Args:
        device: torch device string.
        run: Starts the child process; tests hand in their own.

    Raises:
        UsageError: there is no such device, or this torch cannot compute on it.
    """
    one = probe().device(device)
    known = recall_compiler(one.kind, one.name)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="vitruvian-compiler-") as folder:
        # A cache of its own: a kernel left by an earlier run would prove nothing about today's compiler.
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        works = (run or run_child)([sys.executable, "-c", _PROGRAM, one.device], environment, TIMEOUT_S) == 0
    remember_compiler(one.kind, one.name, works)
    probe.cache_clear()
    return works


def run_child(command: list[str], environment: Mapping[str, str], timeout_s: float) -> int | None:
    """Run a command silently, with everything it starts ended when time is up."""
    child = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        child.kill()  # compilers it started end by themselves
    else:
        os.killpg(child.pid, signal.SIGKILL)  # the session it leads: compilers included
    child.wait()
