"""Machines and a network that exist on paper only, for tests of plans."""

from __future__ import annotations

from typing import Any

from vitruvian.fit.footprint.values import Breakdown, Footprint, Phase
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan_values import PlanJob
from vitruvian.hardware import Accelerator, Cpu, Hardware, Rates, Support

PARAMETERS = 1_000_000_000
GB = 10**9
NATIVE_HW, PATCH = (1024, 768), 16
SPEC_SHEET = Rates(
    float32_tflops=20.0, bfloat16_tflops=80.0, float16_tflops=80.0, bandwidth_gb_s=900.0, source="spec sheet"
)


def machine(
    gpu_gb: float | None = 24, *, cpu_gb: float = 64, bf16: Support = "native", fp16: Support = "native", **fields: Any
) -> Hardware:
    """A machine with one or no accelerator of this size; `fields` go to the device that computes."""
    support: dict[str, Any] = {"bf16": bf16, "fp16": fp16, "tf32": "none", "fp8": "none", "rates": SPEC_SHEET}
    on_cpu = support | fields if gpu_gb is None else {**support, "bf16": "none", "fp16": "none"}
    size = round(cpu_gb * GB)
    cpu = Cpu(name="paper CPU", cores=8, total_bytes=size, free_bytes=size, **on_cpu)
    if gpu_gb is None:
        return Hardware(cpu=cpu, accelerators=(), torch_version="0")
    gpu_bytes = round(gpu_gb * GB)
    gpu = Accelerator(
        device="cuda:0",
        name="paper card",
        total_bytes=gpu_bytes,
        free_bytes=gpu_bytes,
        **{"capability": (8, 6), **support, **fields},
    )
    return Hardware(cpu=cpu, accelerators=(gpu,), torch_version="0")


def job(**fields: Any) -> PlanJob:
    """A picture network that offers everything."""
    offers = frozenset({"chunked_head", "blocks", "head", "crop"})
    return PlanJob(**{"offers": offers, "input_hw": NATIVE_HW, "patch_size": PATCH, **fields})


def footprint(knobs: Knobs) -> Footprint:
    """A network of 10^9 parameters whose activations take 1 GB an item in float32 inference, 10 GB in training."""
    width = 4 if knobs.dtype == "float32" else 2
    tokens = _tokens(knobs)
    training = knobs.training
    if training is None:
        activations = round(GB * tokens * width / 4 * (0.3 if knobs.chunked_head else 1))
        fixed = Breakdown(weights_bytes=width * PARAMETERS, process_bytes=GB // 2)
        return _footprint(knobs, fixed, Breakdown(activations_bytes=activations), 1e12 * tokens, operators=1000)
    share = {"all": 1.0, "half": 0.5, "lora": 0.02, "head": 0.05}[training.trainable]
    held = 2 if training.precision == "pure" else 4
    shards = training.gpus if training.parallel == "fsdp" else 1
    state = round(share * PARAMETERS * (2 if training.optimizer == "adamw-8bit" else 2 * held)) // shards
    copies = (training.parallel == "ddp") + (training.optimizer == "adamw-foreach")
    fixed = Breakdown(
        weights_bytes=held * PARAMETERS // shards,
        gradients_bytes=0 if training.gradients == "released" else round(share * held * PARAMETERS) // shards,
        optimizer_bytes=0 if training.state == "host" else state,
        workspace_bytes=round(copies * share * 4 * PARAMETERS),
        process_bytes=GB // 2,
    )
    kept = {"none": 1.0, "selective": 0.7, "blocks": 0.2}[training.checkpointing]
    per_item_bytes = 10 * GB * tokens * width / 4 * kept
    per_item_bytes *= 2 if training.attention == "materialised" else 1
    flops = 3e12 * tokens * {"none": 1.0, "selective": 1.02, "blocks": 4 / 3}[training.checkpointing]
    per_item = Breakdown(activations_bytes=round(per_item_bytes * (0.1 if training.trainable == "head" else 1)))
    return _footprint(
        knobs, fixed, per_item, flops, operators=3000, host_bytes=state if training.state == "host" else 0
    )


def _tokens(knobs: Knobs) -> float:
    """Of the network's own number."""
    height, width = knobs.input_hw or NATIVE_HW
    return height * width / (NATIVE_HW[0] * NATIVE_HW[1]) * (PATCH / (knobs.patch_size or PATCH)) ** 2


def _footprint(
    knobs: Knobs, fixed: Breakdown, per_item: Breakdown, flops: float, *, operators: int, host_bytes: int = 0
) -> Footprint:
    return Footprint(
        workload="paper network",
        knobs=knobs,
        phases=(Phase(name="all", fixed=fixed, per_item=per_item, at_operator="aten.mm"),),
        parameters=PARAMETERS,
        flops_per_item=flops,
        bytes_moved_per_item=flops / 1000,
        operators=operators,
        host_bytes=host_bytes,
    )
