"""AdamW of our own: equal to torch's in float32, right on average in bfloat16, and resumed bit for bit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from vitruvian.errors import UsageError
from vitruvian.training import careful_adamw
from vitruvian.training.careful_adamw import CarefulAdamW

BETAS = (0.9, 0.95)


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Conv2d(3, 4, 2), nn.LayerNorm(8)).to(dtype)


def groups(module: nn.Module) -> list[dict[str, Any]]:
    first, *rest = module.parameters()
    return [{"params": [first], "weight_decay": 0.1, "lr": 0.02}, {"params": rest, "weight_decay": 0.0}]


def careful(module: nn.Module, **fields: Any) -> CarefulAdamW:
    return CarefulAdamW(groups(module), lr=0.01, betas=BETAS, **fields)


def give_gradients(module: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        give_gradients(module, step)
        optimizer.step()


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for (name, mine), its in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its), name


@pytest.mark.parametrize("on_host", [False, True])
def test_float32_is_updated_as_the_fused_kernel_does(on_host: bool) -> None:
    mine, its = network(), network()
    train(mine, careful(mine, on_host=on_host), range(5))
    train(its, AdamW(groups(its), lr=0.01, betas=BETAS, fused=True), range(5))
    assert_equal(mine, its)


def test_parameters_without_gradient_stay_and_have_no_state() -> None:
    module = network()
    optimizer = careful(module)
    before = copy.deepcopy(module)
    optimizer.step()
    assert_equal(module, before)
    assert not optimizer.state


def test_bfloat16_follows_float32() -> None:
    """One step from equal weights: within the rounding of weights and update."""
    half, single = network(torch.bfloat16), network(torch.bfloat16).float()
    train(half, careful(half), range(1))
    train(single, AdamW(groups(single), lr=0.01, betas=BETAS), range(1))
    for mine, its in zip(half.parameters(), single.parameters(), strict=True):
        assert mine.dtype == torch.bfloat16
        torch.testing.assert_close(mine.float(), its, rtol=2**-7, atol=0.01 * 2**-7)


def test_steps_too_small_for_the_type_move_weights_on_average() -> None:
    """200 steps of 1e-4 on weights of 1, whose neighbours lie 0.004 and 0.008 away."""
    parameter = nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    nearest = nn.Parameter(parameter.detach().clone())
    mine = CarefulAdamW([{"params": [parameter]}], lr=1e-4)
    plain = AdamW([nearest], lr=1e-4, weight_decay=0.0)
    for _ in range(200):
        parameter.grad, nearest.grad = torch.ones_like(parameter), torch.ones_like(nearest)
        mine.step()
        plain.step()
    assert parameter.float().mean().item() == pytest.approx(1 - 0.02, abs=4e-4)
    assert nearest.float().mean().item() == 1.0, "rounded to the nearest they stand still"


def test_second_moments_fall_again() -> None:
    parameter = nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    optimizer = CarefulAdamW([{"params": [parameter]}], lr=0.0, betas=(0.9, 0.999))
    for size in [1.0, *[0.0] * 300]:
        parameter.grad = torch.full_like(parameter, size)
        optimizer.step()
    square = optimizer.state[parameter]["exp_avg_sq"]
    assert square.dtype == torch.bfloat16
    assert square.float().mean().item() == pytest.approx(0.001 * 0.999**300, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("on_host", [False, True])
def test_a_resumed_optimiser_goes_on_bit_for_bit(tmp_path: Path, dtype: torch.dtype, on_host: bool) -> None:
    whole = network(dtype)
    train(whole, careful(whole, on_host=on_host, seed=5), range(6))

    first = network(dtype)
    optimizer = careful(first, on_host=on_host, seed=5)
    train(first, optimizer, range(3))
    torch.save({"module": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second = network(dtype)
    second.load_state_dict(state["module"])
    optimizer = careful(second, on_host=on_host, seed=99)
    optimizer.load_state_dict(state["optimizer"])
    train(second, optimizer, range(3, 6))
    assert_equal(second, whole)


def test_a_loaded_state_is_a_copy() -> None:
    module = network()
    optimizer = careful(module)
    train(module, optimizer, range(2))
    saved = copy.deepcopy(optimizer.state_dict())
    kept = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    train(module, optimizer, range(2, 4))
    for key, state in kept["state"].items():
        assert all(torch.equal(value, saved["state"][key][name]) for name, value in state.items())


def test_every_parameter_and_step_has_random_numbers_of_its_own() -> None:
    parameters = [nn.Parameter(torch.ones(1000, dtype=torch.bfloat16)) for _ in range(2)]
    rounded = []
    for seed in (0, 0, 1):
        optimizer = CarefulAdamW([{"params": parameters}], lr=1e-3, seed=seed)
        for _ in range(2):
            for parameter in parameters:
                parameter.detach().fill_(1.0)
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            rounded.append([parameter.detach().clone() for parameter in parameters])
    first, second, again, _, other, _ = rounded
    assert torch.equal(first[0], again[0])
    for one, two in ((first[0], first[1]), (first[0], second[0]), (first[0], other[0])):
        assert not torch.equal(one, two)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from the order of random numbers: weights that need no rounding are equal."""
    results = []
    for piece in (careful_adamw.PIECE, 5):
        monkeypatch.setattr(careful_adamw, "PIECE", piece)
        parameter = nn.Parameter(torch.ones(3, 7, dtype=torch.bfloat16))
        optimizer = CarefulAdamW([{"params": [parameter]}], lr=0.5, eps=0.0)
        parameter.grad = torch.full_like(parameter, 2.0)
        optimizer.step()
        results.append(parameter.detach())
    assert torch.equal(*results)
    assert (results[0] - 0.5).abs().max() <= 2**-9


def test_weights_in_channels_last_order() -> None:
    mine, its = (nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    its.load_state_dict(mine.state_dict())
    for dtype in (torch.float32, torch.bfloat16):
        mine, its = mine.to(dtype), its.to(dtype)
        assert not mine.weight.is_contiguous()
        train(mine, CarefulAdamW([{"params": list(mine.parameters())}], lr=0.01), range(2))
        train(its, AdamW(its.parameters(), lr=0.01, weight_decay=0.0), range(2))
        for one, other in zip(mine.parameters(), its.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=2**-6 if dtype == torch.bfloat16 else 1e-6, atol=1e-3)
        its.load_state_dict(mine.state_dict())


def test_what_it_cannot_train_is_refused() -> None:
    with pytest.raises(UsageError, match=r"torch\.float16.*train float16 under autocast"):
        careful(network(torch.float16))
    with pytest.raises(UsageError, match="on cpu, meta"):
        CarefulAdamW([{"params": [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, device="meta"))]}], lr=1.0)
    optimizer = careful(network())
    with pytest.raises(UsageError, match="closure"):
        optimizer.step(lambda: None)
