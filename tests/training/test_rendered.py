"""A rendered set on disk: drawn once, gone on with where it stopped, drawn anew when anything else is wanted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from vitruvian.training import rendered
from vitruvian.training.rendered import Arrays, RenderedSet


def draw(seed: int, arrays: Arrays, index: int) -> None:
    arrays["image_NS"][index] = seed + index
    arrays["number_N"][index] = index


WANTED = RenderedSet(
    count=3,
    layout={"image_NS": ((4,), "uint8"), "number_N": ((), "int32")},
    drawn_by={"seed": 5, "shapes": (1, 2)},
    draw=partial(draw, 5),
)


@pytest.fixture(autouse=True)
def one_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "CHUNK", 1)


def render(folder: Path, wanted: RenderedSet = WANTED, *, workers: int = 1) -> tuple[list[int], list[int]]:
    """Which pictures were drawn now, and the first values of all images."""
    drawn: list[int] = []

    def noted(arrays: Arrays, index: int) -> None:
        drawn.append(index)
        wanted.draw(arrays, index)

    arrays = replace(wanted, draw=noted).on_disk(folder, workers=workers, report=lambda line: None)
    return drawn, arrays["image_NS"][:, 0].tolist()


def test_spawned_processes_draw_every_picture_once(tmp_path: Path) -> None:
    lines: list[str] = []
    arrays = WANTED.on_disk(tmp_path / "deep" / "pictures", workers=2, report=lines.append)
    assert arrays["image_NS"].tolist() == [[5] * 4, [6] * 4, [7] * 4]
    assert arrays["number_N"].tolist() == [0, 1, 2]
    assert not arrays["number_N"].flags.writeable
    assert lines == ["rendered 3 of 3 chunks of 1 pictures"]
    assert render(tmp_path / "deep" / "pictures") == ([], [5, 6, 7])


def test_an_interrupted_rendering_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    assert render(tmp_path) == ([0, 1, 2], [5, 6, 7])
    images = np.load(tmp_path / "image_NS.npy", mmap_mode="r+")
    images[:2] = 99  # picture 0 counts as done, picture 1 as torn
    images.flush()
    (tmp_path / "chunk_0000001.done").unlink()
    assert render(tmp_path) == ([1], [99, 6, 7])


def test_a_marker_stands_only_for_a_whole_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(arrays: Arrays, index: int) -> None:
        draw(5, arrays, index)
        if index == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(rendered, "CHUNK", 2)
    with pytest.raises(KeyboardInterrupt):
        render(tmp_path, replace(WANTED, draw=torn))
    assert not (tmp_path / "chunk_0000000.done").exists()
    drawn, images = render(tmp_path)
    assert drawn[:2] == [0, 1]
    assert images == [5, 6, 7]


def test_other_pictures_are_drawn_anew_and_so_is_all_where_a_file_is_missing(tmp_path: Path) -> None:
    render(tmp_path)
    other = replace(WANTED, count=2, drawn_by={"seed": 9}, draw=partial(draw, 9))
    assert render(tmp_path, other) == ([0, 1], [9, 10])
    assert not (tmp_path / "chunk_0000002.done").exists()
    (tmp_path / "number_N.npy").unlink()
    assert render(tmp_path, other)[0] == [0, 1]
