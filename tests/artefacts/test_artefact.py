"""An open artefact: any batch in parts, everything checked, doors tried in the right order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import small_artefacts
from fit.imagined import machine
from small_artefacts import copied, document, known, target
from vitruvian.artefacts import artefact as artefacts
from vitruvian.artefacts import program as programs
from vitruvian.artefacts.artefact import Artefact, device_for, open_artefact
from vitruvian.artefacts.compatibility import MismatchError
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.folder import seal
from vitruvian.artefacts.manifest import MANIFEST, WEIGHTS, Manifest, StoredWeights, read_manifest
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision

MAXIMUM = 4
BATCH = Axis(name="batch", maximum=MAXIMUM)
X = TensorContract(name="x", dtype="float32", shape=(BATCH, 2))
SCALE = TensorContract(name="scale", dtype="float32", shape=())


class Recorder:
    """Stands in for compiled code: doubles, and remembers what reached it."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x: Tensor, *more: Tensor) -> Mapping[str, Tensor]:
        assert x.is_contiguous()
        self.batches.append(x.shape[0])
        return {"y": x * (2 if not more else more[-1]), "rows": x[:, 0]}


def manifest(inputs: tuple[TensorContract, ...] = (X,), **fields: Any) -> Manifest:
    plain: dict[str, Any] = {
        "model": "Net",
        "task": "",
        "licence": "",
        "weights_sha256": "",
        "source": "",
        "backend": "aoti",
        "precision": Precision(),
        "inputs": inputs,
        "outputs": (X,),
        "target": target(),
        "files": {},
        "version": "0",
    }
    return Manifest(**{**plain, **fields})


def artefact(compiled: Any, inputs: tuple[TensorContract, ...] = (X,)) -> Artefact:
    return Artefact(folder=Path("mine"), manifest=manifest(inputs), device="cpu", compiled=compiled)


@pytest.mark.parametrize(
    ("batch", "parts"),
    [(1, [1]), (2, [2]), (4, [4]), (5, [3, 2]), (7, [4, 3]), (8, [4, 4]), (9, [3, 3, 3]), (100, [4] * 25)],
)
def test_a_batch_is_cut_into_even_parts_and_put_together_in_order(batch: int, parts: list[int]) -> None:
    compiled = Recorder()
    x = torch.arange(2.0 * batch).reshape(batch, 2)
    outputs = artefact(compiled)(x)
    assert compiled.batches == parts
    assert torch.equal(outputs["y"], x * 2)
    assert torch.equal(outputs["rows"], x[:, 0])


def test_inputs_without_a_batch_go_with_every_part() -> None:
    compiled = Recorder()
    x = torch.ones(6, 2)
    outputs = artefact(compiled, (X, SCALE))(x, torch.tensor(3.0))
    assert compiled.batches == [3, 3]
    assert torch.equal(outputs["y"], x * 3)


def test_several_inputs_are_cut_alike() -> None:
    compiled = Recorder()
    x, factors = torch.ones(7, 2), torch.arange(14.0).reshape(7, 2)
    outputs = artefact(compiled, (X, TensorContract(name="f", dtype="float32", shape=(BATCH, 2))))(x, factors)
    assert compiled.batches == [4, 3]
    assert torch.equal(outputs["y"], factors)


def test_without_an_end_nothing_is_cut() -> None:
    compiled = Recorder()
    artefact(compiled, (TensorContract(name="x", dtype="float32", shape=(Axis(name="batch"), 2)),))(torch.ones(99, 2))
    assert compiled.batches == [99]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "got 0 inputs"),
        ((torch.ones(9, 2), torch.ones(9, 2)), "got 2 inputs"),
        ((torch.ones(9, 3),), "got 3 on axis 1"),
        ((torch.ones(9, 2).half(),), "float16"),
        ((torch.ones(9),), "1 axes"),
        ((torch.tensor(1.0),), "0 axes"),
        (([[1.0, 2.0]] * 9,), "got a list"),
        ((torch.ones(0, 2),), "got 0 on axis 0"),
    ],
)
def test_nothing_wrong_reaches_compiled_code_whatever_its_batch(given: tuple[Any, ...], said: str) -> None:
    compiled = Recorder()
    with pytest.raises(UsageError, match=said):
        artefact(compiled)(*given)
    assert compiled.batches == []


def test_two_batches_too_large_and_unequal_are_refused() -> None:
    compiled = Recorder()
    two = artefact(compiled, (X, TensorContract(name="f", dtype="float32", shape=(BATCH, 2))))
    with pytest.raises(UsageError, match="for x; "):
        two(torch.ones(9, 2), torch.ones(8, 2))
    assert compiled.batches == []


@pytest.mark.parametrize("whole", [lambda x: x.sum(), lambda x: torch.ones(7, 3)], ids=["a number", "a table"])
def test_outputs_without_a_row_for_each_input_cannot_be_put_together(whole: Any) -> None:
    one = artefact(lambda x: {"y": x, "whole": whole(x)})
    assert one(torch.ones(4, 2)).keys() == {"y", "whole"}
    with pytest.raises(UsageError, match=r"got a batch of 9 for mine, which takes 4 .*output whole has no row"):
        one(torch.ones(9, 2))


def test_gradients_are_never_asked_for() -> None:
    outputs = artefact(Recorder())(torch.ones(9, 2, requires_grad=True))
    assert not outputs["y"].requires_grad


# Opening: manifest, machine, trust, files, in this order.


def elsewhere(folder: Path) -> dict[str, Any]:
    return {**document(folder)["target"], "torch": "1.0"}


