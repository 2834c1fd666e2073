"""What users write about a training, `key=value` and TOML, as a recipe and knobs.

A TOML file and the command line have the same keys; the command line goes first. Keys of the recipe's augmentation
follow a dot (`augment.turn_deg=30`) or stand in a table `[augment]`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vitruvian.errors import UsageError
from vitruvian.finetuning.recipe import Augmentation, Recipe
from vitruvian.fit.settings import parse_settings, setting_kinds
from vitruvian.media.names import shown

AUGMENT = "augment"
HEAD_KEY = "channels"
"""Keypoints or classes of the network's outputs."""
_RECIPE = frozenset(field.name for field in fields(Recipe)) - {AUGMENT}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What was written, sorted by whose it is."""

    recipe: Mapping[str, Any]
    """Fields of `Recipe`; those of the augmentation under their dotted names."""
    knobs: Mapping[str, Any]
    """As `fit.settings.parse_settings` gives them."""
    channels: int | None = None

    def applied(self, recipe: Recipe) -> Recipe:
        """A recipe with these wishes in place.

        Raises:
            UsageError: an unknown key, or a value that it cannot take.
        """
        plain = {key: value for key, value in self.recipe.items() if not key.startswith(AUGMENT)}
        hints = get_type_hints(Recipe)
        changed = {key: _typed(key, value, hints[key]) for key, value in plain.items()}
        dotted = {key.partition(".")[2]: value for key, value in self.recipe.items() if key.startswith(f"{AUGMENT}.")}
        augment = recipe.augment
        if AUGMENT in self.recipe:
            augment = augment if _typed(AUGMENT, self.recipe[AUGMENT], bool) else None
        if dotted:
            augment = _changed_augment(augment, dotted)
        return replace(recipe, augment=augment, **changed)


def read_wishes(pairs: Sequence[str] = (), file: Path | None = None, more: Mapping[str, Any] | None = None) -> Wishes:
    """Wishes of a TOML file, of `key=value` texts, which go before it, and of values from Python, which go before both.

    Raises:
        UsageError: a file that cannot be read, an unknown key, a text without a value.
    """
    written: dict[str, Any] = {} if file is None else _flat(_document(file))
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise UsageError(f"got {pair!r}; expected key=value such as lr=1e-4; write it so")
        written[key] = _value(text)
    written |= more or {}
    recipe: dict[str, Any] = {}
    knobs: dict[str, Any] = {}
    channels = None
    for key, value in written.items():
        if key == HEAD_KEY:
            channels = _typed(key, value, int)
        elif key in _RECIPE or key == AUGMENT or key.startswith(f"{AUGMENT}."):
            recipe[key] = value
        elif key in setting_kinds():
            knobs |= parse_settings([f"{key}={_text(value)}"])
        else:
            known = ", ".join(sorted({*_RECIPE, HEAD_KEY, f"{AUGMENT}.*", *setting_kinds()}))
            raise UsageError(f"got the key {key!r}; expected one of {known}; correct it")
    return Wishes(recipe=recipe, knobs=knobs, channels=channels)


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"got the recipe {shown(file)}, which cannot be read ({error}); expected TOML such as `lr = 1e-4`; "
            "correct it"
        ) from error


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """A table's entries by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": entry for inner, entry in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def _value(text: str) -> Any:
    """A value as TOML has it; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _text(value: Any) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else "x".join(map(str, value)) if _is_row(value) else str(value)
    )


def _is_row(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _changed_augment(augment: Augmentation | None, dotted: Mapping[str, Any]) -> Augmentation:
    if augment is None:
        raise UsageError(f"got {AUGMENT}.{next(iter(dotted))} with augment=false; expected one of them; leave one out")
    hints = get_type_hints(type(augment))
    known = [name for name in hints if name not in ("canvas_hw", "photometric", "damage")]
    changed = {}
    for key, value in dotted.items():
        if key not in known:
            raise UsageError(f"got {AUGMENT}.{key}; expected one of {', '.join(known)}; correct it")
        changed[key] = _typed(f"{AUGMENT}.{key}", value, hints[key])
    return replace(augment, **changed)


def _typed(key: str, value: Any, kind: Any) -> Any:
    """A value of this type, numbers and rows of them converted where nothing is lost.

    Raises:
        UsageError: it is none.
    """
    for one in get_args(kind) if get_origin(kind) in (UnionType,) or _optional(kind) else (kind,):
        if one is NoneType and (value is None or value == "none"):
            return None
        if one is bool and isinstance(value, bool):
            return value
        if one is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if one is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if get_origin(one) is Literal and value in get_args(one):
            return value
        if get_origin(one) is tuple and _is_row(value) and len(value) == len(get_args(one)):
            return tuple(_typed(key, inner, part) for inner, part in zip(value, get_args(one), strict=True))
    raise UsageError(f"got {key}={value}; expected {_words(kind)}; correct it")


def _optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _words(kind: Any) -> str:
    """A type in words."""
    names = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none"}
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        return f"[{', '.join(_words(part) for part in get_args(kind))}]"
    return names.get(kind) or " or ".join(_words(part) for part in get_args(kind))
