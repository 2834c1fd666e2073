"""ONNX files: equal to eager at any batch and size, and refused where they want more than arithmetic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tolerances
from onnx_drafts import (
    Function,
    Written,
    assert_equal,
    contract,
    draft,
    manifest_of,
    numbers,
    opened,
    through_a_file,
    with_weights_beside,
    written,
)
from vitruvian.artefacts import onnx_files
from vitruvian.artefacts.contract import Axis
from vitruvian.artefacts.onnx_files import BESIDE, ENTRY, ONNX
from vitruvian.artefacts.pictures import post_inside
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network
from vitruvian.tasks.base import Task
from vitruvian.weights import find_weights

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CANVAS_HW = (64, 48)


def pose_network(depth: int = 2) -> nn.Module:
    backbone = BackboneConfig(width=32, depth=depth, heads=2, mlp_width=64, input_hw=CANVAS_HW, patch_padding="corner")
    head = HeadConfig(kind="pose", channels=17, deconv_widths=(8, 8), conv_widths=(8,))
    network = build_network(SapiensConfig(backbone=backbone, head=head), "cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0.0, 0.1, generator=generator)
    return network.requires_grad_(False)


def pose_task() -> Task:
    task = find_weights("sapiens-pose-nano").spec.make_task()
    return replace(task, input_hw=CANVAS_HW)  # type: ignore[type-var]


def canvases(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, *CANVAS_HW, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A tiny pose network with its post-processing inside."""
    folder = tmp_path_factory.mktemp("posed")
    return written(draft(post_inside(pose_network(), pose_task()), canvases(2), names=["canvas_BHW3"]), folder)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_file_gives_what_the_network_gives_at_any_batch(posed: Written, batch: int) -> None:
    compiled = opened(posed.folder, posed.manifest)
    with torch.no_grad():
        true = posed.draft.module(canvases(batch))
    found = compiled(canvases(batch))
    assert_equal(found, true, tolerances.DECODE_PX)
    assert {name: value.dtype for name, value in found.items()} == {"points": torch.float32, "finite": torch.bool}


def test_a_file_is_one_that_old_runtimes_and_parsers_read(posed: Written) -> None:
    model = onnx.load(posed.folder / ENTRY)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(one.domain, one.version) for one in model.opset_import]) == (8, [("", 17)])
    assert posed.built.options == {"opset": 17, "ir_version": 8}
    assert {node.op_type for node in model.graph.node} >= {"ReduceMax", "LayerNormalization", "Erf"}


def test_inputs_outputs_axes_and_nodes_have_names_that_say_what_they_are(posed: Written) -> None:
    graph = onnx.load(posed.folder / ENTRY).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"canvas_BHW3": ["batch", *CANVAS_HW, 3], "points": ["batch", 17, 3], "finite": ["batch"]}
    assert any(node.name.startswith("network.backbone.layers.1.attn.qkv/MatMul_") for node in graph.node)


def test_a_file_says_nothing_of_the_machine_it_was_made_on(posed: Written) -> None:
    data = (posed.folder / ENTRY).read_bytes()
    assert str(Path(onnx_files.__file__).parents[2]).encode() not in data
    assert b".py" not in data
    assert b"pkg.torch" not in data


def test_nothing_reaches_the_terminal_but_the_log_has_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    one = draft(Function(lambda x: {"y": x.relu()}), numbers(2, 4))
    handlers = logging.getLogger().handlers
    built = ONNX.build(one, tmp_path)
    opened(tmp_path, manifest_of(one, built))(numbers(3, 4))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers is handlers
    assert isinstance(built.log, str)


