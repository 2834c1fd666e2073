"""Every golden case of every family, `pytest tests/parity [--golden DIR]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.families import Case, cases_under


def test_golden(golden_case: Case) -> None:
    golden_case.check()


def test_a_file_nobody_claims_fails(tmp_path: Path) -> None:
    (tmp_path / "sapiens").mkdir()
    (tmp_path / "sapiens" / "stray.bin").write_bytes(b"?")
    (case,) = cases_under(tmp_path)
    with pytest.raises(pytest.fail.Exception, match="stray"):
        case.check()


def test_a_family_not_built_yet_is_skipped_by_name(tmp_path: Path) -> None:
    (tmp_path / "sapiens2").mkdir()
    (case,) = cases_under(tmp_path)
    assert case.id == "sapiens2/all"
    with pytest.raises(pytest.skip.Exception, match="sapiens2"):
        case.check()
