"""Two networks over one stream: every picture leaves once, in order, with what belongs together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.sinks import PROVENANCE
from tasks.test_metric_fit import metric_of
from vitruvian.media.items import Failure, Item
from vitruvian.metric_scaling import scaled
from vitruvian.network_stage import Asked, Finished
from vitruvian.tasks.depth import Depth

METRES = np.linspace(1, 20, 60 * 80).reshape(60, 80)


def picture(index: int) -> Finished:
    image = np.zeros((60, 80, 3), np.uint8)
    item = Item(name=str(index), index=index, time_s=None, stream=None, image_HW3=image, size_bytes=1, modified_ns=0)
    relative = Depth(provenance=PROVENANCE, depth_HW=(METRES / (index + 1)).astype(np.float32))
    return Finished(item=item, results=[relative])


def failure(index: int) -> Failure:
    return Failure(name=str(index), index=index, reason="not read")


def stage(asked: Iterator[Asked | Failure]) -> Iterator[Finished | Failure]:
    """A metric network that holds two pictures back, fails at 3, and sees picture 5 the wrong way round."""
    line = list(asked)
    for one in line:
        if isinstance(one, Failure):
            yield one
        elif one.item.index == 3:
            yield failure(3)
        else:
            metres = METRES[::-1, ::-1] if one.item.index == 5 else METRES * (one.item.index + 1)
            yield Finished(item=one.item, results=[metric_of(metres)])


def test_pictures_stay_in_order_and_failures_of_either_network_pass() -> None:
    stream = [picture(0), failure(1), picture(2), picture(3), picture(4), picture(5), picture(6)]
    outcomes = list(scaled(iter(stream), stage))
    found = [(one.index if isinstance(one, Failure) else one.item.index, isinstance(one, Failure)) for one in outcomes]
    assert found == [(0, False), (1, True), (2, False), (3, True), (4, False), (5, True), (6, False)]
    for outcome in outcomes:
        if isinstance(outcome, Finished):
            (depth,) = outcome.results
            assert isinstance(depth, Depth)
            np.testing.assert_allclose(depth.depth_HW, METRES * (outcome.item.index + 1), rtol=1e-4)
    assert isinstance(outcomes[5], Failure)
    assert "run against each other" in outcomes[5].reason
