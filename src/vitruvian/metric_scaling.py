"""A step of the road that gives relative depth its metres: a second network looks at the same pictures.

Pictures with relative depth, in order -> the same pictures with depth in metres. Both networks' stages keep their
order, so what waits between them is paired by it; at most as many pictures wait as are in flight anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from vitruvian.errors import InputError
from vitruvian.media.items import Failure
from vitruvian.network_stage import Asked, Finished
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.metric_fit import in_metres
from vitruvian.tasks.metric_result import MetricDepth

Stage = Callable[[Iterator[Asked | Failure]], Iterator[Finished | Failure]]


def scaled(stream: Iterator[Finished | Failure], stage: Stage) -> Iterator[Finished | Failure]:
    """Depth in metres; `stage` is that of the metric network."""
    waiting: deque[Finished] = deque()

    def asked() -> Iterator[Asked | Failure]:
        for finished in stream:
            if isinstance(finished, Failure):
                yield finished
                continue
            waiting.append(finished)
            yield Asked(item=finished.item, regions=(None,))

    for outcome in stage(asked()):
        index = outcome.index if isinstance(outcome, Failure) else outcome.item.index
        relative = waiting.popleft() if waiting and waiting[0].item.index == index else None
        if isinstance(outcome, Failure) or relative is None:
            yield outcome
        else:
            yield _joined(relative, outcome)


def _joined(relative: Finished, metric: Finished) -> Finished | Failure:
    (shape,), (distance,) = relative.results, metric.results
    assert isinstance(shape, Depth)
    assert isinstance(distance, MetricDepth)
    try:
        return replace(relative, results=[in_metres(shape, distance)])
    except InputError as error:
        return Failure(name=relative.item.name, index=relative.item.index, reason=str(error))
