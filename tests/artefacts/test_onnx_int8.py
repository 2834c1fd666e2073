"""ONNX files in 8 bits: which products are, how far the results are, and a file that is as plain as the others."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian.artefacts import onnx_int8
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.onnx_files import ENTRY, ONNX
from vitruvian.artefacts.onnx_graph import module_of
from vitruvian.artefacts.onnx_int8 import LEAST_INPUTS, ONNX_INT8
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

BATCH = Axis(name="batch", maximum=64)
WORST_REL = 0.03
"""Relative L2 with random weights and inputs rounded to 1/255 of their range; 4e-3 was measured."""
BLOCKS = ("backbone.layers.0", "backbone.layers.1")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny() -> nn.Module:
    backbone = BackboneConfig(width=32, depth=2, heads=2, mlp_width=64, input_hw=(64, 48), patch_padding="corner")
    head = HeadConfig(kind="pose", channels=5, deconv_widths=(8,), conv_widths=(8,))
    network = build_network(SapiensConfig(backbone=backbone, head=head), "cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.normal_(1.0 if name.endswith(("ln1.weight", "ln2.weight")) else 0.0, 0.1, generator=generator)
    return network.requires_grad_(False)


def draft(module: nn.Module, shape: tuple[int, ...], **more: Any) -> Draft:
    fields: dict[str, Any] = {
        "precision": Precision(),
        "device": "cpu",
        "calibration": [(numbers(1, *shape, seed=count),) for count in range(8)],
        **more,
    }
    contract = TensorContract(name="x", dtype="float32", shape=(BATCH, *shape))
    return Draft(name="one", module=module.eval(), inputs=(contract,), sample=(numbers(2, *shape),), **fields)


def pose_draft(**more: Any) -> Draft:
    return draft(tiny(), (3, 64, 48), **{"blocks": BLOCKS, "head": ("head",), **more})


def opened(one: Draft, built: Built, folder: Path) -> Compiled:
    with torch.no_grad():
        outputs = [
            SimpleNamespace(name=name, torch_dtype=value.dtype) for name, value in one.module(*one.sample).items()
        ]
    manifest: Any = SimpleNamespace(
        entry=built.entry, files={ENTRY: None}, inputs=one.inputs, outputs=outputs, options={}
    )
    return ONNX_INT8.open(Opening(folder=folder, manifest=manifest, device="cpu", weights=dict))


def relative(found: Tensor, true: Tensor) -> float:
    return float((found - true).norm() / true.norm())


@dataclass(frozen=True)
class Rounded:
    draft: Draft
    folder: Path
    built: Built

    @property
    def compiled(self) -> Compiled:
        return opened(self.draft, self.built, self.folder)

    @property
    def in_8_bits(self) -> set[str]:
        """Modules whose products read dequantised weights."""
        nodes = onnx.load(self.folder / ENTRY).graph.node
        unpacked = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
        return {module_of(node.name) for node in nodes if node.op_type != "Add" and len(unpacked & set(node.input)) > 1}


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Rounded:
    folder = tmp_path_factory.mktemp("rounded")
    one = pose_draft()
    return Rounded(draft=one, folder=folder, built=ONNX_INT8.build(one, folder))


def test_products_behind_the_first_block_and_outside_the_head_are_in_8_bits(rounded: Rounded) -> None:
    inner = ("attn.qkv", "attn.proj", "ffn.layers.0.0", "ffn.layers.1")
    assert rounded.in_8_bits == {f"backbone.layers.1.{name}" for name in inner}
    assert rounded.built.options["products_in_8_bits"] == 4
    assert rounded.built.options["calibration_inputs"] == 8


def test_their_weights_are_stored_in_8_bits_with_a_scale_for_each_channel(rounded: Rounded) -> None:
    graph = onnx.load(rounded.folder / ENTRY).graph
    held = {one.name: one for one in graph.initializer}
    matrices = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held]
    assert {held[node.input[0]].data_type for node in matrices} == {onnx.TensorProto.INT8}
    assert {tuple(held[node.input[0]].dims)[1:] == tuple(held[node.input[1]].dims) for node in matrices} == {True}


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_results_are_near_float32_at_any_batch(rounded: Rounded, batch: int) -> None:
    x = numbers(batch, 3, 64, 48, seed=50)
    with torch.no_grad():
        true = rounded.draft.module(x)["heatmaps"]
    error = relative(rounded.compiled(x)["heatmaps"], true)
    assert 1e-5 < error < WORST_REL  # not zero: something was rounded


def test_a_picture_does_not_change_with_its_neighbours(rounded: Rounded) -> None:
    x = numbers(3, 3, 64, 48, seed=60)
    together = rounded.compiled(x)["heatmaps"]
    alone = rounded.compiled(x[1:2])["heatmaps"]
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_the_file_is_as_plain_as_the_others(rounded: Rounded) -> None:
    model = onnx.load(rounded.folder / ENTRY)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(one.domain, one.version) for one in model.opset_import]) == (8, [("", 17)])
    assert model.producer_name == "vitruvian"
    assert not model.metadata_props
    assert [path.name for path in rounded.folder.iterdir()] == [ENTRY]


def test_the_file_is_smaller_than_float32(rounded: Rounded, tmp_path: Path) -> None:
    ONNX.build(rounded.draft, tmp_path)
    assert (rounded.folder / ENTRY).stat().st_size < (tmp_path / ENTRY).stat().st_size


def test_weights_that_fit_the_file_only_in_8_bits_are_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wide(nn.Sequential):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)}

    torch.manual_seed(3)
    one = draft(Wide(*(nn.Linear(256, 256) for _ in range(4))).requires_grad_(False), (256,))
    monkeypatch.setattr(
        onnx_int8, "MOST_INSIDE_BYTES", 700_000
    )  # float32: 1 MB; 0.5 MB where three of four are rounded
    built = ONNX_INT8.build(one, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ENTRY]
    ((x,), *_) = one.calibration  # what lies within the extremes is rounded, not cut
    assert 0 < relative(opened(one, built, tmp_path)(x)["y"], one.module(x)["y"]) < WORST_REL


def test_nothing_reaches_the_terminal_and_logging_is_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers
    built = ONNX_INT8.build(draft(Layers(), (16,)), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers is handlers
    assert "pre-processing" in built.log


class Layers(nn.Module):
    """No blocks are named here: the first product stays in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": self.third(self.second(self.first(x).tanh()).tanh())}


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": self.up(self.second(self.first(x).relu()).relu())}


