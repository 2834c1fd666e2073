"""Published detectors in the catalogue, and in folders of one's own up to persons in a picture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import vitruvian as vt
from published_folders import FAMILIES, published_folder
from tolerances import PUBLISHED_DETECTOR_ABS
from vitruvian import weights, zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.hub import RemoteFile
from vitruvian.tasks.detect import DetectTask
from vitruvian.tasks.pose import Pose
from vitruvian.zoo.published_detectors import PUBLISHED_DETECTORS, published_config

FILE_MB = {
    "rtdetr-v2-r18vd": 80.9,
    "rtdetr-v2-r34vd": 126,
    "rtdetr-v2-r50vd": 172,
    "rtdetr-v2-r101vd": 307,
    "dfine-nano-coco": 15.3,
    "dfine-small-coco": 41.5,
    "dfine-medium-coco": 78.7,
    "dfine-large-coco": 126,
    "dfine-xlarge-coco": 252,
}
"""Sizes of the published files as the hub lists them (r18, r101: of the first RT-DETR; medium: of its sister)."""


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_folder(tmp_path_factory.mktemp("hub") / f"tiny-{request.param}", request.param)[0]


def test_the_catalogue_has_both_families() -> None:
    assert PUBLISHED_DETECTORS.keys() == FILE_MB.keys()
    assert PUBLISHED_DETECTORS.items() <= zoo.MODELS.items()
    repositories = {file.repo_id for spec in PUBLISHED_DETECTORS.values() for file in spec.files}  # type: ignore[union-attr]
    assert len(repositories) == len(FILE_MB)


@pytest.mark.parametrize("name", FILE_MB)
def test_a_published_detector_is_what_its_file_is(name: str) -> None:
    spec = zoo.MODELS[name]
    (file,) = spec.files
    assert isinstance(file, RemoteFile)
    assert file.filename == "model.safetensors"
    assert file.index == file.repo_id.partition("/")[0]
    assert spec.licence == "apache-2.0"
    assert spec.make_task() == DetectTask(input_hw=(640, 640), person=0, min_score=0.3, overlap=None)
    # Batch norms are folded, which takes and adds less than 1 %.
    assert spec.config.parameters * 4 / 1e6 == pytest.approx(FILE_MB[name], rel=0.015)


def test_a_folder_as_on_the_hub_is_a_detector(folder: Path) -> None:
    for path in (folder, folder / "model.safetensors", str(folder)):
        spec = weights.spec_of(path)
        assert (spec.name, spec.task, spec.licence) == (folder.name, "detect", zoo.UNKNOWN_LICENCE)
        assert published_config(spec).person == 1
        assert spec.files == (zoo.LocalFile(path=folder / "model.safetensors"),)


def test_a_file_has_its_config_beside_it_under_any_name(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "config.json", tmp_path / "config.json")
    shutil.copy(folder / "model.safetensors", tmp_path / "crowds.safetensors")
    assert weights.spec_of(tmp_path / "crowds.safetensors").name == "crowds"


def change(path: Path, **fields: Any) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, **fields}), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "without a readable config.json beside them"),
        (lambda path: path.write_text("{", encoding="utf-8"), "without a readable config.json"),
        (lambda path: path.write_text("[1]", encoding="utf-8"), "no table of fields"),
        (lambda path: path.write_text("[" * 100_000, encoding="utf-8"), "without a readable config.json"),
        (lambda path: path.write_text(" " * 1_000_001, encoding="utf-8"), "more than 1000000 bytes"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "without a readable config.json"),
        (lambda path: change(path, model_type="llama"), "got model_type = llama"),
        (lambda path: change(path, auto_map={"AutoModel": "x.Y"}), "got auto_map"),
        (lambda path: change(path, id2label={"0": "cat"}), "expected a class called person"),
    ],
    ids=["gone", "broken", "list", "deep", "long", "bytes", "type", "code", "classes"],
)
def test_a_spoilt_config_is_refused(folder: Path, tmp_path: Path, spoil: Any, words: str) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    spoil(copied / "config.json")
    with pytest.raises(RefusedError, match=words):
        weights.spec_of(copied)


def test_weights_of_another_size_are_refused(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    change(copied / "config.json", decoder_layers=3)
    with pytest.raises(RefusedError, match=r"do not belong to this detector; \d+ missing: bbox_embed\.2"):
        weights.find_weights(copied).build()


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which is no file"):
        weights.spec_of(tmp_path)


def test_persons_of_a_detector_of_ones_own_get_skeletons(folder: Path) -> None:
    """From files to skeletons, nothing fetched: the boxes are those of a calculation by hand."""
    noise = np.random.default_rng(4).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    image = cv2.resize(noise, (240, 180), interpolation=cv2.INTER_CUBIC)
    model = vt.load("sapiens-pose-nano", detector=folder, device="cpu", quality="exact", micro_batch=4)
    (pose,) = model(image)
    assert isinstance(pose, Pose)
    canvas = cv2.resize(image, (640, 640), interpolation=cv2.INTER_LINEAR)
    x_13HW = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        raw = weights.find_weights(folder).build().network(x_13HW)
    scores_N, order = raw["logits"][0, :, 1].sigmoid().sort(descending=True)
    count = int((scores_N >= 0.3).sum())
    assert count >= 2
    centre, size = raw["boxes"][0, order[:count]].split(2, dim=1)
    boxes_P4 = torch.cat([centre - size / 2, centre + size / 2], dim=1).clamp(0, 1) * torch.tensor([240, 180] * 2)
    np.testing.assert_allclose(pose.boxes_P4, boxes_P4, atol=240 * PUBLISHED_DETECTOR_ABS)
    np.testing.assert_allclose(pose.box_scores_P, scores_N[:count], atol=PUBLISHED_DETECTOR_ABS)
