"""Metric depth trained on a folder of one's own: what is left, resumed, refused, and what makes a sample no use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import load_file, save_file

import tiny_metric
import vitruvian as vt
from command import Command
from metric_folders import write_nyu
from tiny_trainings import log_of, same_bits
from training_folders import put_npy, put_png
from vitruvian.errors import CheckFailedError, InputError, UsageError
from vitruvian.finetuning.metric3d_trainee import METRIC3D_TRAINEE, METRIC_TUNING
from vitruvian.finetuning.metric_data import metric_data
from vitruvian.finetuning.planned import PlannedTraining, plan_training
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.finetuning.road import FineTuned, finetune
from vitruvian.finetuning.trainee import Asked
from vitruvian.finetuning.wishes import read_wishes
from vitruvian.fit.footprint.isolate import CHILD
from vitruvian.people import View, render
from vitruvian.people.places import random_place
from vitruvian.tasks.base import Provenance
from vitruvian.tasks.cameras import FULL_FRAME_DIAGONAL_MM
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.training.metric.samples import MetricSample
from vitruvian.training.parameter_groups import parameter_groups
from vitruvian.weights import RANDOM_NOTE, FoundWeights, find_weights
from vitruvian.zoo import metadata_of

SETTINGS = (
    *("steps=4", "batch_size=2", "log_every=1", "validation_share=0.3", "validate_every=2", "checkpoint_every=1"),
    *("precision=float32", "checkpointing=none", "attention=fused"),
)
CANVAS_HW = (56, 84)
CONFIG = replace(tiny_metric.CONFIG, input_hw=CANVAS_HW)
FOCAL_PX = 80.0
PICTURES = 8


class Stopped(Exception):
    """Ends a training from outside, as nothing inside it would."""


@pytest.fixture(scope="module", autouse=True)
def planned_here() -> Iterator[None]:
    """Plans are made without a child process, which takes seconds to start."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CHILD, "call", lambda what, function, *arguments: function(*arguments))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [render(random_place(seed, 60, 90, FOCAL_PX)) for seed in range(PICTURES)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "tiny-metric.safetensors"
    spec = replace(tiny_metric.tiny_spec(path), config=CONFIG)
    save_file(tiny_metric.tiny_weights(), path, metadata=metadata_of(spec))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, views: list[View]) -> Path:
    """Eight pictures with cameras and normals; one more that the file of cameras does not know."""
    return write(tmp_path_factory.mktemp("mine") / "rooms", [*views, views[0]], cameras=len(views))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, base: Path, folder: Path) -> FineTuned:
    return finetune("depth", base, folder, tmp_path_factory.mktemp("run") / "whole", SETTINGS, device="cpu")


def write(folder: Path, views: list[View], *, cameras: int = 0, normals: bool = True, depths: str = "depths") -> Path:
    for number, view in enumerate(views):
        put_png(folder / "images" / f"{number:04d}.png", view.image_HW3)
        put_npy(folder / depths / f"{number:04d}.npy", view.depth_m_HW)
        if normals:
            put_npy(folder / "normals" / f"{number:04d}.npy", view.normals_HW3)
    if cameras:
        table = {f"{number:04d}.png": {"fx": FOCAL_PX, "fy": FOCAL_PX} for number in range(cameras)}
        (folder / "intrinsics.json").write_text(json.dumps(table), encoding="utf-8")
    return folder


def planned(base: Path | str, folder: Path, *settings: str, task: str = "depth", **more: Any) -> PlannedTraining:
    return plan_training(task, base, folder, read_wishes([*SETTINGS, *settings]), device="cpu", **more)


def sample(folder: Path, place: int = 0) -> MetricSample:
    data = metric_data(folder, CANVAS_HW, CONFIG.depth_range_m, METRIC_TUNING)
    found = data.prepare_plain([*data.train, *data.validation][place], None)
    assert isinstance(found, MetricSample)
    return found


def test_a_training_leaves_a_depth_model_that_runs_at_once(whole: FineTuned, base: Path, views: list[View]) -> None:
    before, after = load_file(base), load_file(whole.folder / "last.safetensors")
    assert before.keys() == after.keys()
    assert not same_bits(before, after)
    model = vt.load(whole.folder, device="cpu", dtype="float32")
    assert (model.spec.family.name, model.spec.config.input_hw, model.spec.licence) == (
        "metric3d",
        CANVAS_HW,
        "apache-2.0",
    )
    (result,) = model(views[0].image_HW3)
    assert isinstance(result, MetricDepth)
    assert result.normals_HW3 is not None


def test_the_log_has_errors_in_usual_terms_and_pictures_are_drawn(whole: FineTuned) -> None:
    rows = log_of(whole.folder)
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3, 4]
    validations = [row for row in rows if "validation_loss" in row]
    assert [row["step"] for row in validations] == [0, 2, 4]
    assert all(row["AbsRel"] > 0 and 0 <= row["delta1"] <= 1 and 0 < row["mean deg"] < 180 for row in validations)
    assert whole.outcome.last is not None
    assert whole.outcome.last.value == pytest.approx(validations[-1]["AbsRel"], rel=1e-5)
    assert len(list((whole.folder / "pictures").iterdir())) == 3


