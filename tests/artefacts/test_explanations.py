"""Every failure is named with its cause, the user's own line and what to write; unknown ones are only quoted."""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch._inductor.exc import CppCompileError, InductorError

import failing_modules as failing
from conftest import GOLDEN
from vitruvian.artefacts.capture import CaptureError, capture
from vitruvian.artefacts.contract import BATCH, Axis, TensorContract
from vitruvian.artefacts.explanations import Cause, explain
from vitruvian.artefacts.explanations_table import ELSEWHERE, IN_CODE, Row
from vitruvian.artefacts.wrapping import NamedOutputs
from vitruvian.errors import UsageError

Build = Callable[[nn.Module], object]


def numbers(rows: int = 2) -> Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(rows))


def exported(module: nn.Module) -> torch.export.ExportedProgram:
    return bare(NamedOutputs(module))


def bare(module: nn.Module) -> torch.export.ExportedProgram:
    """Without the wrapper, in which torch overlooks what happens to buffers."""
    axis = Axis(name=BATCH, minimum=1, maximum=8)
    return capture(module.eval(), (numbers(),), (TensorContract(name="x", dtype="float32", shape=(axis, 8)),))


def compiled(module: nn.Module) -> object:
    torch._dynamo.reset()
    with torch.no_grad():
        return torch.compile(module.eval(), fullgraph=True, dynamic=True, backend="eager")(numbers())


def loosely(module: nn.Module) -> object:
    """The first of the two attempts that `capture` makes."""
    return torch.export.export(module.eval(), (numbers(),), strict=False)


def native(module: nn.Module) -> object:
    program = bare(module)
    with torch.no_grad():
        return torch._inductor.aoti_compile_and_package(program)


def as_onnx(module: nn.Module) -> object:
    pytest.importorskip("onnxscript")
    return torch.onnx.export(exported(module), (), dynamo=True, verbose=False)


def traced(module: nn.Module) -> object:
    return torch.jit.trace(module.eval(), (numbers(),))


def stored_trace(module: nn.Module) -> object:
    return torch.jit.save(torch.jit.trace(module.eval(), (numbers(),)), io.BytesIO())


def explained(build: Callable[[], object], backend: str = "aoti") -> Cause:
    with pytest.raises(BaseException) as caught:
        build()
    return explain(caught.value, backend=backend)


VALUE = "decides by a tensor's value"
NUMBER = "becomes a Python number"
LENGTH = "the length of batch into the number 2"
CASES: list[tuple[type[nn.Module], Build, str, str]] = [
    (failing.BranchOnValue, exported, VALUE, "torch.where"),
    (failing.BranchOnValue, compiled, VALUE, "torch.cond"),
    (failing.BranchOnItem, exported, VALUE, "torch.where"),
    (failing.BranchOnCount, exported, "how many elements a mask", "topk"),
    (failing.ItemAsLength, exported, NUMBER, "__init__"),
    (failing.SortsByValue, exported, "sorts by values", "torch.sort"),
    (failing.FixedReshape, exported, LENGTH, "x.view(x.shape[0], -1)"),
    (failing.LoopsOverBatch, exported, LENGTH, "no Python loop"),
    (
        failing.ComparesBatch,
        exported,
        r"some lengths of batch, those where 2 <= inputs\[0\].shape\[0\]",
        "condition on x.shape",
    ),
    (failing.TableByBatch, exported, "key of a dictionary", "cut it"),
    (failing.Prints, compiled, "calls print", "is_compiling"),
    (failing.Logs, compiled, "writes a log", "is_compiling"),
    (failing.FormatsValue, loosely, "formats a tensor as text", "is_compiling"),
    (failing.ThroughNumpy, exported, "NumPy", "torch's operators"),
    (failing.CallsCompiledCode, exported, "calls GaussianBlur", "custom_op"),
    (failing.BreaksTheGraph, compiled, "asks the compiler to stop", "remove that call"),
    (failing.OperatorWithoutShape, exported, "vitruvian_tests::without_shape", "register_fake"),
    (failing.SparseProduct, exported, "aten._sparse_addmm", "other operators"),
    (
        failing.OperatorOnlyHere,
        as_onnx,
        "ONNX has nothing for the operator vitruvian_tests.only_here",
        "simpler operators",
    ),
    (failing.Histogram, as_onnx, "translation to ONNX fails at the operator aten.histc", "simpler operators"),
    (failing.GivesAnObject, loosely, "no tensor", "tuple of tensors"),
    (failing.GivesAnObject, traced, "no tensor", "tuple of tensors"),
    (failing.GivesNone, traced, "no tensor", "without None"),
    (failing.ChangesPlainTensor, native, "no buffer of the module", "register_buffer"),
    (failing.KeepsTheBatch, native, "the buffer last is given a value of another shape", "keeps its shape"),
    (failing.ReplacesWeight, native, "replaces the data of a weight", "new tensor"),
    (failing.ReshapesInput, exported, "shape of an input in place", "x.reshape"),
    (failing.Counts, traced, "something else at each call", "hand it in"),
    (failing.DerivedWeight, traced, "neither weight nor buffer", "register_buffer"),
    (failing.PythonFunction, stored_trace, "_Doubled", "another --backend"),
    (failing.MixesTypes, traced, "two types meet: float and c10::BFloat16", "x.dtype"),
    (failing.OtherDevice, exported, "another device", "device=x.device"),
    (failing.WrongSizes, exported, "forward itself fails: RuntimeError", "example_inputs"),
    (failing.Complains, exported, "nine channels are needed", "example_inputs"),
    (failing.MakesWeights, compiled, "cannot record: .*Parameter", "move it out of forward"),
]


