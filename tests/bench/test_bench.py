"""Measurements of the nano network: real calls, real numbers, limits of memory and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitruvian.bench import BenchReport, measuring, run_bench
from vitruvian.bench import rig as rigs
from vitruvian.errors import UsageError

MODEL = "sapiens-seg-nano"


@pytest.fixture(autouse=True, scope="module")
def few_readings() -> Iterator[None]:
    """No test here is about time: two readings a row are enough, and no row is too slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "MAX_READINGS", 2)
        yield


@pytest.fixture(scope="module")
def measured() -> BenchReport:
    return run_bench(MODEL, device="cpu", dtypes=["float32", "bf16"], batches=[1, 4])


def test_every_precision_and_batch_has_a_row(measured: BenchReport) -> None:
    assert [(row.dtype, row.batch) for row in measured.rows] == [
        (dtype, batch) for dtype in ("float32", "bfloat16") for batch in (1, 4)
    ]
    for row in measured.rows:
        assert row.not_run == ""
        assert row.images_per_s is not None
        assert row.images_per_s > 0
        assert row.p50_ms is not None
        assert row.p95_ms is not None
        assert row.p50_ms <= row.p95_ms
        assert row.peak_bytes is not None
        assert 10**8 < row.peak_bytes < 2 * 10**9
        assert row.readings >= 1


def test_float32_agrees_with_itself_at_any_batch_and_bfloat16_nearly(measured: BenchReport) -> None:
    shares = {(row.dtype, row.batch): row.discrepancies["label_share"] for row in measured.rows}
    assert shares["float32", 1] == 1.0
    assert shares["float32", 4] > 0.999
    assert all(0.97 < shares["bfloat16", batch] < 1.0 for batch in (1, 4))
    assert all(row.raw_difference is not None for row in measured.rows)


def test_one_row_is_recommended(measured: BenchReport) -> None:
    assert measured.recommended is not None
    assert not measured.random_weights
    assert "recommended, within --quality balanced" in measured.text()


def test_what_does_not_fit_stays_in_the_table() -> None:
    found = run_bench(MODEL, device="cpu", dtypes=["float32"], batches=[1, 64], budget="1GB")
    fits, too_large = found.rows
    assert fits.images_per_s is not None
    assert too_large.not_run.startswith("does not fit: predicted")
    assert too_large.predicted_bytes > fits.predicted_bytes
    assert too_large.images_per_s is None


def test_nothing_fits_a_tiny_budget() -> None:
    found = run_bench(MODEL, device="cpu", batches=[1], budget="100MB")
    assert found.recommended is None
    assert all(row.not_run for row in found.rows)


def test_memory_that_runs_out_is_a_row_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rigs.raw_outputs

    def scarce(network: object, task: object, device: str, canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
        if len(canvases) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return real(network, task, device, canvases)  # type: ignore[arg-type]

    monkeypatch.setattr(rigs, "raw_outputs", scarce)
    one, two = run_bench(MODEL, device="cpu", dtypes=["float32"], batches=[1, 2]).rows
    assert one.images_per_s is not None
    assert two.not_run.startswith("ran out of memory, although")


def test_values_that_are_not_finite_are_never_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rigs.raw_outputs

    def overflowing(network: torch.nn.Module, *rest: object) -> dict[str, Tensor]:
        raw = real(network, *rest)  # type: ignore[arg-type]
        types = {parameter.dtype for parameter in network.parameters()}
        return {name: value * torch.inf if torch.bfloat16 in types else value for name, value in raw.items()}

    monkeypatch.setattr(rigs, "raw_outputs", overflowing)
    found = run_bench(MODEL, device="cpu", dtypes=["float32", "bfloat16"], batches=[1])
    assert [row.recommended for row in found.rows] == [True, False]
    assert "not finite" in found.rows[1].misses[0]


def test_random_weights_are_said(photos: Path) -> None:
    found = run_bench(MODEL, on=photos, device="cpu", dtypes=["bfloat16"], batches=[1], random_weights=True)
    assert found.random_weights
    assert found.crops >= 2
    assert any("random weights" in remark for remark in found.remarks)
    row = found.rows[0]
    assert row.discrepancies == {}
    assert row.raw_difference is not None
    assert 0 < row.raw_difference < 0.2


def test_what_would_take_too_long_is_said_and_not_run() -> None:
    one, many = run_bench(MODEL, device="cpu", dtypes=["float32"], batches=[1, 32], time_s=0.01).rows
    assert one.images_per_s is not None, "the smallest batch always runs"
    assert one.readings == 0
    assert many.not_run.startswith("would take some")


@pytest.mark.parametrize(
    "wrong",
    [{"batches": [0]}, {"dtypes": ["float8"]}, {"device": "abacus"}, {"quality": "superb"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_requests_are_usage_errors(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        run_bench(MODEL, **wrong)  # type: ignore[arg-type]


def test_pictures_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(UsageError, match="without a readable picture"):
        run_bench(MODEL, on=tmp_path)
