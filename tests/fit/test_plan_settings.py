"""Knobs as people type them."""

from __future__ import annotations

from typing import Any

import pytest

from vitruvian.errors import UsageError
from vitruvian.fit.settings import parse_settings, setting_kinds, without_batch


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("crop=768x576", {"input_hw": (768, 576)}),
        ("patch_size=8", {"patch_size": 8}),
        ("micro_batch=2", {"micro_batch": 2}),
        ("batch_size=16", {"batch_size": 16}),
        ("chunked_head=true", {"chunked_head": True}),
        ("chunked_head=no", {"chunked_head": False}),
        ("checkpointing=blocks", {"checkpointing": "blocks"}),
        ("optimizer=adamw-8bit", {"optimizer": "adamw-8bit"}),
        ("dtype=float16", {"dtype": "float16"}),
        ("trainable=all", {"trainable": "all"}),
        ("gradients=released", {"gradients": "released"}),
    ],
)
def test_values_get_the_type_of_their_knob(pair: str, expected: dict[str, Any]) -> None:
    assert parse_settings([pair]) == expected


@pytest.mark.parametrize(
    "pair",
    [
        "speed=9",
        "crop",
        "crop=768",
        "crop=0x10",
        "patch_size=small",
        "micro_batch=0",
        "micro_batch=-1",
        "trainable=none",
        "gradients=dropped",
    ],
)
def test_what_cannot_be_read_is_explained(pair: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_settings([pair])


def test_every_key_has_an_example_that_can_be_read() -> None:
    for key in setting_kinds():
        with pytest.raises(UsageError) as error:
            parse_settings([f"{key}=?"])
        example = str(error.value).rpartition("like ")[2]
        assert parse_settings([example])


def test_the_effective_batch_is_no_knob() -> None:
    assert without_batch(parse_settings(["batch_size=16", "micro_batch=2"])) == {"micro_batch": 2}