def test_the_machine_is_looked_at_before_trust_and_files(native: Path, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy", target=elsewhere(native))
    (folder / "network.pt2").unlink()
    for trust in (False, True):
        with pytest.raises(MismatchError, match=r"made for torch 1\.0, here is"):
            open_artefact(folder, trust=trust)


def test_trust_is_looked_at_before_files(native: Path, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy", model="another")
    (folder / "network.pt2").unlink()
    with pytest.raises(RefusedError, match="not made on this machine"):
        open_artefact(folder)
    with pytest.raises(RefusedError, match=r"network\.pt2 is missing"):
        open_artefact(folder, trust=True)


def test_files_are_looked_at_before_anything_is_opened(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(native, tmp_path / "copy")
    (folder / WEIGHTS).write_bytes(b"x")
    (folder / "network.pt2").write_bytes((native / "network.pt2").read_bytes())
    monkeypatch.setitem(artefacts.RUNGS, "aoti", _never(artefacts.RUNGS["aoti"]))
    with pytest.raises(RefusedError, match="bytes instead of"):
        open_artefact(folder, trust=True)


def _never(rung: Any) -> Any:
    return replace(rung, open=lambda opening: pytest.fail("opened"), missing=lambda device: pytest.fail("tried"))


def test_opening_native_code_tries_no_compiler(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rung = artefacts.RUNGS["aoti"]
    monkeypatch.setitem(artefacts.RUNGS, "aoti", replace(rung, missing=lambda device: pytest.fail("tried a compiler")))
    open_artefact(native)


def test_a_file_that_torch_cannot_open_is_refused(native: Path, tmp_path: Path) -> None:
    """Changed and entered into the ledger again: whoever can do that may run what they like, but gets a sentence."""
    folder = copied(native, tmp_path / "copy")
    (folder / "network.pt2").write_bytes(b"PK\x05\x06" + bytes(18))
    seal(folder, _forgotten(read_manifest(folder)[0]))
    with pytest.raises(RefusedError, match=r"got network\.pt2, which torch does not open"):
        open_artefact(known(folder))


def test_weights_of_another_layout_are_refused(native: Path, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy")
    tensors = load_file(folder / WEIGHTS)
    del tensors["backbone.pos_embed"]
    save_file(tensors, folder / WEIGHTS)
    seal(folder, _forgotten(read_manifest(folder)[0]))
    with pytest.raises(RefusedError, match=r"got weights without .*pos_embed"):
        open_artefact(known(folder))


@pytest.mark.parametrize("backend", ["native", "plain"])
def test_weights_that_are_none_are_refused(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = copied(request.getfixturevalue(backend), tmp_path / "copy")
    (folder / WEIGHTS).write_bytes(b"not safetensors at all")
    seal(folder, _forgotten(read_manifest(folder)[0]))
    with pytest.raises(RefusedError, match=WEIGHTS):
        open_artefact(known(folder))


def _forgotten(manifest: Manifest) -> Manifest:
    """A manifest whose files are hashed anew."""
    return replace(manifest, files={})


def test_no_artefact_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without a readable manifest"):
        open_artefact(tmp_path)
    (tmp_path / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(RefusedError, match="cannot be used"):
        open_artefact(tmp_path)


def test_the_folder_that_one_stands_in_has_a_name(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(native, tmp_path / "copy", model="another")
    monkeypatch.chdir(folder)
    with pytest.raises(RefusedError, match="got the artefact copy, which holds code"):
        open_artefact(".")


def test_a_device_that_is_not_here_is_the_users_mistake(plain: Path) -> None:
    with pytest.raises(UsageError, match=r"got --device abacus; expected one of .*cpu"):
        open_artefact(plain, device="abacus")


@pytest.mark.parametrize(
    ("made_for", "asked", "card", "expected"),
    [
        ("cpu", None, None, "cpu"),
        ("cpu", None, "cuda", "cpu"),
        ("cuda", None, "cuda", "cuda:0"),
        ("cuda", None, None, "cpu"),
        ("banana", None, "cuda", "cuda:0"),
        ("cuda", "cpu", "cuda", "cpu"),
        ("cpu", "cuda", "cuda", "cuda:0"),
    ],
)
def test_it_runs_where_it_was_made_for_unless_asked_otherwise(
    made_for: str, asked: str | None, card: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "probe", lambda: machine(24 if card else None))
    assert device_for(manifest(target=target(device=made_for)), asked) == expected


def test_weights_take_their_types_and_names(tmp_path: Path) -> None:
    save_file(
        {
            "a": torch.tensor([1.1]),
            "b": torch.tensor([1.1]),
            "c": torch.tensor([1.1], dtype=torch.float64),
            "n": torch.tensor([3]),
        },
        tmp_path / WEIGHTS,
    )
    one = manifest(precision=Precision(dtype="bfloat16"), weights=StoredWeights(prefix="net.", kept_float32=("b",)))
    found = artefacts._weights(tmp_path, one, "cpu")
    assert {name: value.dtype for name, value in found.items()} == {
        "net.a": torch.bfloat16,
        "net.b": torch.float32,
        "net.c": torch.bfloat16,
        "net.n": torch.int64,
    }
    assert artefacts._weights(tmp_path, manifest(), "cpu") == {}


def test_a_program_runs_operator_by_operator_where_no_compiler_works(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "compiler_works", lambda device: False)
    opened = open_artefact(program)
    network = small_artefacts.network(program)
    for batch in (1, 2, 7):
        x = small_artefacts.pictures(batch)
        with torch.no_grad():
            torch.testing.assert_close(opened(x)["logits"], network(x)["logits"])
