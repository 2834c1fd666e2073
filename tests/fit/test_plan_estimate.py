"""Items per second: what limits a pass, and what a step adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fit.imagined import footprint, machine
from vitruvian.fit.estimate import ARITHMETIC_SHARE, items_per_s
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.hardware import Accelerator, Device, Rates

DEVICE = machine().device("cuda:0")


def with_rates(tflops: float, bandwidth_gb_s: float) -> Device:
    rates = Rates(
        float32_tflops=tflops,
        bfloat16_tflops=tflops,
        float16_tflops=tflops,
        bandwidth_gb_s=bandwidth_gb_s,
        source="spec sheet",
    )
    return replace(DEVICE, rates=rates)


def speed(knobs: Knobs, device: Device = DEVICE) -> float:
    value = items_per_s(footprint(knobs), knobs, device)
    assert value is not None
    return value


def training(batch: int = 1, device: Device = DEVICE, **fields: object) -> float:
    return speed(Knobs(micro_batch=batch, dtype="bfloat16", training=TrainingKnobs(**fields)), device)  # type: ignore[arg-type]


def test_arithmetic_alone_is_the_flops_over_the_rate() -> None:
    knobs = Knobs(dtype="bfloat16", micro_batch=64)
    device = with_rates(1.0, 1e9)
    expected = 1.0 * ARITHMETIC_SHARE["spec sheet"] * 1e12 / footprint(knobs).flops_per_item
    assert speed(knobs, device) == pytest.approx(expected, rel=0.02)


def test_slow_memory_limits_what_fast_arithmetic_does_not() -> None:
    knobs = Knobs(dtype="bfloat16", micro_batch=64)
    assert speed(knobs, with_rates(1e6, 100)) == pytest.approx(speed(knobs, with_rates(1e6, 200)) / 2, rel=0.02)


def test_launching_limits_fast_devices_at_small_batches() -> None:
    device = with_rates(1e6, 1e6)
    one, two = (speed(Knobs(micro_batch=batch), device) for batch in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.02)


@pytest.mark.parametrize("batches", [(1, 2, 4, 8, 16, 32)])
def test_larger_batches_are_never_slower(batches: tuple[int, ...]) -> None:
    speeds = [speed(Knobs(dtype="bfloat16", micro_batch=batch)) for batch in batches]
    assert speeds == sorted(speeds)


def test_each_measure_of_training_costs_time() -> None:
    plain = training()
    assert training(checkpointing="blocks") < plain
    assert training(state="host") < plain


def test_blocks_are_computed_twice_and_selective_ones_nearly_not() -> None:
    none, selective, blocks = (training(checkpointing=how) for how in ("none", "selective", "blocks"))
    assert 0.95 * none < selective < none
    assert blocks < 0.9 * none


def test_checkpointing_takes_the_hosts_time() -> None:
    idle = with_rates(1e6, 1e6)
    none, selective, blocks = (training(device=idle, checkpointing=how) for how in ("none", "selective", "blocks"))
    assert none / blocks == pytest.approx(2.5 / 1.5, rel=0.02)
    assert none / selective == pytest.approx(3.6 / 1.5, rel=0.02)


@pytest.mark.parametrize("fields", [{}, {"precision": "pure"}, {"state": "host"}])
def test_released_gradients_are_read_as_often_as_kept_ones(fields: dict[str, Any]) -> None:
    assert training(gradients="released", **fields) == pytest.approx(training(**fields), rel=1e-3)


def test_accumulation_spreads_the_step() -> None:
    assert training(state="host") < training(state="host", accumulation=4) < training(state="host", accumulation=64)


def test_an_older_link_makes_moved_state_slower() -> None:
    assert isinstance(DEVICE, Accelerator)
    older = replace(DEVICE, capability=(7, 0))
    assert training(state="host", device=older) < training(state="host")
    assert training(device=older) == training()


def test_devices_add_up_less_what_they_exchange() -> None:
    one = training(8, accumulation=4)
    assert one < training(8, gpus=4, parallel="ddp", accumulation=4) <= 4 * one
    assert training(8, gpus=4, parallel="fsdp") < training(8, gpus=4, parallel="ddp")


def test_unknown_rates_are_not_guessed() -> None:
    assert items_per_s(footprint(Knobs()), Knobs(), replace(DEVICE, rates=None)) is None
