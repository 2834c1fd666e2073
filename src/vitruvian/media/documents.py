"""JSON as this project writes it: valid JSON whatever the names and numbers, in the order the author gave.

In: JSON-able documents, NumPy numbers and arrays included. Out: UTF-8 or ASCII bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.media.atomic import write_atomic

_NUMBER_KINDS, _LIST_KINDS = frozenset({bool, int, float, type(None)}), frozenset({list, tuple})


def json_text(document: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON text in the author's key order. JSON has no NaN and infinity: they are written as null.

    With `indent` containers spread over lines, but lists of numbers stand on one. File names that are not UTF-8 come as
    lone surrogates; they are written as JSON escapes and read back equal.
    """
    separators = (",", ":") if indent is None else (", ", ": ")
    encoder = json.JSONEncoder(ensure_ascii=ascii_only, separators=separators, default=_plain, allow_nan=False)
    encode = encoder.encode if indent is None else partial(_spread, encoder.encode, indent, 0)
    try:
        text = encode(document)
    except ValueError as error:
        if "JSON compliant" not in str(error):
            raise
        text = encode(_finite(document))
    # backslashreplace writes a lone surrogate exactly as JSON escapes it: \udcff
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _spread(encode: Callable[[Any], str], indent: int, depth: int, value: Any) -> str:
    """A line for every member, apart from numbers: the library's own indenting takes three times as long."""
    if isinstance(value, dict):
        names = (key if isinstance(key, str) else encode(key) for key in value)
        rows = [
            f"{encode(name)}: {_spread(encode, indent, depth + 1, inner)}"
            for name, inner in zip(names, value.values(), strict=True)
        ]
        opening, closing = "{", "}"
    elif isinstance(value, (list, tuple)) and not _only_numbers(value):
        rows = [_spread(encode, indent, depth + 1, inner) for inner in value]
        opening, closing = "[", "]"
    else:
        return encode(value)
    if not rows:
        return opening + closing
    margin = "\n" + " " * (indent * depth)
    inside = margin + " " * indent
    return f"{opening}{inside}{f',{inside}'.join(rows)}{margin}{closing}"


def _only_numbers(values: Sequence[Any]) -> bool:
    """Whether there is nothing but numbers, nulls and lists of them."""
    kinds = set(map(type, values))
    if not kinds <= _NUMBER_KINDS | _LIST_KINDS:
        return False
    return all(_only_numbers(inner) for inner in values if type(inner) in _LIST_KINDS) if kinds & _LIST_KINDS else True


def write_json_atomic(path: Path, document: Any) -> None:
    """Write a document for people and programs: UTF-8, indented, the author's key order, whole or not at all."""
    write_atomic(path, (json_text(document, indent=1) + "\n").encode("utf-8"))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"got {type(value).__name__} in a document; expected numbers, text, lists and dicts")


def _finite(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = _plain(value)
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
