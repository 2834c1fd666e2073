"""`vitruvian demo fit`: predictions, a child process under a real limit, the plot and its data."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from command import Command
from vitruvian import zoo
from vitruvian.bundled import bundled_pictures
from vitruvian.demo_fit import FitReport, comparison
from vitruvian.demo_fit.child import Measured, SpanWatch
from vitruvian.demo_fit.comparison import naive_breakdown, smallest_budget
from vitruvian.demo_fit.drawing import draw_fit
from vitruvian.errors import CheckFailedError, DoesNotFitError, UsageError
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.hardware import Reading
from vitruvian.plots import RED
from vitruvian.zoo_plan import planner_here

NANO = "sapiens-seg-nano"
MEASURED = Measured(
    precision="bfloat16 with 3 float32 islands",
    micro_batch=1,
    chunked_head=True,
    predicted_bytes=25 * 10**8,
    done=5,
    failed=0,
    baseline_bytes=3 * 10**8,
    peak_bytes=24 * 10**8,
    curve=((0.0, 3 * 10**8), (3.0, 10**9), (20.0, 24 * 10**8), (50.0, 12 * 10**8)),
    stages=(("load", 0.0, 3.0), ("network", 3.0, 25.0), ("finish", 25.0, 26.0), ("network", 25.0, 50.0)),
    limited=True,
    limit="this process is held to about 3.0 GB of memory",
)
REPORT = FitReport(
    model="sapiens-seg-0.3b",
    random_weights=True,
    device="cpu",
    machine="Abacus, 2 cores",
    torch_version="2.13.0",
    canvas_hw=(1024, 768),
    budget_bytes=3 * 10**9,
    naive=Breakdown(activations_bytes=21 * 10**9),
    measured=MEASURED,
    plot=Path("out/fit.png"),
)


def test_the_naive_flow_of_a_network_of_real_size_takes_many_times_ours() -> None:
    spec = zoo.find("sapiens-seg-0.3b")
    naive = naive_breakdown(spec, "cpu", "Abacus")
    assert naive.total_bytes > 4 * smallest_budget(planner_here(spec, "cpu"))
    assert naive.weights_bytes == pytest.approx(4 * spec.config.parameters, rel=0.03)
    pixels = [cv2.imread(str(path))[..., 0].size for path in bundled_pictures().glob("*.jpg")]  # type: ignore[index]
    assert naive.results_bytes >= 8 * 4 * 28 * np.mean(pixels)


def test_the_default_budget_is_round_and_just_enough() -> None:
    planner = planner_here(zoo.find("sapiens-seg-0.3b"), "cpu")
    budget_bytes = smallest_budget(planner)
    assert budget_bytes % 100_000_000 == 0
    assert replace(planner, budget_bytes=budget_bytes).plan().fits
    assert not replace(planner, budget_bytes=budget_bytes - 500_000_000).plan().fits


def test_the_command_finishes_under_its_budget_and_draws(command: Command, tmp_path: Path) -> None:
    ran = command("demo", "fit", "-o", tmp_path / "fit", "--model", NANO, "--device", "cpu", "--budget", "900MB")
    assert ran.code == 0, ran.err
    assert "the naive flow (batch 8, float32" in ran.out
    assert "5 of 5 pictures" in ran.out
    document: dict[str, Any] = json.loads((tmp_path / "fit" / "fit.json").read_text())
    measured = document["measured"]
    assert measured["baseline_bytes"] < measured["peak_bytes"] <= document["budget_bytes"] == 900_000_000
    assert max(value for _, value in measured["curve"]) == measured["peak_bytes"]
    names = [name for name, _, _ in measured["stages"]]
    assert names[0] == "load"
    assert {"network", "finish", "write"} <= set(names)
    assert str(tmp_path) not in json.dumps(document)
    picture = cv2.imread(str(tmp_path / "fit" / "fit.png"))
    assert picture is not None
    assert picture.shape == (900, 1600, 3)
    drawn = sorted(path.name for path in (tmp_path / "fit" / "results").glob("*.drawn.jpg"))
    assert len(drawn) == 5


def test_a_budget_that_is_too_small_ends_with_four_before_anything_runs(command: Command, tmp_path: Path) -> None:
    ran = command("demo", "fit", "-o", tmp_path / "fit", "--model", NANO, "--device", "cpu", "--budget", "100MB")
    assert ran.code == 4
    assert "one picture takes" in ran.err
    assert not (tmp_path / "fit").exists()


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected one of segmentation"):
        comparison.run_demo_fit(tmp_path, model="sapiens-pose-nano")


def answering(monkeypatch: pytest.MonkeyPatch, stdout: str, code: int = 0) -> None:
    done = subprocess.CompletedProcess([], code, stdout=stdout)
    monkeypatch.setattr(comparison.subprocess, "run", lambda *args, **options: done)


def test_errors_of_the_child_keep_their_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, json.dumps({"error": {"message": "too small", "exit_code": 4}}))
    with pytest.raises(DoesNotFitError, match="too small"):
        comparison.run_demo_fit(tmp_path, model=NANO, device="cpu", report=lambda line: None)


def test_a_child_that_dies_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, "", code=-9)
    with pytest.raises(CheckFailedError, match="ended with -9"):
        comparison.run_demo_fit(tmp_path, model=NANO, device="cpu", report=lambda line: None)


def test_more_than_the_budget_is_a_failed_check() -> None:
    over = replace(REPORT, measured=replace(MEASURED, peak_bytes=4 * 10**9))
    said: list[str] = []
    with pytest.raises(CheckFailedError, match=r"got a peak of 4\.0 GB; expected at most 3\.0 GB"):
        comparison._say_outcome(over, said.append)
    assert any("5 of 5 pictures in 50 s, 4.0 GB at most" in line for line in said)


def test_the_plot_has_the_naive_line_above_everything() -> None:
    picture = draw_fit(REPORT)
    red = (np.abs(picture[:, 300:1000].astype(int) - RED) < 40).all(axis=2).mean(axis=1)
    row = int(np.flatnonzero(red > 0.4)[0])
    dark = (picture[:, 300:1000] < 70).all(axis=2).mean(axis=1)
    assert row < int(np.flatnonzero(dark > 0.9)[0]), "above the budget"


def test_the_report_is_plain_and_reads_back() -> None:
    document = json.loads(json.dumps(REPORT.to_json()))
    assert document["plot"] == "fit.png"
    assert document["naive"]["peak_bytes"] == 21 * 10**9
    assert document["naive_fits"] is False
    assert Measured.from_json(document["measured"]) == MEASURED


class Still:
    """A meter that always reads the same."""

    def reading(self) -> Reading:
        return Reading(allocated_bytes=1, reserved_bytes=2, device_bytes=3)

    def take_high(self) -> int | None:
        return None


def test_the_watch_keeps_when_stages_were() -> None:
    watch = SpanWatch(Still())
    with watch, watch.stage("outer"), watch.stage("inner"):
        pass
    (inner, inner_begin, inner_end), (outer, outer_begin, outer_end) = watch.spans
    assert (inner, outer) == ("inner", "outer")
    assert 0 <= outer_begin <= inner_begin <= inner_end <= outer_end


@pytest.mark.slow
def test_the_real_size_finishes_inside_a_few_gigabytes(tmp_path: Path) -> None:
    found = comparison.run_demo_fit(tmp_path)
    assert not found.naive_fits
    assert found.measured.done == 5
    assert found.measured.peak_bytes <= found.budget_bytes