@pytest.mark.parametrize(
    ("module", "shape", "head", "in_8_bits"),
    [
        (Layers, (16,), (), {"second", "third"}),
        (Layers, (16,), ("thi*",), {"second"}),
        (Convolutions, (3, 16, 16), (), {"second"}),
    ],
    ids=["layers", "a head of its own", "convolutions"],
)
def test_modules_without_named_blocks_keep_their_first_product(
    tmp_path: Path, module: type[nn.Module], shape: tuple[int, ...], head: tuple[str, ...], in_8_bits: set[str]
) -> None:
    torch.manual_seed(2)
    one = draft(module().requires_grad_(False), shape, head=head)
    done = Rounded(draft=one, folder=tmp_path, built=ONNX_INT8.build(one, tmp_path))
    assert done.in_8_bits == in_8_bits
    x = numbers(3, *shape, seed=9)
    assert 0 < relative(done.compiled(x)["y"], one.module(x)["y"]) < WORST_REL


def test_attention_without_weights_stays_in_float32(rounded: Rounded) -> None:
    kinds = Counter(node.op_type for node in onnx.load(rounded.folder / ENTRY).graph.node)
    assert kinds["QuantizeLinear"] == 4  # the inputs of four products; no output, no attention


@pytest.mark.parametrize("count", [0, LEAST_INPUTS - 1])
def test_too_few_real_inputs_are_refused(tmp_path: Path, count: int) -> None:
    one = draft(Layers(), (16,))
    one.calibration = one.calibration[:count]
    with pytest.raises(UsageError, match=rf"got {count} calibration inputs; expected at least.*--check-on"):
        ONNX_INT8.build(one, tmp_path)


@pytest.mark.parametrize(("dtype", "device"), [("float16", "cuda"), ("bfloat16", "cpu")])
def test_only_float32_becomes_8_bits(tmp_path: Path, dtype: Any, device: str) -> None:
    with pytest.raises(UsageError, match=f"got {dtype} on {device}.*expected float32, which"):
        ONNX_INT8.build(draft(Layers(), (16,), precision=Precision(dtype=dtype), device=device), tmp_path)


def test_a_network_with_nothing_to_round_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without products with weights"):
        ONNX_INT8.build(draft(Layers(), (16,), head=("*",)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("machine", "instructions", "narrow"),
    [
        ("x86_64", ("avx2", "fma"), True),
        ("AMD64", ("avx2", "avx512f"), True),
        ("x86_64", ("avx2", "avx512_vnni"), False),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("aarch64", ("asimd",), False),
    ],
)
def test_weights_take_7_bits_where_products_would_overflow(
    monkeypatch: pytest.MonkeyPatch, machine: str, instructions: tuple[str, ...], narrow: bool
) -> None:
    target = SimpleNamespace(machine=machine, instructions=instructions)
    monkeypatch.setattr(onnx_int8, "target_here", lambda device: target)
    assert onnx_int8._weights_in_7_bits() is narrow
