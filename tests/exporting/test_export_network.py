"""A network becomes an artefact: verified, explained, and the same road as any model afterwards."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import small_artefacts
from command import Command
from vitruvian.artefacts.manifest import read_manifest
from vitruvian.artefacts.rung import Draft
from vitruvian.errors import CheckFailedError, DoesNotFitError, UsageError
from vitruvian.exporting import Exported, export
from vitruvian.loading import load
from vitruvian.tasks.seg import Segmentation


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(3)
    for index in range(count):
        small = generator.integers(0, 255, (6, 5, 3), np.uint8)
        picture = Image.fromarray(small).resize((90 + index, 120), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:03}.png")
    return folder


def labels(model: str | Path, folder: Path, **options: object) -> list[np.ndarray]:
    found = load(model, **options)(folder)  # type: ignore[arg-type]
    return [result.labels_HW for result in found if isinstance(result, Segmentation)]


def same(found: list[np.ndarray], true: list[np.ndarray]) -> bool:
    pairs = zip(found, true, strict=True)
    return all(one.shape == other.shape and np.mean(one == other) >= 0.9995 for one, other in pairs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artefacts.weight_file(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def program_of(weights: Path, folder: Path) -> Exported:
    return export(weights, out=folder, backend="export", dtype="float32", max_batch=4)


@pytest.fixture(scope="module")
def program(weights: Path, tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    return small_artefacts.once(tmp_path_factory, "exported-program", partial(program_of, weights))


@pytest.mark.slow
def test_auto_takes_native_code_here_and_says_why(weights: Path, tmp_path: Path, command: Command) -> None:
    ran = command("export", weights, "-o", tmp_path / "made", "--max-batch", "3", "--dtype", "float32")
    assert ran.code == 0, ran.err
    assert "aoti: verified" in ran.out
    assert "label_share" in ran.out
    manifest, _ = read_manifest(tmp_path / "made")
    assert (manifest.backend, manifest.batch_range, manifest.model) == ("aoti", (1, 3), "tiny")
    (attempt,) = manifest.report["attempts"]
    assert [row["batch"] for row in attempt["batches"]] == [1, 2, 3]
    pictures = write_pictures(tmp_path / "pictures", 7)
    assert same(labels(tmp_path / "made", pictures), labels(weights, pictures, dtype="float32"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_any_number_of_pictures_runs_through_an_artefact(
    program: Path, weights: Path, tmp_path: Path, count: int
) -> None:
    pictures = write_pictures(tmp_path / "pictures", count)
    found = labels(program, pictures)
    assert len(found) == count
    assert same(found, labels(weights, pictures, dtype="float32"))


def test_a_run_says_which_artefact_it_used(program: Path, tmp_path: Path, command: Command) -> None:
    pictures = write_pictures(tmp_path / "pictures", 5)
    ran = command("seg", pictures, "-o", tmp_path / "out", "--model", program, "--explain")
    assert ran.code == 0, ran.err
    assert "backend: export" in ran.out
    document = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert document["model"] == "tiny"
    chosen = {decision["what"]: decision["value"] for decision in document["decisions"]}
    assert chosen["max_batch"] == 4


@pytest.mark.slow
def test_post_processing_inside_gives_the_same_results(weights: Path, tmp_path: Path, without_compiler: None) -> None:
    made = export(weights, out=tmp_path / "made", backend="export", dtype="float32", with_post=True, max_batch=4)
    pictures = write_pictures(tmp_path / "pictures", 6)
    assert same(labels(made.folder, pictures), labels(weights, pictures, dtype="float32"))
    assert {contract.name for contract in made.manifest.outputs} == {"logits", "labels", "finite"}
    assert made.manifest.preparation["classes"]


@pytest.mark.slow
def test_another_size_and_any_size(weights: Path, tmp_path: Path, without_compiler: None) -> None:
    larger = export(weights, out=tmp_path / "larger", backend="export", dtype="float32", size=(96, 64))
    assert larger.manifest.inputs[0].shape[1:] == (3, 96, 64)
    free = export(weights, out=tmp_path / "free", backend="export", dtype="float32", dynamic_size=True)
    run, eager = free.open(), small_artefacts.network(free.folder)
    for height, width in ((64, 48), (96, 64), (32, 80)):
        x_B3HW = small_artefacts.pictures(3)[:, :, :32, :48].repeat(1, 1, 4, 4)[:, :, :height, :width]
        found, true = run(x_B3HW)["logits"], eager(x_B3HW)["logits"]
        assert found.shape == true.shape
        assert (found - true).norm() <= 1e-4 * true.norm()
    with pytest.raises(UsageError, match="multiples of 16"):
        export(weights, out=tmp_path / "odd", size=(90, 64))


@pytest.mark.slow
def test_one_compilation_serves_other_weights(program: Path, tmp_path: Path) -> None:
    other = small_artefacts.weight_file(tmp_path / "tuned.safetensors", seed=9)
    made = export(other, out=tmp_path / "made", backend="export", dtype="float32", max_batch=4, reuse=program)
    (attempt,) = made.attempts
    assert attempt.reused
    assert attempt.state == "verified"
    assert (made.folder / "program.pt2").read_bytes() == (program / "program.pt2").read_bytes()


@pytest.mark.slow
def test_the_users_pictures_are_compared_in_stages_and_the_worst_is_kept(
    weights: Path, tmp_path: Path, without_compiler: None
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 10)
    (pictures / "broken.jpg").write_bytes(b"no picture")
    made = export(weights, out=tmp_path / "made", backend="export", dtype="float32", check_on=pictures)
    further = made.manifest.report["attempts"][-1]["further"]
    assert further["pictures"] == 10
    assert further["worst"].endswith(".png")
    with Image.open(made.folder / further["drawn"]) as drawn:
        assert drawn.width == 3 * Image.open(pictures / further["worst"]).width


def test_a_backend_that_changes_numbers_is_not_taken(
    weights: Path, tmp_path: Path, without_compiler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitruvian.artefacts import climb

    def spoiled(draft: Draft, folder: Path) -> object:
        built = original(draft, folder)
        shifted = {"decode_head.conv_seg.bias": draft.module.state_dict()["decode_head.conv_seg.bias"] + 0}
        shifted["decode_head.conv_seg.bias"][::2] += 3
        return type(built)(
            entry=built.entry, constants=shifted, weights_outside=True, options=built.options, log=built.log
        )

    rung = climb.RUNGS["export"]
    original = rung.build
    monkeypatch.setitem(climb.RUNGS, "export", type(rung)(**{**_fields(rung), "build": spoiled}))  # type: ignore[arg-type]
    with pytest.raises(CheckFailedError, match="label_share"):
        export(weights, out=tmp_path / "made", backend="export", dtype="float32")
    assert not (tmp_path / "made").exists()


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}  # type: ignore[attr-defined]


def test_what_cannot_fit_is_said_before_anything_is_built(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match="are there"):
        export(weights, out=tmp_path / "made", budget="10MB")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "tensorrt"], "got --backend tensorrt; expected one of aoti"),
        (["--max-batch", "1"], "expected a number from 2, or none"),
        (["--max-batch", "many"], "expected a number from 2, or none"),
        (["--size", "64"], "expected height and width such as 1024x768"),
        (["--dtype", "int4"], "got --dtype int4"),
        (["--check-on", "nowhere"], "nowhere"),
    ],
)
def test_bad_options_are_explained(
    weights: Path, tmp_path: Path, command: Command, arguments: list[str], said: str
) -> None:
    ran = command("export", weights, "-o", tmp_path / "made", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_a_type_that_nobody_insisted_on_gives_way_to_float32(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitruvian.artefacts import climb
    from vitruvian.exporting import network
    from vitruvian.fit.precision import Precision

    class Chooser:
        def __init__(self, **given: object) -> None:
            self.dtype = given["dtype"]

        def choose(self) -> object:
            class Choice:
                precision = Precision(dtype=self.dtype or "bfloat16")  # type: ignore[arg-type]

            return Choice

    def judge(examined: object, quality: object) -> list[str]:
        return [] if quality == "exact" else ["got label_share 0.1; expected >= 0.995"]

    monkeypatch.setattr(network, "PrecisionChooser", Chooser)
    monkeypatch.setattr(climb.Examined, "misses", judge)
    made = export(weights, out=tmp_path / "made", backend="eager")
    assert made.manifest.precision.dtype == "float32"
    assert "bfloat16 did not do" in made.notes[-1]
