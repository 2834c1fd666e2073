"""JSON stays valid and ordered whatever the values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitruvian.media.documents import json_text, write_json_atomic


def test_documents_are_utf8_in_the_authors_order(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "sub" / "d.json", {"z": "grün", "a": np.float32(0.5), "n": np.arange(3)})
    raw = (tmp_path / "sub" / "d.json").read_bytes()
    assert "grün".encode() in raw
    assert list(json.loads(raw).items()) == [("z", "grün"), ("a", 0.5), ("n", [0, 1, 2])]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_names_that_are_not_utf8_read_back_equal(ascii_only: bool) -> None:
    text = json_text({"name": "bad\udcff\ud800.jpg"}, ascii_only=ascii_only)
    assert json.loads(text.encode("utf-8")) == {"name": "bad\udcff\ud800.jpg"}


def test_what_is_not_a_number_becomes_null() -> None:
    document = {"a": [1.0, float("nan"), {"b": np.float32(np.inf)}], "c": np.array([np.nan, 2])}
    assert json.loads(json_text(document)) == {"a": [1.0, None, {"b": None}], "c": [None, 2.0]}


def test_unknown_values_are_a_mistake_of_the_author() -> None:
    with pytest.raises(TypeError, match="expected numbers"):
        json_text({"a": object()})
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        json_text(loop)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"a": {"xy": [[1.5, None], None, [2, True]], "b": []}}, '{\n "a": {\n  "xy": [[1.5, null], null, [2, true]],'),
        ([{"n": [1, 2]}, "s", {}], '[\n {\n  "n": [1, 2]\n },\n "s",\n {}\n]'),
        ({1: ["x", "y"], None: 2}, '{\n "1": [\n  "x",\n  "y"\n ],\n "null": 2\n}'),
        ({"c": np.array([np.nan, 2]), "e": [np.float32(0.5)]}, '{\n "c": [null, 2.0],\n "e": [0.5]\n}'),
    ],
)
def test_lists_of_numbers_stand_on_one_line_of_a_spread_document(document: object, text: str) -> None:
    spread = json_text(document, indent=1)
    assert spread.startswith(text)
    assert json.loads(spread) == json.loads(json_text(document))
