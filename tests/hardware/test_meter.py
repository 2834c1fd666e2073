"""Meters: the real one of this process, and an accelerator's through a made-up torch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from vitruvian.hardware import Meter, Reading, open_meter
from vitruvian.hardware.meter import ASSUMED_CONTEXT_BYTES, AllocatorMeter

MB = 10**6
GB = 10**9


def test_the_meter_rises_and_falls_with_a_tensor() -> None:
    meter = open_meter("cpu")
    before = meter.reading()
    block = torch.ones(75_000_000)
    with_block = meter.reading()
    assert 250 * MB < with_block.device_bytes - before.device_bytes < 400 * MB
    assert 250 * MB < with_block.allocated_bytes - before.allocated_bytes < 400 * MB
    assert with_block.allocated_bytes == with_block.reserved_bytes <= with_block.device_bytes
    del block
    assert abs(meter.reading().device_bytes - before.device_bytes) < 50 * MB
    high = meter.take_high()
    if high is not None:
        assert high - before.device_bytes > 250 * MB
        later = meter.take_high()
        assert later is not None
        assert later - before.device_bytes < 50 * MB, "a high mark is taken once"


@dataclass
class MadeUpAllocator:
    """A card of which this process holds `reserved` and a context, and others hold the rest."""

    used: int | None
    reserved: int = 0
    allocated: int = 0
    highest: int = 0
    restarts: int = 0

    def allocated_bytes(self) -> int:
        return self.allocated

    def reserved_bytes(self) -> int:
        return self.reserved

    def highest_reserved_bytes(self) -> int:
        return max(self.highest, self.reserved)

    def restart(self) -> None:
        self.restarts += 1
        self.highest = self.reserved

    def used_bytes(self) -> int | None:
        return self.used


def test_a_process_alone_on_a_card_holds_all_that_is_used() -> None:
    card = MadeUpAllocator(used=450 * MB)
    meter: Meter = AllocatorMeter(card)
    assert meter.reading() == Reading(allocated_bytes=0, reserved_bytes=0, device_bytes=450 * MB)
    card.used, card.reserved, card.allocated = 3 * GB, 2 * GB, GB
    assert meter.reading() == Reading(allocated_bytes=GB, reserved_bytes=2 * GB, device_bytes=3 * GB)


def test_other_programs_are_left_out() -> None:
    card = MadeUpAllocator(used=9 * GB, reserved=2 * GB)
    meter = AllocatorMeter(card)
    assert meter.reading().device_bytes == 2 * GB + ASSUMED_CONTEXT_BYTES
    card.used, card.reserved = 10 * GB, 3 * GB
    assert meter.reading().device_bytes == 3 * GB + ASSUMED_CONTEXT_BYTES
    card.used = 1 * GB  # the others have ended: what is left is ours at most
    card.reserved = 900 * MB
    assert meter.reading().device_bytes == 900 * MB


def test_libraries_that_load_later_count() -> None:
    card = MadeUpAllocator(used=400 * MB)
    meter = AllocatorMeter(card)
    card.used = 700 * MB
    assert meter.context_bytes() == 700 * MB


def test_spikes_between_readings_are_kept() -> None:
    card = MadeUpAllocator(used=400 * MB)
    meter = AllocatorMeter(card)
    card.highest = 5 * GB
    assert meter.take_high() == 5 * GB + 400 * MB
    assert meter.take_high() == 400 * MB
    assert card.restarts == 3


def test_a_device_that_tells_nothing_is_read_as_its_allocator() -> None:
    card = MadeUpAllocator(used=None, reserved=GB)
    assert AllocatorMeter(card).reading().device_bytes == GB


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch or a machine without CUDA")
def test_a_device_that_is_not_here_has_no_meter() -> None:
    with pytest.raises((RuntimeError, AssertionError)):
        open_meter("cuda:0").reading()
