"""Sizes as people write and read them."""

from __future__ import annotations

import pytest

from vitruvian.errors import UsageError
from vitruvian.hardware import format_bytes, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("12GB", 12 * 10**9),
        ("12 gb", 12 * 10**9),
        (" 12Gb ", 12 * 10**9),
        ("12GiB", 12 * 2**30),
        ("800MB", 800 * 10**6),
        ("800mib", 800 * 2**20),
        ("1.5gb", 1_500_000_000),
        ("0.5TiB", 2**39),
        ("2tb", 2 * 10**12),
        ("64kB", 64_000),
        ("64KiB", 65536),
        ("7B", 7),
        ("12000000000", 12 * 10**9),
        ("1000000", 10**6),
    ],
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a number and a unit"),
        ("GB", "expected a number and a unit"),
        ("twelve GB", "expected a number and a unit"),
        ("12 apples", "expected a number and a unit"),
        ("12G", "expected a number and a unit"),
        ("-3GB", "expected a number and a unit"),
        ("1,5GB", "expected a number and a unit"),
        ("1e9", "expected a number and a unit"),
        ("12", "did you mean 12GB"),
        ("1.5", "did you mean 1.5GB"),
        ("0", "did you mean 0GB"),
        ("0GB", "more than nothing"),
        ("0.0000000001GB", "more than nothing"),
    ],
)
def test_what_is_no_size_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_size(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (12, "12 bytes"),
        (999, "999 bytes"),
        (64_000, "64 kB"),
        (999_400, "999 kB"),
        (999_999, "1 MB"),
        (800_000_000, "800 MB"),
        (999_999_999, "1.0 GB"),
        (12_340_000_000, "12.3 GB"),
        (999_400_000_000, "999.4 GB"),
        (1_500_000_000_000, "1.5 TB"),
        (-1_200_000_000, "-1.2 GB"),
    ],
)
def test_sizes_are_written(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text
