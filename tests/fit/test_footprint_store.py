"""Predictions on disk: found again, told apart, and made anew when a file is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fit.small_networks import transformer_workload
from vitruvian.fit.footprint import footprints_of, predict, store
from vitruvian.fit.footprint.record import record
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Stage, Workload, forward_once


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path))


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[Knobs]:
    """Knobs of the traces that were really made."""
    made: list[Knobs] = []

    def counted(workload: Workload, knobs: Knobs, backend: str) -> Any:
        made.append(knobs)
        return record(workload, knobs, backend)

    monkeypatch.setattr(predict, "record", counted)
    return made


def known(**fields: Any) -> Workload:
    return replace(transformer_workload(), key="a network of the catalogue", **fields)


def test_a_prediction_is_found_again(traces: list[Knobs]) -> None:
    first, second = (footprints_of(known())(Knobs()) for _ in range(2))
    assert first == second
    assert len(traces) == 1
    footprints_of(known())(Knobs(micro_batch=8))
    assert len(traces) == 1


def test_without_a_key_nothing_is_written(traces: list[Knobs], tmp_path: Path) -> None:
    footprints = footprints_of(replace(transformer_workload(), build=transformer_workload().build))
    footprints(Knobs())
    footprints(Knobs())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"recording": {}}', '{"recording": {"phases": 3}}'])
def test_a_damaged_file_is_traced_again_and_replaced(traces: list[Knobs], tmp_path: Path, damage: str) -> None:
    expected = footprints_of(known())(Knobs())
    (path,) = (tmp_path / store.FOLDER).iterdir()
    whole = path.read_text(encoding="utf-8")
    path.write_text(damage, encoding="utf-8")
    assert footprints_of(known())(Knobs()) == expected
    assert len(traces) == 2
    assert path.read_text(encoding="utf-8") == whole


def test_a_file_cut_off_anywhere_is_never_believed(traces: list[Knobs], tmp_path: Path) -> None:
    footprints_of(known())(Knobs())
    (path,) = (tmp_path / store.FOLDER).iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        assert store.load(path.stem) is None, length


def test_everything_that_matters_makes_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    module = transformer_workload().build()

    plain, inference = known(), Knobs()

    def digest(workload: Workload = plain, knobs: Knobs = inference, backend: str = "cpu") -> str:
        return store.digest_of(workload, module, knobs, backend)

    stages = (Stage(name="forward", call=forward_once, repeats=2),)
    digests = [
        digest(),
        digest(known(islands=())),
        digest(known(blocks=())),
        digest(known(head=())),
        digest(known(stages=stages)),
        digest(replace(known(), key="another")),
        digest(knobs=Knobs(dtype="bfloat16")),
        digest(knobs=Knobs(training=TrainingKnobs())),
        digest(backend="cuda"),
    ]
    assert len(set(digests)) == len(digests)
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert digest() not in digests


def test_another_source_of_the_network_makes_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "changing_network.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    module = __import__("changing_network").Net()
    before = store.digest_of(known(), module, Knobs(), "cpu")
    assert store.digest_of(known(), module, Knobs(), "cpu") == before
    (folder / "changing_network.py").write_text(source.replace("return x", "return 2 * x"), encoding="utf-8")
    store._digest_of_files.cache_clear()
    assert store.digest_of(known(), module, Knobs(), "cpu") != before


def test_a_cache_that_cannot_be_written_is_remarked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "file"))
    (remark,) = footprints_of(known())(Knobs()).remarks
    assert "not remembered" in remark


def test_entries_are_listed_and_cleared(tmp_path: Path) -> None:
    footprints_of(known())(Knobs())
    footprints_of(known(), "cuda")(Knobs(dtype="bfloat16"))
    (tmp_path / store.FOLDER / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / store.FOLDER / "half.123.partial").write_text("{", encoding="utf-8")
    entries = store.entries()
    assert {(entry.workload, entry.backend, entry.knobs["dtype"]) for entry in entries} == {
        ("Transformer", "cpu", "float32"),
        ("Transformer", "cuda", "bfloat16"),
    }
    assert store.clear() == 4
    assert (store.entries(), store.clear()) == ((), 0)
