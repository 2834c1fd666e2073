"""Artefacts that many tests look at and none changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import small_artefacts


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    """The tiny network as native code; compiling takes half a minute."""
    return small_artefacts.once(tmp_path_factory, "native", partial(small_artefacts.artefact, backend="aoti"))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    """The same as an exported program."""
    return small_artefacts.once(tmp_path_factory, "program", partial(small_artefacts.artefact, backend="export"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    """The same as weights alone, which needs no trust and belongs to every machine."""
    return small_artefacts.once(tmp_path_factory, "plain", partial(small_artefacts.artefact, backend="eager"))
