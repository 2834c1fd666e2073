"""Measured rates: sane here, remembered, and measured again when the cores were busy."""

from __future__ import annotations

import os

import pytest
import torch

from vitruvian.errors import UsageError
from vitruvian.hardware import DTYPES, measured_rates, probe, rates


def test_this_processor_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "cores_are_busy", lambda cores: False)
    threads = torch.get_num_threads()
    measured = measured_rates("cpu")
    assert measured.source == "measured"
    assert torch.get_num_threads() == threads
    for dtype in DTYPES:
        assert 1e-5 < measured.tflops(dtype) < 1000
    assert 0.05 < measured.bandwidth_gb_s < 10_000
    assert probe().cpu.rates == measured, "the next look carries it"
    monkeypatch.setattr(rates, "_measure", None)
    assert measured_rates("cpu") == measured


def test_busy_cores_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = rates.Rates(
        float32_tflops=1.0, bfloat16_tflops=1.0, float16_tflops=1.0, bandwidth_gb_s=1.0, source="measured"
    )
    monkeypatch.setattr(rates, "cores_are_busy", lambda cores: True)
    monkeypatch.setattr(rates, "_measure", lambda device, cores: made_up)
    assert measured_rates("cpu") == made_up
    assert probe().cpu.rates is None


@pytest.mark.parametrize(("load", "busy"), [(0.3, False), (1.9, False), (2.0, True), (9.0, True)])
def test_cores_are_busy_by_the_load(monkeypatch: pytest.MonkeyPatch, load: float, busy: bool) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert rates.cores_are_busy(2) is busy


def test_a_system_without_a_load_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert not rates.cores_are_busy(2)


@pytest.mark.parametrize(
    ("listed", "cores"),
    [
        ({"num_logical_cores": 16, "num_physical_cores": 8}, 2.0),
        ({"num_logical_cores": 8, "num_physical_cores": 8}, 4.0),
        ({"num_logical_cores": 0, "num_physical_cores": 0}, 4.0),
        ({}, 4.0),
    ],
)
def test_hardware_threads_share_arithmetic(
    monkeypatch: pytest.MonkeyPatch, listed: dict[str, int], cores: float
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: listed, raising=False)
    assert rates._independent_cores(4) == cores


def test_products_grow_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a device that multiplies at 1 TFLOP/s, and of one 1000 times slower, which must stop at the smallest size."""
    for tflops, last_side in ((1.0, 2048), (0.001, 256)):
        sides: list[int] = []
        monkeypatch.setattr(
            rates, "_product", lambda device, dtype, side, sides=sides: sides.append(side) or (lambda: 0)
        )
        monkeypatch.setattr(
            rates, "_seconds", lambda device, run, sides=sides, tflops=tflops: 2.0 * sides[-1] ** 3 / tflops / 1e12
        )
        assert rates._matrix_tflops("cpu", "float32") == pytest.approx(tflops)
        assert sides[-1] == last_side


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match="got --device tpu"):
        measured_rates("tpu")
