"""The demonstration runs from nothing and shows people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from command import Command
from vitruvian.bundled import bundled_pictures
from vitruvian.demo import TASKS


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
