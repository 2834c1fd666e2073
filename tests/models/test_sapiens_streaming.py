"""The head in strips against its plain path: values, types, memory, and when it steps aside."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import export
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tolerances import STREAMED_REL
from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.models.sapiens import (
    BackboneConfig,
    HeadConfig,
    SapiensConfig,
    build_network,
    published_config,
    streaming,
)
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.models.sapiens.heads import Head
from vitruvian.weights import load_weights

WIDTH = 24
HEADS: dict[str, tuple[HeadKind, int, tuple[int, ...], tuple[int, ...]]] = {
    # name: (kind, channels, deconvolution widths, convolution widths)
    "pose": ("pose", 17, (16, 16), (16, 16)),
    "seg": ("seg", 28, (16, 16, 16), (16, 16, 16)),
    "depth": ("depth", 1, (8, 8, 8, 8), (8, 8)),
    "normal": ("normal", 3, (16, 16, 16), (16, 16, 16)),
    "widths-change": ("seg", 5, (16, 30, 12), (12, 20, 7)),
    "shrinks-more-than-it-grows": ("normal", 3, (40, 6, 4), (4,)),
    "no-convolutions": ("depth", 1, (12, 6), ()),
    "no-deconvolutions": ("pose", 4, (), (9, 30)),
    "linear": ("seg", 6, (), ()),
}
GRIDS = [(5, 3), (1, 2), (8, 7)]
STRIPS_BYTES = [800, 5000, streaming.CPU_STRIP_BYTES]
"""A few pixels or one row at a time, some, all."""


def head_of(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Head:
    kind, channels, deconvs, convs = HEADS[name]
    torch.manual_seed(seed)
    head = Head(HeadConfig(kind=kind, channels=channels, deconv_widths=deconvs, conv_widths=convs), WIDTH)
    return head.eval().requires_grad_(False).to(dtype)


def head_in(module: nn.Module) -> Head:
    (head,) = (part for part in module.modules() if isinstance(part, Head))
    return head


def chunked(module: nn.Module, x: Tensor) -> Any:
    """What the module gives with the knob on, which is off again afterwards."""
    head = head_in(module)
    head.chunked_head = True
    with torch.no_grad():
        found = module(x)
    head.chunked_head = False
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("strip_bytes", STRIPS_BYTES)
@pytest.mark.parametrize("grid_hw", GRIDS, ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_strips_give_what_the_plain_path_gives(
    name: str, grid_hw: tuple[int, int], strip_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CPU_STRIP_BYTES", strip_bytes)
    head = head_of(name)
    x_BChw = torch.randn(3, WIDTH, *grid_hw)
    given = x_BChw.clone()
    expected, found = head(x_BChw), chunked(head, x_BChw)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    assert relative(found, expected) <= STREAMED_REL
    assert torch.equal(x_BChw, given)
    for item in range(3):
        assert torch.equal(chunked(head, x_BChw[item : item + 1])[0], found[item])


def test_strips_of_single_pixels_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CPU_STRIP_BYTES", 1)
    head, x_BChw = head_of("widths-change"), torch.randn(1, WIDTH, 2, 3)
    assert relative(chunked(head, x_BChw), head(x_BChw)) <= STREAMED_REL


@pytest.mark.parametrize("mean", [30.0, -200.0])
def test_maps_far_from_zero_keep_their_digits(mean: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CPU_STRIP_BYTES", 3000)
    head = head_of("seg")
    x_BChw = torch.randn(1, WIDTH, 8, 6) + mean
    exact = head.double()(x_BChw.double())
    plain = relative(head.float()(x_BChw).double(), exact)
    assert relative(chunked(head, x_BChw).double(), exact) <= max(2 * plain, STREAMED_REL)


@pytest.mark.parametrize("name", HEADS)
def test_bfloat16_is_no_farther_from_float32_than_the_plain_path(name: str) -> None:
    head = head_of(name, torch.bfloat16).float()
    x_BChw = torch.randn(2, WIDTH, 16, 12).bfloat16()
    expected = head(x_BChw.float())
    head.bfloat16()
    found = chunked(head, x_BChw)
    assert found.dtype == torch.bfloat16
    assert torch.dist(found.float(), expected) <= 1.001 * torch.dist(head(x_BChw).float(), expected)


def network_of(kind: HeadKind = "depth") -> nn.Module:
    torch.manual_seed(1)
    backbone = BackboneConfig(width=WIDTH, depth=1, heads=2, mlp_width=48, input_hw=(64, 48), patch_padding="corner")
    head = HeadConfig(kind=kind, channels=2, deconv_widths=(16, 16), conv_widths=(16,))
    network = build_network(SapiensConfig(backbone=backbone, head=head), "cpu").requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.2)
    return network


@pytest.mark.parametrize(
    "islands",
    [
        (),
        zoo.ISLANDS,
        ("decode_head.deconv_layers.3",),
        ("decode_head.conv_layers.0", *zoo.ISLANDS),
        ("decode_head",),
        ("backbone.pos_embed", "backbone.ln1"),
    ],
    ids=str,
)
def test_float32_islands_hold_in_strips(islands: tuple[str, ...]) -> None:
    x_B3HW = torch.randn(2, 3, 64, 48)
    network = apply_precision(network_of(), Precision(dtype="bfloat16", islands=islands))
    plain = network(x_B3HW)["depth"]
    found = chunked(network, x_B3HW)["depth"]
    exact = network.float()
    for part in exact.modules():
        part._forward_pre_hooks.clear()
    expected = exact(x_B3HW)["depth"]
    assert found.dtype == plain.dtype
    assert torch.dist(found.float(), expected) <= 1.05 * torch.dist(plain.float(), expected)


@pytest.mark.parametrize("kind", ["pose", "seg", "depth", "normal"])
def test_the_embedded_networks_give_the_same_in_strips(kind: str) -> None:
    network = load_weights(f"sapiens-{kind}-nano").network
    x_B3HW = torch.randn(2, 3, 256, 192)
    with torch.no_grad():
        (expected,) = network(x_B3HW).values()
    (found,) = chunked(network, x_B3HW).values()
    assert relative(found, expected) <= STREAMED_REL


class PeakBytes(TorchDispatchMode):
    """The most bytes of storages made within that were alive at one time."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._held = {tensor.untyped_storage()._cdata: 0 for tensor in given}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in self._held:
                storage = leaf.untyped_storage()
                self._held[storage._cdata] = storage.nbytes()
                self._live += storage.nbytes()
                weakref.finalize(storage, self._drop, storage._cdata).atexit = False
        self.peak = max(self.peak, self._live)
        return out

    def _drop(self, key: int) -> None:
        self._live -= self._held.pop(key)


