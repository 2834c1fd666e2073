"""The description of a result file comes back, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.errors import InputError
from vitruvian.media.decode_outputs import read_about


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("absent.png", None, "cannot be read"),
        ("absent.json", None, "cannot be read"),
        ("absent.exr", None, "cannot be read"),
        ("absent.jpg", None, "cannot be read"),
        ("absent.npy", None, "no description"),
        ("words.png", b"words", "not a PNG"),
        ("words.jpg", b"words", "no whole JPEG"),
        ("words.exr", b"words", "no whole EXR"),
        ("words.json", b"{torn", "damaged description"),
        ("bytes.json", b"\xff\xfe", "damaged description"),
        ("list.json", b"[1]", "no description"),
    ],
)
def test_files_without_a_description(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    if name.endswith(".exr"):
        pytest.importorskip("OpenEXR")
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        read_about(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)
