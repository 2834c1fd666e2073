"""ONNX files opened: what is refused, where they run, and that nothing but a sentence comes out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from onnx_drafts import Function, Written, assert_equal, draft, opened, with_weights_beside, written
from vitruvian.artefacts import onnx_session
from vitruvian.artefacts.onnx_files import ENTRY, ONNX
from vitruvian.errors import RefusedError, UsageError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def canvases(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 8, 6, 3), dtype=torch.uint8, generator=generator)


def looked_at(canvas_BHW3: Tensor) -> dict[str, Tensor]:
    """Something of every type that outputs have."""
    mean_B3 = canvas_BHW3.float().mean((1, 2))
    return {"points": mean_B3.sin(), "finite": mean_B3.amax(1) < 200, "labels": mean_B3.argmax(1).to(torch.uint8)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A module from bytes to numbers, truth values and bytes."""
    one = draft(Function(looked_at), canvases(2), names=["canvas_BHW3"])
    return written(one, tmp_path_factory.mktemp("looked_at"))


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A network with its weights in a file of their own."""
    return with_weights_beside(tmp_path_factory.mktemp("beside"))


def changed(source: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of an ONNX file with something else in it."""
    model = onnx.load(source / ENTRY, load_external_data=False)
    change(model)
    (folder / ENTRY).write_bytes(model.SerializeToString())
    return folder


def foreign(model: Any) -> None:
    model.graph.node[0].domain = "elsewhere.example"


def foreign_inside(model: Any) -> None:
    inner = onnx.helper.make_graph([onnx.helper.make_node("Op", [], ["o"], domain="hidden")], "g", [], [])
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("body", inner))


def foreign_opset(model: Any) -> None:
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def foreign_function(model: Any) -> None:
    node = onnx.helper.make_node("Op", ["i"], ["o"], domain="hidden")
    imports = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("", "F", ["i"], ["o"], [node], imports))


