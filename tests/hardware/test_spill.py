"""The rule for a spill, on made-up runs."""

from __future__ import annotations

import pytest

from vitruvian.hardware import SpillRule, spill, spill_watch

TOTAL = 16 * 10**9
FULL, ROOMY = int(0.98 * TOTAL), int(0.9 * TOTAL)


@pytest.mark.parametrize(
    ("batches", "told_at"),
    [
        pytest.param([(10, ROOMY)] * 5, [], id="steady"),
        pytest.param([(10, FULL)] * 5, [], id="full but fast"),
        pytest.param([(10, ROOMY)] * 3 + [(1, ROOMY)] * 5, [], id="slow but roomy"),
        pytest.param([(10, ROOMY)] + [(1, FULL)] * 3, [3], id="collapsed and full"),
        pytest.param([(10, ROOMY)] + [(1, FULL)] * 9, [3], id="told once"),
        pytest.param([(10, FULL)] + [(1, FULL)] * 2 + [(8, FULL)] + [(1, FULL)] * 2, [], id="slow for two batches"),
        pytest.param([(10, FULL)] + [(1, FULL)] * 2 + [(8, FULL)] + [(1, FULL)] * 3, [6], id="slow for three later"),
        pytest.param([(10, FULL)] + [(4, FULL)] * 9, [], id="slower, not collapsed"),
        pytest.param([(1, FULL)] * 9, [], id="slow from the beginning"),
    ],
)
def test_a_spill_is_a_full_device_and_a_collapse(batches: list[tuple[float, int]], told_at: list[int]) -> None:
    rule = SpillRule(TOTAL)
    sentences = [rule.observe(rate, used) for rate, used in batches]
    assert [index for index, sentence in enumerate(sentences) if sentence] == told_at
    for index in told_at:
        assert "15.7 GB of 16.0 GB" in sentences[index]
        assert "at 1 items/s after 10" in sentences[index]
        assert "--budget" in sentences[index]


def test_a_watched_device_is_asked_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "free_memory_now", lambda device: (TOTAL, TOTAL - FULL))
    observe = spill_watch("cuda:0")
    assert [bool(observe(rate)) for rate in (10, 1, 1, 1, 1)] == [False, False, False, True, False]


def test_a_processor_does_not_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "free_memory_now", None)
    observe = spill_watch("cpu")
    assert [observe(rate) for rate in (10.0, 1.0, 1.0, 1.0)] == [""] * 4
