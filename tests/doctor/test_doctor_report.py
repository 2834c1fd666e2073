"""What is safe and what is not, in sentences; a page without private things."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vitruvian.doctor.report import DeviceCheck, DoctorReport, NetworkCheck
from vitruvian.fit.quality import AuditReport
from vitruvian.hardware import Accelerator, Cpu, Hardware
from vitruvian.media.documents import json_text

CPU = Cpu(
    name="Abacus", cores=2, total_bytes=8 * 10**9, free_bytes=6 * 10**9, bf16="native", fp16="emulated", tf32="none",
    fp8="none", tested=True,
)  # fmt: skip


def check(dtype: str = "bfloat16", **changes: object) -> NetworkCheck:
    found = {"label_share": 0.998} if dtype != "float32" else {}
    values = {
        "task": "seg",
        "dtype": dtype,
        "support": "native",
        "accuracy": {"mIoU": 0.155},
        "audit": AuditReport(discrepancies=found, mean=found, crops=24),
        "ms_per_picture": 8.0,
        "speed": None if dtype == "float32" else 1.7,
        "peak_bytes": 30_000_000,
    }
    return NetworkCheck(**{**values, **changes})  # type: ignore[arg-type]


def audit(**changes: object) -> AuditReport:
    return AuditReport(**{"crops": 24, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "safe", "said"),
    [
        (check("float32"), True, "safe: as it should be"),
        (check("float32", accuracy={}), True, "safe: finite"),
        (check("float32", deviations=("got mIoU 0.02; expected 0.15",)), False, "UNSAFE: got mIoU 0.02"),
        (check("float32", audit=audit(non_finite=7)), False, "UNSAFE: got 7 values that are not finite"),
        (check(), True, "safe: --quality balanced, 1.7 x the speed"),
        (check(audit=audit(discrepancies={"label_share": 0.99})), True, "safe: --quality fast only (got label_share"),
        (check(audit=audit(discrepancies={"label_share": 0.5})), False, "UNSAFE: got label_share 0.5"),
        (check(audit=audit(discrepancies={"label_share": float("nan")})), False, "UNSAFE: got label_share nan"),
        (check(audit=audit(error="no kernel")), False, "UNSAFE: got an error: no kernel"),
        (check(sound_reference=False), False, "UNSAFE: float32 itself is wrong here"),
        (check(support="emulated", speed=0.3), True, "safe: emulated, --quality balanced, 0.3 x"),
        (check(skipped="emulated and slow", audit=None), False, "not run: emulated and slow"),
    ],
    ids=lambda value: "" if isinstance(value, (bool, NetworkCheck)) else value[:24],
)
def test_verdicts(found: NetworkCheck, safe: bool, said: str) -> None:
    assert found.safe is safe
    assert found.verdict.startswith(said)


def device(*checks: NetworkCheck) -> DeviceCheck:
    return DeviceCheck(device=CPU, networks=checks)


def test_one_safe_precision_a_task_is_enough() -> None:
    broken = check(audit=audit(non_finite=3))
    assert device(check("float32"), broken).safe
    assert "NOT safe: seg" in device(check("float32"), broken).verdict()


def test_a_task_without_a_safe_precision_makes_a_device_unsafe() -> None:
    wrong = check("float32", task="depth", deviations=("got RMSE m 9; expected 0.16",))
    found = device(check("float32"), wrong, check(task="depth", sound_reference=False))
    assert not found.safe
    assert "no precision gives usable depth" in found.verdict()


def report(*checks: NetworkCheck, notes: tuple[str, ...] = (), gpus: tuple[Accelerator, ...] = ()) -> DoctorReport:
    hardware = Hardware(cpu=CPU, accelerators=gpus, torch_version="2.13.0+cpu", notes=notes)
    return DoctorReport(
        versions={"vitruvian": "0.1", "on": "Linux"},
        hardware=hardware,
        devices=(device(*checks),),
        pictures=24,
        busy=True,
        seconds=11.0,
    )


def test_the_page_has_the_machine_its_notes_and_every_network() -> None:
    unusable = Accelerator(
        device="cuda:0", name="Old Card", total_bytes=10**9, free_bytes=10**9, bf16="none", fp16="none", tf32="none",
        fp8="none", capability=(3, 5), unusable="which needs another build of torch",
    )  # fmt: skip
    text = report(check("float32"), check(), notes=("a GPU is here, torch is a CPU build",), gpus=(unusable,)).text()
    for expected in (
        "cpu: Abacus, 2 cores; 6.0 GB of 8.0 GB free",
        "bfloat16 native, float16 emulated",
        "cuda:0: Old Card, compute capability 3.5",
        "CANNOT be used: which needs another build of torch",
        "note: a GPU is here, torch is a CPU build",
        "other programs keep the cores busy",
        "mIoU 0.155",
        "99.80% equal labels",
        "cpu is safe; compute types are tried in this order: bfloat16, then float32",
    ):
        assert expected in text


def test_numbers_that_are_none_become_null_in_json() -> None:
    found = check(audit=audit(discrepancies={"label_share": float("nan")}))
    document = json.loads(json_text(report(check("float32"), found).to_json()))
    assert document["safe"] is True
    rows = document["devices"][0]["networks"]
    assert [row["safe"] for row in rows] == [True, False]
    assert rows[1]["audit"]["discrepancies"] == {"label_share": None}


def test_rates_are_shown_where_known() -> None:
    from vitruvian.hardware import Rates

    rates = Rates(float32_tflops=0.4, bfloat16_tflops=2.4, float16_tflops=0.1, bandwidth_gb_s=11.7, source="measured")
    found = replace(report(check("float32")), devices=(DeviceCheck(device=replace(CPU, rates=rates), networks=()),))
    assert "measured: 0.4 / 2.4 / 0.1 TFLOP/s" in found.text()
