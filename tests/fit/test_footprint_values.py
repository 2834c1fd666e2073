"""Footprints as values."""

from __future__ import annotations

import pytest

from fit.imagined import GB, footprint
from vitruvian.fit.knobs import Knobs, TrainingKnobs


@pytest.mark.parametrize("knobs", [Knobs(), Knobs(training=TrainingKnobs())], ids=["infer", "train"])
def test_what_lies_beside_the_network_is_there_in_every_phase(knobs: Knobs) -> None:
    plain = footprint(knobs)
    made = plain.with_beside(GB)
    assert len(made.phases) == len(plain.phases)
    for phase, before in zip(made.phases, plain.phases, strict=True):
        assert phase.fixed.results_bytes == before.fixed.results_bytes + GB
        assert phase.per_item == before.per_item
    for batch in (1, 7):
        assert made.peak_bytes(batch) == plain.peak_bytes(batch) + GB
    assert made.with_beside(GB) == plain.with_beside(2 * GB)
    assert plain.with_beside(0) == plain
