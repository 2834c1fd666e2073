"""Generated kernels that round where eager operators do.

Left alone they keep float32 between the steps of a fused kernel. That is nearer to float32 on most pictures and far off
on the few that amplify every rounding; and it is another way of computing than the one whose compute type was audited.
"""

from __future__ import annotations

from typing import Any


def rounding_as_eager() -> dict[str, Any]:
    """Options for the compiler; empty where this torch's has none."""
    from torch._inductor import config

    return {"emulate_precision_casts": True} if hasattr(config, "emulate_precision_casts") else {}
