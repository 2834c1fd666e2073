"""Compute types by device, islands by network, and networks that run, export and trace in any precision."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional

from vitruvian import zoo
from vitruvian.fit.precision import (
    CastInputs,
    Precision,
    after_non_finite,
    apply_precision,
    compute_types,
    more_islands,
    precision_ladder,
    usable_types,
)
from vitruvian.fit.workload import Workload, meta_copy
from vitruvian.hardware import Accelerator, Cpu, Device, Dtype, Rates, Support
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def gpu(bf16: Support, fp16: Support, rates: Rates | None = None, device: str = "cuda:0") -> Device:
    return Accelerator(
        device=device,
        name="a card",
        total_bytes=16 * 10**9,
        free_bytes=15 * 10**9,
        bf16=bf16,
        fp16=fp16,
        tf32="none",
        fp8="none",
        rates=rates,
    )


def cpu(bf16: Support, fp16: Support, rates: Rates | None = None) -> Device:
    return Cpu(
        name="a processor",
        cores=2,
        total_bytes=8 * 10**9,
        free_bytes=6 * 10**9,
        bf16=bf16,
        fp16=fp16,
        tf32="none",
        fp8="none",
        rates=rates,
    )


def rates(float32: float, bfloat16: float, float16: float) -> Rates:
    return Rates(
        float32_tflops=float32,
        bfloat16_tflops=bfloat16,
        float16_tflops=float16,
        bandwidth_gb_s=100,
        source="spec sheet",
    )


DEVICES: dict[str, tuple[Device, tuple[Dtype, ...]]] = {
    "A100": (gpu("native", "native", rates(19.5, 312, 312)), ("bfloat16", "float16", "float32")),
    "T4": (gpu("emulated", "native", rates(8.1, 8, 65)), ("float16", "float32")),
    "GTX 1080": (gpu("emulated", "emulated"), ("float32",)),
    "GTX 1080, fp16 called native": (gpu("none", "native", rates(8.9, 4, 0.14)), ("float32",)),
    "MPS": (gpu("unknown", "native", device="mps:0"), ("float16", "float32")),
    "unknown": (gpu("unknown", "unknown", device="xpu:0"), ("float32",)),
    "CPU with bf16": (cpu("native", "emulated"), ("bfloat16", "float32")),
    "CPU with bf16 and fp16 of float32's speed": (cpu("native", "native"), ("bfloat16", "float32")),
    "CPU with fast fp16": (cpu("native", "native", rates(0.2, 1.5, 1.4)), ("bfloat16", "float16", "float32")),
    "CPU without": (cpu("emulated", "emulated"), ("float32",)),
}


@pytest.mark.parametrize("name", DEVICES)
def test_types_by_native_support(name: str) -> None:
    device, expected = DEVICES[name]
    assert compute_types(device) == expected


FALLBACKS: dict[str, tuple[Dtype, ...]] = {
    "GTX 1080": ("float16",),
    "GTX 1080, fp16 called native": ("float16",),
    "unknown": ("float16",),
    "CPU without": ("bfloat16",),
}


@pytest.mark.parametrize("name", DEVICES)
def test_a_smaller_type_comes_after_float32_where_nothing_better_is_there(name: str) -> None:
    device, expected = DEVICES[name]
    assert usable_types(device) == (*expected, *FALLBACKS.get(name, ()))


def test_a_type_that_a_device_does_not_know_is_never_used() -> None:
    assert usable_types(gpu("none", "none")) == ("float32",)


def bf16(*islands: str) -> Precision:
    return Precision(dtype="bfloat16", islands=islands)


def fp16(*islands: str) -> Precision:
    return Precision(dtype="float16", islands=islands)


LADDERS: dict[str, list[Precision]] = {
    "A100": [bf16("h"), bf16("h", "n"), bf16("h", "n", "d"), fp16("h"), fp16("h", "n"), fp16("h", "n", "d")],
    "T4": [fp16("h"), fp16("h", "n"), fp16("h", "n", "d")],
    "MPS": [fp16("h"), fp16("h", "n"), fp16("h", "n", "d")],
    "GTX 1080": [],
    "CPU with bf16": [bf16("h"), bf16("h", "n"), bf16("h", "n", "d")],
    "CPU without": [],
}
AFTER_FLOAT32: dict[str, list[Precision]] = {
    "GTX 1080": [fp16("h"), fp16("h", "n"), fp16("h", "n", "d")],
    "CPU without": [bf16("h"), bf16("h", "n"), bf16("h", "n", "d")],
}
"""For what does not fit in float32."""


@pytest.mark.parametrize("name", LADDERS)
def test_the_ladder_of_a_device(name: str) -> None:
    ladder = precision_ladder(DEVICES[name][0], ["h"], [["h", "n"], ["h", "n", "d"]])
    assert ladder == (*LADDERS[name], Precision(), *AFTER_FLOAT32.get(name, []))


def test_steps_that_add_nothing_are_left_out() -> None:
    ladder = precision_ladder(DEVICES["CPU with bf16"][0], ["h"], [["h"], ["h"]])
    assert ladder == (bf16("h"), Precision())


def test_a_type_insisted_on_is_the_only_one() -> None:
    assert precision_ladder(DEVICES["T4"][0], ["h"], dtypes=["bfloat16"]) == (bf16("h"),)


@pytest.mark.parametrize(
    ("device", "current", "expected"),
    [
        ("A100", bf16("h"), bf16("h", "n")),
        ("A100", bf16("h", "n"), bf16("h", "n", "d")),
        ("A100", bf16("h", "n", "d"), Precision()),
        ("A100", fp16("h"), bf16("h")),
        ("T4", fp16("h"), Precision()),
        ("CPU without", bf16("h"), bf16("h", "n")),
        ("CPU without", bf16("h", "n", "d"), Precision()),
        ("GTX 1080", fp16("h"), Precision()),
        ("A100", Precision(), None),
    ],
)
def test_where_to_go_after_values_that_are_not_finite(
    device: str, current: Precision, expected: Precision | None
) -> None:
    ladder = precision_ladder(DEVICES[device][0], ["h"], [["h", "n"], ["h", "n", "d"]])
    assert after_non_finite(current, ladder) == expected


def test_what_was_turned_down_is_no_way_out() -> None:
    assert after_non_finite(fp16("h"), [fp16("h"), Precision()]) == Precision()


class Inner(nn.Module):
    """A layer, a norm without weights, and a plain sum round both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.norm = nn.InstanceNorm2d(4)
        self.table = nn.Parameter(torch.randn(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x + self.table))


