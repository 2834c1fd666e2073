"""`vitruvian models NAME`: each file with its own licence, for people and for programs."""

from __future__ import annotations

import json

import pytest

from command import Command
from vitruvian import zoo
from vitruvian.catalogue_details import details
from vitruvian.errors import UsageError


@pytest.mark.parametrize("name", ["sapiens-seg-nano", "sapiens-pose-1b", "sapiens-seg-0.3b-face19", "dfine-nano-coco"])
def test_models_for_pictures_are_shown(name: str) -> None:
    found = details(name)
    assert found.row.model == zoo.find(name).name
    assert len(found.files) == len(zoo.find(name).files)
    assert found.row.model in found.text
    assert all(file.licence in found.text for file in found.files)


def test_every_file_of_an_animation_stands_with_its_licence(command: Command) -> None:
    shown = command("models", "mimicmotion-1.1").out
    assert shown.startswith("mimicmotion-1.1: animate, 2.25 B parameters, input 576x1024, 72 frames at once\n")
    lines = shown.splitlines()
    for file in zoo.ANIMATION_MODELS["mimicmotion-1.1"].files:
        (line,) = (line for line in lines if line.startswith(file.file_name))
        assert f"  {file.licence}  " in line
        assert line.endswith("(?)")
    assert "asked for before the files are used" in shown


def test_programs_get_the_same(command: Command) -> None:
    document = json.loads(command("models", "mimicmotion-1.0", "--json").out)
    assert (document["name"], document["task"], document["tile_frames"]) == ("mimicmotion-1.0", "animate", 16)
    assert {(file["holds"], file["licence"]) for file in document["files"]} >= {
        ("unet, pose_net", "stability-community"),
        ("whole_body", "apache-2.0"),
    }


def test_an_unknown_name_is_refused(command: Command) -> None:
    with pytest.raises(UsageError, match="expected a name of the catalogue"):
        details("mimicmotion-9")
    ran = command("models", "sapiens-seg-1b", "--task", "seg")
    assert ran.code == 2
    assert "leave the other out" in ran.err