@pytest.mark.parametrize(
    ("kind", "build", "means", "rewrite"), CASES, ids=[f"{case[0].__name__}-{case[1].__name__}" for case in CASES]
)
def test_a_failure_is_named_with_cause_line_and_rewrite(
    kind: type[nn.Module], build: Build, means: str, rewrite: str
) -> None:
    module = kind()
    cause = explained(lambda: build(module))
    place = f"failing_modules.py:{failing.marked_line(module)}"
    assert cause.known, cause
    assert re.search(means, cause.sentence)
    assert rewrite in cause.rewrite
    assert cause.place.endswith(place)
    assert all(part in str(cause) for part in (cause.sentence, place, cause.rewrite))
    assert "\n" not in str(cause)


def test_the_same_network_without_the_fault_passes() -> None:
    exported(failing.Plain())
    compiled(failing.Plain())
    stored_trace(failing.Plain())


def test_the_first_of_two_attempts_is_enough_for_a_place() -> None:
    """Without strict tracing torch names no line for a comparison of lengths, but its frames still know it."""
    dims = ({0: torch.export.Dim("batch", min=1, max=8)},)
    cause = explained(lambda: torch.export.export(failing.ComparesBatch(), (numbers(),), dynamic_shapes=dims))
    assert cause.place.endswith(f"failing_modules.py:{failing.marked_line(failing.ComparesBatch())}")


def test_a_sample_of_one_row_is_told_from_a_constant_in_the_code() -> None:
    dims = ({0: torch.export.Dim("batch", min=1, max=8)},)
    cause = explained(lambda: torch.export.export(failing.Plain(), (numbers(1),), dynamic_shapes=dims))
    assert "sample batch of one" in cause.sentence


def test_no_compiler() -> None:
    program = exported(failing.Plain())
    with inductor.patch({"cpp.cxx": ("/nowhere/g++",)}):
        cause = explained(lambda: torch._inductor.aoti_compile_and_package(program))
    assert "no C++ compiler" in cause.sentence
    assert "CXX" in cause.rewrite
    assert cause.place == ""


