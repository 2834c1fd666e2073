"""What an ONNX file would make a runtime do besides arithmetic, found without loading it.

In: path. Out: nothing, or a refusal: operators of other makers need native code that somebody hands in, and weights
beside the file may be read from any path that the file names. The file is walked in place, field by field, so that
gigabytes of weights cost neither time nor memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from vitruvian.errors import RefusedError

# Field numbers of onnx.proto3 by message; what is not listed holds nothing that matters here.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute", 7: "domain"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "opset": {1: "domain"},
    "external": {1: "key", 2: "value"},
}
_TEXTS = frozenset({"domain", "key", "value"})
_DOMAINS = frozenset({"", "ai.onnx"})
"""Of the standard's own operators; some that ONNX Runtime adds to them open further files."""

_DEEPEST = 64
"""Levels of messages; real graphs have about ten."""


def check_onnx(path: Path, beside: frozenset[str]) -> None:
    """Refuse a file that wants foreign operators, or other files than those beside it.

    Args:
        path: An ONNX file.
        beside: Names of the files that weights may be read from, in the same folder.

    Raises:
        RefusedError: it wants either, or is no ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for kind, text in _said(data, 0, len(data), "model", 0):
                if kind == "domain" and text not in _DOMAINS:
                    raise RefusedError(
                        f"got {path.name} with operators of {text!r}, which need native code from elsewhere; expected "
                        "standard operators alone; export the model again: vitruvian export MODEL -o DIR"
                    )
                if kind == "location" and text not in beside:
                    raise RefusedError(
                        f"got {path.name} whose weights would be read from {text!r}; expected a file that the artefact "
                        "lists; export the model again: vitruvian export MODEL -o DIR"
                    )
    except (ValueError, OSError, IndexError) as error:
        raise RefusedError(
            f"got {path.name}, which cannot be read as an ONNX file ({error}); expected the one that was exported; "
            "export the model again: vitruvian export MODEL -o DIR"
        ) from error


def _said(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[tuple[str, str]]:
    """("domain", ...) of operators and ("location", ...) of weights outside, in a message and all inside it."""
    if depth > _DEEPEST:
        raise ValueError("messages within messages without end")
    texts: dict[str, str] = {}
    for number, first, last in _fields(data, start, end):
        inside = _MESSAGES[message].get(number)
        if inside in _TEXTS:
            text = data[first:last].decode("utf-8")
            texts[inside] = text
            if inside == "domain":
                yield "domain", text
        elif inside is not None:
            yield from _said(data, first, last, inside, depth + 1)
    if message == "external" and texts.get("key") == "location":
        yield "location", texts.get("value", "")


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, byte behind) of every field of variable length; the others hold plain numbers."""
    place = start
    while place < end:
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            _, place = _varint(data, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        elif kind == 2:
            size, first = _varint(data, place)
            place = first + size
        else:
            raise ValueError(f"a field of kind {kind}")
        if place > end:
            raise ValueError("a field that reaches beyond its message")
        if kind == 2:
            yield tag >> 3, first, place


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number without end")
