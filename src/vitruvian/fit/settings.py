"""Knobs as people type them: `crop=768x576 checkpointing=blocks micro_batch=2`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vitruvian.errors import UsageError
from vitruvian.fit.knobs import Knobs, TrainingKnobs

CROP, EFFECTIVE = "crop", "batch_size"
"""`crop` is the picture size, `batch_size` the effective batch of a training step."""
_HIDDEN = {"input_hw", "training", "gpus"}
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def setting_kinds() -> dict[str, Any]:
    """Every key that may be typed and the type of its value."""
    hints = {**get_type_hints(Knobs), **get_type_hints(TrainingKnobs)}
    kinds = {name: hints[name] for name in (*Knobs.__slots__, *TrainingKnobs.__slots__) if name not in _HIDDEN}
    return {**kinds, "patch_size": int, CROP: tuple, EFFECTIVE: int}


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as typed values, the crop under its knob's name `input_hw`.

    Raises:
        UsageError: no such key, or a value that it cannot take.
    """
    return {"input_hw" if key == CROP else key: value for key, value in parse_pairs(pairs, setting_kinds()).items()}


def parse_pairs(pairs: Sequence[str], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """`key=value` texts as values of these types.

    Raises:
        UsageError: no such key, or a value that it cannot take.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        kind = kinds.get(key)
        if not separator or kind is None:
            raise UsageError(f"got {pair!r}; expected key=value with a key of {', '.join(kinds)}")
        settings[key] = _value(key, kind, text)
    return settings


def without_batch(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are knobs of the planner; the effective batch belongs to the job."""
    return {key: value for key, value in settings.items() if key != EFFECTIVE}


def _value(key: str, kind: Any, text: str) -> Any:
    if kind is bool and text.lower() in (*_YES, *_NO):
        return text.lower() in _YES
    if kind is int and text.isdigit() and int(text) > 0:
        return int(text)
    if kind is tuple and (match := re.fullmatch(r"(\d+)x(\d+)", text)) and 0 not in map(int, match.groups()):
        return int(match[1]), int(match[2])
    if get_origin(kind) is Literal and text in get_args(kind):
        return text
    raise UsageError(f"got {key}={text}; expected {_expected(kind)}; write it like {key}={_example(kind)}")


def _expected(kind: Any) -> str:
    if kind is tuple:
        return "height x width in pixels"
    return {bool: "true or false", int: "a number above 0"}.get(kind) or f"one of {', '.join(get_args(kind))}"


def _example(kind: Any) -> str:
    return {bool: "true", int: "1", tuple: "768x576"}.get(kind) or str(get_args(kind)[0])
