"""Every test of the room remembers into a folder of its own and looks at the machine anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vitruvian.hardware import probe


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "cache"))
    probe.cache_clear()
    yield
    probe.cache_clear()
