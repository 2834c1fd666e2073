"""Which row is recommended, and what the table says."""

from __future__ import annotations

import pytest

from vitruvian.bench.report import BenchReport, BenchRow, recommend


def row(dtype: str = "float32", batch: int = 1, rate: float | None = 10.0, **changes: object) -> BenchRow:
    values = {
        "precision": dtype,
        "dtype": dtype,
        "batch": batch,
        "predicted_bytes": 10**9,
        "images_per_s": rate,
        "p50_ms": None if rate is None else 1e3 * batch / rate,
        "p95_ms": None if rate is None else 1.1e3 * batch / rate,
        "readings": 3,
        "peak_bytes": 9 * 10**8,
        "discrepancies": {"label_share": 0.9987, "px_max": 3.0},
    }
    return BenchRow(**{**values, **changes})  # type: ignore[arg-type]


def chosen(*rows: BenchRow) -> tuple[str, int] | None:
    found = [one for one in recommend(rows) if one.recommended]
    assert len(found) <= 1
    return (found[0].dtype, found[0].batch) if found else None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(rate=10), row(batch=2, rate=20), row(batch=4, rate=30)], ("float32", 4)),
        ([row(batch=2, rate=20), row(batch=4, rate=20.9)], ("float32", 2)),
        ([row(batch=2, rate=20), row(batch=4, rate=21.1)], ("float32", 4)),
        ([row(rate=10), row("bfloat16", rate=19)], ("bfloat16", 1)),
        ([row(rate=10), row("bfloat16", rate=19, misses=("too far",))], ("float32", 1)),
        ([row(rate=10), row(batch=8, rate=None, not_run="does not fit")], ("float32", 1)),
        ([row(rate=None, not_run="does not fit")], None),
    ],
)
def test_the_shortest_call_near_the_best_rate_within_the_quality(
    rows: list[BenchRow], expected: tuple[str, int] | None
) -> None:
    assert chosen(*rows) == expected


def report(*rows: BenchRow, random_weights: bool = False) -> BenchReport:
    return BenchReport(
        model="toy",
        task="seg",
        device="cpu",
        device_name="Abacus",
        torch_version="2.13.0",
        budget_bytes=4 * 10**9,
        quality="balanced",
        crops=5,
        canvas_hw=(256, 192),
        calls_at_once=2,
        random_weights=random_weights,
        rows=recommend(rows),
        seconds=1.0,
        remarks=("a remark",),
    )


def test_the_table_keeps_what_did_not_run_and_marks_the_row_to_use() -> None:
    too_large = row(batch=8, rate=None, not_run="does not fit: predicted 9 GB")
    text = report(row(), row("bfloat16", rate=19), too_large).text()
    marked = [line.split()[:4] for line in text.splitlines() if line.startswith("->")]
    assert marked == [["->", "bfloat16", "eager", "1"]]
    assert "does not fit: predicted 9 GB" in text
    assert "99.87% equal labels" in text
    assert "px" not in text.partition("recommended")[0].replace("p50", ""), "units that are not judged are not shown"
    assert "recommended, within --quality balanced: bfloat16, batch 1: 19 images/s" in text
    assert "note: a remark" in text


def test_random_weights_show_raw_distances_and_are_chosen_by_speed() -> None:
    text = report(row(raw_difference=0.0123, discrepancies={}), random_weights=True).text()
    assert "raw 1.2e-02" in text
    assert "by speed alone" in text


def test_nothing_to_recommend_is_said() -> None:
    assert "nothing to recommend" in report(row(misses=("too far",))).text()
