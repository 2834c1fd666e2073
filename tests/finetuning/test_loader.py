"""Which samples a step sees, and what becomes of those that are no use."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

from vitruvian.errors import CheckFailedError, InputError
from vitruvian.finetuning.loader import Loader, Order, plain_samples
from vitruvian.training.ranks import Ranks


def loader(
    count: int = 10, *, broken: tuple[int, ...] = (), limit: int = 10, **fields: object
) -> Loader[int, tuple[int, float]]:
    def prepare(sample: int, rng: np.random.Generator) -> tuple[int, float]:
        if sample in broken:
            raise InputError(f"{sample} is no use")
        return sample, float(rng.random())

    options: dict[str, object] = {"batch_size": 4, "seed": 5, "threads": 2, "corrupt_limit": limit, **fields}
    return Loader(samples=range(count), name_of=str, prepare=prepare, **options)  # type: ignore[arg-type]


def test_every_epoch_sees_every_sample_once_in_another_order() -> None:
    order = Order(count=7, seed=1)
    epochs = [[order.place(7 * epoch + at).index for at in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert order.place(6).epoch == 0
    assert order.place(7).epoch == 1


def test_a_step_is_a_function_of_its_number() -> None:
    forward, jumping = loader(), loader()
    seen = [forward(step) for step in range(6)]
    assert jumping(4) == seen[4]
    assert jumping(1) == seen[1]
    assert loader(seed=6)(0) != seen[0]


def test_processes_share_a_step_among_them() -> None:
    whole = loader()
    parts = [loader(ranks=Ranks(rank=rank, count=2)) for rank in range(2)]
    for step in range(5):
        assert Counter(whole(step)) == Counter([one for part in parts for one in part(step)])


def test_a_sample_of_no_use_gives_way_to_the_next_one() -> None:
    clean, mended = loader(), loader(broken=(3, 4))
    for step in range(5):
        for (expected, _), (found, _) in zip(clean(step), mended(step), strict=True):
            assert found == (5 if expected in (3, 4) else expected)
    assert mended.corrupt == {"3": "3 is no use", "4": "4 is no use"}


def test_too_many_of_them_end_the_training() -> None:
    with pytest.raises(CheckFailedError, match=r"got 3 samples that are no use; expected 2 at most.*corrupt_limit"):
        all(loader(broken=(1, 2, 3, 4), limit=2)(step) for step in range(5))
    with pytest.raises(CheckFailedError, match="none of use"):
        loader(3, broken=(0, 1, 2))(0)


def test_the_next_step_is_made_while_this_one_is_used() -> None:
    made = threading.Event()

    def prepare(sample: int, rng: np.random.Generator) -> int:
        if sample == 2:
            made.set()
        return sample

    one = Loader(samples=[0, 1, 2, 3], name_of=str, prepare=prepare, batch_size=2, seed=0, threads=1, corrupt_limit=0)
    at = next(position // 2 for position in range(4) if one._order.place(position).index == 2)
    one(0)
    assert at == 0 or made.wait(5)
    one.close()


def test_plain_samples_keep_their_order_and_leave_out_what_is_no_use() -> None:
    def prepare(sample: int, rng: None) -> int:
        if sample == 3:
            raise InputError("no picture")
        return sample * 10

    corrupt: dict[str, str] = {}
    assert list(plain_samples(range(6), prepare, str, corrupt, threads=2)) == [0, 10, 20, 40, 50]
    assert corrupt == {"3": "no picture"}


def test_want_of_memory_is_not_a_fault_of_the_sample() -> None:
    def prepare(sample: int, rng: np.random.Generator | None) -> int:
        try:
            raise MemoryError
        except MemoryError as error:
            raise InputError("cannot be decoded") from error

    one = Loader(samples=[0, 1], name_of=str, prepare=prepare, batch_size=1, seed=0, threads=1, corrupt_limit=9)
    with pytest.raises(MemoryError, match="cannot be decoded"):
        one(0)
    assert not one.corrupt
    corrupt: dict[str, str] = {}
    with pytest.raises(MemoryError):
        list(plain_samples([0], prepare, str, corrupt, threads=1))
    assert not corrupt