class Net(nn.Module):
    """Two inner parts, a norm with a count, a head; remembers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.layers = nn.ModuleList([Inner(), Inner()])
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


X = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))


def input_types(module: nn.Module, *inputs: Any) -> dict[str, torch.dtype]:
    """Type that each module's forward is entered with."""
    seen: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        return lambda part, args: seen.__setitem__(name, args[0].dtype)

    handles = [part.register_forward_pre_hook(note(name)) for name, part in module.named_modules()]
    module(*inputs)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_without_islands_everything_has_one_type(net: Net, dtype: Dtype) -> None:
    precision = Precision(dtype=dtype)
    keys = list(net.state_dict())
    assert apply_precision(net, precision) is net
    assert list(net.state_dict()) == keys
    types = {key: value.dtype for key, value in net.state_dict().items() if "num_batches" not in key}
    assert set(types.values()) == {precision.torch_dtype}
    assert net.norm.num_batches_tracked is not None
    assert net.norm.num_batches_tracked.dtype == torch.int64
    assert net(X).dtype == precision.torch_dtype
    hooks = [part for part in net.modules() if part._forward_pre_hooks]
    assert hooks == ([] if dtype == "float32" else [net])


def test_a_last_layer_in_float32_keeps_all_its_digits(net: Net) -> None:
    apply_precision(net, bf16("head.1"))
    assert net.get_parameter("head.1.weight").dtype == FP32
    assert net.head[0](torch.zeros(1, dtype=BF16)).dtype == BF16
    found = net(X)
    assert found.dtype == FP32
    assert not torch.equal(found, found.to(BF16).float())