@pytest.mark.parametrize(
    ("says", "means"),
    [
        ("x.cpp:3:1: error: unknown type name Foo", "the code that torch generated: error: unknown type name Foo"),
        ("cc1plus: out of memory allocating 65536 bytes", "memory ran out while aoti was built"),
        ("virtual memory exhausted: Cannot allocate memory", "memory ran out while aoti was built"),
        ("fatal error: error writing to /tmp/x.s: No space left on device", "the disk is full"),
    ],
)
def test_a_compiler_that_fails(says: str, means: str) -> None:
    """torch's own class and text; a real compiler that fails takes 20 s and spoils what torch remembers of it."""
    inner = CppCompileError(["g++", "model.wrapper.cpp", "-o", "model.so"], says)
    cause = explain(InductorError(inner, None), backend="aoti")
    assert means in cause.sentence
    assert cause.place == ""


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    cause = explained(lambda: importlib.import_module("onnxscript"), "onnx")
    assert "the package onnxscript is not installed" in cause.sentence
    assert "install onnxscript" in cause.rewrite


def test_memory_that_runs_out() -> None:
    cause = explained(lambda: torch.empty(2**48))
    assert cause.sentence == "memory ran out while aoti was built"


def test_an_old_archive_leads_to_import() -> None:
    cause = explained(lambda: torch.export.load(GOLDEN / "legacy" / "pose_tiny_bfloat16.pt2"), "export")
    assert "another torch wrote this file (schema ['5', '1']" in cause.sentence
    assert "vitruvian import" in cause.rewrite


def test_a_batch_beyond_the_range() -> None:
    cause = explained(lambda: exported(failing.Plain()).module()(numbers(9)), "export")
    assert "only where axis 0 of" in cause.sentence
    assert "is <= 8" in cause.sentence
    assert "--max-batch" in cause.rewrite


def test_bfloat16_in_onnx_runtime() -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    convolution = nn.Conv2d(3, 4, 3).bfloat16().eval()
    image = torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)
    file = torch.onnx.export(convolution, (image,), dynamo=True, verbose=False)
    assert file is not None
    cause = explained(lambda: runtime.InferenceSession(file.model_proto.SerializeToString()), "onnx")
    assert "ONNX Runtime has no Conv for bfloat16" in cause.sentence
    assert "--dtype float32" in cause.rewrite


SEEN: list[tuple[BaseException, str, str]] = [
    (subprocess.CalledProcessError(-9, "build"), "the system killed the process", "--backend eager"),
    (subprocess.CalledProcessError(-11, "build"), "ended the process (SIGSEGV)", "another --backend"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full", "TORCHINDUCTOR_CACHE_DIR"),
    (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "the disk is full", "free"),
    (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk", "free space"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "memory ran out", "--backend eager"),
    (ModuleNotFoundError("No module named 'torchao'"), "the package torchao is not installed", "install torchao"),
    (
        RuntimeError("Expected input at *args[0].shape[0] to be <= 48, but got 49"),
        "larger than what the file was compiled for",
        "--max-batch",
    ),
    (RuntimeError("Could not find schema for lab::twice. Custom operators created"), "Python.*: lab::twice$", "C++"),
    (RuntimeError("Graphs are not fusable. Expected 1 graph. Found 197"), "falls into 197 graphs", "fullgraph=True"),
    (
        RuntimeError("Dynamic control flow is not supported at the moment. Please use cond"),
        "decides by a tensor's value",
        "torch.cond",
    ),
    (
        NotImplementedError("\"linalg_eig_out_cpu\" not implemented for 'Half'"),
        "no linalg_eig_out_cpu for Half",
        "island",
    ),
    (
        ValueError("Expected more than 1 value per channel when training, got input size torch.Size([1, 8])"),
        "training mode",
        "module.eval()",
    ),
    (
        CaptureError("got a graph in which axis 0 of x is fixed at 2; expected batch 1 to 8; look"),
        "axis 0 of x",
        "shape[0]",
    ),
]


@pytest.mark.parametrize(("error", "means", "rewrite"), SEEN, ids=[str(case[0])[:30] for case in SEEN])
def test_messages_that_a_machine_or_an_old_file_gives(error: BaseException, means: str, rewrite: str) -> None:
    cause = explain(error, backend="aoti")
    assert cause.known
    assert means in cause.sentence or re.search(means, cause.sentence)
    assert rewrite in cause.rewrite


def test_our_own_errors_keep_their_words() -> None:
    cause = explain(UsageError("got a; expected b; do c"), backend="onnx")
    assert (cause.sentence, cause.rewrite, cause.known) == ("got a; expected b", "do c", True)
    assert str(explain(UsageError("do c"), backend="onnx")) == "do c"


class Strange(failing.Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        raise LookupError("the flux in /home/somebody/lab/flux.py is inverted\nand more")  # the line


def test_an_unknown_error_is_quoted_and_not_interpreted() -> None:
    cause = explained(lambda: traced(Strange()), "torchscript")
    assert not cause.known
    assert cause.sentence.startswith("torchscript stopped with LookupError: the flux in flux.py is inverted")
    assert cause.place.endswith(f"test_explanations.py:{failing.marked_line(Strange())}")
    assert "logs/torchscript.log" in cause.rewrite


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "aoti stopped with RuntimeError"),
        ("\n\n  --- \nfirst words\nsecond", "aoti stopped with RuntimeError: first words"),
        (
            "advice\n## Exception summary\n\n<class 'KeyError'>: 3\n",
            "aoti stopped with RuntimeError: <class 'KeyError'>: 3",
        ),
    ],
)
def test_the_first_line_with_words_is_quoted(text: str, said: str) -> None:
    cause = explain(RuntimeError(text), backend="aoti")
    assert (cause.sentence, cause.place, cause.known) == (said, "", False)


