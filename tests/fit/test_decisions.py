"""Decisions read well, compare, and survive JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from vitruvian.fit.decisions import Decision


@pytest.mark.parametrize(
    ("value", "shown"), [("cpu", "cpu"), (4, "4"), (0.5, "0.5"), (True, "True")], ids=["text", "int", "float", "bool"]
)
def test_a_decision_tells_what_and_why(value: str | int | float | bool, shown: str) -> None:
    decision = Decision(what="micro_batch", value=value, because="it fits")
    assert str(decision) == f"micro_batch: {shown} (it fits)"
    assert decision.to_json() == {"what": "micro_batch", "value": value, "because": "it fits", "measured": False}
    assert Decision(**json.loads(json.dumps(decision.to_json()))) == decision


def test_a_decision_is_a_value() -> None:
    decision = Decision(what="device", value="cpu", because="no other is here", measured=True)
    assert decision.to_json()["measured"] is True
    assert decision != Decision(what="device", value="cpu", because="no other is here")
    with pytest.raises(FrozenInstanceError):
        decision.value = "cuda"  # type: ignore[misc]
