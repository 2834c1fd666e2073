"""Knobs put into effect: what is frozen, what is recomputed, in which types, and that the numbers stay the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import tolerances
from fit.small_networks import Stack, Transformer, transformer_workload, workload_of
from vitruvian.errors import UsageError
from vitruvian.fit.apply import apply_knobs, loss_of, rewrap
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Workload

X = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(1))


def prepared(**fields: Any) -> Transformer:
    torch.manual_seed(0)
    module = Transformer()
    knobs = Knobs(dtype=fields.pop("dtype", "float32"), training=TrainingKnobs(**fields))
    apply_knobs(module, transformer_workload(), knobs)
    return module


def gradients(module: nn.Module) -> dict[str, Tensor]:
    module(X).float().square().sum().backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", ["blocks", "selective"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"trainable": "lora"},
        {"precision": "autocast", "dtype": "bfloat16"},
        {"precision": "pure", "dtype": "bfloat16"},
        {"attention": "materialised"},
    ],
    ids=str,
)
def test_checkpointed_gradients_are_equal(fields: dict[str, Any], checkpointing: str) -> None:
    torch.manual_seed(0)
    plain = gradients(prepared(**fields))
    checkpointed = gradients(prepared(checkpointing=checkpointing, **fields))
    assert plain.keys() == checkpointed.keys()
    adapters = {name for name in plain if name.endswith((".down", ".up"))}
    for name in plain.keys() - adapters:  # adapters begin with random values
        assert torch.equal(plain[name], checkpointed[name]), name


def test_checkpointing_recomputes_every_block() -> None:
    calls: list[str] = []
    for checkpointing, expected in (("none", 4), ("blocks", 8)):
        module = prepared(checkpointing=checkpointing)
        calls.clear()
        for layer in module.layers:
            layer.norm.register_forward_hook(lambda *_: calls.append("block"))
        gradients(module)
        assert len(calls) == expected


class Products(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.counts[str(func.overloadpacket).removeprefix("aten.")] += 1
        return func(*args, **(kwargs or {}))


def test_selective_checkpointing_computes_no_product_twice() -> None:
    counts = {}
    for checkpointing in ("none", "selective", "blocks"):
        module = prepared(checkpointing=checkpointing)
        with Products() as products:
            gradients(module)
        counts[checkpointing] = products.counts
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    assert counts["selective"]["addmm"] == counts["none"]["addmm"] < counts["blocks"]["addmm"]
    assert counts["selective"][attention] == counts["none"][attention] == 4 < counts["blocks"][attention]
    assert counts["selective"]["gelu"] == 8 == 2 * counts["none"]["gelu"], "the others are"


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("all", {"layers.0", "layers.1", "layers.2", "layers.3", "head"}),
        ("half", {"layers.2", "layers.3", "head"}),
        ("head", {"head"}),
    ],
)
def test_what_learns(trainable: Any, expected: set[str]) -> None:
    module = prepared(trainable=trainable)
    learning = {".".join(name.split(".")[:2]) for name, p in module.named_parameters() if p.requires_grad}
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in learning} == expected


def test_adapters_learn_with_the_head() -> None:
    module = prepared(trainable="lora")
    learning = {name for name, p in module.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in learning if not name.startswith("head")} == {"down", "up"}
    assert {"head.weight", "head.bias"} < learning


def test_what_the_user_froze_stays_frozen() -> None:
    module = Transformer()
    module.head.requires_grad_(False)
    applied = apply_knobs(module, transformer_workload(), Knobs(training=TrainingKnobs()))
    assert not any(parameter is module.head.weight for parameter in applied.trained)
    assert len(applied.trained) == len(list(module.parameters())) - 2


def test_training_types() -> None:
    pure = prepared(dtype="bfloat16", precision="pure")
    assert {p.dtype for name, p in pure.named_parameters() if not name.startswith("head")} == {torch.bfloat16}
    assert pure.head.weight.dtype == torch.float32, "an island"
    mixed = prepared(dtype="bfloat16", precision="autocast")
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    assert mixed(X).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    assert {gradient.dtype for gradient in gradients(mixed).values()} == {torch.float32}


def test_inference_is_frozen_and_in_its_type() -> None:
    module = Transformer().train()
    applied = apply_knobs(module, transformer_workload(), Knobs(dtype="bfloat16"))
    assert not module.training
    assert (applied.trained, applied.blocks) == ((), ("layers.0", "layers.1", "layers.2", "layers.3"))
    assert (module.layers[0].proj.weight.dtype, module.head.weight.dtype) == (torch.bfloat16, torch.float32)
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("checkpointing", ["none", "blocks"])
def test_materialised_attention_computes_the_same_another_way(checkpointing: Any) -> None:
    fused = prepared()
    other = prepared(attention="materialised", checkpointing=checkpointing)
    assert (fused(X) - other(X)).abs().max() < tolerances.EXPORT_ABS
    kernels: list[set[str]] = []
    for module in (fused, other):
        with torch.profiler.profile() as profile:
            gradients(module)
        kernels.append({event.key for event in profile.key_averages() if "scaled_dot_product" in event.key})
    assert any("flash" in name for name in kernels[0])
    assert not any("flash" in name for name in kernels[1]), "not in the recomputation either"


class Strips(nn.Module):
    """A head with the switch."""

    def __init__(self) -> None:
        super().__init__()
        self.chunked_head = False
        self.linear = nn.Linear(2, 2)


def test_the_chunked_head_is_switched_where_it_is_offered() -> None:
    module = nn.Sequential(nn.Linear(2, 2), Strips())
    plain = workload_of(module, 2)
    offering = replace(plain, knobs=frozenset({"chunked_head"}))
    apply_knobs(module, offering, Knobs(chunked_head=True))
    assert module[1].chunked_head is True
    apply_knobs(module, offering, Knobs())
    assert module[1].chunked_head is False
    with pytest.raises(UsageError, match="cannot work in strips"):
        apply_knobs(module, plain, Knobs(chunked_head=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"checkpointing": "blocks"}, "checkpointing=blocks for a network without known repeated blocks"),
        ({"checkpointing": "selective"}, "checkpointing=selective for a network without known repeated blocks"),
        ({"trainable": "lora"}, "trainable=lora"),
        ({"trainable": "half"}, "trainable=half"),
        ({"trainable": "head"}, "trainable=head for a network without known head"),
    ],
)
def test_parts_that_are_not_there_are_named(fields: dict[str, Any], message: str) -> None:
    module = Stack()
    with pytest.raises(UsageError, match=message):
        apply_knobs(module, workload_of(module, 256), Knobs(training=TrainingKnobs(**fields)))


def mean_loss(outputs: dict[str, Tensor]) -> Tensor:
    return outputs["a"].mean()


def test_the_loss_is_the_workloads_or_the_sum_of_what_has_a_gradient() -> None:
    plain: Workload = transformer_workload()
    outputs = {"a": torch.full((2, 2), 3.0, requires_grad=True), "b": [torch.ones(2, dtype=torch.int64)]}
    assert loss_of(plain, outputs).item() == 12.0
    assert loss_of(replace(plain, loss=mean_loss), outputs).item() == 3.0
    half = {"a": torch.full((1000,), 300.0, dtype=torch.bfloat16, requires_grad=True)}
    assert loss_of(plain, half).item() == 300_000.0, "summed in float32"


@pytest.mark.parametrize("trainable", ["all", "lora"])
def test_rewrapping_changes_how_it_computes_and_nothing_else(trainable: Any) -> None:
    module = prepared(trainable=trainable, checkpointing="blocks", attention="materialised")
    before = gradients(module)
    module.zero_grad()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    learning = [name for name, value in module.named_parameters() if value.requires_grad]
    rewrap(module, transformer_workload(), Knobs(training=TrainingKnobs(trainable=trainable)))
    assert not any("forward" in vars(part) for part in module.modules())
    assert [name for name, value in module.named_parameters() if value.requires_grad] == learning
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    after = gradients(module)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=tolerances.LOSS_REL) for name in before)
