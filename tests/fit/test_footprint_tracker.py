"""The tracker: every storage once, from its making to its end, and what operators compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

from vitruvian.fit.footprint.tracker import Tracker, in_granules

SIZE = 1024
BYTES = 4 * SIZE


def no_scratch(name: str, args: tuple[Any, ...], out: Any) -> int:
    return 0


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with FakeTensorMode(), Tracker(no_scratch) as made:
        yield made


def test_storages_count_from_their_making_to_their_end(tracker: Tracker) -> None:
    x = torch.empty(SIZE)
    y = x * 2
    assert tracker.live_bytes("activations") == 2 * BYTES
    view = y.view(2, -1)[0]
    del y
    assert tracker.live_bytes("activations") == 2 * BYTES, "a view keeps its storage"
    del view
    assert tracker.live_bytes("activations") == BYTES
    del x
    assert tracker.live_bytes("activations") == 0


@pytest.mark.parametrize(("size", "granules"), [(0, 0), (1, 1), (512, 1), (513, 2)])
def test_sizes_are_rounded_up(size: int, granules: int) -> None:
    assert in_granules(size) == 512 * granules


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.mul_(2),
        lambda x: torch.add(x, 1, out=x),
        lambda x: x.copy_(x),
        lambda x: x.view(2, -1).zero_(),
        lambda x: F.relu(x, inplace=True),
    ],
)
def test_writing_in_place_makes_nothing(tracker: Tracker, write: Callable[[Tensor], Tensor]) -> None:
    x = torch.empty(SIZE)
    result = write(x)
    assert result.numel() == SIZE
    assert tracker.live_bytes("activations") == BYTES
    assert tracker.timeline.launches == 2, "it is work all the same"


def test_in_place_changes_of_shape_are_carried_out(tracker: Tracker) -> None:
    x = torch.empty(SIZE).unsqueeze_(0)
    assert x.shape == (1, SIZE)
    out = torch.empty(0)
    torch.add(torch.empty(SIZE), 1, out=out)
    assert out.shape == (SIZE,)


def test_storages_freed_by_resizing_are_seen(tracker: Tracker) -> None:
    x = torch.empty(SIZE)
    x.untyped_storage().resize_(0)
    assert tracker.live_bytes("activations") == 0
    x.untyped_storage().resize_(BYTES)
    assert tracker.live_bytes("activations") == BYTES


def test_resizing_is_plain_again_afterwards() -> None:
    before = torch.UntypedStorage.resize_
    with FakeTensorMode(), Tracker(no_scratch):
        assert torch.UntypedStorage.resize_ is not before
    assert torch.UntypedStorage.resize_ is before


def test_of_wrappers_only_what_they_wrap_counts(tracker: Tracker) -> None:
    wrapped = TwoTensor(torch.empty(SIZE), torch.empty(SIZE))
    tracker.count([wrapped], "weights")
    assert tracker.live_bytes("weights") == 2 * BYTES
    assert tracker.live_bytes("activations") == 0


def test_copies_of_weights_in_another_type_are_told_apart(tracker: Tracker) -> None:
    weight = nn.Parameter(torch.empty(SIZE))
    tracker.count([weight], "weights")
    half = weight.to(torch.bfloat16)
    other = (weight * 2).to(torch.bfloat16)
    assert (tracker.live_bytes("weights"), tracker.live_bytes("casts")) == (BYTES, BYTES // 2)
    assert tracker.live_bytes("activations") == BYTES // 2
    del half, other


def test_phases_say_which_rows_are_theirs(tracker: Tracker) -> None:
    with tracker.phase("first"):
        x = torch.empty(SIZE)
    with tracker.phase("step", new="optimizer"):
        state = x * 2
    torch.empty(SIZE)
    assert tracker.timeline.spans == [("first", 0, 1), ("step", 1, 2)]
    assert tracker.live_bytes("optimizer") == BYTES
    assert tracker.timeline.operators[1] == "aten.mul"
    del state


def test_attention_on_a_processor_has_the_arithmetic_of_attention(tracker: Tracker) -> None:
    shape = (2, 3, 64, 16)
    q, k, v = (torch.empty(shape, requires_grad=True) for _ in range(3))
    out = F.scaled_dot_product_attention(q, k, v)
    forward = tracker.timeline.flops
    assert forward == sdpa_flop_count(shape, shape, shape)
    torch.autograd.grad(out, (q, k, v), torch.empty(shape))
    assert tracker.timeline.flops - forward == sdpa_backward_flop_count(shape, shape, shape, shape)


def test_repeated_work_counts_as_often(tracker: Tracker) -> None:
    a, b = torch.empty(8, 16), torch.empty(16, 4)
    tracker.times = 5
    a @ b
    assert tracker.timeline.flops == 5 * 2 * 8 * 16 * 4
    assert tracker.timeline.bytes_moved == 4 * (8 * 16 + 16 * 4) + 5 * 4 * (8 * 16 + 16 * 4 + 8 * 4)