def test_outputs_of_islands_flow_on(net: Net) -> None:
    apply_precision(net, bf16("layers.0", "norm"))
    types = input_types(net, X)
    # the first block and the norm are islands; a sum behind an island stays wide, modules with weights narrow it again
    assert {name: types[name] for name in ("stem", "layers.0.conv", "layers.0.norm", "layers.1.conv", "norm")} == {
        "stem": BF16,
        "layers.0.conv": FP32,
        "layers.0.norm": FP32,
        "layers.1.conv": BF16,
        "norm": FP32,
    }
    assert types["head.0"] == FP32
    assert types["head.1"] == BF16
    assert net.get_parameter("layers.0.table").dtype == FP32
    assert net.norm.running_var is not None
    assert net.norm.running_var.dtype == FP32


def test_a_module_without_weights_can_be_an_island(net: Net) -> None:
    apply_precision(net, fp16("layers.*.norm"))
    types = input_types(net, X)
    assert types["layers.0.norm"] == types["layers.1.norm"] == FP32
    assert types["layers.1.conv"] == FP16


def test_a_single_weight_can_be_an_island(net: Net) -> None:
    apply_precision(net, bf16("layers.1.table"))
    assert net.get_parameter("layers.1.table").dtype == FP32
    assert net.get_parameter("layers.1.conv.weight").dtype == BF16
    types = input_types(net, X)
    assert types["layers.1.norm"] == BF16
    assert net(X).dtype == BF16


def test_everything_can_be_an_island(net: Net) -> None:
    expected = net(X)
    assert torch.equal(apply_precision(net, bf16("*"))(X), expected)


def test_another_precision_replaces_the_one_before(net: Net) -> None:
    apply_precision(net, bf16("head", "norm"))
    once = net(X)
    hooks = sum(len(part._forward_pre_hooks) for part in net.modules())
    weights = {key: value.data_ptr() for key, value in net.state_dict().items()}
    apply_precision(net, bf16("head", "norm"))
    assert sum(len(part._forward_pre_hooks) for part in net.modules()) == hooks
    assert {key: value.data_ptr() for key, value in net.state_dict().items()} == weights
    assert torch.equal(net(X), once)
    apply_precision(net, Precision())
    assert not any(part._forward_pre_hooks for part in net.modules())
    assert net(X).dtype == FP32


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_copies_compute_the_same_and_are_apart(net: Net, copied: Any) -> None:
    apply_precision(net, bf16("head", "norm"))
    other = copied(net)
    assert torch.equal(other(X), net(X))
    apply_precision(other, Precision())
    assert net(X).dtype == FP32
    assert net.get_parameter("stem.weight").dtype == BF16


def test_tied_weights_stay_tied_and_islands_keep_them() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    apply_precision(net, bf16("2"))
    assert net[2].weight is net[0].weight
    assert net[0].weight.dtype == FP32
    apply_precision(net, bf16())
    assert net[2].weight is net[0].weight
    assert net[0].weight.dtype == BF16


def test_gradients_stay_wanted_or_not(net: Net) -> None:
    net.stem.weight.requires_grad_(False)
    apply_precision(net, bf16())
    assert not net.stem.weight.requires_grad
    assert net.stem.bias is not None
    assert net.stem.bias.requires_grad


Pair = namedtuple("Pair", "a b")


