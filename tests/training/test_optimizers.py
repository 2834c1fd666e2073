"""Which optimiser knobs make, what it says about it, and that its state resumes it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from vitruvian.errors import UsageError
from vitruvian.fit.knobs import TrainingKnobs
from vitruvian.training import optimizers
from vitruvian.training.careful_adamw import CarefulAdamW
from vitruvian.training.optimizers import load_optimizer_state, make_optimizer, optimizer_decision
from vitruvian.training.parameter_groups import set_rates


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """torchao's update operator by operator: the same numbers within milliseconds."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


def network(dtype: torch.dtype = torch.float32, device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 4)).to(device, dtype)


def groups(module: nn.Module) -> list[dict[str, Any]]:
    first, *rest = module.parameters()
    return [
        {"params": [first], "weight_decay": 0.1, "lr_scale": 0.5},
        {"params": rest, "weight_decay": 0.0, "lr_scale": 1.0},
    ]


def knobs(**fields: Any) -> TrainingKnobs:
    return TrainingKnobs(**fields)


def gradients(module: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


@pytest.mark.parametrize(
    ("fields", "dtype", "kind"),
    [
        ({}, torch.float32, AdamW),
        ({"optimizer": "adamw-foreach"}, torch.float32, AdamW),
        ({"state": "host"}, torch.float32, AdamW),
        ({"optimizer": "adamw-foreach", "state": "host"}, torch.float32, AdamW),
        ({}, torch.bfloat16, CarefulAdamW),
        ({"state": "host"}, torch.bfloat16, CarefulAdamW),
    ],
)
def test_kinds(fields: dict[str, Any], dtype: torch.dtype, kind: type) -> None:
    optimizer = make_optimizer(groups(network(dtype)), knobs(**fields), 0.01)
    assert type(optimizer) is kind
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.01]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    if kind is AdamW:
        foreach = fields.get("optimizer") == "adamw-foreach"
        assert (bool(optimizer.defaults["foreach"]), bool(optimizer.defaults["fused"])) == (foreach, not foreach)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_state_goes_to_the_host_from_elsewhere_alone(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, device: str
) -> None:
    """A network on meta stands for one on an accelerator: its parameters are not in host memory."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(optimizers, "CarefulAdamW", lambda groups, **options: made.append(options))
    make_optimizer(groups(network(dtype, device)), knobs(state="host"), 0.01, seed=3)
    options = {"lr": 0.01, "betas": (0.9, 0.999), "seed": 3}
    away = device == "meta"
    assert made == ([{**options, "on_host": away}] if away or dtype == torch.bfloat16 else [])


@pytest.mark.parametrize(
    ("fields", "dtype", "device", "value", "because"),
    [
        ({}, torch.float32, "cpu", "adamw", "asked for"),
        ({"state": "host"}, torch.float32, "cpu", "adamw", "state=host changes nothing here"),
        ({"state": "host"}, torch.bfloat16, "cpu", "adamw", "rounded stochastically"),
        ({"state": "host"}, torch.float32, "meta", "adamw on the host", "moments live in host memory"),
        ({}, torch.bfloat16, "cpu", "adamw", "rounded stochastically"),
        ({"optimizer": "adamw-8bit"}, torch.float32, "cpu", "adamw-8bit", "asked for"),
    ],
)
def test_it_says_what_it_is(fields: dict[str, Any], dtype: torch.dtype, device: str, value: str, because: str) -> None:
    decision = optimizer_decision(groups(network(dtype, device)), knobs(**fields))
    assert (decision.what, decision.value) == ("optimizer", value)
    assert because in decision.because


@pytest.mark.parametrize(
    ("fields", "dtype", "device", "message"),
    [
        ({"precision": "pure"}, torch.float16, "cpu", "lose small updates"),
        ({"optimizer": "adamw-8bit", "state": "host"}, torch.float32, "meta", "adamw-8bit with state=host"),
        ({"optimizer": "adamw-foreach", "state": "host"}, torch.float32, "meta", "adamw-foreach with state=host"),
        ({"optimizer": "adamw-foreach"}, torch.bfloat16, "cpu", "need stochastic rounding"),
        ({"optimizer": "adamw-8bit", "parallel": "fsdp", "gpus": 2}, torch.bfloat16, "cpu", "cannot round"),
    ],
)
def test_what_excludes_each_other_is_refused(
    fields: dict[str, Any], dtype: torch.dtype, device: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_optimizer(groups(network(dtype, device)), knobs(**fields), 0.01)


def test_a_missing_torchao_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(UsageError, match=r"without torchao.*vitruvian\[quantize\]"):
        make_optimizer(groups(network()), knobs(optimizer="adamw-8bit"), 0.01)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({}, torch.float32),
        ({"optimizer": "adamw-foreach"}, torch.float32),
        ({"optimizer": "adamw-8bit"}, torch.float32),
        ({"optimizer": "adamw-8bit"}, torch.bfloat16),
        ({}, torch.bfloat16),
    ],
    ids=str,
)
def test_every_kind_resumes_bit_for_bit(fields: dict[str, Any], dtype: torch.dtype, tmp_path: Any) -> None:
    def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            gradients(module, step)
            set_rates(optimizer, 0.01 / (1 + step))
            optimizer.step()

    torch.manual_seed(7)
    whole = network(dtype)
    optimizer = make_optimizer(groups(whole), knobs(**fields), 0.01)
    train(whole, optimizer, range(2))
    state = {"module": whole.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    torch.save(state, tmp_path / "state.pt")
    train(whole, optimizer, range(2, 4))

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = network(dtype)
    resumed.load_state_dict(state["module"])
    optimizer = make_optimizer(groups(resumed), knobs(**fields), 0.3, seed=4)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])  # torchao rounds with the global generator
    train(resumed, optimizer, range(2, 4))
    for mine, its in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, its)


KINDS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "fused": lambda module: make_optimizer(groups(module), knobs(), 0.01),
    "foreach": lambda module: make_optimizer(groups(module), knobs(optimizer="adamw-foreach"), 0.01),
    "host": lambda module: CarefulAdamW(groups(module), lr=0.01, on_host=True),
    "8 bits": lambda module: make_optimizer(groups(module), knobs(optimizer="adamw-8bit"), 0.01),
}


@pytest.mark.parametrize("before", ["fused", "foreach", "host"])
@pytest.mark.parametrize("after", ["fused", "foreach", "host"])
def test_moments_move_on_when_knobs_change(before: str, after: str) -> None:
    module, other = network(), network()
    first, kept = KINDS[before](module), KINDS[before](other)
    for each, optimizer in ((module, first), (other, kept)):
        gradients(each, 0)
        optimizer.step()
    second = KINDS[after](module)
    load_optimizer_state(second, copy.deepcopy(first.state_dict()))
    flags = {key: second.param_groups[0].get(key) for key in ("foreach", "fused", "seed")}
    assert flags == {key: KINDS[after](network()).param_groups[0].get(key) for key in flags}
    for each, optimizer in ((module, second), (other, kept)):
        gradients(each, 1)
        set_rates(optimizer, 0.01)
        optimizer.step()
    for mine, its in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(("before", "after"), [("fused", "8 bits"), ("8 bits", "host")])
def test_moments_in_8_bits_stay_among_themselves(before: str, after: str) -> None:
    module = network()
    gradients(module, 0)
    first = KINDS[before](module)
    first.step()
    with pytest.raises(UsageError, match=r"moments for (AdamW8bit|CarefulAdamW)"):
        load_optimizer_state(KINDS[after](module), first.state_dict())


@pytest.mark.usefixtures("uncompiled")
def test_8_bit_state_follows_plain_adamw_in_a_quarter_of_the_memory() -> None:
    eight, plain = network(), network()
    small = make_optimizer(groups(eight), knobs(optimizer="adamw-8bit"), 0.01)
    whole = make_optimizer(groups(plain), knobs(), 0.01)
    for step in range(3):
        for module, optimizer in ((eight, small), (plain, whole)):
            gradients(module, step)
            optimizer.step()
    matrix, other = eight[0].weight, plain[0].weight
    assert (matrix - other).abs().max() < 2e-3
    assert (matrix - network()[0].weight).abs().max() > 5e-3, "it has moved"
    assert type(small.state[matrix]["exp_avg"]).__name__ == "OptimState8bit"
