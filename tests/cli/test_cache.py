"""`vitruvian cache`: show and clear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import Command
from vitruvian.hardware.remembered import remember


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "cache"))
    remember("rates", "Abacus", {"float32_tflops": 0.4})


def test_show_and_clear(command: Command, tmp_path: Path) -> None:
    shown = command("cache", "show")
    assert shown.code == 0, shown.err
    assert "rates: Abacus" in shown.out
    assert str(tmp_path) not in shown.out
    document = json.loads(command("cache", "show", "--json").out)
    assert {one["kind"]: one["files"] for one in document}["machine"] == 1
    cleared = command("cache", "clear", "machine")
    assert (cleared.code, cleared.out) == (0, "machine: 1 files removed\n")
    assert "Abacus" not in command("cache", "show").out


def test_an_unknown_kind_is_a_usage_error(command: Command) -> None:
    ran = command("cache", "clear", "weights")
    assert ran.code == 2
    assert "expected some of" in ran.err
