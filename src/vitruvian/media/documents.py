"""JSON as this project writes it: valid JSON whatever the names and numbers, in the order the author gave.

In: JSON-able documents, NumPy numbers and arrays included. Out: UTF-8 or ASCII bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.media.atomic import write_atomic


def json_text(document: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON text in the author's key order. JSON has no NaN and infinity: they are written as null.

    File names that are not UTF-8 come as lone surrogates; they are written as JSON escapes and read back equal.
    """
    separators = (",", ":") if indent is None else None
    options: dict[str, Any] = {"indent": indent, "separators": separators, "default": _plain, "allow_nan": False}
    try:
        text = json.dumps(document, ensure_ascii=ascii_only, **options)
    except ValueError as error:
        if "JSON compliant" not in str(error):
            raise
        text = json.dumps(_finite(document), ensure_ascii=ascii_only, **options)
    # backslashreplace writes a lone surrogate exactly as JSON escapes it: \udcff
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
