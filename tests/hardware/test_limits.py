"""Budgets that are enforced: really on a Linux CPU (in a child process), through a made-up torch elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from vitruvian.errors import DoesNotFitError
from vitruvian.hardware import limit_memory
from vitruvian.hardware.limits import EASED_BYTES

GB = 10**9
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces this limit")

CHILD = """
import json, resource, sys
import numpy as np, torch
from concurrent.futures import ThreadPoolExecutor
from vitruvian.errors import DoesNotFitError
from vitruvian.hardware import PeakWatch, free_caches, limit_memory, open_meter, out_of_memory

MB = 10**6
pool = ThreadPoolExecutor(2)
list(pool.map(abs, range(4)))
before = resource.getrlimit(resource.RLIMIT_DATA)
meter = open_meter("cpu")
taken = meter.reading().device_bytes
budget = taken + 400 * MB
told = {"taken": taken}
try:
    limit_memory("cpu", taken // 2)
except DoesNotFitError as error:
    told["too_small"] = str(error)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.GELU(), torch.nn.Conv2d(64, 28, 1))

def in_tensors(batch):
    with torch.no_grad():
        return network(torch.ones(batch, 3, 384, 256)).sum().item()

def in_arrays(batch):
    return sum(pool.map(lambda _: float(np.ones(batch * 5_000_000).sum()), range(1)))

def backward(batch):
    network.zero_grad(set_to_none=True)
    network(torch.ones(batch, 3, 384, 256)).sum().backward()
    return 0.0

def attempt(work, batch):
    error = None
    try:
        return work(batch)
    except Exception as caught:
        error = caught
    recognised = out_of_memory(error)
    del error
    free_caches("cpu")
    return "out of memory" if recognised else "another error"

with limit_memory("cpu", budget) as limit, PeakWatch(meter) as watch:
    told["limited"], told["sentence"] = limit.limited, limit.sentence
    told["runs"] = [[attempt(work, batch) for batch in (20, 1, 20, 1)] for work in (in_arrays, in_tensors)]
    told["training"] = [attempt(backward, batch) for batch in (20, 1)]
    told["over_mb"] = (watch.peak_bytes - budget) / MB
    told["used_mb"] = (watch.peak_bytes - taken) / MB
    soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    limit.ease()
    told["eased_bytes"] = resource.getrlimit(resource.RLIMIT_DATA)[0] - soft
told["restored"] = resource.getrlimit(resource.RLIMIT_DATA) == before
told["after"] = attempt(in_arrays, 20)
limit.lift()
told["lifted_twice"] = resource.getrlimit(resource.RLIMIT_DATA) == before
print(json.dumps(told))
"""


@linux
def test_a_process_under_a_limit_fails_softly_and_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "raise --budget" in told["too_small"]
    assert told["limited"]
    assert "is held to about" in told["sentence"]
    for large, small, large_again, small_again in told["runs"]:
        assert large == large_again == "out of memory"
        assert isinstance(small, float)
        assert small == small_again
    assert told["training"] == ["out of memory", 0.0]
    assert told["over_mb"] < 60, "the whole process stays within about its budget"
    assert told["used_mb"] > 100, "and may use most of it"
    assert told["eased_bytes"] == EASED_BYTES
    assert told["restored"]
    assert told["after"] == 100_000_000.0, "without the limit the same work is done"
    assert told["lifted_twice"]


@dataclass
class MadeUpCard:
    """An accelerator whose allocator takes a fraction."""

    set_to: float = 1.0

    def total_bytes(self) -> int:
        return 16 * GB

    def context_bytes(self) -> int:
        return GB // 2

    def fraction(self) -> float:
        return self.set_to

    def set_fraction(self, fraction: float) -> None:
        self.set_to = fraction


@pytest.mark.parametrize(
    ("before", "budget_bytes", "fraction"),
    [(1.0, 8 * GB, 7.5 / 16), (1.0, 16 * GB, 15.5 / 16), (1.0, 32 * GB, 1.0), (0.25, 8 * GB, 0.25)],
)
def test_an_accelerators_budget_includes_its_context(before: float, budget_bytes: int, fraction: float) -> None:
    card = MadeUpCard(before)
    with limit_memory("cuda:0", budget_bytes, card) as limit:
        assert card.set_to == pytest.approx(fraction)
        assert limit.limited
        assert "500 MB of the budget are taken by the driver" in limit.sentence
    assert card.set_to == before


def test_a_budget_below_the_context_does_not_fit() -> None:
    card = MadeUpCard()
    with pytest.raises(DoesNotFitError, match="got a budget of 400 MB; expected more than the 500 MB"):
        limit_memory("cuda:0", 400_000_000, card)
    assert card.set_to == 1.0


def test_an_unknown_device_is_not_limited_and_says_so() -> None:
    with limit_memory("npu:0", 4 * GB) as limit:
        assert not limit.limited
        assert limit.sentence == "only the plan keeps to the budget of 4.0 GB on npu:0: torch has no limit for npu"


def test_a_system_without_limits_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    limit = limit_memory("cpu", 4 * GB)
    assert not limit.limited
    assert "Windows" in limit.sentence
