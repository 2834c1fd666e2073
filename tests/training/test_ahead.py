"""Batches made ahead: the same as those made in time, and their errors are not lost."""

from __future__ import annotations

import pytest

from vitruvian.training.ahead import Ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_made_ahead_are_the_same_batches(threads: int) -> None:
    made: list[int] = []

    def make(step: int) -> str:
        made.append(step)
        return f"batch {step}"

    ahead = Ahead(make, threads=threads)
    for step in (5, 6, 7, 2, 3):  # a jump, as after a resumed run
        assert ahead(step) == f"batch {step}"
    assert 8 in made, "the next one is begun before it is asked for"


def test_an_error_in_a_batch_made_ahead_reaches_the_loop() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise ValueError("torn file")
        return step

    ahead = Ahead(make)
    assert ahead(0) == 0
    with pytest.raises(ValueError, match="torn file"):
        ahead(1)
