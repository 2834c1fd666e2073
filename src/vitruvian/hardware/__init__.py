"""What this machine has, what it does at this moment, and what known machines have. The only room that asks a device
anything.
"""

from vitruvian.hardware.catalogue import MACHINES, aliases, catalogue_table, find_machine
from vitruvian.hardware.compiler import compiler_works
from vitruvian.hardware.exact_float32 import compute_exact_float32
from vitruvian.hardware.kernels import kernels_missing
from vitruvian.hardware.limits import DeviceLimit, limit_memory
from vitruvian.hardware.meter import Meter, Reading, open_meter
from vitruvian.hardware.out_of_memory import free_caches, out_of_memory
from vitruvian.hardware.probe import free_memory_now, make_current, probe, synchronize
from vitruvian.hardware.process_memory import freed_memory_kept, heap_free_bytes, large_blocks_apart
from vitruvian.hardware.random_state import device_rng_state, set_device_rng_state
from vitruvian.hardware.rates import measured_rates
from vitruvian.hardware.sizes import format_bytes, parse_size
from vitruvian.hardware.spill import SpillRule, spill_watch
from vitruvian.hardware.target import Target, target_here
from vitruvian.hardware.values import DTYPES, Accelerator, Cpu, Device, Dtype, Hardware, Rates, Support
from vitruvian.hardware.watch import PeakWatch

__all__ = [
    "DTYPES",
    "MACHINES",
    "Accelerator",
    "Cpu",
    "Device",
    "DeviceLimit",
    "Dtype",
    "Hardware",
    "Meter",
    "PeakWatch",
    "Rates",
    "Reading",
    "SpillRule",
    "Support",
    "Target",
    "aliases",
    "catalogue_table",
    "compiler_works",
    "compute_exact_float32",
    "device_rng_state",
    "find_machine",
    "format_bytes",
    "free_caches",
    "free_memory_now",
    "freed_memory_kept",
    "heap_free_bytes",
    "kernels_missing",
    "large_blocks_apart",
    "limit_memory",
    "make_current",
    "measured_rates",
    "open_meter",
    "out_of_memory",
    "parse_size",
    "probe",
    "set_device_rng_state",
    "spill_watch",
    "synchronize",
    "target_here",
]