def test_height_and_width_may_be_free_and_keep_their_names(tmp_path: Path) -> None:
    sides = (3, Axis(name="height", minimum=32, maximum=256, multiple=16), Axis(name="width", minimum=32, multiple=16))
    sample = numbers(2, 3, 80, 64)
    one = draft(pose_network(depth=1), sample, inputs=(contract("x_B3HW", sample, sides),))
    compiled = through_a_file(one, tmp_path)
    graph = onnx.load(tmp_path / ENTRY).graph
    axes = [[dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in graph.output]
    assert axes == [["batch", 17, "height/4", "width/4"]]
    for shape in ((1, 3, 64, 48), (3, 3, 32, 256)):
        with torch.no_grad():
            assert_equal(compiled(numbers(*shape)), one.module(numbers(*shape)), tolerances.EXPORT_ABS)


def twice(x: Tensor) -> dict[str, Tensor]:
    y = x * 2
    return {"a": y, "b": y}


MODULES = {
    "an output that is an input": lambda x: {"same": x, "more": x + 1},
    "one tensor under two names": twice,
    "a constant": lambda x: {"y": x * 3, "c": torch.ones(2)},
    "names of tensors in the middle": lambda x: {"add": (x + 1).relu(), "relu": (x + 2) * 3},
    "reductions": lambda x: {"top": x.amax(1), "mean": x.mean((1,), keepdim=True), "all": (x > 0).all(1)},
    "whole numbers": lambda x: {"n": x.argmax(1), "byte": (x > 0).to(torch.uint8)},
    "gelu": lambda x: {"y": torch.nn.functional.gelu(x)},
}


@pytest.mark.parametrize("function", MODULES.values(), ids=MODULES)
def test_outputs_keep_their_names_whatever_the_module_does(
    function: Callable[[Tensor], Mapping[str, Tensor]], tmp_path: Path
) -> None:
    one = draft(Function(function), numbers(2, 5))
    compiled = through_a_file(one, tmp_path)
    x = numbers(3, 5)
    assert_equal(compiled(x), one.module(x), tolerances.EXPORT_ABS)


def test_several_inputs_are_told_apart_by_name(tmp_path: Path) -> None:
    module = Function(lambda a, b: {"y": a - b.sum(1, keepdim=True)})
    one = draft(module, numbers(2, 4), numbers(2, 3), names=["first", "second"])
    found = through_a_file(one, tmp_path)(numbers(5, 4), numbers(5, 3))
    assert_equal(found, module(numbers(5, 4), numbers(5, 3)), tolerances.EXPORT_ABS)


def test_gelu_is_one_step_for_runtimes_that_know_the_usual_order(tmp_path: Path) -> None:
    through_a_file(draft(Function(MODULES["gelu"]), numbers(2, 5)), tmp_path)
    nodes = list(onnx.load(tmp_path / ENTRY).graph.node)
    (erf,) = (node for node in nodes if node.op_type == "Erf")
    (one,) = (node for node in nodes if erf.output[0] in node.input)
    (product,) = (node for node in nodes if one.output[0] in node.input)
    assert "x" in product.input  # x * (1 + erf), then the half


def test_what_a_lower_opset_cannot_say_keeps_the_higher_one(tmp_path: Path) -> None:
    def scattered(x: Tensor) -> dict[str, Tensor]:
        return {"y": torch.scatter_reduce(x, 1, torch.zeros_like(x, dtype=torch.int64), x, "amax")}

    one = draft(Function(scattered), numbers(2, 5))
    built = ONNX.build(one, tmp_path)
    assert built.options["opset"] == 18
    assert "kept at opset 18" in built.log
    found = opened(tmp_path, manifest_of(one, built))(numbers(3, 5))
    assert_equal(found, one.module(numbers(3, 5)), tolerances.EXPORT_ABS)


def test_names_that_a_file_cannot_keep_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no name twice"):
        ONNX.build(draft(Function(lambda x: {"x": x + 1}), numbers(2, 4)), tmp_path)


def test_outputs_without_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dictionary of tensors"):
        ONNX.build(draft(nn.Linear(4, 4), numbers(2, 4)), tmp_path)


@pytest.mark.parametrize(
    ("dtype", "device", "taken"),
    [
        ("float32", "cpu", True),
        ("float32", "cuda", True),
        ("float16", "cuda:1", True),
        ("float16", "cpu", False),
        ("bfloat16", "cpu", False),
        ("bfloat16", "cuda", False),
    ],
)
def test_only_types_that_the_runtime_computes_in_are_taken(dtype: Any, device: str, taken: bool) -> None:
    one = draft(nn.Identity(), numbers(2, 4), precision=Precision(dtype=dtype), device=device)
    if taken:
        onnx_files.check_precision(one)
    else:
        with pytest.raises(UsageError, match=rf"got {dtype} on {device}.*expected float32"):
            onnx_files.check_precision(one)


def test_large_weights_lie_beside_the_file(tmp_path: Path) -> None:
    beside = with_weights_beside(tmp_path)
    assert beside.built.files == (BESIDE,)
    assert (beside.folder / BESIDE).stat().st_size > 64 * 64 * 4
    found = opened(beside.folder, beside.manifest)(numbers(3, 64))
    assert_equal(found, beside.draft.module(numbers(3, 64)), tolerances.EXPORT_ABS)


@pytest.mark.parametrize("channels", [6, 7])
def test_equal_parts_need_no_later_opset(tmp_path: Path, channels: int) -> None:
    def parts(x: Tensor) -> dict[str, Tensor]:
        return {f"part{place}": part * 2 for place, part in enumerate(x.chunk(3, dim=1))}

    one = draft(Function(parts), numbers(2, channels, 3))
    made = written(one, tmp_path)
    assert made.built.options["opset"] <= 18
    if channels % 3 == 0:
        assert made.built.options["opset"] == 17
    x = numbers(3, channels, 3)
    assert_equal(opened(tmp_path, made.manifest)(x), one.module(x), tolerances.EXPORT_ABS)
