"""Options and fixtures of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=GOLDEN,
        help="folder with one sub-folder of golden tensors per family (default: the small copies in tests/golden)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_case" not in metafunc.fixturenames:
        return
    from parity.families import cases_under

    cases = cases_under(metafunc.config.getoption("--golden"))
    metafunc.parametrize("golden_case", cases, ids=[case.id for case in cases])
