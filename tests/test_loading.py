"""From a name to a model that is ready to run."""

from __future__ import annotations

from typing import Any

import pytest

import vitruvian as vt
from vitruvian import weights
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.fit.precision import Precision
from vitruvian.loading import load

NANO = "sapiens-seg-nano"


def reasons(model: Any, what: str) -> list[str]:
    return [decision.because for decision in model.loading_decisions if decision.what == what]


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", "float32"), ("bf16", "bfloat16"), ("bfloat16", "bfloat16")])
def test_a_type_that_was_asked_for_is_used_under_any_of_its_names(dtype: str, expected: str) -> None:
    model = load(NANO, device="cpu", dtype=dtype)
    assert model.runner.precision.dtype == expected
    assert "asked for" in reasons(model, "dtype")[-1]


def test_exact_is_float32_without_an_audit() -> None:
    model = load(NANO, device="cpu", quality="exact")
    assert model.runner.precision == Precision()
    assert reasons(model, "dtype") == ["what --quality exact means"]


def test_noise_is_not_audited_and_it_is_said() -> None:
    model = load(NANO, device="cpu", random_weights=True, dtype="bfloat16")
    assert any("random numbers" in note for note in model.notes)


@pytest.mark.parametrize(
    "options",
    [{"dtype": "int3"}, {"quality": "superb"}, {"objective": "glory"}, {"budget": "12 apples"}, {"device": "abacus"}],
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        load(NANO, **options)


@pytest.mark.parametrize(
    "options", [{"dtype": "float32"}, pytest.param({}, marks=pytest.mark.slow), {"quality": "exact"}]
)
def test_what_cannot_fit_is_refused_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(weights, "find_weights", lambda *args, **kwargs: pytest.fail("fetched"))
    with pytest.raises(DoesNotFitError, match="would fit"):
        load("sapiens-seg-1b", device="cpu", budget="1.5GB", **options)


def test_a_batch_beyond_memory_is_cut_and_it_is_said() -> None:
    model = load(NANO, device="cpu", budget="0.9GB", micro_batch=5000)
    assert 0 < model.max_batch < 5000
    assert any("5000 were asked for" in because for because in reasons(model, "max_batch"))
    assert load(NANO, device="cpu", micro_batch=3).max_batch == 3


def test_the_public_name_is_the_same() -> None:
    assert vt.load is load
