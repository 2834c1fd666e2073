"""The examination on this machine, and on machines that are broken on purpose."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitruvian.doctor import DoctorReport, examination, networks, run_doctor
from vitruvian.doctor.expectations import FILE, TOLERANCES, deviations, known_counts
from vitruvian.errors import UsageError
from vitruvian.evaluation import measures
from vitruvian.hardware import Cpu, probe
from vitruvian.media.documents import json_text

PICTURES = examination.PICTURES
"""As shipped: one picture in twenty may stray, so that fewer would judge by their worst picture alone."""


@pytest.fixture(scope="module")
def found() -> DoctorReport:
    return run_doctor(device="cpu", pictures=PICTURES)


def test_float32_is_as_stored_and_everything_is_safe(found: DoctorReport) -> None:
    assert found.safe, found.text()
    float32 = [check for check in found.devices[0].networks if check.dtype == "float32"]
    assert {check.task for check in float32} == set(examination.NETWORKS)
    assert all(check.verdict in ("safe: as it should be", "safe: finite") for check in float32)


def test_every_network_has_time_and_memory(found: DoctorReport) -> None:
    for check in found.devices[0].networks:
        if not check.skipped:
            assert check.ms_per_picture is not None
            assert check.ms_per_picture > 0
            assert check.peak_bytes is not None
            assert check.peak_bytes < 10**9
            assert check.accuracy or check.task == "features"


def test_reduced_precisions_are_near_float32_but_not_equal(found: DoctorReport) -> None:
    for check in found.devices[0].networks:
        if check.dtype == "bfloat16" and not check.skipped:
            assert check.audit is not None
            assert check.kept in ("balanced", "fast"), check.verdict


def test_nothing_private_is_in_the_page(found: DoctorReport) -> None:
    page = found.text() + json.dumps(found.to_json(), default=str)
    for private in (str(Path.home()), getpass.getuser() if getpass.getuser() != "root" else str(Path.cwd()), "/tmp/"):
        assert private not in page
    if len(platform.node()) > 4:
        assert platform.node() not in page


def test_the_document_is_json(found: DoctorReport) -> None:
    document = json.loads(json_text(found.to_json()))
    assert document["pictures"] == PICTURES
    assert document["devices"][0]["device"]["rates"]["source"] == "measured"


Broken = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]


def examined(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> dict[str, str]:
    """Verdicts on body parts by compute type where the network's output went wrong in some way."""
    real = networks.raw_outputs

    def raw(network: nn.Module, *rest: object) -> dict[str, Tensor]:
        return broken(network, real(network, *rest))  # type: ignore[arg-type]

    monkeypatch.setattr(networks, "raw_outputs", raw)
    views = measures.held_out_views(PICTURES)
    return {check.dtype: check.verdict for check in networks.check_networks("seg", probe().cpu, views)}


def test_a_torch_that_computes_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = examined(monkeypatch, lambda network, raw: {name: value.flip(-1) for name, value in raw.items()})
    assert verdicts["float32"].startswith("UNSAFE: got mIoU")
    assert verdicts["bfloat16"] == "UNSAFE: float32 itself is wrong here"


def test_overflow_in_one_type_leaves_float32_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(network: nn.Module, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        small = any(parameter.dtype == torch.bfloat16 for parameter in network.parameters())
        return {name: value * torch.inf if small else value for name, value in raw.items()}

    verdicts = examined(monkeypatch, overflowing)
    assert verdicts["float32"].startswith("safe")
    assert "not finite" in verdicts["bfloat16"]


def test_errors_of_operators_are_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(network: nn.Module, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        if any(parameter.dtype == torch.bfloat16 for parameter in network.parameters()):
            raise RuntimeError("\"conv\" not implemented for 'BFloat16'")
        return raw

    verdicts = examined(monkeypatch, missing)
    assert "not implemented for 'BFloat16'" in verdicts["bfloat16"]
    assert verdicts["float32"].startswith("safe")


def test_emulated_float16_is_not_tried_on_a_processor() -> None:
    slow = Cpu(
        name="Abacus", cores=1, total_bytes=10**9, free_bytes=10**9, bf16="emulated", fp16="emulated", tf32="none",
        fp8="none",
    )  # fmt: skip
    checks = networks.check_networks("features", slow, measures.held_out_views(PICTURES))
    by_type = {check.dtype: check for check in checks}
    assert "not run: emulated" in by_type["float16"].verdict
    assert "emulated" in by_type["bfloat16"].verdict
    assert by_type["bfloat16"].audit is not None


def test_expectations_are_stored_for_the_counts_that_are_used() -> None:
    assert {examination.PICTURES, examination.FULL_PICTURES} == set(known_counts())
    with pytest.raises(UsageError, match="nothing is stored"):
        deviations("seg", 7, {})


@pytest.mark.parametrize("off", [-2.0, 2.0])
def test_deviations_count_either_way(off: float) -> None:
    stored = json.loads((resources.files("vitruvian") / "data" / FILE).read_text(encoding="utf-8"))
    right = stored["float32"][str(PICTURES)]["seg"]
    assert deviations("seg", PICTURES, right) == ()
    assert deviations("seg", PICTURES, {"mIoU": right["mIoU"] + off * TOLERANCES["mIoU"]})
    assert deviations("seg", PICTURES, {}), "a measure that is missing is off"


@pytest.mark.parametrize(("pictures", "expected"), [(19, 5.0), (20, 1.0), (40, 1.0)])
def test_one_picture_in_twenty_may_stray(pictures: int, expected: float) -> None:
    rows = [{"px_p90": 1.0, "label_share": 0.99}] * (pictures - 1) + [{"px_p90": 5.0, "label_share": 0.5}]
    found = networks.worst_but_strays(rows)
    assert found == {"px_p90": expected, "label_share": 0.5 if expected == 5.0 else 0.99}


def test_no_number_strays_first() -> None:
    rows = [{"deg_mean": 0.1}] * 18 + [{"deg_mean": float("nan")}, {"deg_mean": 7.0}]
    assert networks.worst_but_strays(rows) == {"deg_mean": 7.0}
    assert networks.worst_but_strays([]) == {}
