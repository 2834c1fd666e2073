"""Nothing but what was exported for reaches compiled code: every way to call it wrongly, and every layout of memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import small_artefacts
import tolerances
from vitruvian.artefacts.artefact import Artefact, open_artefact
from vitruvian.artefacts.contract import Axis, TensorContract, checked, contract_from_json, contract_to_json
from vitruvian.errors import UsageError

BATCH = Axis(name="batch", maximum=4)
HEIGHT = Axis(name="height", minimum=32, maximum=96, multiple=16)
PICTURES = TensorContract(name="x", dtype="float32", shape=(BATCH, 3, HEIGHT, 5), values="-1 to 1")
TIMES = TensorContract(name="t", dtype="int64", shape=(BATCH,))
SCALE = TensorContract(name="scale", dtype="float32", shape=())
CONTRACTS = (PICTURES, TIMES, SCALE)


def good(batch: int = 2, height: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, height, 5, generator=generator), torch.arange(batch), torch.tensor(2.0)


@pytest.mark.parametrize(("batch", "height"), [(1, 32), (4, 96), (3, 64)])
def test_what_fits_passes_as_it_is(batch: int, height: int) -> None:
    given = good(batch, height)
    for value, passed in zip(given, checked(CONTRACTS, given, "cpu"), strict=True):
        assert passed.data_ptr() == value.data_ptr()
        assert torch.equal(passed, value)


def replaced(place: int, change: Callable[[Tensor], Any]) -> Callable[[], tuple[Any, ...]]:
    return lambda: tuple(change(value) if index == place else value for index, value in enumerate(good()))


REFUSED: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "none": (lambda: (), r"got 0 inputs; expected 3: x: float32 .*; t: int64 .*; scale: float32 number"),
    "too few": (lambda: good()[:2], "got 2 inputs; expected 3"),
    "too many": (lambda: (*good(), torch.ones(1)), "got 4 inputs; expected 3"),
    "a list": (replaced(0, lambda x: x.tolist()), "got a list for x; .*pass a tensor"),
    "nothing": (replaced(2, lambda x: None), "got a NoneType for scale"),
    "a number": (replaced(2, lambda x: 2.0), "got a float for scale"),
    "sparse": (replaced(0, lambda x: x.to_sparse()), "layout torch.sparse_coo for x"),
    "nested": (replaced(0, lambda x: torch.nested.nested_tensor(list(x))), "for x; .*dense"),
    "half": (replaced(0, lambda x: x.half()), r"got elements of float16 for x; .*\.to\(torch\.float32\)"),
    "bfloat16": (replaced(0, lambda x: x.bfloat16()), "got elements of bfloat16 for x"),
    "double": (replaced(0, lambda x: x.double()), "got elements of float64 for x"),
    "bytes": (replaced(0, lambda x: x.byte()), "got elements of uint8 for x"),
    "int32": (replaced(1, lambda t: t.int()), r"got elements of int32 for t; .*\.to\(torch\.int64\)"),
    "elsewhere": (replaced(0, lambda x: x.to("meta")), r"got a tensor on meta for x; .*\.to\('cpu'\)"),
    "one picture": (replaced(0, lambda x: x[0]), r"got 3 axes \(3 x 48 x 5\) for x"),
    "an axis more": (replaced(0, lambda x: x[None]), "got 5 axes"),
    "a number with an axis": (replaced(2, lambda x: x[None]), r"got 1 axes \(1\) for scale"),
    "channels": (replaced(0, lambda x: x[:, :2]), r"got 2 on axis 1 \(2 x 2 x 48 x 5\) for x; .*resize or crop"),
    "width": (replaced(0, lambda x: x[..., :4]), "got 4 on axis 3"),
    "channels last": (replaced(0, lambda x: x.permute(0, 2, 3, 1)), "got 48 on axis 1"),
    "batch 0": (lambda: good(0), "got 0 on axis 0 .* give it 1 or more"),
    "batch 5": (lambda: good(5), "got 5 on axis 0 .* split the batch, or export again with a larger --max-batch"),
    "too low": (lambda: good(2, 16), "got 16 on axis 2 .*height 32 to 96, multiples of 16.*resize"),
    "too high": (lambda: good(2, 112), "got 112 on axis 2"),
    "no multiple": (lambda: good(2, 40), "got 40 on axis 2 .* multiples of 16"),
    "two batches": (replaced(1, lambda t: t[:1]), r"got 1 on axis 0 \(batch\), where another input has 2 for t"),
}


@pytest.mark.filterwarnings("ignore:.*nested tensors")
@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(given: Callable[[], tuple[Any, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        checked(CONTRACTS, given(), "cpu")
    assert re.fullmatch(r"got .*; expected .*; .*", str(error.value))


@pytest.mark.parametrize(
    ("place", "wanted", "passes"),
    [("meta", "meta", True), ("meta:1", "meta", True), ("meta:1", "meta:0", False), ("cpu", "meta", False)],
)
def test_a_device_without_a_number_means_any_of_its_kind(place: str, wanted: str, passes: bool) -> None:
    given = [torch.empty(3, dtype=torch.int64, device=place)]
    if passes:
        assert checked([TIMES], given, wanted)[0].shape == (3,)
    else:
        with pytest.raises(UsageError, match=re.escape(f".to('{wanted}')")):
            checked([TIMES], given, wanted)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every second": lambda x: torch.stack([x, -x], dim=-1).flatten(-2)[..., ::2],
    "part of a larger one": lambda x: torch.cat([x, -x], dim=1)[:, : x.shape[1]],
    "backwards": lambda x: x.flip(0).flip(0),
    "shifted": lambda x: torch.cat([torch.zeros(1), x.flatten()])[1:].view(x.shape),
    "expanded": lambda x: x[:1].expand(x.shape),
    "wants gradients": lambda x: x.clone().requires_grad_(),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_is_made_plain(layout: Callable[[Tensor], Tensor]) -> None:
    x = layout(good()[0])
    (passed,) = checked([PICTURES], [x], "cpu")
    assert passed.is_contiguous()
    assert not passed.requires_grad
    assert torch.equal(passed, x)


# The cases in which native code by itself gives garbage or reads beyond its input.


@pytest.fixture(scope="module")
def opened(native: Path) -> Artefact:
    return open_artefact(native)


@pytest.fixture(scope="module")
def eager(native: Path) -> Callable[[Tensor], Tensor]:
    network = small_artefacts.network(native)
    return lambda x: network(x)["logits"]


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 9, 21])
def test_any_batch_through_native_code_is_right(
    opened: Artefact, eager: Callable[[Tensor], Tensor], batch: int
) -> None:
    x = small_artefacts.pictures(batch, seed=batch)
    torch.testing.assert_close(opened(x)["logits"], eager(x), atol=tolerances.EXPORT_ABS, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_through_native_code_is_right(
    opened: Artefact, eager: Callable[[Tensor], Tensor], layout: Callable[[Tensor], Tensor]
) -> None:
    x = layout(small_artefacts.pictures(3))
    with torch.no_grad():
        wanted = eager(x)
    torch.testing.assert_close(opened(x)["logits"], wanted, atol=tolerances.EXPORT_ABS, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.bfloat16(), "bfloat16"),
        (lambda x: x.half(), "float16"),
        (lambda x: x[:, :, :48], "got 48 on axis 2"),
        (lambda x: torch.cat([x, x], dim=2), "got 128 on axis 2"),
        (lambda x: x.transpose(2, 3), "got 48 on axis 2"),
        (lambda x: x[:0], "got 0 on axis 0"),
        (lambda x: torch.cat([x] * 3).bfloat16(), "bfloat16"),
        (lambda x: torch.cat([x] * 3)[:, :, :48], "got 48 on axis 2"),
    ],
)
def test_native_code_never_sees_what_it_was_not_made_for(
    opened: Artefact, change: Callable[[Tensor], Tensor], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        opened(change(small_artefacts.pictures(2)))


@pytest.mark.parametrize("contract", [*CONTRACTS, TensorContract(name="é", dtype="bool", shape=(2, 0))])
def test_a_contract_comes_back_from_json(contract: TensorContract) -> None:
    assert contract_from_json(contract_to_json(contract)) == contract


def batch(**fields: Any) -> dict[str, Any]:
    return {"name": "batch", "minimum": 1, "maximum": 4, "multiple": 1, **fields}


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "float32", "shape": [batch(), 3], "values": "", **fields}


def without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}


@pytest.mark.parametrize(
    "document",
    [
        *(None, [], "x", 3, {}),
        *(without(tensor(), key) for key in tensor()),
        *(tensor(shape=[without(batch(), key)]) for key in batch()),
        *(tensor(name=name) for name in (None, 3, "", ["x"], "a\x1bb", "a\nb", "x" * 501)),
        *(tensor(dtype=dtype) for dtype in ("float8", "Tensor", "complex64", "", None, 32, [])),
        *(tensor(values=values) for values in (None, 3, [])),
        *(tensor(shape=shape) for shape in (None, "3", 3, {}, [-1], [True], [1.0], ["3"], [None], [[3]], [2**62])),
        *(tensor(shape=[batch(name=name)]) for name in (None, "", 3, "\x07")),
        *(tensor(shape=[batch(minimum=value)]) for value in (0, -1, 2, 5, True, 1.0, "1", None)),
        *(tensor(shape=[batch(maximum=value)]) for value in (0, -1, True, 4.0, "4", 2**62)),
        *(tensor(shape=[batch(multiple=value)]) for value in (0, -1, 2, True, None)),
        tensor(shape=[3, batch()]),
        tensor(shape=[batch(), batch()]),
        tensor(shape=[batch(), batch(name="height", minimum=5)]),
    ],
)
def test_what_is_no_contract_is_refused(document: Any) -> None:
    with pytest.raises((ValueError, KeyError)):
        contract_from_json(document)


@pytest.mark.parametrize("maximum", [None, 1, 2**61])
def test_other_ends_are_none_of_its_business(maximum: int | None) -> None:
    read = contract_from_json(tensor(shape=[batch(maximum=maximum), batch(name="width", minimum=1)]))
    assert read.batch == Axis(name="batch", maximum=maximum)
    assert read.sizes({"batch": 3, "width": 2}) == (3, 2)
    assert str(read) == f"x: float32 [batch 1 to {maximum or 'any'}] x [width 1 to 4]"
