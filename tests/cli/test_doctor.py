"""`vitruvian doctor`: the page, and exit code 6 where nothing is safe."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import vitruvian.doctor
from command import Command
from vitruvian.doctor import DoctorReport, examination, run_doctor


@pytest.fixture
def two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "NETWORKS", ("seg", "features"))


@pytest.mark.usefixtures("two_networks")
def test_the_page(command: Command) -> None:
    ran = command("doctor", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("vitruvian ")
    assert "embedded networks on cpu, 24 pictures of synthetic people" in ran.out
    assert "cpu is safe" in ran.out
    assert "seg in float32 on cpu" in ran.err


@pytest.fixture
def unsafe(monkeypatch: pytest.MonkeyPatch, two_networks: None) -> DoctorReport:
    found = run_doctor(device="cpu")
    wrong = [
        replace(check, deviations=("got mIoU 0.01; expected 0.2",)) if check.dtype == "float32" else replace(
            check, sound_reference=False
        )
        for check in found.devices[0].networks
    ]  # fmt: skip
    bad = replace(found, devices=(replace(found.devices[0], networks=tuple(wrong)),))
    monkeypatch.setattr(vitruvian.doctor, "run_doctor", lambda full, device, report: bad)
    return bad


@pytest.mark.usefixtures("unsafe")
def test_nothing_safe_ends_with_six_and_still_prints_the_page(command: Command) -> None:
    ran = command("doctor")
    assert ran.code == 6
    assert "UNSAFE: got mIoU" in ran.out
    assert "cpu is NOT safe" in ran.err
    ran = command("doctor", "--json", "-q")
    assert ran.code == 6
    assert json.loads(ran.out)["safe"] is False


def test_an_unknown_device_is_a_usage_error(command: Command) -> None:
    ran = command("doctor", "--device", "abacus")
    assert ran.code == 2
    assert "expected one of" in ran.err
