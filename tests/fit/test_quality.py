"""The table of limits, and what is said about numbers that do not keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from vitruvian.errors import UsageError
from vitruvian.fit.quality import (
    QUALITIES,
    QUALITY,
    REPORTED,
    AuditReport,
    Quality,
    check_quality,
    margins,
    mean,
    misses,
    worst,
)


def test_every_quality_judges_the_same_units_the_same_way() -> None:
    assert tuple(QUALITY) == QUALITIES
    for unit, (sign, _) in QUALITY["exact"].items():
        rows = [QUALITY[quality][unit] for quality in QUALITIES]
        assert {row[0] for row in rows} == {sign}
        values = [row[1] for row in rows]
        assert values == sorted(values, reverse=sign == ">="), unit
        assert len(set(values)) == 3, unit
        assert unit not in REPORTED


def test_balanced_is_what_was_promised() -> None:
    limits = QUALITY["balanced"]
    assert limits["px_p90"] == ("<=", 0.5)
    assert limits["label_share"] == (">=", 0.995)
    assert limits["deg_mean"] == ("<=", 0.5)
    assert limits["relative"] == ("<=", 0.01)


@pytest.mark.parametrize(
    ("found", "quality", "expected"),
    [
        ({}, "balanced", []),
        ({"label_share": 0.995}, "balanced", []),
        ({"label_share": 0.9949}, "balanced", ["got label_share 0.9949; expected >= 0.995"]),
        ({"label_share": 0.9949}, "fast", []),
        ({"deg_mean": 0.5}, "balanced", []),
        ({"deg_mean": 0.51}, "balanced", ["got deg_mean 0.51; expected <= 0.5"]),
        ({"deg_mean": 0.2}, "exact", ["got deg_mean 0.2; expected <= 0.05"]),
        ({"px_p90": 0.1, "px_max": 40.0}, "balanced", []),
        ({"px_p90": 0.1, "px_max": math.inf}, "balanced", ["got px_max inf; expected a number"]),
        ({"relative": math.nan, "score_max": 9.0}, "fast", ["got relative nan; expected a number", "got score_max 9"]),
    ],
)
def test_misses_are_sentences(found: Mapping[str, float], quality: Quality, expected: list[str]) -> None:
    said = misses(found, quality)
    assert len(said) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(said, expected, strict=True))


def test_a_unit_without_a_limit_is_an_error_not_a_pass() -> None:
    with pytest.raises(UsageError, match="'furlongs'"):
        misses({"furlongs": 0.0}, "fast")


def test_margins_show_what_is_judged() -> None:
    assert margins({"px_max": 3.0, "px_p90": 0.12345}, "balanced") == "px_p90 0.1235 (<= 0.5)"


def test_the_worst_of_several_pictures() -> None:
    rows = [{"label_share": 0.9, "deg_mean": 2.0, "px_max": 1.0}, {"label_share": 1.0, "deg_mean": 1.0, "px_max": 2.0}]
    assert worst(rows) == {"label_share": 0.9, "deg_mean": 2.0, "px_max": 2.0}
    assert mean(rows) == {"label_share": 0.95, "deg_mean": 1.5, "px_max": 1.5}
    assert worst([]) == mean([]) == {}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("unit", ["label_share", "deg_mean"])
def test_no_number_is_the_worst_of_all(unit: str, place: int) -> None:
    values = [0.5, 0.6, 0.7]
    values[place] = math.nan
    assert math.isnan(worst([{unit: value} for value in values])[unit])


def test_a_report_misses_by_errors_and_non_finite_values_first() -> None:
    good = AuditReport(discrepancies={"deg_mean": 0.1}, crops=2)
    assert good.misses("balanced") == []
    assert good.misses("exact") == ["got deg_mean 0.1; expected <= 0.05"]
    assert AuditReport(non_finite=3, crops=2).misses("fast") == ["got 3 values that are not finite; expected none"]
    assert AuditReport(error="no kernel").misses("fast") == ["got an error: no kernel"]


def test_names_of_qualities_are_checked() -> None:
    assert check_quality("fast") == "fast"
    with pytest.raises(UsageError, match="exact, balanced, fast"):
        check_quality("best")