class Takes(nn.Module):
    """Shows what it was called with."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


def test_inputs_are_cast_wherever_they_hide_and_nothing_else_is() -> None:
    net = apply_precision(Takes(), bf16())
    ones, ids, mask = torch.ones(2), torch.arange(2), torch.ones(2, dtype=torch.bool)
    complex_number = torch.ones(2, dtype=torch.complex64)
    args, kwargs = net(ones, [ones, ids], Pair(ones, "text"), mask=mask, deep={"x": (ones.double(),), "n": 3}, z=None)
    assert (args[0].dtype, args[1][0].dtype, args[1][1].dtype) == (BF16, BF16, torch.int64)
    assert isinstance(args[2], Pair)
    assert (args[2].a.dtype, args[2].b) == (BF16, "text")
    assert kwargs["mask"] is mask
    assert (kwargs["deep"]["x"][0].dtype, kwargs["deep"]["n"], kwargs["z"]) == (BF16, 3, None)
    assert net(complex_number)[0][0] is complex_number
    assert net(ids)[0][0] is ids
    step = torch.tensor(981.0)
    assert net(step)[0][0] is step


class Mixed(nn.Module):
    """Library modules that use their parts' weights themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return functional.softmax(self.out(self.memory(x)[0]), -1)


@pytest.mark.parametrize("islands", [(), ("norm",), ("norm", "attention"), ("memory", "embed"), ("out",)], ids=str)
def test_library_modules_run_with_any_islands(islands: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net = Mixed().eval()
    ids = torch.arange(6).reshape(2, 3)
    expected = net(ids)
    found = apply_precision(net, bf16(*islands))(ids).float()
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    assert not torch.equal(found, expected)


TINY = BackboneConfig(width=16, depth=2, heads=2, mlp_width=32, input_hw=(64, 48), patch_padding=2)
CONFIGS = {
    "seg": SapiensConfig(
        backbone=TINY, head=HeadConfig(kind="seg", channels=28, deconv_widths=(16, 8), conv_widths=(8,))
    ),
    "pose": SapiensConfig(
        backbone=TINY, head=HeadConfig(kind="pose", channels=17, deconv_widths=(16,), conv_widths=(16,))
    ),
    "features": SapiensConfig(backbone=TINY, head=None),
}
HEAD = ("head", "decode_head")


def tiny(task: str) -> nn.Module:
    torch.manual_seed(0)
    network = build_network(CONFIGS[task], "cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(False)


def steps(task: str) -> list[Precision]:
    more = more_islands(build_network(CONFIGS[task]), zoo.ISLANDS, HEAD)
    return [bf16(), *(bf16(*islands) for islands in (zoo.ISLANDS, *more))]


def picture(batch: int) -> Tensor:
    return torch.randn(batch, 3, 64, 48, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("task", CONFIGS)
def test_more_islands_name_norms_tables_and_then_the_head(task: str) -> None:
    network = build_network(CONFIGS[task])
    gentle, most = (Precision(islands=islands) for islands in more_islands(network, zoo.ISLANDS, HEAD))
    weights = {key for key, _ in network.named_parameters()}
    wide = {key for key in weights if gentle.covers(key)}
    assert {key for key in weights if ".ln" in key or "pos_embed" in key} <= wide
    assert not {key for key in wide if "qkv" in key or "ffn" in key or "patch" in key or "deconv" in key}
    heads = {key for key in weights if "head" in key.split(".")[0]}
    assert {key for key in weights if most.covers(key)} == wide | heads
    assert len(gentle.islands) < 16
    norms = [name for name, part in network.named_modules() if isinstance(part, (nn.InstanceNorm2d, nn.LayerNorm))]
    assert all(map(gentle.covers, norms))


def test_numbers_in_names_become_patterns_only_where_they_mean_the_same() -> None:
    net = nn.ModuleDict(
        {
            "all": nn.ModuleList([nn.LayerNorm(2), nn.LayerNorm(2)]),
            "some": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)),
        }
    )
    assert more_islands(net) == (("all.*", "some.1"),) * 2


def test_matrices_beside_parts_keep_the_compute_type() -> None:
    net = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)})
    assert more_islands(net) == ((), ())


