"""A compiled file is taken over where the networks differ in their weights alone, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import small_artefacts
from small_artefacts import copied, document
from vitruvian.artefacts.artefact import open_artefact
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.ladder import RUNGS
from vitruvian.artefacts.reuse import STRUCTURE, reusable_from, structure_of
from vitruvian.artefacts.rung import Draft
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision, apply_precision

AOTI = RUNGS["aoti"]


class Net(nn.Module):
    """A matrix, a table that is no weight, and a number in the code."""

    def __init__(self, seed: int = 0, width: int = 3, factor: float = 2.0, table: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(width, 4)
        self.table = torch.full((4,), table)
        self.factor = factor

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": (self.linear(x) + self.table) * self.factor}


def draft(maximum: int | None = 4, precision: Precision | None = None, **net: Any) -> Draft:
    module, precision = Net(**net).eval().requires_grad_(False), precision or Precision()
    width = module.linear.in_features
    contract = TensorContract(name="x", dtype="float32", shape=(Axis(name="batch", maximum=maximum), width))
    return Draft(
        name="net",
        module=apply_precision(module, precision),
        inputs=(contract,),
        sample=(torch.ones(2, width),),
        precision=precision,
        device="cpu",
    )


def test_two_trainings_have_one_structure() -> None:
    assert structure_of(draft(seed=1)) == structure_of(draft(seed=2))


OTHERS: dict[str, Callable[[], Draft]] = {
    "range": lambda: draft(8),
    "no end": lambda: draft(None),
    "width": lambda: draft(width=5),
    "a number in the code": lambda: draft(factor=3.0),
    "a table that is no weight": lambda: draft(table=5.0),
    "type": lambda: draft(precision=Precision(dtype="bfloat16")),
    "islands": lambda: draft(precision=Precision(dtype="bfloat16", islands=("linear",))),
    "input type": lambda: replace_input(draft(), dtype="float16"),
}


def replace_input(one: Draft, **fields: Any) -> Draft:
    assert one.program  # captured before its description is changed
    one.inputs = tuple(replace(contract, **fields) for contract in one.inputs)
    return one


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_whatever_compiled_code_depends_on_makes_another_structure(other: Callable[[], Draft]) -> None:
    assert structure_of(other()) != structure_of(draft())


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Draft:
    """The tiny network with other weights, on its way into an artefact."""
    path = small_artefacts.weight_file(tmp_path_factory.mktemp("again") / "tiny.safetensors", seed=2)
    return small_artefacts.draft(path)


def test_the_same_network_with_other_weights_takes_it(native: Path, again: Draft) -> None:
    folder, manifest = reusable_from(native, again, trust=False)(AOTI) or pytest.fail("nothing found")
    assert folder == native
    assert manifest.entry == "network.pt2"


@pytest.mark.parametrize("backend", ["export", "eager"])
def test_other_backends_build_their_own(native: Path, again: Draft, backend: Any) -> None:
    assert reusable_from(native, again, trust=False)(RUNGS[backend]) is None


def test_weights_alone_hold_nothing_to_take(plain: Path, again: Draft) -> None:
    assert all(reusable_from(plain, again, trust=False)(rung) is None for rung in RUNGS.values())


def test_nothing_is_looked_for_unasked(again: Draft) -> None:
    assert reusable_from(None, again, trust=False)(AOTI) is None


def cut(folder: Path) -> None:
    (folder / "network.pt2").write_bytes((folder / "network.pt2").read_bytes()[:-1])


@pytest.mark.parametrize(
    ("changes", "damage", "trust", "said"),
    [
        ({"model": "other"}, None, False, "not made on this machine"),
        ({"options": {STRUCTURE: "0" * 64}}, None, True, "compiled for another network, .*leave --reuse out"),
        ({"options": {}}, None, True, "compiled for another network"),
        ({}, cut, False, "bytes instead of"),
        ({"batch": {"minimum": 1, "maximum": 64}}, None, True, "not that of its inputs"),
    ],
)
def test_what_does_not_belong_is_refused(
    native: Path, again: Draft, changes: Any, damage: Any, trust: bool, said: str, tmp_path: Path
) -> None:
    folder = copied(native, tmp_path / "copy", **changes)
    if damage:
        damage(folder)
    with pytest.raises(RefusedError, match=said):
        reusable_from(folder, again, trust=trust)(AOTI)


def test_another_machines_is_refused(native: Path, again: Draft, tmp_path: Path) -> None:
    folder = copied(native, tmp_path / "copy", target={**document(native)["target"], "system": "Plan 9"})
    with pytest.raises(RefusedError, match="made for Plan 9, here is"):
        reusable_from(folder, again, trust=True)(AOTI)


def test_no_artefact_is_the_users_mistake(again: Draft, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without a readable manifest"):
        reusable_from(tmp_path, again, trust=False)


def test_the_weights_that_lie_beside_it_count(native: Path, tmp_path: Path) -> None:
    """One compilation, two trainings: each gives its own results."""
    folder = tmp_path / "second"
    small_artefacts.artefact(folder, "aoti", seed=2, reuse=native)
    assert (folder / "network.pt2").read_bytes() == (native / "network.pt2").read_bytes()
    x = small_artefacts.pictures(3)
    with torch.no_grad():
        first, second = (small_artefacts.network(one)(x)["logits"] for one in (native, folder))
    assert not torch.allclose(first, second, atol=0.1)
    torch.testing.assert_close(open_artefact(folder)(x)["logits"], second, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(open_artefact(native)(x)["logits"], first, atol=1e-4, rtol=1e-4)
