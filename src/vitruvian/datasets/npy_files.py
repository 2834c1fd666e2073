"""Numbers from `.npy` files that nobody vouches for: the header is checked before anything is allocated.

In: a path. Out: an array of the file's own type. Nothing in a file is executed: object arrays are refused.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from vitruvian.errors import InputError
from vitruvian.media.access import said_plainly
from vitruvian.media.images import MAX_PIXELS


def read_npy(path: Path, *, channels: int) -> np.ndarray:
    """Real numbers (H,W) for one channel, (H,W,channels) for more; `InputError` for anything else."""
    with said_plainly(), path.open("rb") as file:
        try:
            version = npy.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise InputError(f"is a .npy file of version {version}; expected 1.0 or 2.0; save it again with numpy")
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read_header(file)
        except (ValueError, SyntaxError, TypeError, EOFError):
            raise InputError("is no whole .npy file; expected an array saved by numpy; save it again") from None
        _check(shape, dtype, channels)
        values = np.fromfile(file, dtype, math.prod(shape))
    if values.size != math.prod(shape):
        raise InputError(
            f"ends after {values.size} of {math.prod(shape)} numbers; expected a whole .npy file; save it again"
        )
    return values.reshape(shape, order="F" if fortran else "C")


def _check(shape: tuple[int, ...], dtype: np.dtype, channels: int) -> None:
    expected = "(H,W)" if channels == 1 else f"(H,W,{channels})"
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise InputError(f"holds {dtype}; expected real numbers of at most 64 bits; save it again as float32")
    fits = len(shape) == (2 if channels == 1 else 3) and (channels == 1 or shape[-1] == channels)
    if not fits or 0 in shape:
        raise InputError(f"holds an array {shape}; expected {expected}; transpose or cut it")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise InputError(f"claims {shape[1]} x {shape[0]} values; expected at most {MAX_PIXELS / 1e6:g} million")
