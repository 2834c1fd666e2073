"""What is remembered is listed by kind without private paths, and forgotten by kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision
from vitruvian.fit.quality import AuditReport
from vitruvian.fit.verdicts import VerdictKey, VerdictStore
from vitruvian.hardware.remembered import remember
from vitruvian.kept import KINDS, Kept, forget, kept, kept_text
from vitruvian.planning import plan


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VITRUVIAN_CACHE", str(folder))
    return folder


@pytest.fixture
def filled(cache: Path) -> Path:
    plan("sapiens-seg-nano", machine="t4", budget="2GB")
    key = VerdictKey(
        model="sapiens-seg-nano", weights_sha256="1" * 64, device="Abacus", torch_version="2.13.0", version="0.1",
        canvas_hw=(64, 48),
        precision=Precision(dtype="bfloat16"),
    )  # fmt: skip
    VerdictStore.of_user().put(key, AuditReport(discrepancies={"label_share": 0.999}, crops=5))
    remember("rates", "Abacus | 2 cores", {"float32_tflops": 0.4})
    (cache / "licences.json").write_text(json.dumps({"accepted": {"cc-by-nc-4.0": "2025-01-02"}}))
    return cache


def by_kind() -> dict[str, Kept]:
    return {one.kind: one for one in kept()}


@pytest.mark.usefixtures("cache")
def test_nothing_is_remembered_at_first() -> None:
    assert tuple(by_kind()) == KINDS
    assert all((one.files, one.size_bytes, one.entries) == (0, 0, ()) for one in kept())


@pytest.mark.usefixtures("filled")
def test_every_kind_says_what_it_holds() -> None:
    found = by_kind()
    assert found["footprints"].files >= 2
    assert any("sapiens-seg-nano on cuda" in line for line in found["footprints"].entries)
    assert found["verdicts"].entries == ("sapiens-seg-nano, bfloat16 on Abacus, torch 2.13.0: 5 crops",)
    assert found["machine"].entries == ("rates: Abacus | 2 cores",)
    assert found["licences"].entries == ("cc-by-nc-4.0, 2025-01-02",)
    assert all(one.size_bytes > 0 for one in found.values() if one.files)


def test_places_are_shown_without_private_folders(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(filled) not in kept_text(kept())
    assert by_kind()["machine"].place == str(Path("$VITRUVIAN_CACHE") / "machine.json")
    monkeypatch.setenv("HOME", str(filled.parent))
    monkeypatch.setenv("USERPROFILE", str(filled.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(filled.parent))
    monkeypatch.setenv("LOCALAPPDATA", str(filled.parent))
    monkeypatch.delenv("VITRUVIAN_CACHE")
    assert by_kind()["machine"].place.startswith("~")
    assert str(filled.parent) not in kept_text(kept())


def test_one_kind_is_forgotten_and_the_others_stay(filled: Path) -> None:
    assert forget(["verdicts"]) == {"verdicts": 1}
    assert not (filled / "verdicts.json").exists()
    assert by_kind()["footprints"].files >= 2


@pytest.mark.usefixtures("filled")
def test_everything_but_consents_is_forgotten_without_names() -> None:
    removed = forget()
    assert removed.keys() == set(KINDS) - {"licences", "artefacts"}
    assert [one.kind for one in kept() if one.files] == ["licences"]
    assert forget(["licences"]) == {"licences": 1}


@pytest.mark.usefixtures("cache")
def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="weights; expected some of footprints"):
        forget(["weights"])


def test_damaged_files_are_listed_by_size_alone(cache: Path) -> None:
    cache.mkdir()
    for name in ("machine.json", "verdicts.json", "calibration.json", "licences.json"):
        (cache / name).write_text("{ not json")
    assert all(one.entries == () for one in kept())
    assert sum(one.files for one in kept()) == 4
