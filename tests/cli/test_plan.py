"""`vitruvian plan`: what is printed, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import Command


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "cache"))


def test_a_plan_is_a_table_with_its_reasons(command: Command) -> None:
    ran = command("plan", "sapiens-seg-nano", "--machine", "t4")
    assert ran.code == 0, ran.err
    assert "as published" in ran.out
    assert "->" in ran.out
    assert "fits:" in ran.out
    assert "dtype: float16 (bfloat16 emulated" in ran.out
    assert "estimates" in ran.out


def test_json_is_one_object(command: Command) -> None:
    ran = command("plan", "sapiens-normal-nano", "--train", "normal", "--machine", "rtx-3060-12gb", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["fits"] is True
    assert document["peak_bytes"] <= document["budget_bytes"]
    assert document["knobs"]["patch_size"] == 16
    assert {"dtype", "micro_batch", "checkpointing", "accumulation"} <= document["knobs"].keys()
    assert {"decisions", "breakdown_bytes", "rows"} <= document.keys()


@pytest.mark.parametrize("json_wanted", [False, True])
def test_what_does_not_fit_ends_with_four_and_says_what_is_missing(command: Command, json_wanted: bool) -> None:
    options = ["--json"] if json_wanted else []
    ran = command("plan", "sapiens-seg-nano", "--machine", "t4", "--budget", "200MB", *options)
    assert ran.code == 4
    assert "more than the budget of 200 MB" in ran.err
    assert "smallest machine" in ran.err
    if json_wanted:
        document = json.loads(ran.out)
        assert document["fits"] is False
        assert document["missing_bytes"] > 0


def test_knobs_are_kept(command: Command) -> None:
    ran = command(
        "plan", "sapiens-seg-nano", "crop=128x96", "micro_batch=3", "--machine", "t4", "--dtype", "float32", "--json"
    )
    assert ran.code == 0, ran.err
    knobs = json.loads(ran.out)["knobs"]
    assert (knobs["input_hw"], knobs["micro_batch"], knobs["dtype"]) == ([128, 96], 3, "float32")


def test_asking_for_a_smaller_patch_says_what_it_does(command: Command) -> None:
    ran = command("plan", "sapiens-seg-nano", "patch_size=8", "--machine", "t4")
    assert ran.code == 0, ran.err
    assert "patch_size=8 means 4 times the tokens: it raises the peak from" in ran.out
    assert "crop=" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [["no-such-model"], ["sapiens-seg-nano", "speed=9"], ["sapiens-seg-nano", "--machine", "abacus"]],
    ids=str,
)
def test_wrong_requests_are_usage_errors(command: Command, arguments: list[str]) -> None:
    ran = command("plan", *arguments)
    assert ran.code == 2
    assert "expected" in ran.err