def peak_bytes(head: nn.Module, x: Tensor, *, strips: bool) -> int:
    with torch.no_grad(), PeakBytes([x, *head.parameters()]) as tracked:
        _ = chunked(head, x) if strips else head(x)
    return tracked.peak


@contextmanager
def full_size_head(kind: HeadKind, dtype: torch.dtype) -> Iterator[tuple[Head, int]]:
    """A published head and the width of its input on fake tensors: real sizes, no memory."""
    config = published_config("0.3b", kind, {"pose": 308, "seg": 28, "depth": 1, "normal": 3}[kind])
    assert config.head is not None
    with torch.device("meta"):
        head = Head(config.head, config.backbone.width).eval().requires_grad_(False).to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield head.to_empty(device="cpu"), config.backbone.width


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("pose", torch.float32), ("seg", torch.float32), ("seg", torch.bfloat16), ("depth", torch.float32)],
    ids=str,
)
def test_a_published_head_holds_little_more_than_half(kind: HeadKind, dtype: torch.dtype) -> None:
    with full_size_head(kind, dtype) as (head, width):
        x_BChw = torch.empty(1, 64, 48, width, dtype=dtype).permute(0, 3, 1, 2)  # as the encoder gives it
        assert peak_bytes(head, x_BChw, strips=True) < 0.6 * peak_bytes(head, x_BChw, strips=False)


def test_a_batch_adds_nothing_but_its_result() -> None:
    with full_size_head("pose", torch.float32) as (head, width):
        one, three = (torch.empty(batch, 64, 48, width).permute(0, 3, 1, 2) for batch in (1, 3))
        assert peak_bytes(head, three, strips=True) <= peak_bytes(head, one, strips=True) + head(three).nbytes


def test_the_last_map_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CPU_STRIP_BYTES", 2**14)
    head = head_of("seg")
    x_BChw = torch.randn(1, WIDTH, 32, 24)
    map_bytes = 16 * 256 * 192 * 4
    result_bytes = 28 * 256 * 192 * 4
    assert peak_bytes(head, x_BChw, strips=False) >= 3 * map_bytes
    assert peak_bytes(head, x_BChw, strips=True) < 1.2 * map_bytes + result_bytes


def test_training_gradients_and_export_take_the_plain_path() -> None:
    network = network_of()
    head_in(network).chunked_head = True
    x_B3HW = torch.randn(2, 3, 64, 48)
    program = export(network, (x_B3HW,))
    with torch.no_grad():
        program_without_gradients = export(network, (x_B3HW,))
    for exported in (program, program_without_gradients):
        assert "conv_transpose2d" in exported.graph_module.code
        assert relative(exported.module()(x_B3HW)["depth"], network(x_B3HW)["depth"]) <= STREAMED_REL
    network.requires_grad_(True)
    assert network(x_B3HW)["depth"].grad_fn is not None
    with torch.no_grad():
        assert network.eval()(x_B3HW)["depth"].grad_fn is None
        torch.manual_seed(0)
        trained = network.train()(x_B3HW)["depth"]
        head_in(network).chunked_head = False
        torch.manual_seed(0)
        assert torch.equal(trained, network(x_B3HW)["depth"])


def test_a_wrapped_convolution_is_refused() -> None:
    head = head_of("seg")
    head.conv_layers[3] = nn.Sequential(head.conv_layers[3])
    with pytest.raises(UsageError, match=r"got a Sequential.*merge"):
        chunked(head, torch.randn(1, WIDTH, 4, 3))


def test_every_head_offers_strips() -> None:
    for spec in zoo.SAPIENS_MODELS.values():
        assert spec.workload.knobs == ({"chunked_head"} if spec.task != "features" else frozenset())
