"""Where native code cannot be made or opened, it is said before anything is tried."""

from __future__ import annotations

import pytest

from vitruvian.artefacts import aoti


def test_a_torch_that_frees_weights_too_early_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aoti, "compiler_works", lambda device: True)
    monkeypatch.setattr(aoti, "keeps_weights", lambda: True)
    assert aoti.AOTI.missing("cpu") == ""
    monkeypatch.setattr(aoti, "keeps_weights", lambda: False)
    assert "frees weights that compiled code still reads; install a newer one" in aoti.AOTI.missing("cpu")


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aoti, "keeps_weights", lambda: True)
    monkeypatch.setattr(aoti, "compiler_works", lambda device: False)
    assert "install a C++ compiler" in aoti.AOTI.missing("cpu")
