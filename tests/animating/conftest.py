"""A job with the tiny networks, small files and a source that knows the poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from driven_clip import Known, write_drive, write_picture
from tiny_animation import TINY, prefixed
from vitruvian.animating import poses
from vitruvian.animating.wish import AnimateJob, AnimateWish
from vitruvian.driving.sources import OpenSource
from vitruvian.models.mimicmotion import PARTS
from vitruvian.zoo import animation_metadata

MakeJob = Callable[..., AnimateJob]


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(prefixed(*PARTS), path, metadata=animation_metadata(TINY, "apache-2.0"))
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footprints are traced once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Known:
    """The source, wherever a road asks for one."""
    source = Known()
    opened = OpenSource(source=source, name="known", licence="none", notes=())
    monkeypatch.setattr(poses, "open_source", lambda *_, **__: opened)
    monkeypatch.setenv("VITRUVIAN_CACHE", str(cache))
    return source


@pytest.fixture
def job(known: Known, tiny_file: Path, tmp_path: Path) -> MakeJob:
    """A job of two steps over five frames; what it is called with changes its wish."""

    own_person, own_drive = write_picture(tmp_path / "person.png"), write_drive(tmp_path / "drive.mp4")

    def made(driving: Path | None = None, person: Path | None = None, **wishes: object) -> AnimateJob:
        wish = AnimateWish(steps=2, guidance="sequential", device="cpu")
        return AnimateJob(
            person=person or own_person,
            driving=driving or own_drive,
            out=tmp_path / "out.mp4",
            model=tiny_file,
            wish=replace(wish, **wishes),  # type: ignore[arg-type]
        )

    return made
