"""Dense models against folders of true maps: what is measured, what fails alone, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command import Command
from training_folders import people, put_png, write_dense_set
from vitruvian.datasets.layouts import DenseKind
from vitruvian.datasets.targets import decode_sample
from vitruvian.errors import UsageError
from vitruvian.evaluation.dense_run import evaluate_dense
from vitruvian.loading import load
from vitruvian.tasks import metrics
from vitruvian.tasks.seg import Segmentation

FIRST = {"seg": "mIoU", "depth": "AbsRel", "normal": "mean deg"}


@pytest.mark.parametrize("task", FIRST)
def test_a_model_is_measured_on_every_picture(task: DenseKind, tmp_path: Path, command: Command) -> None:
    folder = write_dense_set(tmp_path / "set", task, people(3))
    ran = command("eval", f"sapiens-{task}-nano", folder, "--task", task, "--device", "cpu", "--json", "-q")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["pictures"], document["truth"], document["failures"]) == (3, "set", [])
    assert next(iter(document["numbers"])) == FIRST[task]
    assert all(np.isfinite(list(document["numbers"].values())))
    assert str(tmp_path) not in ran.out


def test_numbers_are_those_of_the_results(tmp_path: Path) -> None:
    folder = write_dense_set(tmp_path / "set", "seg", people(2))
    model = load("sapiens-seg-nano", device="cpu", dtype="float32")
    report = evaluate_dense(lambda: model, folder, "seg")
    confusion_CC = np.zeros((28, 28), np.int64)
    for result, sample in zip(model(folder / "images"), samples(folder), strict=True):
        assert isinstance(result, Segmentation)
        confusion_CC += metrics.confusion_matrix(result.labels_HW, sample, 28)
    assert report.numbers["mIoU"] == pytest.approx(metrics.mean_iou(confusion_CC))


def samples(folder: Path) -> list[np.ndarray]:
    from vitruvian.datasets.layouts import find_samples

    return [decode_sample(sample, "seg").target for sample in find_samples(folder, "seg").samples]


def test_what_cannot_be_used_fails_alone(tmp_path: Path, command: Command) -> None:
    folder = write_dense_set(tmp_path / "set", "seg", people(4))
    (folder / "images" / "0000.png").write_bytes(b"no picture")
    put_png(folder / "labels" / "0001.png", np.full((256, 192), 28, np.uint8))
    put_png(folder / "labels" / "0002.png", np.zeros((20, 20), np.uint8))
    ran = command("eval", "sapiens-seg-nano", folder, "--task", "seg", "--device", "cpu", "-q")
    assert ran.code == 3
    assert "set: 1 pictures" in ran.out
    assert "holds the label 28; expected 0 to 27" in ran.err
    assert "expected equal sizes" in ran.err


def test_of_a_set_with_parts_the_one_to_validate_on_is_measured(tmp_path: Path) -> None:
    for part, count in (("train", 2), ("val", 1)):
        write_dense_set(tmp_path / "set" / part, "seg", people(count))
    report = evaluate_dense(lambda: load("sapiens-seg-nano", device="cpu"), tmp_path / "set", "seg")
    assert report.pictures == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "seg", "--detector", "auto"], "got --detector with --task seg"),
        (["--task", "seg", "--flip-test"], "got --flip-test with --task seg"),
        (["--task", "haste"], "got --task haste; expected one of pose, seg"),
        (["--task", "seg"], "got the normal model sapiens-normal-nano; expected one for seg"),
        (["--task", "normal", "--frame", "published"], "in the frame published for sapiens-normal-nano"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, command: Command, arguments: list[str], said: str
) -> None:
    task = "normal" if "normal" in arguments else "seg"
    folder = write_dense_set(tmp_path / "set", task, people(1))
    ran = command("eval", "sapiens-normal-nano", folder, "--device", "cpu", "-q", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_an_empty_folder_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without samples for seg"):
        evaluate_dense(lambda: pytest.fail("loaded"), tmp_path, "seg")
