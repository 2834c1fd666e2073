"""The file of what was measured on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.hardware import Rates, remembered

RATES = Rates(float32_tflops=1.0, bfloat16_tflops=2.0, float16_tflops=0.5, bandwidth_gb_s=9.0, source="measured")


def test_what_is_stored_comes_back() -> None:
    assert remembered.recall_rates("a") is None
    remembered.remember_rates("a", RATES)
    remembered.remember("other", "a", 7)
    remembered.remember("other", "b", [1])
    remembered.remember("other", "a", 8)
    assert remembered.recall_rates("a") == RATES
    assert remembered.recall_rates("b") is None
    assert [remembered.recall("other", key) for key in "abc"] == [8, [1], None]


def test_only_the_file_stays_in_the_folder(tmp_path: Path) -> None:
    remembered.remember("kind", "key", 1)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["machine.json"]
    assert json.loads((tmp_path / "cache" / "machine.json").read_text()) == {"kind": {"key": 1}}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"rates": 3}', '{"rates": {"a": {"old_name": 1}}}', '{"rates": {"a": 1}}']
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cache" / "machine.json"
    path.parent.mkdir()
    path.write_text(text)
    assert remembered.recall_rates("a") is None
    remembered.remember_rates("a", RATES)
    assert remembered.recall_rates("a") == RATES


def test_a_folder_that_cannot_be_written_costs_only_the_memory(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    remembered.remember_rates("a", RATES)
    assert remembered.recall_rates("a") is None


def test_no_home_folder_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise UsageError("got no home folder")

    monkeypatch.setattr(remembered, "cache_dir", no_home)
    remembered.remember_rates("a", RATES)
    assert remembered.recall_rates("a") is None


def test_a_new_compiler_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/usr/bin/g++-12")
    remembered.remember_compiler("cpu", "Imaginary 9000", False)
    assert remembered.recall_compiler("cpu", "Imaginary 9000") is False
    assert remembered.recall_compiler("cpu", "Imaginary 9001") is None
    assert remembered.recall_compiler("cuda", "Imaginary 9000") is None
    monkeypatch.setenv("CXX", "/usr/bin/g++-13")
    assert remembered.recall_compiler("cpu", "Imaginary 9000") is None
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(remembered.shutil, "which", lambda tool: None)
    assert remembered.recall_compiler("cpu", "Imaginary 9000") is None
