"""Weight files of every published kind give the tensors they were made from, and nothing in them runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.weight_files import WeightFile, read_weights, sha256_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


class HistoryBuffer:
    """Stands for a class of a training framework that a checkpoint may name."""

    def __init__(self, values: list[float]) -> None:
        self.values = values


class Block(nn.Module):
    """A network with nested modules, a buffer, a tied weight and attributes that are no weights."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Linear(3, 5)
        self.layers = nn.Sequential(first, nn.GELU(), nn.Conv2d(5, 2, 3))
        self.table = nn.Parameter(torch.randn(1, 7, 4))
        self.tied = first.weight
        self.register_buffer("counts", torch.arange(6).reshape(2, 3))
        self.size = 11

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layers[1](self.layers[0](x) + x @ self.tied.T)
        return self.layers[2](hidden.permute(0, 3, 1, 2)) + self.size


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return Block().state_dict()


def write_exported_program(path: Path, tensors: dict[str, Tensor]) -> None:
    """The layout of torch 2.3: the state dict's own archive is a member of the outer one."""
    inner = io.BytesIO()
    torch.save(OrderedDict((key, nn.Parameter(value, requires_grad=False)) for key, value in tensors.items()), inner)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", inner.getvalue())
        archive.writestr("version", "5.1")


def write_torchscript(path: Path) -> dict[str, Tensor]:
    """A scripted network and the tensors it was made of."""
    network = Block().eval()
    torch.jit.save(torch.jit.trace(network, torch.randn(1, 4, 4, 3)), str(path))
    return network.state_dict()


def assert_same(found: WeightFile, expected: dict[str, Tensor]) -> None:
    assert set(found.tensors) == set(expected)
    for key, value in expected.items():
        assert found.tensors[key].dtype == value.dtype
        torch.testing.assert_close(found.tensors[key], value, rtol=0, atol=0)
        assert not found.tensors[key].requires_grad


