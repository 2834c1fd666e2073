"""What this machine has. The only room that asks a device anything."""

from vitruvian.hardware.probe import Accelerator, Cpu, Hardware, probe, synchronize

__all__ = ["Accelerator", "Cpu", "Hardware", "probe", "synchronize"]
