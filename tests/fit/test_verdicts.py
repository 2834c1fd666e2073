"""Verdicts outlive the process, survive damage, and are never taken for another network's."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitruvian.fit.precision import Precision
from vitruvian.fit.quality import AuditReport
from vitruvian.fit.verdicts import FILE, VerdictKey, VerdictStore

KEY = VerdictKey(
    model="tiny",
    weights_sha256="ab" * 32,
    device="a processor",
    torch_version="2.13",
    version="0.1",
    canvas_hw=(64, 48),
    precision=Precision(dtype="bfloat16", islands=("head", "*.ln1")),
)
REPORT = AuditReport(
    discrepancies={"px_p90": 0.25, "px_max": 3.0}, mean={"px_p90": 0.1, "px_max": 1.0}, crops=2, reference_s=0.5
)


@pytest.fixture
def store(tmp_path: Path) -> VerdictStore:
    return VerdictStore(path=tmp_path / "new" / FILE)


def test_a_verdict_is_found_again(store: VerdictStore) -> None:
    assert store.get(KEY) is None
    assert store.put(KEY, REPORT) == ""
    assert VerdictStore(path=store.path).get(KEY) == REPORT


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"weights_sha256": "cd" * 32},
        {"device": "another processor"},
        {"torch_version": "2.14"},
        {"version": "0.2"},
        {"precision": Precision(dtype="bfloat16")},
        {"precision": Precision(dtype="float16", islands=("head", "*.ln1"))},
    ],
    ids=str,
)
def test_anything_else_is_another_verdict(store: VerdictStore, changes: dict[str, Any]) -> None:
    store.put(KEY, REPORT)
    assert store.get(replace(KEY, **changes)) is None


def test_a_verdict_on_fewer_crops_is_not_enough(store: VerdictStore) -> None:
    store.put(KEY, REPORT)
    assert store.get(KEY, crops=2) == REPORT
    assert store.get(KEY, crops=3) is None


def test_weights_that_were_never_a_file_are_not_remembered(store: VerdictStore) -> None:
    assert store.put(replace(KEY, weights_sha256=""), REPORT) == ""
    assert store.entries() == {}


def test_the_newest_replaces_the_older_and_the_others_stay(store: VerdictStore) -> None:
    other = replace(KEY, model="other")
    store.put(KEY, REPORT)
    store.put(other, REPORT)
    better = replace(REPORT, non_finite=4)
    store.put(KEY, better)
    assert store.entries() == {KEY: better, other: REPORT}
    assert store.clear() == 2
    assert store.entries() == {}
    assert store.clear() == 0


def test_what_is_no_number_survives_as_such(store: VerdictStore) -> None:
    store.put(KEY, replace(REPORT, discrepancies={"px_p90": math.nan, "px_max": math.inf}))
    json.loads(store.path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    found = store.get(KEY)
    assert found is not None
    assert all(math.isnan(value) for value in found.discrepancies.values())
    assert found.misses("fast")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 999, "verdicts": [7]}',
        '{"format": 2, "verdicts": 7}',
        '{"format": 2, "verdicts": [7, null, {"key": {}, "report": {}}]}',
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
    ids=lambda text: repr(text[:40]),
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(store: VerdictStore, text: str | bytes) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert store.entries() == {}
    assert store.put(KEY, REPORT) == ""
    assert store.get(KEY) == REPORT


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("report", "discrepancies", {"px_p90": "far"}),
        ("report", "discrepancies", [1]),
        ("report", "crops", None),
        ("key", "precision", "bfloat16"),
        ("key", "precision", {"dtype": "bfloat16", "islands": None}),
    ],
)
def test_one_damaged_entry_leaves_the_others(store: VerdictStore, part: str, field: str, value: Any) -> None:
    other = replace(KEY, model="other")
    store.put(KEY, REPORT)
    store.put(other, REPORT)
    document = json.loads(store.path.read_text(encoding="utf-8"))
    document["verdicts"][0][part][field] = value
    store.path.write_text(json.dumps(document), encoding="utf-8")
    assert store.entries() == {other: REPORT}


def test_a_store_that_cannot_be_written_says_so_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = VerdictStore(path=tmp_path / "file" / FILE)
    assert "made again in the next run" in store.put(KEY, REPORT)
    assert store.get(KEY) is None


def test_an_interrupted_write_leaves_the_old_file(store: VerdictStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(KEY, REPORT)
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.put(replace(KEY, model="other"), REPORT)
    assert store.entries() == {KEY: REPORT}
    assert not list(store.path.parent.glob("*.tmp"))


def test_writers_side_by_side_lose_nothing(store: VerdictStore) -> None:
    keys = [replace(KEY, model=f"model {index}") for index in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda key: store.put(key, REPORT), keys)) == {""}
    assert store.entries().keys() == set(keys)


def test_the_users_store_lies_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path))
    assert VerdictStore.of_user().path == tmp_path / FILE
