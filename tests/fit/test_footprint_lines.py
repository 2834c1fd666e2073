"""Lines in the batch: which operators can be the peak, and how two runs that differ are matched."""

from __future__ import annotations

import json
import random

import pytest

from fit.small_networks import transformer_workload
from vitruvian.fit.footprint.lines import COLUMNS, Line, Recording, lines_of, upper_envelope
from vitruvian.fit.footprint.record import record
from vitruvian.fit.footprint.tracker import Timeline
from vitruvian.fit.knobs import Knobs, TrainingKnobs


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(10, 1)], [0]),
        ([(10, 1), (0, 2)], [0, 1]),
        ([(10, 1), (10, 2)], [1]),
        ([(10, 1), (5, 1)], [0]),
        ([(10, 1), (9, 3)], [1]),
        ([(100, 0), (50, 1), (0, 10)], [0, 2]),
        ([(100, 0), (95, 1), (0, 10)], [0, 1, 2]),
        ([(7, 0), (7, 0)], [1]),
    ],
)
def test_the_envelope_keeps_what_is_highest_somewhere(lines: list[tuple[int, int]], expected: list[int]) -> None:
    assert upper_envelope(lines) == expected


def test_the_envelope_of_many_lines_is_their_maximum_everywhere() -> None:
    rng = random.Random(0)
    for _ in range(200):
        lines = [(rng.randrange(1000), rng.randrange(60)) for _ in range(rng.randrange(1, 12))]
        kept = upper_envelope(lines)
        for batch in range(1, 80):
            assert max(a + b * batch for a, b in lines) == max(lines[at][0] + lines[at][1] * batch for at in kept)


def timeline(*rows: tuple[str, int]) -> Timeline:
    """One phase; activations alone."""
    at = COLUMNS.index("activations")
    made = Timeline()
    for name, size in rows:
        made.operators.append(name)
        made.rows.append(tuple(size if column == at else 0 for column in range(len(COLUMNS))))
    made.spans.append(("all", 0, len(rows)))
    return made


def lines(first: Timeline, second: Timeline, batches: tuple[int, int]) -> list[tuple[str, int, int]]:
    ((_, found),) = lines_of(first, second, batches)
    at = COLUMNS.index("activations")
    return sorted((line.operator, line.fixed[at], line.per_item[at]) for line in found)


def test_spans_of_one_phase_are_one_phase() -> None:
    first, second = timeline(("a", 4), ("b", 2), ("c", 6)), timeline(("a", 6), ("b", 3), ("c", 8))
    for made in (first, second):
        made.spans[:] = [("all", 0, 1), ("all", 1, 2), ("all", 2, 3)]
    assert lines(first, second, (2, 3)) == [("c", 2, 2)], "what another span exceeds is dropped"


def test_lines_go_through_both_runs_and_lower_ones_are_dropped() -> None:
    first = timeline(("a", 120), ("b", 210), ("c", 30))
    second = timeline(("a", 130), ("b", 310), ("c", 40))
    assert lines(first, second, (2, 3)) == [("a", 100, 10), ("b", 10, 100)]


def test_what_grows_faster_than_the_batch_never_becomes_negative() -> None:
    assert lines(timeline(("a", 0)), timeline(("a", 90)), (2, 3)) == [("a", 0, 30)]


def test_what_shrinks_with_the_batch_counts_as_fixed() -> None:
    assert lines(timeline(("a", 90)), timeline(("a", 50)), (2, 3)) == [("a", 50, 0)]


def test_a_head_that_works_item_by_item_is_matched_where_it_can_be() -> None:
    first = timeline(("body", 100), ("item", 500), ("end", 20))
    second = timeline(("body", 200), ("item", 510), ("item", 510), ("end", 40))
    assert lines(first, second, (1, 2)) == [("body", 0, 100), ("item", 490, 10)]


def test_a_recording_survives_json() -> None:
    made = record(transformer_workload(), Knobs(training=TrainingKnobs()))
    assert Recording.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    "broken", [{"phases": []}, {"phases": [{"name": "x", "lines": []}]}, {"held": {}}, {"more": 1}]
)
def test_a_document_that_is_no_recording_is_refused(broken: dict[str, object]) -> None:
    document = record(transformer_workload(), Knobs()).to_json()
    with pytest.raises((ValueError, KeyError, TypeError)):
        Recording.from_json(document | broken)


def test_a_line_of_another_length_is_refused() -> None:
    document = record(transformer_workload(), Knobs()).to_json()
    line = Line(operator="x", fixed=(1,), per_item=(1,))
    document["phases"][0]["lines"] = [{"operator": line.operator, "fixed": line.fixed, "per_item": line.per_item}]
    with pytest.raises(ValueError, match="1 columns"):
        Recording.from_json(document)