def test_long_messages_are_cut() -> None:
    assert len(explain(RuntimeError("word " * 10**5), backend="aoti").sentence) < 300


def test_whoever_asks_for_an_export_is_never_the_place() -> None:
    """The lines above torch's first frame are ours or a script's, which did nothing wrong."""
    cause = explained(lambda: torch.export.export(failing.Plain(), (torch.ones(2, 9),)))
    assert "test_explanations" not in cause.place


def test_packages_under_a_home_directory_show_no_private_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "from torch import nn",
        "class Far(nn.Module):",
        " def forward(self, x):",
        "  return x if x.sum() > 0 else -x",
    ]
    (tmp_path / "far_networks.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    import far_networks  # type: ignore[import-not-found]

    cause = explained(lambda: exported(far_networks.Far()))
    assert cause.place == "far_networks.py:4"
    assert str(tmp_path) not in str(cause)


@pytest.mark.parametrize("row", [*ELSEWHERE, *IN_CODE], ids=lambda row: row.means[:40])
def test_texts_use_only_what_their_expression_finds(row: Row) -> None:
    known = {*re.compile(row.says).groupindex, "backend"}
    for text in (row.means, row.rewrite):
        used = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        assert used <= known


PAGE = Path(__file__).parents[2] / "docs" / "export-errors.md"
BEFORE_AND_AFTER = re.findall(
    r"```python\n# refused by ([\w.]+)[^\n]*\n(.*?)# exported\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S
)


def written(body: str) -> nn.Module:
    """A module with a forward from the page."""
    import cv2

    names = {"torch": torch, "cv2": cv2}
    exec(body, names)
    return type("Written", (failing.Plain,), {"forward": names["forward"]})()


@pytest.mark.parametrize(("tool", "before", "after"), BEFORE_AND_AFTER, ids=range(len(BEFORE_AND_AFTER)))
def test_the_page_tells_the_truth(tool: str, before: str, after: str) -> None:
    build: Build = {"torch.export": exported, "torch.compile": compiled}[tool]
    assert explained(lambda: build(written(before))).known
    module = written(after)
    program, compiled_once = exported(module).module(), compiled(module)
    assert isinstance(compiled_once, Tensor)
    for rows in (1, 2, 5):
        torch.testing.assert_close(program(numbers(rows))["output"], module(numbers(rows)))


def test_the_page_has_its_examples() -> None:
    assert len(BEFORE_AND_AFTER) == 8
