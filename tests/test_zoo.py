"""The catalogue: names, aliases, published files, and what a weight file of one's own is taken for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from vitruvian import zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.hub import RemoteFile
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network, published_config
from vitruvian.tasks.depth import DepthTask
from vitruvian.tasks.detect import DetectTask
from vitruvian.tasks.features import FeaturesTask
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.tasks.normal import CAMERA, PUBLISHED, NormalFrame, NormalTask
from vitruvian.tasks.pose import PoseTask
from vitruvian.tasks.seg import SegTask
from vitruvian.zoo import ALIASES, METRIC3D_MODELS, MODELS, LocalFile, PackagedFile, find, spec_of_file
from vitruvian.zoo.published_detectors import PUBLISHED_DETECTORS

TASK_TYPES = {
    "pose": PoseTask,
    "seg": SegTask,
    "depth": DepthTask,
    "normal": NormalTask,
    "features": FeaturesTask,
    "detect": DetectTask,
}
SIZES = ("0.3b", "0.6b", "1b", "2b")


def test_the_catalogue_is_complete() -> None:
    kinds = {"pose": ["-17", "-133", "-308"], "seg": ["", "-lip20", "-face19"]}
    published = {
        f"sapiens-{task}-{size}{suffix}"
        for task in ("pose", "seg", "depth", "normal", "pretrain")
        for size in SIZES
        for suffix in kinds.get(task, [""])
    } - {"sapiens-pose-2b-308"}
    nano = {f"sapiens-{task}-nano" for task in ("pose", "seg", "depth", "normal", "pretrain")}
    others = {"detector-nano"} | PUBLISHED_DETECTORS.keys() | METRIC3D_MODELS.keys()
    assert MODELS.keys() == published | nano | others


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_its_task_and_licence(name: str) -> None:
    spec = MODELS[name]
    assert spec.name == name
    task = spec.make_task()
    metric = name in METRIC3D_MODELS
    assert isinstance(task, MetricDepthTask if metric else TASK_TYPES[spec.task])
    assert task.name == spec.task
    assert task.input_hw == spec.config.input_hw
    nano = name.endswith("-nano")
    free = "bsd-2-clause" if metric and not nano else "apache-2.0"
    assert spec.licence == (free if metric or nano or spec.task == "detect" else "cc-by-nc-4.0")
    assert spec.embedded == nano
    if isinstance(task, NormalTask):
        assert task.frame == spec.normal_frame == (CAMERA if nano else PUBLISHED)


def test_another_canvas_changes_task_and_workload_and_nothing_else() -> None:
    spec = MODELS["sapiens-seg-nano"]
    large = spec.at_size((128, 96))
    assert (large.config, large.input_hw, large.make_task().input_hw) == (spec.config, (128, 96), (128, 96))
    assert large.workload.input_hw == (128, 96)
    assert large.workload.inputs(3)["x_B3HW"].shape == (3, 3, 128, 96)
    assert large.workload.key != spec.workload.key
    assert large.at_size(spec.config.input_hw) == spec


@pytest.mark.parametrize(
    ("name", "size", "wanted"),
    [
        ("sapiens-seg-nano", (100, 96), "multiples of"),
        ("sapiens-seg-nano", (0, 96), "multiples of"),
        ("detector-nano", (64, 64), "its own size"),
    ],
)
def test_a_canvas_that_the_network_cannot_take_is_refused(name: str, size: tuple[int, int], wanted: str) -> None:
    with pytest.raises(UsageError, match=rf"got the size {size[0]}x{size[1]} \(height x width\); expected {wanted}"):
        MODELS[name].at_size(size)


@pytest.mark.parametrize(
    ("name", "classes"), [("", "body28"), ("-lip20", "lip20"), ("-face19", "face19")], ids=["body", "lip", "face"]
)
def test_segmentation_names_choose_the_classes(name: str, classes: str) -> None:
    task = MODELS[f"sapiens-seg-1b{name}"].make_task()
    assert isinstance(task, SegTask)
    assert task.labels.name == classes


@pytest.mark.parametrize(
    ("alias", "keypoints"),
    [("sapiens-pose-0.3b", 308), ("sapiens-pose-0.6b", 308), ("sapiens-pose-1b", 308), ("sapiens-pose-2b", 133)],
)
def test_a_short_pose_name_means_the_most_keypoints_published(alias: str, keypoints: int) -> None:
    spec = find(alias)
    assert spec.name == f"{alias}-{keypoints}"
    assert spec.config.head is not None
    assert spec.config.head.channels == keypoints


def test_aliases_name_models_and_hide_none() -> None:
    assert set(ALIASES.values()) <= MODELS.keys()
    assert not ALIASES.keys() & MODELS.keys()


@pytest.mark.parametrize(
    ("name", "repo_id", "filename"),
    [
        ("sapiens-pose-1b-308", "facebook/sapiens-pose-1b", "sapiens_1b_goliath_best_goliath_AP_639.pth"),
        (
            "sapiens-pose-0.3b-133",
            "noahcao/sapiens-pose-coco",
            "sapiens_host/pose/checkpoints/sapiens_0.3b/sapiens_0.3b_coco_wholebody_best_coco_wholebody_AP_620.pth",
        ),
        (
            "sapiens-pose-2b-17",
            "noahcao/sapiens-pose-coco",
            "sapiens_host/pose/checkpoints/sapiens_2b/sapiens_2b_coco_best_coco_AP_822.pth",
        ),
        ("sapiens-seg-1b", "facebook/sapiens-seg-1b", "sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151.pth"),
        ("sapiens-depth-2b", "facebook/sapiens-depth-2b", "sapiens_2b_render_people_epoch_25.pth"),
        (
            "sapiens-normal-0.6b",
            "facebook/sapiens-normal-0.6b",
            "sapiens_0.6b_normal_render_people_epoch_200.pth",
        ),
        ("sapiens-pretrain-1b", "facebook/sapiens-pretrain-1b", "sapiens_1b_epoch_173_clean.pth"),
    ],
)
def test_published_files_have_their_published_names(name: str, repo_id: str, filename: str) -> None:
    (file,) = MODELS[name].files
    assert isinstance(file, RemoteFile)
    assert (file.repo_id, file.filename) == (repo_id, filename)


def test_every_published_file_belongs_to_its_size_and_is_named_once() -> None:
    seen = set()
    for name, spec in zoo.SAPIENS_MODELS.items():
        if not spec.files or spec.embedded:
            continue
        (file,) = spec.files
        assert isinstance(file, RemoteFile)
        size = re.search(r"-([0-9.]+b)", name)
        assert size is not None
        assert file.filename.rpartition("/")[2].startswith(f"sapiens_{size[1]}_"), name
        assert (file.repo_id, file.filename) not in seen
        seen.add((file.repo_id, file.filename))
    assert len(seen) == 26


@pytest.mark.parametrize(
    "name", ["sapiens-seg-2b", *(f"sapiens-seg-{size}{kind}" for size in SIZES for kind in ("-lip20", "-face19"))]
)
def test_layouts_without_published_weights_are_marked(name: str) -> None:
    assert MODELS[name].files == ()
    assert not MODELS[name].embedded


def test_embedded_files_lie_in_the_package() -> None:
    for task, name in zoo.DEFAULT_MODELS.items():
        spec = MODELS[name]
        assert spec.task == task
        paths = [file.locate() for file in spec.files if isinstance(file, PackagedFile)]
        assert len(paths) == (1 if task in ("features", "detect", "depth") else 2)
        assert all(path.is_file() for path in paths)


def test_what_only_a_model_of_persons_can_do_takes_one_where_nobody_names_a_model() -> None:
    for task, name in zoo.DEFAULT_MODELS.items():
        of_persons = zoo.default_model(task, of_persons=True)
        assert zoo.default_model(task) == name
        assert of_persons == ("sapiens-depth-nano" if task == "depth" else name)
        assert MODELS[of_persons].embedded


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("sapiens-seg-1B", "sapiens-seg-1b"),
        ("sapiens-pose", "sapiens-pose-2b"),
        ("sapiens_depth_0.3b", "sapiens-depth-0.3b"),
        ("nano", "metric3d-nano"),
        ("sapiens-pose-2b-308", "sapiens-pose-2b-"),
    ],
)
def test_an_unknown_name_lists_near_ones(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"such as .*{re.escape(near)}.*`vitruvian models` lists all"):
        find(name)


def test_a_name_like_nothing_lists_nothing() -> None:
    with pytest.raises(UsageError, match=r"expected a name of the catalogue or the path of a weight file"):
        find("%%%%")


TINY = SapiensConfig(
    backbone=BackboneConfig(width=8, depth=1, heads=2, mlp_width=16, input_hw=(64, 48), patch_padding=2),
    head=HeadConfig(kind="normal", channels=3, deconv_widths=(8,), conv_widths=()),
)


@pytest.mark.parametrize(("licence", "frame"), [(None, PUBLISHED), ("mine", CAMERA)])
def test_a_file_with_metadata_is_what_it_says(licence: str | None, frame: NormalFrame) -> None:
    metadata = {"vitruvian_config": json.dumps(TINY.to_json())}
    if licence:
        metadata |= {"licence": licence, "normal_frame": frame.name}
    spec = spec_of_file(Path("runs/own.v2.safetensors"), {}, metadata)
    assert (spec.name, spec.task, spec.config) == ("own.v2", "normal", TINY)
    assert spec.files == (LocalFile(path=Path("runs/own.v2.safetensors")),)
    assert spec.licence == (licence or zoo.UNKNOWN_LICENCE)
    assert spec.normal_frame == frame
    assert not spec.embedded


@pytest.mark.parametrize(
    ("size", "kind", "channels"),
    [("0.3b", "pose", 133), ("1b", "seg", 20), ("2b", "depth", 1), ("0.6b", "normal", 3), ("1b", "features", 0)],
)
def test_a_file_without_metadata_is_known_by_its_shapes(size: str, kind: Any, channels: int) -> None:
    config = published_config(size, kind, channels)
    spec = spec_of_file(Path("downloaded.pth"), build_network(config).state_dict(), {"format": "pt"})
    assert (spec.task, spec.config) == (kind, config)
    assert (spec.licence, spec.normal_frame) == (zoo.SAPIENS_LICENCE, PUBLISHED)


def test_a_foreign_file_is_refused() -> None:
    with pytest.raises(RefusedError, match="expected a Sapiens checkpoint"):
        spec_of_file(Path("other.safetensors"), {"conv1.weight": torch.zeros(1)}, {})


@pytest.mark.parametrize(
    "stored",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"backbone": 5, "head": null}',
        '{"backbone": {"width": 8}, "head": null}',
        '{"backbone": {"input_hw": [64, 48], "depht": 1}, "head": null}',
        json.dumps(TINY.to_json()).replace('"normal"', '"normals"'),
        json.dumps(TINY.to_json()).replace("[8]", "8"),
    ],
)
def test_broken_metadata_is_refused_and_never_guessed(stored: str) -> None:
    with pytest.raises(RefusedError, match=r"got own\.safetensors with a 'vitruvian_config' that cannot be read"):
        spec_of_file(Path("own.safetensors"), build_network(TINY).state_dict(), {"vitruvian_config": stored})
