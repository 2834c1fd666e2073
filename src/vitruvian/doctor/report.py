"""What a check of this machine found, as values that print and serialise: the page people paste into bug reports.

Holds no path, user or host name: machines are named by their processors and cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vitruvian.bench.report import BenchReport, aligned, differences_text
from vitruvian.fit.precision import compute_types
from vitruvian.fit.quality import QUALITIES, AuditReport, Quality
from vitruvian.hardware import Device, Hardware, format_bytes

HEADINGS = ("task", "precision", "accuracy", "from float32", "ms", "memory", "verdict")
FOOTNOTE = (
    "accuracy: on people and places the networks never saw; from float32: nineteen pictures in twenty are nearer; ms: "
    "the fastest picture, one at a time{one_core}; memory: beside what the process took before"
)
BUSY = "other programs keep the cores busy: times are too long and rates too low"


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCheck:
    """One embedded network in one precision on one device."""

    task: str
    """What the network does, as tables say it."""
    dtype: str
    support: str
    """native, emulated or unknown."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """By measure; empty for features, which have no truth, and where there are no usable numbers."""
    deviations: tuple[str, ...] = ()
    """Float32: measures that are off what is stored, a sentence each."""
    audit: AuditReport | None = None
    """Against float32, one picture in twenty left out; float32 itself has no distances. None: not run."""
    worst: Mapping[str, float] = field(default_factory=dict)
    """Distance of the worst picture by unit, strays included."""
    ms_per_picture: float | None = None
    peak_bytes: int | None = None
    """Beside what the process took before."""
    speed: float | None = None
    """Against float32; above 1 is faster."""
    sound_reference: bool = True
    """Whether float32 on this device is what it should be."""
    skipped: str = ""
    """Why it was not run."""

    @property
    def kept(self) -> Quality | None:
        """The strictest quality whose limits it keeps."""
        if self.skipped or self.audit is None or self.deviations or not self.sound_reference:
            return None
        return next((quality for quality in QUALITIES if not self.audit.misses(quality)), None)

    @property
    def safe(self) -> bool:
        """Whether results may be used, at `--quality fast` at least."""
        return self.kept is not None

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.skipped:
            return f"not run: {self.skipped}"
        assert self.audit is not None
        emulated = f"{self.support}, " if self.support == "emulated" else ""
        if self.audit.error or self.audit.non_finite:
            return f"UNSAFE: {emulated}{self.audit.misses('fast')[0]}"
        if self.deviations:
            return f"UNSAFE: {'; '.join(self.deviations)}"
        if self.dtype == "float32":
            return "safe: as it should be" if self.accuracy else "safe: finite"
        if not self.sound_reference:
            return "UNSAFE: float32 itself is wrong here"
        if self.kept is None:
            return f"UNSAFE: {emulated}{'; '.join(self.audit.misses('fast'))}"
        speed = "" if self.speed is None else f", {self.speed:.1f} x the speed of float32"
        missed = "" if self.kept != "fast" else f" only ({'; '.join(self.audit.misses('balanced'))})"
        return f"safe: {emulated}--quality {self.kept}{missed}{speed}"

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self) | {"kept": self.kept, "safe": self.safe, "verdict": self.verdict}


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCheck:
    """One device: what it is, and the embedded networks on it."""

    device: Device
    """With measured rates, and what is free now."""
    networks: tuple[NetworkCheck, ...]

    @property
    def safe(self) -> bool:
        """Whether every task has a precision whose results may be used."""
        tasks = {check.task for check in self.networks}
        return {check.task for check in self.networks if check.safe} == tasks

    def verdict(self) -> str:
        """What may be used here, a sentence a line."""
        if not self.safe:
            safe = {check.task for check in self.networks if check.safe}
            lost = dict.fromkeys(check.task for check in self.networks if check.task not in safe)
            return (
                f"{self.device.device} is NOT safe: no precision gives usable {', '.join(lost)}; reinstall torch in a "
                "build made for this machine, or use another --device; report it with this page"
            )
        order = ", then ".join(compute_types(self.device))
        said = [f"{self.device.device} is safe; compute types are tried in this order: {order}."]
        return "\n".join([*said, *filter(None, map(self._reduced, ("bfloat16", "float16")))])

    def _reduced(self, dtype: str) -> str:
        checks = [check for check in self.networks if check.dtype == dtype and not check.skipped]
        if not checks:
            return ""
        by_quality = {
            "exact": [check.task for check in checks if check.kept == "exact"],
            "balanced": [check.task for check in checks if check.kept == "balanced"],
            "fast only": [check.task for check in checks if check.kept == "fast"],
            "NOT safe": [check.task for check in checks if not check.safe],
        }
        said = "; ".join(f"{name}: {', '.join(tasks)}" for name, tasks in by_quality.items() if tasks)
        speeds = sorted(check.speed for check in checks if check.speed is not None)
        speed = f", {speeds[len(speeds) // 2]:.1f} x the speed of float32" if speeds else ""
        return f"{dtype} ({checks[0].support}{speed}): {said}."

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "device": asdict(self.device),
            "safe": self.safe,
            "verdict": self.verdict(),
            "networks": [check.to_json() for check in self.networks],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorReport:
    """Everything `vitruvian doctor` says."""

    versions: Mapping[str, str]
    """Of Vitruvian, Python, torch, the system."""
    hardware: Hardware
    devices: tuple[DeviceCheck, ...]
    pictures: int
    busy: bool
    """Whether other programs kept the cores busy."""
    seconds: float
    full_size: tuple[BenchReport, ...] = ()
    """With `--full`: a network of real size, one picture at a time."""
    rungs: tuple[BenchReport, ...] = ()
    """With `--full`: an embedded network by every backend that an export chooses from."""

    @property
    def safe(self) -> bool:
        """Whether every checked device can be used."""
        return all(check.safe for check in self.devices)

    @property
    def verdict(self) -> str:
        """The last lines."""
        return "\n".join(check.verdict() for check in self.devices)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "versions": dict(self.versions),
            "hardware": self.hardware.to_json(),
            "devices": [check.to_json() for check in self.devices],
            "pictures": self.pictures,
            "busy": self.busy,
            "seconds": round(self.seconds, 1),
            "full_size": [bench.to_json() for bench in self.full_size],
            "rungs": [bench.to_json() for bench in self.rungs],
            "safe": self.safe,
            "verdict": self.verdict,
        }

    def text(self) -> str:
        """The page."""
        parts = [", ".join(f"{name} {version}" for name, version in self.versions.items()), ""]
        checked = {check.device.device: check.device for check in self.devices}
        for device in (*self.hardware.accelerators, self.hardware.cpu):
            parts += [*_device_lines(checked.get(device.device, device)), ""]
        parts += [f"note: {note}\n" for note in (*self.hardware.notes, *([BUSY] if self.busy else []))]
        for check in self.devices:
            one_core = " on one core" if check.device.kind == "cpu" else ""
            title = f"embedded networks on {check.device.device}, {self.pictures} pictures of synthetic people"
            parts += [title, aligned([HEADINGS, *map(_cells, check.networks)]), FOOTNOTE.format(one_core=one_core), ""]
        for bench in (*self.full_size, *self.rungs):
            parts += [bench.text(), ""]
        return "\n".join([*parts, f"{self.verdict}\nchecked in {self.seconds:.0f} s"])


def _device_lines(device: Device) -> list[str]:
    cores = f", {device.cores} cores" if hasattr(device, "cores") else ""
    capability = getattr(device, "capability", None)
    made = f", compute capability {capability[0]}.{capability[1]}" if capability else ""
    tested = "" if device.tested else "; this project was never run on such a device"
    memory = f"{format_bytes(device.free_bytes)} of {format_bytes(device.total_bytes)} free"
    lines = [f"{device.device}: {device.name}{cores}{made}; {memory}{tested}"]
    if device.unusable:
        return [*lines, f"  CANNOT be used: {device.unusable}"]
    types = {"bfloat16": device.bf16, "float16": device.fp16, "tf32": device.tf32, "fp8": device.fp8}
    lines.append("  " + ", ".join(f"{name} {support}" for name, support in types.items()))
    compiler = {True: "works", False: "does not work", None: "not tried (--full tries it)"}[device.compiler]
    kernels = ", ".join(device.attention) or "none"
    lines.append(f"  fused attention: {kernels}; compiler for generated kernels: {compiler}")
    rates = device.rates
    if rates is not None:
        lines.append(
            f"  {rates.source}: {rates.float32_tflops:.3g} / {rates.bfloat16_tflops:.3g} / {rates.float16_tflops:.3g} "
            f"TFLOP/s in float32 / bfloat16 / float16, {rates.bandwidth_gb_s:.3g} GB/s of memory"
        )
    return lines


def _cells(check: NetworkCheck) -> tuple[str, ...]:
    accuracy = ", ".join(f"{name} {value:.3f}" for name, value in check.accuracy.items())
    apart = "" if check.audit is None else differences_text(check.audit.discrepancies)
    ms = "" if check.ms_per_picture is None else f"{check.ms_per_picture:.1f}"
    memory = "" if check.peak_bytes is None else format_bytes(check.peak_bytes)
    return check.task, check.dtype, accuracy, apart, ms, memory, check.verdict
