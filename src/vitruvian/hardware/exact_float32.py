"""float32 that is float32: torch lets cuDNN's convolutions round their inputs to 10 bits (TF32) unless told not to.

Such a float32 would be no measure for smaller types, and results would differ from card to card. Who wants speed takes
bfloat16 or float16, which are checked.
"""

from __future__ import annotations

import torch


def compute_exact_float32() -> None:
    """Leave TF32 alone from here on, in this process; products of matrices leave it alone by default."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