def outside(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        entries = {entry.key: entry for tensor in model.graph.initializer for entry in tensor.external_data}
        entries["location"].value = location

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (foreign, "operators of 'elsewhere.example'"),
        (foreign_inside, "operators of 'hidden'"),
        (foreign_opset, "operators of 'com.microsoft'"),
        (foreign_function, "operators of 'hidden'"),
        (outside("../secret.bin"), r"read from '\.\./secret\.bin'"),
        (outside("/etc/hostname"), "read from '/etc/hostname'"),
        (outside("*/_ORT_MEM_ADDR_/*"), "read from"),
        (outside("network.onnx"), "read from 'network.onnx'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_files_that_want_more_than_arithmetic_are_refused(
    beside: Written, tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    with pytest.raises(RefusedError, match=said):
        opened(changed(beside.folder, tmp_path, change), beside.manifest)


@pytest.mark.parametrize(
    "data",
    [b"", b"no protobuf at all", b"\x3a\xff\xff\xff\x0f", b"\x3a" + b"\xff" * 12, b"\x0b\x0c", b"\x08\x08"],
    ids=["empty", "text", "too long", "endless number", "groups", "no graph"],
)
def test_damaged_files_are_refused(small: Written, tmp_path: Path, data: bytes) -> None:
    (tmp_path / ENTRY).write_bytes(data)
    with pytest.raises(RefusedError, match="export"):
        opened(tmp_path, small.manifest)


def test_a_file_cut_short_is_refused(small: Written, tmp_path: Path) -> None:
    (tmp_path / ENTRY).write_bytes((small.folder / ENTRY).read_bytes()[:-5000])
    with pytest.raises(RefusedError, match="export the model again"):
        opened(tmp_path, small.manifest)


def test_messages_within_messages_without_end_are_refused(small: Written, tmp_path: Path) -> None:
    data = b""
    for depth in range(300):
        tag = b"\x0a" if depth % 3 == 0 else b"\x2a" if depth % 3 == 1 else b"\x32"
        size, length = len(data), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        data = tag + length + bytes([size]) + data
    size, length = len(data), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    (tmp_path / ENTRY).write_bytes(b"\x3a" + length + bytes([size]) + data)
    with pytest.raises(RefusedError):
        opened(tmp_path, small.manifest)


def test_a_file_of_another_network_is_refused(small: Written, beside: Written) -> None:
    with pytest.raises(RefusedError, match=r"from canvas_BHW3 to points.*expected, by the manifest, x to y"):
        opened(small.folder, SimpleNamespace(**{**vars(beside.manifest), "files": {ENTRY: None}}))


def test_several_threads_call_one_session(small: Written) -> None:
    compiled = opened(small.folder, small.manifest, calls_at_once=2)
    inputs = [canvases(count) for count in (1, 2, 3, 4) * 4]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(compiled, inputs))
    for value, found in zip(inputs, together, strict=True):
        assert_equal(found, compiled(value), 0)


def test_outputs_outlive_the_session_and_may_be_written(small: Written) -> None:
    compiled = opened(small.folder, small.manifest)
    first = compiled(canvases(2))
    kept = {name: value.clone() for name, value in first.items()}
    compiled(canvases(3))
    del compiled
    assert_equal(first, kept, 0)
    first["points"].zero_()


@pytest.mark.parametrize("text", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 9"])
def test_memory_that_ran_out_is_told_as_such(text: str) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    with pytest.raises(MemoryError, match=text[:10]), onnx_session._explained("running the network"):
        raise RuntimeException(text)


def test_other_errors_of_the_runtime_become_a_sentence(small: Written) -> None:
    compiled = opened(small.folder, small.manifest)
    with pytest.raises(RefusedError, match="got an error of ONNX Runtime while running the network"):
        compiled(torch.zeros(2, 4, 6, 3, dtype=torch.uint8))


@pytest.mark.parametrize("absent", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_what_to_install(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = onnx_session.importlib.util.find_spec
    monkeypatch.setattr(onnx_session.importlib.util, "find_spec", lambda name: None if name == absent else found(name))
    said = ONNX.missing("cpu")
    assert f"no package {absent};" in said
    assert 'pip install "vitruvian[onnx]"' in said


def test_the_runtime_alone_is_enough_to_open(small: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    found = onnx_session.importlib.util.find_spec
    monkeypatch.setattr(
        onnx_session.importlib.util, "find_spec", lambda name: found(name) if name == "onnxruntime" else None
    )
    assert set(opened(small.folder, small.manifest)(canvases(1))) == {"points", "finite", "labels"}


def test_devices_that_the_runtime_does_not_know_are_named(small: Written) -> None:
    assert ONNX.missing("cpu") == ""
    assert "expected cpu or cuda" in ONNX.missing("mps")
    with pytest.raises(UsageError, match="got the device mps"):
        opened(small.folder, small.manifest, device="mps")


@pytest.mark.parametrize(
    ("available", "asked", "absent"),
    [
        (["CPUExecutionProvider"], [], "CUDAExecutionProvider"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ["TensorrtExecutionProvider"], "TensorrtExecutionProvider"),
    ],
)
def test_another_device_than_the_one_asked_for_is_never_taken(
    small: Written, monkeypatch: pytest.MonkeyPatch, available: list[str], asked: list[str], absent: str
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: available)
    manifest = SimpleNamespace(**{**vars(small.manifest), "options": {"providers": asked}})
    with pytest.raises((RefusedError, UsageError), match=f"without {absent}"):
        opened(small.folder, manifest, device="cuda:0")


def test_a_provider_that_does_not_start_is_refused(small: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", partial(_on_the_processor, real))
    with pytest.raises(RefusedError, match="cannot start CUDAExecutionProvider"):
        opened(small.folder, small.manifest, device="cuda:0")


def _on_the_processor(real: Callable[..., Any], path: str, *, sess_options: Any, providers: Any) -> Any:
    return real(path, sess_options=sess_options, providers=["CPUExecutionProvider"])