def test_safetensors(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    del weights["tied"]
    save_file(weights, tmp_path / "weights.bin")
    found = read_weights(tmp_path / "weights.bin")
    assert_same(found, weights)
    assert (found.format, found.notes, found.rounded_to) == ("safetensors", (), None)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("wrap", ["bare", "framework", "model", "parallel"])
def test_pth(tmp_path: Path, weights: dict[str, Tensor], zipped: bool, wrap: str) -> None:
    checkpoint: Any = {
        "bare": weights,
        "framework": {
            "meta": {"cfg": "model = dict()", "seed": np.int64(3), "classes": {("a", 1), ("b", 2)}, "b": b"\x00\xff"},
            "state_dict": weights,
            "message_hub": {"loss": HistoryBuffer([0.5]), "array": np.arange(3.0), "where": Path("work_dirs")},
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        },
        "model": {"model": weights, "epoch": 3},
        "parallel": {"state_dict": OrderedDict((f"module.{key}", value) for key, value in weights.items())},
    }[wrap]
    torch.save(checkpoint, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "file")
    assert_same(found, weights)
    assert found.format == "pth"
    assert (
        found.notes
        == {
            "bare": (),
            "framework": ("ignored what stands beside the weights: message_hub, meta, optimizer",),
            "model": ("ignored what stands beside the weights: epoch",),
            "parallel": ("dropped the prefix 'module.' from 7 keys",),
        }[wrap]
    )


def test_torchscript(tmp_path: Path) -> None:
    expected = write_torchscript(tmp_path / "network_bfloat16.safetensors")
    found = read_weights(tmp_path / "network_bfloat16.safetensors")
    assert_same(found, expected)
    assert (found.format, found.rounded_to) == ("torchscript", None)


def test_exported_program(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    floating = {key: value for key, value in weights.items() if value.is_floating_point()}
    rounded = {key: value.bfloat16() for key, value in floating.items()}
    write_exported_program(tmp_path / "network_torchscript.pt2", rounded)
    found = read_weights(tmp_path / "network_torchscript.pt2")
    assert_same(found, rounded)
    assert (found.format, found.rounded_to) == ("exported-program", "bfloat16")
    assert found.notes == ("weights were rounded to bfloat16 by the writer",)


def test_partly_rounded(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.float16), "c": torch.ones(2, dtype=torch.int8)}
    save_file(tensors, tmp_path / "w")
    found = read_weights(tmp_path / "w")
    assert found.rounded_to == "float16"
    assert found.notes == ("1 of 2 weights were rounded to float16 by the writer",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "name", ["float64", "float16", "bfloat16", "int32", "bool", "complex64", "uint16", "float8_e4m3fn"]
)
def test_element_types_and_layouts(tmp_path: Path, name: str, zipped: bool) -> None:
    dtype: torch.dtype = getattr(torch, name)
    base = torch.arange(24).reshape(4, 6).to(dtype)
    tensors = {"whole": base, "part": base[1:, 2:5], "turned": base.T, "scalar": base[3, 5], "empty": base[:0]}
    torch.save(tensors, tmp_path / "w", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "w")
    for key, value in tensors.items():
        assert found.tensors[key].dtype == dtype
        assert found.tensors[key].stride() == value.stride()
        assert torch.equal(_raw(found.tensors[key]), _raw(value))
    pointers = {key: value.untyped_storage().data_ptr() for key, value in found.tensors.items()}
    assert pointers["whole"] == pointers["part"] == pointers["turned"]


def _raw(value: Tensor) -> Tensor:
    """The bytes; not every element type can be compared."""
    return value.reshape(-1).contiguous().view(torch.uint8)


def test_tensors_are_mapped_private_and_outlive_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "w"
    torch.save({"a": torch.arange(1000.0)}, path)
    before = sha256_of(path)
    tensor = read_weights(path).tensors["a"]
    assert tensor.untyped_storage().nbytes() == 4000
    tensor += 1
    assert torch.equal(tensor, torch.arange(1000.0) + 1)
    assert sha256_of(path) == before


def test_tensor_of_a_named_subclass_and_parameters(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(3))
    parameter.note = "kept by the pickle, not by us"  # type: ignore[attr-defined]
    torch.save({"state_dict": {"w": parameter, "steps": 4}}, tmp_path / "w")
    found = read_weights(tmp_path / "w")
    assert torch.equal(found.tensors["w"], torch.ones(3))
    assert found.notes == ("ignored entries that are no tensors: steps",)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


NOT_WEIGHTS = {
    "empty": (b"", "an empty file"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
    "page": (b"\n <!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "json": (b'{"metadata": {"total_size": 1}, "weight_map": {}}', "JSON"),
    "json with a late brace": (b'[1, 2, 3{"a": 1}]', "JSON"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(64), "no weight file by its first bytes"),
    "other pickle": (b"\x80\x04K\x05.", "a pickle that torch did not write"),
    "truncated pickle": (b"\x80\x02\x8a\x0al\xfc", "damaged pickle"),
    "start of a zip": (b"PK\x03\x04" + bytes(100), "cut off"),
}


@pytest.mark.parametrize("case", NOT_WEIGHTS)
def test_what_is_no_weight_file_is_refused(tmp_path: Path, case: str) -> None:
    data, words = NOT_WEIGHTS[case]
    (tmp_path / "model.pth").write_bytes(data)
    with pytest.raises(RefusedError, match=words) as refusal:
        read_weights(tmp_path / "model.pth")
    assert "model.pth" in str(refusal.value) or "pickle" in str(refusal.value)
    assert "expected" in str(refusal.value)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "older pth", "torchscript", "exported"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, kept: float) -> None:
    path = tmp_path / "w"
    tensors = {f"t{i}": torch.randn(40) for i in range(20)}
    match kind:
        case "safetensors":
            save_file(tensors, path)
        case "pth":
            torch.save(tensors, path)
        case "older pth":
            torch.save(tensors, path, _use_new_zipfile_serialization=False)
        case "torchscript":
            write_torchscript(path)
        case "exported":
            write_exported_program(path, tensors)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(RefusedError, match="got"):
        read_weights(path)


def test_folder_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"):
        read_weights(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_weights(tmp_path / "nothing.pth")


def test_pickled_network_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w")
    with pytest.raises(RefusedError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read_weights(tmp_path / "w")


def test_prefix_collision_is_refused(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "w")
    with pytest.raises(RefusedError, match="with and without the prefix"):
        read_weights(tmp_path / "w")


def test_zip_without_weights_and_newer_program(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with pytest.raises(RefusedError, match="without weights"):
        read_weights(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.pt2", "w") as archive:
        archive.writestr("b/archive_format", "pt2")
        archive.writestr("b/models/model.json", "{}")
    with pytest.raises(RefusedError, match=r"recent torch.*torch\.export\.load"):
        read_weights(tmp_path / "b.pt2")


PEAK_PROBE = """
import sys
from pathlib import Path
import torch
from vitruvian.models.weight_files import read_weights

def status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024

warm, *paths = sys.argv[1:]
sum(float(t.sum()) for t in read_weights(Path(warm)).tensors.values())
for path in paths:
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS:")
    weights = read_weights(Path(path))
    total = sum(float(t.sum()) for t in weights.tensors.values())
    print(Path(path).name, status("VmHWM:") - before, Path(path).stat().st_size)
    del weights
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_that_of_the_file(tmp_path: Path) -> None:
    """Reading a file and using every weight takes at most 1.2 times the file, mapped pages counted."""
    tensors = {f"t{i}": torch.zeros(500_000) + i for i in range(24)}
    save_file(tensors, tmp_path / "safetensors")
    torch.save(tensors, tmp_path / "pth")
    torch.save(
        {"state_dict": tensors, "hub": HistoryBuffer([1.0])}, tmp_path / "older", _use_new_zipfile_serialization=False
    )
    write_exported_program(tmp_path / "exported", tensors)
    network = nn.Sequential(*(nn.Linear(700, 700) for _ in range(24)))
    torch.jit.save(torch.jit.trace(network, torch.ones(1, 700)), str(tmp_path / "torchscript"))
    torch.save({"w": torch.ones(10)}, tmp_path / "warm")
    names = ["warm", "safetensors", "pth", "older", "exported", "torchscript"]
    probe = subprocess.run(
        [sys.executable, "-c", PEAK_PROBE, *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = {name: int(peak) / int(size) for name, peak, size in map(str.split, probe.stdout.splitlines())}
    assert set(peaks) == set(names[1:])
    assert max(peaks.values()) <= 1.2, peaks
    assert min(peaks.values()) > 0.5, "the probe does not see the weights"
