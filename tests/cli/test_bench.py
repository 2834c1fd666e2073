"""`vitruvian bench`: the table, its JSON, wrong requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import Command
from vitruvian.bench import measuring

QUICK = ("--device", "cpu", "--dtype", "float32")


@pytest.fixture(autouse=True)
def few_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MAX_READINGS", 1)


def test_the_table(command: Command, photos: Path) -> None:
    ran = command("bench", "sapiens-seg-nano", *QUICK, "--batch", "1,64", "--budget", "1GB", "--on", photos)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("sapiens-seg-nano on cpu")
    assert sum(line.startswith("->") for line in lines) == 1
    assert any("64" in line and "does not fit: predicted" in line for line in lines)


def test_json_has_every_row(command: Command) -> None:
    ran = command("bench", "sapiens-depth-nano", *QUICK, "--batch", "2", "--json", "--random-weights", "-q")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["random_weights"] is True
    assert [(row["dtype"], row["backend"], row["batch"]) for row in document["rows"]] == [("float32", "eager", 2)]
    assert {"images_per_s", "p50_ms", "p95_ms", "peak_bytes", "predicted_bytes", "raw_difference", "recommended"} <= (
        document["rows"][0].keys()
    )


def test_nothing_that_fits_ends_with_four(command: Command) -> None:
    ran = command("bench", "sapiens-seg-nano", *QUICK, "--budget", "100MB")
    assert ran.code == 4
    assert "does not fit" in ran.err


@pytest.mark.parametrize(
    "wrong", [("--batch", "two"), ("--batch", "0"), ("--dtype", "float8"), ("--quality", "superb")]
)
def test_wrong_requests_are_usage_errors(command: Command, wrong: tuple[str, str]) -> None:
    ran = command("bench", "sapiens-seg-nano", *wrong)
    assert ran.code == 2
    assert "expected" in ran.err
