"""The demonstration runs from nothing and shows people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import Command
from vitruvian import demo_animate
from vitruvian.bundled import bundled_pictures
from vitruvian.demo import TASKS
from vitruvian.media.video.reading import read_frames


def test_the_demo_makes_results_and_a_contact_sheet(command: Command, tmp_path: Path) -> None:
    ran = command("demo", "-o", tmp_path / "demo")
    assert ran.code == 0, ran.err
    names = sorted(path.name for path in bundled_pictures().glob("*.jpg"))
    assert len(names) >= 3
    for task in TASKS:
        drawn = sorted(path.name for path in (tmp_path / "demo" / task).glob("*.drawn.jpg"))
        assert drawn == [f"{name}.{task}.drawn.jpg" for name in names]
    with Image.open(tmp_path / "demo" / "contact-sheet.png") as sheet:
        assert np.asarray(sheet).std() > 10, "the sheet shows something"
    assert "torch" in ran.out.splitlines()[0], "the first line is the machine"
    again = command("demo", "-o", tmp_path / "demo")
    assert again.code == 0, "the demo may be repeated"


def test_every_bundled_picture_has_boxes() -> None:
    from vitruvian.tasks.regions import read_boxes

    boxes = read_boxes(bundled_pictures() / "boxes.json")
    for path in bundled_pictures().glob("*.jpg"):
        assert boxes.lookup(path.name)


def test_the_demo_of_animating_moves_a_person(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_animate, "FRAMES", 7)
    ran = command("demo", "animate", "-o", tmp_path)
    assert ran.code == 0, ran.err
    assert str(tmp_path / "contact-sheet.png") in ran.out
    with Image.open(tmp_path / "person.png") as opened:
        person_HW3 = np.asarray(opened.resize((96, 128), Image.Resampling.BOX)).astype(float)
    made_F = [frame.image_HW3.astype(float) for frame in read_frames(tmp_path / "made.mp4")]
    assert (len(made_F), made_F[0].shape) == (7, (128, 96, 3))
    sides = np.r_[0:12, 84:96]
    for made_HW3 in made_F:
        assert np.abs(made_HW3[:, sides] - person_HW3[:, sides]).mean() < 25, "the place is the picture's"
    assert np.abs(made_F[6] - made_F[0])[:, 24:72].mean() > 3, "the person moves"
    assert len(list(read_frames(tmp_path / "look.mp4"))) == 7
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