@pytest.mark.parametrize("task", CONFIGS)
def test_each_step_is_nearer_to_float32_and_keys_stay(task: str) -> None:
    x = picture(2)
    network = tiny(task)
    ((name, expected),) = network(x).items()
    errors = []
    for precision in steps(task):
        candidate = apply_precision(copy.deepcopy(network), precision)
        assert candidate.state_dict().keys() == network.state_dict().keys()
        for key, value in candidate.state_dict().items():
            assert value.dtype == precision.dtype_of(key), key
        errors.append(float((candidate(x)[name].float() - expected).norm() / expected.norm()))
    assert 0 < errors[-1] < errors[0]
    assert errors[0] < 0.1


@pytest.mark.parametrize("task", CONFIGS)
def test_networks_trace_on_meta_and_with_fake_tensors(task: str) -> None:
    for precision in steps(task):
        real = apply_precision(tiny(task), precision)(picture(2))
        on_meta = apply_precision(build_network(CONFIGS[task]), precision)
        shown = on_meta(torch.empty(2, 3, 64, 48, device="meta"))
        with FakeTensorMode(allow_non_fake_inputs=True):
            fake = on_meta.to_empty(device="cpu")(torch.empty(2, 3, 64, 48))
        for found in (shown, fake):
            assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
                key: (value.shape, value.dtype) for key, value in real.items()
            }


def test_copies_on_meta_keep_their_types() -> None:
    network = apply_precision(tiny("seg"), steps("seg")[-1])
    copied = meta_copy(network)
    assert {key: value.dtype for key, value in copied.state_dict().items()} == {
        key: value.dtype for key, value in network.state_dict().items()
    }
    assert copied(torch.empty(2, 3, 64, 48, device="meta"))["logits"].dtype == FP32
    workload = Workload.from_module(network, (picture(2),))
    assert workload.build()(torch.empty(2, 3, 64, 48, device="meta"))["logits"].dtype == FP32


@pytest.mark.parametrize("step", [0, 1, 3], ids=["none", "published", "most"])
def test_exports_with_any_batch(step: int) -> None:
    network = apply_precision(tiny("seg"), steps("seg")[step])
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(network, (picture(2),), dynamic_shapes=({0: batch},), strict=False)
    assert [(bounds.lower, bounds.upper) for bounds in program.range_constraints.values()] == [(1, 8)]
    exported = program.module()
    for size in (1, 2, 5):
        found, expected = exported(picture(size))["logits"], network(picture(size))["logits"]
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected)


def test_nothing_is_hung_before_modules_without_weights() -> None:
    network = apply_precision(tiny("seg"), bf16(*zoo.ISLANDS))
    casting = [
        part
        for part in network.modules()
        if any(isinstance(hook, CastInputs) for hook in part._forward_pre_hooks.values())
    ]
    assert casting
    assert not [part for part in casting if isinstance(part, (nn.SiLU, nn.GELU, nn.InstanceNorm2d))]


@pytest.mark.parametrize("task", ["seg", "pose"])
@pytest.mark.parametrize("step", range(4), ids=["none", "published", "norms", "head"])
def test_a_head_in_strips_keeps_the_islands(task: str, step: int) -> None:
    x = picture(2)
    network = tiny(task)
    with torch.inference_mode():
        ((name, true),) = network(x).items()
    precision = steps(task)[step]
    whole = apply_precision(network, precision)
    in_strips = copy.deepcopy(whole)
    in_strips.get_submodule("head" if task == "pose" else "decode_head").chunked_head = True  # type: ignore[assignment]
    with torch.inference_mode():
        expected, found = whole(x)[name], in_strips(x)[name]
    assert found.dtype == expected.dtype == (BF16 if step == 0 else FP32)
    assert not torch.equal(found, expected)
    assert (found.float() - true).norm() < 1.2 * (expected.float() - true).norm()
