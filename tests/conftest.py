"""Options and fixtures of the whole suite."""

from __future__ import annotations

import os

# Several processes share the cores: threads that spin while they wait take twice the time. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import small_artefacts
from command import Command
from vitruvian.hardware import probe
from vitruvian.hardware.remembered import remember_compiler

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


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered between runs is remembered between tests, and never read from or written to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRUVIAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        # Compiled kernels, too: what another environment or another of these processes left there is not under test.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture
def without_compiler(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and in child processes: programs run operator by operator, which spares tests of other things 10 s each."""
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path_factory.mktemp("cache-without-compiler")))
    remember_compiler("cpu", probe().cpu.name, works=False)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of small pictures of mixed size and kind, in two levels."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, size in {"a.jpg": (70, 50), "b.png": (41, 90), "sub/a.jpg": (64, 64), "sub/c.webp": (30, 31)}.items():
        noise = cv2.resize(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / name), noise)
    return folder


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
