"""Sizes in bytes, as people write them and as they like to read them."""

from __future__ import annotations

import re

from vitruvian.errors import UsageError

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_SMALLEST_PLAIN_BYTES = 10**6
"""A plain number below this is a forgotten unit: nothing here fits in less than a megabyte."""


def parse_size(text: str) -> int:
    """Bytes of `12GB`, `1.5 gb`, `12GiB`, `800MB` or a plain number of bytes; GB = 10^9, GiB = 2^30, case is ignored.

    Raises:
        UsageError: no size can be read, it is zero, or its unit is missing.
    """
    match = _SIZE.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in _UNITS:
        raise UsageError(f"got a size of {text!r}; expected a number and a unit; write it like 12GB, 800MB or 12GiB")
    size_bytes = int(float(match[1]) * _UNITS[unit]) if "." in match[1] else int(match[1]) * _UNITS[unit]
    if not unit and size_bytes < _SMALLEST_PLAIN_BYTES:
        raise UsageError(f"got a size of {text!r}, {size_bytes} bytes; expected a unit; did you mean {match[1]}GB?")
    if size_bytes <= 0:
        raise UsageError(f"got a size of {text!r}; expected more than nothing; write it like 12GB or 800MB")
    return size_bytes


def format_bytes(size_bytes: float) -> str:
    """`12.3 GB`, `800 MB`, `64 kB`, `12 bytes`: powers of ten, as disks and this project's budgets count."""
    size = abs(size_bytes)
    # Borders lie where rounding would print "1000" of the smaller unit.
    if size >= 999.5e9:
        return f"{size_bytes / 1e12:.1f} TB"
    if size >= 999.5e6:
        return f"{size_bytes / 1e9:.1f} GB"
    if size >= 999.5e3:
        return f"{size_bytes / 1e6:.0f} MB"
    if size >= 999.5:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes:.0f} bytes"
