"""Rounding by chance: right on average, to one of the two neighbours, and the same again from the same generator."""

from __future__ import annotations

import pytest
import torch

from vitruvian.training.stochastic_rounding import round_stochastically

DRAWS = 20_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("base", [1.0, -1.0, 3e-30, -2.5e20])
def test_the_mean_is_the_value_itself(base: float, share: float) -> None:
    low = torch.tensor(base).bfloat16()
    high = (low.view(torch.int16) + 1).view(torch.bfloat16)  # away from zero
    value = low.float() + share * (high.float() - low.float())
    found = round_stochastically(value.expand(DRAWS).contiguous(), generator())
    assert set(found.tolist()) <= {low.item(), high.item()}
    assert (found == high).float().mean().item() == pytest.approx(share, abs=4 * 0.5 / DRAWS**0.5)


def test_what_fits_is_kept() -> None:
    exact = torch.randn(1000, generator=generator()).bfloat16()
    given = exact.float()
    assert torch.equal(round_stochastically(given, generator(1)), exact)
    assert torch.equal(given, exact.float()), "the values are not written to"


def test_no_number_stays_none() -> None:
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0])
    odd = torch.cat([odd, torch.tensor([-1], dtype=torch.int32).view(torch.float32)])  # a NaN with all bits set
    found = round_stochastically(odd.expand(100, 6).contiguous(), generator())
    assert found[:, :2].tolist() == [[torch.inf, -torch.inf]] * 100
    assert found[:, 3:5].eq(0).all()
    assert found[:, [2, 5]].isnan().all()


def test_the_generator_decides() -> None:
    values = torch.randn(500, generator=generator())
    first, again, other = (round_stochastically(values, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_shapes_and_strides_do_not_matter() -> None:
    values = torch.randn(4, 6, generator=generator()).t()
    found = round_stochastically(values, generator())
    assert found.shape == (6, 4)
    assert ((found.float() - values).abs() <= values.abs() / 128).all()
