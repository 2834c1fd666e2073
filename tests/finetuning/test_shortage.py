"""The order in which memory is saved once it gave out."""

from __future__ import annotations

import pytest

from vitruvian.errors import DoesNotFitError
from vitruvian.finetuning.shortage import smaller_knobs
from vitruvian.fit.knobs import Knobs, TrainingKnobs


def imagined_bytes(knobs: Knobs) -> int:
    training = knobs.training
    assert training is not None
    each = 2 if training.checkpointing == "blocks" else 10
    return 100 + each * knobs.micro_batch - (50 if training.state == "host" else 0)


def walk(start: Knobs, *, has_blocks: bool = True, on_host: bool = False) -> list[Knobs]:
    found, knobs = [], start
    while True:
        try:
            knobs = smaller_knobs(knobs, 8, imagined_bytes, has_blocks=has_blocks, on_host=on_host)
        except DoesNotFitError:
            return found
        found.append(knobs)


def seen(knobs: list[Knobs]) -> list[tuple[int, int, str, str]]:
    return [
        (one.micro_batch, one.training.accumulation, one.training.checkpointing, one.training.state)
        for one in knobs
        if one.training is not None
    ]


def test_smaller_batches_then_blocks_then_the_host() -> None:
    start = Knobs(micro_batch=4, training=TrainingKnobs(accumulation=2))
    assert seen(walk(start)) == [
        (2, 4, "none", "device"),
        (1, 8, "none", "device"),
        (1, 8, "blocks", "device"),
        (1, 8, "blocks", "host"),
    ]


@pytest.mark.parametrize(
    ("training", "options", "expected"),
    [
        (TrainingKnobs(), {"has_blocks": False}, [(1, 1, "none", "host")]),
        (TrainingKnobs(), {"on_host": True}, [(1, 1, "blocks", "device")]),
        (TrainingKnobs(optimizer="adamw-8bit", checkpointing="blocks"), {}, []),
        (TrainingKnobs(checkpointing="selective"), {"on_host": True}, [(1, 1, "blocks", "device")]),
    ],
)
def test_what_a_network_or_device_does_not_have_is_left_out(
    training: TrainingKnobs, options: dict[str, bool], expected: list[object]
) -> None:
    assert seen(walk(Knobs(training=training), **options)) == expected


def test_released_gradients_take_the_batch_in_one_piece() -> None:
    start = Knobs(micro_batch=8, training=TrainingKnobs(gradients="released"))
    assert [one.micro_batch for one in walk(start, on_host=True)] == [8]


def test_a_change_that_is_not_predicted_to_help_is_not_made() -> None:
    with pytest.raises(DoesNotFitError, match="every measure"):
        smaller_knobs(Knobs(micro_batch=4, training=TrainingKnobs()), 8, lambda knobs: 7, has_blocks=True, on_host=True)


def test_several_devices_share_the_batch() -> None:
    start = Knobs(micro_batch=4, training=TrainingKnobs(gpus=2))
    assert seen(walk(start, on_host=True))[0] == (2, 2, "none", "device")
