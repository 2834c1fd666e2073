"""What a machine is, as values: typed by `probe()`, by the catalogue of known machines, or by hand in tests."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from vitruvian.errors import UsageError

Dtype = Literal["float32", "bfloat16", "float16"]
"""Compute types of networks, by torch's names."""

DTYPES: tuple[Dtype, ...] = get_args(Dtype)

Support = Literal["native", "emulated", "none", "unknown"]
"""native: its own instructions. emulated: accepted, computed by way of another type, often slower than float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Peak dense arithmetic (matrix units where the type has them) and memory speed."""

    float32_tflops: float
    bfloat16_tflops: float
    """Of the way torch really takes: an emulated type has the rate of its emulation."""
    float16_tflops: float
    bandwidth_gb_s: float
    """10^9 bytes of device memory per second."""
    source: Literal["spec sheet", "measured", "assumed"]

    def tflops(self, dtype: Dtype) -> float:
        """Peak 10^12 operations per second of a compute type."""
        return {
            "float32": self.float32_tflops,
            "bfloat16": self.bfloat16_tflops,
            "float16": self.float16_tflops,
        }[dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One place a network can run."""

    device: str
    """torch device string: `cpu`, `cuda:0`, ..."""
    name: str
    total_bytes: int
    """As the driver or the system reports it, a control group's limit included."""
    free_bytes: int
    """What this process can still get, other processes counted."""
    bf16: Support
    fp16: Support
    tf32: Support
    fp8: Support
    attention: tuple[str, ...] = ()
    """Fused attention kernels that ran here: flash, efficient, cudnn; empty: none did, or none was tried."""
    compiler: bool | None = None
    """Whether generated kernels compile and run here; None: not tried."""
    rates: Rates | None = None
    tested: bool = False
    """Whether this project was ever run on this kind of device."""
    unusable: str = ""
    """Why this torch cannot compute here and what to install; empty where it can."""

    @property
    def kind(self) -> str:
        """cpu, cuda, mps, xpu."""
        return self.device.partition(":")[0]

    def support(self, dtype: Dtype) -> Support:
        """How a compute type is carried out here."""
        supports: dict[Dtype, Support] = {"float32": "native", "bfloat16": self.bf16, "float16": self.fp16}
        return supports[dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu(Device):
    """The processor and its memory."""

    device: str = "cpu"
    cores: int
    """Cores this process may keep busy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator(Device):
    """One device of the torch accelerator backend."""

    capability: tuple[int, int] | None = None
    """CUDA compute capability."""
    shares_host_memory: bool = False
    """Jetson boards and Apple chips: what the processor uses is gone for the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """One machine."""

    cpu: Cpu
    accelerators: tuple[Accelerator, ...]
    torch_version: str
    notes: tuple[str, ...] = ()
    """What is wrong with the installation and which build would mend it; a sentence each."""

    @property
    def default_device(self) -> str:
        """First accelerator that this torch can compute on, else the CPU."""
        return next((gpu.device for gpu in self.accelerators if not gpu.unusable), "cpu")

    def device(self, name: str) -> Device:
        """The device of a torch device string; a bare kind such as `cuda` means its first one.

        Raises:
            UsageError: it is not here, or this torch cannot compute on it.
        """
        everything: tuple[Device, ...] = (*self.accelerators, self.cpu)
        found = next((one for one in everything if name in (one.device, one.kind)), None)
        if found is None:
            here = ", ".join(one.device for one in everything)
            raise UsageError(f"got --device {name}; expected one of {here}; leave it out to choose by itself")
        if found.unusable:
            raise UsageError(f"got --device {name}, {found.unusable}")
        return found

    def line(self) -> str:
        """The machine in one line."""
        cpu = f"{self.cpu.name}, {self.cpu.cores} cores, {self.cpu.total_bytes / 1e9:.0f} GB"
        gpus = [f"{gpu.name} {gpu.total_bytes / 1e9:.0f} GB" for gpu in self.accelerators]
        return f"{' + '.join([*gpus, cpu])}; torch {self.torch_version}"

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self)