def test_a_picture_that_the_table_does_not_know_is_named_and_left_out(whole: FineTuned) -> None:
    (reason,) = whole.outcome.corrupt.values()
    assert list(whole.outcome.corrupt) == [f"images/{PICTURES:04d}.png"]
    assert "no entry in the intrinsics file" in reason


def test_a_resumed_training_ends_with_the_same_bits(
    whole: FineTuned, base: Path, folder: Path, tmp_path: Path, command: Command
) -> None:
    def on_progress(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise Stopped

    run = tmp_path / "run"
    with pytest.raises(Stopped):
        finetune("depth", base, folder, run, SETTINGS, device="cpu", on_progress=on_progress)
    words = ("--task", "depth", "--model", base, "--data", folder, "-o", run, "--device", "cpu", "--resume")
    ran = command("finetune", *words, *SETTINGS)
    assert ran.code == 0, ran.err
    assert "AbsRel" in ran.out
    assert f"vitruvian depth PICTURES -o OUT --model {run}" in ran.out
    for name in ("last.safetensors", "model.safetensors"):
        assert same_bits(load_file(run / name), load_file(whole.folder / name)), name


def test_learning_lowers_the_loss_and_a_training_can_go_on_from_another(
    whole: FineTuned, folder: Path, tmp_path: Path
) -> None:
    more = ("steps=20", "validate_every=20", "checkpoint_every=20", "augment=false", "lr=3e-3", "batch_size=4")
    done = finetune("depth", whole.folder, folder, tmp_path / "run", [*SETTINGS, *more, "warmup=0"], device="cpu")
    losses = [row["loss"] for row in log_of(done.folder) if "lr" in row]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_the_encoder_learns_at_a_tenth_of_the_rate(base: Path, folder: Path) -> None:
    made = planned(base, folder)
    network = made.workload.build()
    groups = parameter_groups(network, (), weight_decay=0.1, rates=made.trainee.rates)
    factor = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    for name, parameter in network.named_parameters():
        assert factor[id(parameter)] == (0.1 if ".encoder." in name else 1.0), name
    assert "lr of depth_model.encoder.*: 0.1 of the others' (as published)" in made.text()


def test_the_recipe_is_the_published_one_where_it_is_known(base: Path, folder: Path) -> None:
    recipe = planned(base, folder).recipe
    assert (recipe.lr, recipe.schedule, recipe.warmup, recipe.clip_norm) == (1e-4, "poly", 500, 2.5)
    varied = planned(base, folder, "augment.resize=[0.9, 1.1]", "augment.mirror_probability=0").recipe.augment
    assert (varied.resize, varied.mirror_probability) == ((0.9, 1.1), 0.0)  # type: ignore[union-attr]
    objective = METRIC3D_TRAINEE.objective(planned(base, folder).spec, recipe)
    assert (objective.metre_weight, objective.log_weight, objective.normal_weight) == (0.5, 0.0, 1.0)  # type: ignore[attr-defined]


def test_another_canvas_is_another_network_to_plan_for_and_other_samples(base: Path, folder: Path) -> None:
    trainee = METRIC3D_TRAINEE
    found = find_weights(base)
    spec = trainee.spec(found.spec, Asked(task="depth", input_hw=(84, 112)))
    workload = trainee.workload(found.spec)
    assert workload.resized is not None
    assert workload.resized((84, 112), 28).key == trainee.workload(spec).key != workload.key
    assert trainee.workload(spec).inputs(2)["x_B3HW"].shape == (2, 3, 84, 112)
    data = trainee.data(folder, spec, METRIC_TUNING)
    ready = data.prepare_plain(data.train[0], None)
    assert isinstance(ready, MetricSample)
    assert ready.canvas_HW3.shape == (84, 112, 3)
    begun = trainee.begin(found, spec, 0)
    assert begun.notes == ("the canvas is 84x112 where the base has 56x84: the trained network runs on it, too",)
    with pytest.raises(UsageError, match="multiples of 28"):
        planned(base, folder, "crop=80x112")


@pytest.mark.parametrize(
    ("task", "settings", "more", "message"),
    [
        ("normal", (), {}, "--task depth, which teaches depth and normals"),
        ("seg", (), {}, "got --task seg for tiny-metric; expected --task depth;"),
        ("depth", ("channels=1",), {}, "channels=1"),
        ("depth", ("patch_size=7",), {}, "patch_size=7"),
        ("depth", ("hardest=3",), {}, "got hardest for tiny-metric"),
        ("depth", ("drop_path=0.1",), {}, "got drop_path"),
        ("depth", ("augment.turn_deg=3",), {}, r"got augment\.turn_deg"),
        ("depth", (), {"frame": "published"}, "frame published"),
    ],
)
def test_what_means_nothing_is_refused_before_data_are_looked_for(
    base: Path, tmp_path: Path, task: str, settings: tuple[str, ...], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        planned(base, tmp_path / "nowhere", *settings, task=task, **more)


def test_the_first_kind_and_other_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Metric3D v1 network to train step by step; expected v2"):
        planned("metric3d-convnext-tiny", tmp_path)
    with pytest.raises(UsageError, match="got detector-nano to train; expected a Sapiens or Metric3D network"):
        planned("detector-nano", tmp_path)


def test_a_network_begins_with_the_bases_weights_in_memory_of_its_own(base: Path) -> None:
    found = find_weights(base)
    begun = METRIC3D_TRAINEE.begin(found, METRIC3D_TRAINEE.spec(found.spec, Asked(task="depth")), 0)
    assert same_bits(dict(begun.network.state_dict()), load_file(base))
    assert begun.network.training
    assert all(parameter.requires_grad for parameter in begun.network.parameters())
    assert begun.notes == ()


def test_focal_lengths_come_from_the_table_else_from_exif_and_are_never_assumed(
    tmp_path: Path, views: list[View]
) -> None:
    tabled = write(tmp_path / "tabled", views[:2], cameras=2)
    bare = write(tmp_path / "bare", views[:2])
    with pytest.raises(InputError, match=r"metric training needs the camera.*intrinsics\.json"):
        sample(bare)
    for path in (bare / "images").iterdir():
        picture = Image.open(path)
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "someone"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 100
        picture.save(path, exif=exif)
    focal_px = 100 / FULL_FRAME_DIAGONAL_MM * np.hypot(60, 90)
    by_table, by_exif = sample(tabled), sample(bare)
    np.testing.assert_allclose(by_exif.depth_HW * focal_px, by_table.depth_HW * FOCAL_PX, rtol=1e-5)
    assert (by_exif.depth_HW > 0).mean() > 0.5
    assert np.array_equal(by_exif.normals_3HW, by_table.normals_3HW)


def test_a_folder_without_any_camera_ends_with_the_sentence(base: Path, tmp_path: Path, views: list[View]) -> None:
    folder = write(tmp_path / "bare", views[:3])
    with pytest.raises(CheckFailedError, match="metric training needs the camera"):
        finetune("depth", base, folder, tmp_path / "run", [*SETTINGS, "validation_share=0"], device="cpu")


def test_normals_are_taught_where_they_are_and_else_it_is_said(base: Path, tmp_path: Path, views: list[View]) -> None:
    with_normals = write(tmp_path / "with", views[:4], cameras=4)
    normals_3HW = sample(with_normals).normals_3HW
    length_HW = np.linalg.norm(normals_3HW, axis=0)
    assert length_HW[length_HW > 0] == pytest.approx(1, abs=1e-5)
    assert (length_HW > 0).mean() > 0.5
    assert "normals:" not in planned(base, with_normals).text()
    for path in (with_normals / "normals").glob("000[01].npy"):
        path.unlink()
    some = planned(base, with_normals, "validation_share=0")
    assert "normals: taught by 2 of 4 pictures" in some.text()
    assert some.identity["normals"] == 2
    # Depth in labels/ is no normals, though the plain layout of normals looks just so.
    without = write(tmp_path / "without", views[:4], cameras=4, normals=False, depths="labels")
    assert not sample(without).normals_3HW.any()
    assert "normals: not taught (" in planned(base, without).text()
    assert "may drift" in planned(base, without).text()


def test_depth_that_is_not_in_metres_is_no_use(tmp_path: Path, views: list[View]) -> None:
    folder = write(tmp_path / "mm", views[:1], cameras=1)
    put_npy(folder / "depths" / "0000.npy", 1000 * views[0].depth_m_HW)
    with pytest.raises(InputError, match=r"looks like millimetres; expected metres"):
        sample(folder)
    put_npy(folder / "depths" / "0000.npy", np.zeros_like(views[0].depth_m_HW))
    with pytest.raises(InputError, match="no depth above 0"):
        sample(folder)


def test_known_data_sets_bring_their_cameras(tmp_path: Path) -> None:
    ready = sample(write_nyu(tmp_path / "rooms"))
    scale = min(CANVAS_HW[0] / 480, CANVAS_HW[1] / 640)
    assert ready.depth_HW.max() == pytest.approx(3 * 1000 / (518.8579 * scale), rel=1e-5)


def test_random_weights_are_trained_for_measurements(base: Path) -> None:
    spec = METRIC3D_TRAINEE.spec(find_weights(base).spec, Asked(task="depth"))
    provenance = Provenance(model="noise", weights_sha256="", licence="none")
    begun = METRIC3D_TRAINEE.begin(FoundWeights(spec=spec, provenance=provenance, paths=()), spec, 0)
    assert begun.notes == (RANDOM_NOTE,)
    assert begun.network.state_dict().keys() == tiny_metric.tiny_weights().keys()
