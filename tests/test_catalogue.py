"""The catalogue as rows: complete, readable, and usable by programs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vitruvian import zoo
from vitruvian.catalogue import HEADINGS, rows, table
from vitruvian.errors import UsageError
from vitruvian.hub import RemoteFile


def test_every_model_has_a_row_in_order() -> None:
    listed = rows()
    assert [row.model for row in listed] == [*zoo.MODELS, *zoo.ANIMATION_MODELS]
    for row in listed[: len(zoo.MODELS)]:
        spec = zoo.MODELS[row.model]
        assert (row.task, row.licence, row.input_hw) == (spec.task, spec.licence, spec.config.input_hw)


def test_models_that_make_videos_can_be_asked_for() -> None:
    assert [row.model for row in rows("animate")] == list(zoo.ANIMATION_MODELS)


@pytest.mark.parametrize("task", zoo.DEFAULT_MODELS)
def test_one_task_can_be_asked_for(task: str) -> None:
    listed = rows(task)
    assert {row.task for row in listed} == {task}
    assert [row.model for row in listed] == [name for name, spec in zoo.MODELS.items() if spec.task == task]


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UsageError, match="got --task matting; expected one of pose, seg, depth, normal, features"):
        rows("matting")


@pytest.mark.parametrize(
    ("model", "cells"),
    [
        ("sapiens-seg-nano", ("", "seg", "3.1 M", "256x192", "apache-2.0", "in the package")),
        (
            "sapiens-pose-1b-308",
            ("sapiens-pose-1b", "pose", "1.17 B", "1024x768", "cc-by-nc-4.0", "facebook/sapiens-pose-1b (?)"),
        ),
        ("sapiens-pose-2b-17", ("", "pose", "2.17 B", "1024x768", "cc-by-nc-4.0", "noahcao/sapiens-pose-coco (?)")),
        (
            "sapiens-seg-0.3b-face19",
            ("", "seg", "0.34 B", "1024x768", "cc-by-nc-4.0", "never published; give your own file"),
        ),
        (
            "mimicmotion-1.1",
            (
                *("", "animate", "2.25 B", "576x1024", "stability-community, apache-2.0"),
                "tencent/MimicMotion (?) and 4 more files",
            ),
        ),
        ("mimicmotion-nano", ("", "animate", "9.9 M", "128x96", "apache-2.0", "in the package")),
        (
            "sapiens-pretrain-2b",
            ("", "features", "2.13 B", "1024x1024", "cc-by-nc-4.0", "facebook/sapiens-pretrain-2b (?)"),
        ),
    ],
)
def test_a_row_reads_well(model: str, cells: tuple[str, ...]) -> None:
    (row,) = [row for row in rows() if row.model == model]
    assert row.cells == (model, *cells)


def test_a_confirmed_id_loses_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = zoo.MODELS["sapiens-depth-1b"]
    (file,) = spec.files
    assert isinstance(file, RemoteFile)
    seen = replace(spec, files=(replace(file, confirmed=True),))
    monkeypatch.setattr(zoo, "MODELS", {spec.name: seen})
    assert [row.weights for row in rows("depth")] == ["facebook/sapiens-depth-1b"]


def test_the_table_is_aligned_and_cuts_nothing() -> None:
    listed = rows("pose")
    heading, *lines = table(listed).splitlines()
    assert len(lines) == len(listed)
    for row, line in zip(listed, lines, strict=True):
        assert not line.endswith(" ")
        for title, cell in zip(HEADINGS, row.cells, strict=True):
            start = heading.index(title)
            assert line[start : start + len(cell)] == cell


def test_names_in_json_are_names_that_commands_take() -> None:
    documents = json.loads(json.dumps([row.to_json() for row in rows()]))
    for document in documents:
        find = zoo.find_animation if document["task"] == "animate" else zoo.find
        assert find(document["name"]).name == document["name"]
        assert document["alias"] is None or zoo.find(document["alias"]).name == document["name"]
    assert {document["alias"] for document in documents} - {None} == set(zoo.ALIASES)
    assert documents[0] == {
        "name": "sapiens-pose-nano",
        "alias": None,
        "task": "pose",
        "parameters": zoo.MODELS["sapiens-pose-nano"].config.parameters,
        "input_hw": [256, 192],
        "licence": "apache-2.0",
        "weights": "in the package",
    }
