"""Artefacts as models: the same road and results, rebuilt or refused where they do not belong, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import small_artefacts
import tolerances
from command import Command
from fit.imagined import machine
from small_artefacts import contents, copied, document, known
from vitruvian import compiled_loading, exporting, loading
from vitruvian.artefacts import artefact as artefacts
from vitruvian.artefacts import program as programs
from vitruvian.artefacts import trust as ledger
from vitruvian.artefacts.compatibility import MismatchError
from vitruvian.artefacts.manifest import MANIFEST, WEIGHTS, read_manifest
from vitruvian.artefacts.wrapping import FINITE, PostInside
from vitruvian.cache import cache_dir
from vitruvian.compiled_loading import (
    CompiledNetwork,
    Rebuild,
    Source,
    artefact_source,
    check_rebuild,
    rows_said_bad,
    with_task,
)
from vitruvian.errors import RefusedError, UsageError, VitruvianError
from vitruvian.fit.quality import misses
from vitruvian.hardware import target_here
from vitruvian.loading import load
from vitruvian.models.weight_files import sha256_of
from vitruvian.predict import Model
from vitruvian.tasks.base import Result
from vitruvian.tasks.inside import InsideTask

MANY = 7


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures of different sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(3)
    for index in range(MANY):
        small = generator.integers(0, 255, (6, 5, 3), np.uint8)
        Image.fromarray(small).resize((70 + 5 * index, 60), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def eager(plain: Path, pictures: Path) -> list[Result]:
    """What the weight file itself gives in float32."""
    return list(load(plain / WEIGHTS, device="cpu", quality="exact")(pictures))


def assert_same(model: Model, found: list[Result], true: list[Result]) -> None:
    """Every picture once, in order, within the limits of float32."""
    assert [result.origin.name for result in found if result.origin] == [
        result.origin.name for result in true if result.origin
    ]
    for one, other in zip(found, true, strict=True):
        assert misses(model.task.discrepancy(one, other), "exact") == []


def decided(model: Model, what: str) -> list[tuple[object, str]]:
    return [(one.value, one.because) for one in model.loading_decisions if one.what == what]


@pytest.mark.parametrize("count", [1, 2, MANY])
def test_any_number_of_pictures_gives_what_eager_gives(
    native: Path, pictures: Path, eager: list[Result], count: int
) -> None:
    model = load(native, device="cpu")
    found = list(model([pictures / f"{index}.png" for index in range(count)]))
    assert_same(model, found, eager[:count])
    assert decided(model, "backend") == [("aoti", "the artefact native, exported in float32")]
    assert model.own_range == (1, small_artefacts.MAX_BATCH)


def test_a_micro_batch_beyond_its_range_is_cut_and_it_is_said(
    native: Path, pictures: Path, eager: list[Result]
) -> None:
    model = load(native, device="cpu", micro_batch=6)
    engine = model.engine()
    assert [one.value for one in engine.decisions() if one.what == "max_batch"] == [small_artefacts.MAX_BATCH]
    assert_same(model, list(model(pictures)), eager)


def test_weights_alone_are_the_same_road(plain: Path, pictures: Path, eager: list[Result]) -> None:
    model = load(plain, device="cpu", quality="exact")
    assert_same(model, list(model(pictures)), eager)
    assert decided(model, "backend") == [("eager", "the artefact plain, exported in float32")]


def test_weights_alone_keep_the_canvas_they_were_exported_with(plain: Path, pictures: Path, tmp_path: Path) -> None:
    model = load(known(copied(plain, tmp_path / "large", **resized(plain))), device="cpu", quality="exact")
    assert model.task.input_hw == (128, 96)
    assert len(list(model(pictures))) == MANY


@pytest.mark.parametrize(
    ("types", "asked", "taken"),
    [
        (("bfloat16", "float32"), None, "bfloat16"),
        (("float32",), None, "float32"),
        (("bfloat16", "float32"), "float32", "float32"),
    ],
)
def test_weights_alone_compute_in_the_type_they_were_exported_in_where_it_is_native(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types: tuple[str, ...], asked: str | None, taken: str
) -> None:
    monkeypatch.setattr(loading, "compute_types", lambda device: types)
    precision = {"dtype": "bfloat16", "islands": []}
    folder = known(copied(plain, tmp_path / "made", precision=precision))
    model = load(folder, device="cpu", dtype=asked, quality="exact")
    assert model.runner.precision.dtype == taken


@pytest.mark.parametrize("kind", ["native", "plain"])
def test_noise_cannot_take_the_place_of_an_artefacts_weights(kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(UsageError, match=r"random weights for the artefact .*its weights are part of it"):
        load(request.getfixturevalue(kind), device="cpu", random_weights=True)


@pytest.mark.slow
def test_an_artefact_can_be_the_detector(pictures: Path, tmp_path: Path) -> None:
    made = exporting.export("detector-nano", out=tmp_path / "finder", backend="eager", dtype="float32")
    found, own = (load("sapiens-seg-nano", device="cpu", detector=one) for one in (made.folder, "detector-nano"))
    assert found.finder is not None
    assert decided(found, "detector")[0][0] == "detector-nano"
    assert [len(list(model(pictures))) for model in (found, own)] == [MANY, MANY]
    with pytest.raises(UsageError, match="as a detector, which is a seg model"):
        load("sapiens-seg-nano", device="cpu", detector=plain_seg(tmp_path))


def plain_seg(tmp_path: Path) -> Path:
    small_artefacts.artefact(tmp_path / "seg", "eager")
    return tmp_path / "seg"


def test_with_its_end_inside_it_is_the_same_road(
    pictures: Path, eager: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "compiler_works", lambda device: False)
    small_artefacts.artefact(tmp_path / "inside", "export", with_post=True)
    model = load(tmp_path / "inside", device="cpu")
    assert isinstance(model.task, InsideTask)
    assert_same(model, list(model(pictures)), eager)
    with pytest.raises(UsageError, match="flip test for an artefact with its post-processing inside"):
        model.engine(flip_test=True)


def test_the_road_itself_checks_what_it_hands_over(native: Path) -> None:
    compiled = CompiledNetwork(artefacts.open_artefact(native))
    network, x = small_artefacts.network(native), small_artefacts.pictures(9)
    with torch.no_grad():
        wanted = network(x)["logits"]
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(compiled(given)["logits"], wanted, atol=tolerances.EXPORT_ABS, rtol=1e-4)
    for given, said in ((x.bfloat16(), "bfloat16"), (x[:, :, :48], "got 48 on axis 2")):
        with pytest.raises(UsageError, match=said):
            compiled(given)


def test_another_type_than_its_own_is_refused(native: Path) -> None:
    with pytest.raises(UsageError, match=r"got --dtype bfloat16 for the artefact native, .*export again"):
        load(native, device="cpu", dtype="bf16")


# Artefacts of another machine.


def of_another_machine(folder: Path, target: Path, **fields: Any) -> Path:
    """A copy that says it was made by another torch."""
    made_for = {**document(folder)["target"], "torch": "2.6.0+cpu", **fields}
    return copied(folder, target, target=made_for)


@pytest.fixture
def eager_only(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Rebuilding takes the quickest backend; the options that it was asked for are kept."""
    asked: list[dict[str, Any]] = []

    def export(model: str | Path, **options: Any) -> exporting.Exported:
        asked.append(options)
        return exporting.export(model, **{**options, "backend": "eager"})

    monkeypatch.setattr(compiled_loading, "export", export)
    return asked


def test_one_of_another_torch_is_rebuilt_once_and_left_as_it_was(
    native: Path, pictures: Path, eager: list[Result], tmp_path: Path, eager_only: list[dict[str, Any]]
) -> None:
    folder = of_another_machine(native, tmp_path / "old")
    before, said = contents(folder), list[str]()
    model = load(folder, device="cpu", quality="exact", report=said.append)
    assert_same(model, list(model(pictures)), eager)
    (artefact,) = decided(model, "artefact")
    assert artefact == ("rebuilt", f"the artefact old, made for torch 2.6.0+cpu, here is {torch.__version__}")
    assert any(line.startswith("rebuilding for this machine: the artefact old") for line in said)
    assert (eager_only[0]["backend"], eager_only[0]["max_batch"]) == ("auto", small_artefacts.MAX_BATCH)
    assert eager_only[0]["out"].parent == cache_dir() / ledger.REBUILT
    assert contents(folder) == before

    said.clear()
    again = load(folder, device="cpu", quality="exact", report=said.append)
    assert_same(again, list(again(pictures)), eager)
    assert len(eager_only) == 1, "it was there already"
    assert not any("rebuilding" in line for line in said)
    assert decided(again, "artefact") == [artefact]
    assert (again.provenance.model, again.provenance.licence) == ("tiny", small_artefacts.LICENCE)
    assert again.provenance == model.provenance


def test_a_rebuilt_one_that_is_not_whole_any_more_is_made_again(
    native: Path, tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = of_another_machine(native, tmp_path / "old", torch="1.13")
    target = asked(folder)[1]["out"]
    small_artefacts.artefact(target, "eager")
    assert source_of(folder, rebuild="auto").folder == target
    whole = (target / WEIGHTS).read_bytes()
    (target / WEIGHTS).write_bytes(whole[:-1])
    assert asked(folder)[1]["out"] == target
    (target / WEIGHTS).write_bytes(whole)
    assert source_of(folder, rebuild="auto").folder == target
    for spoilt in (b"{", (target / MANIFEST).read_bytes() + b" "):
        (target / MANIFEST).write_bytes(spoilt)
        assert asked(folder)[1]["out"] == target


@pytest.mark.parametrize("rebuild", ["never", "auto"])
def test_never_means_never(native: Path, tmp_path: Path, rebuild: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = of_another_machine(native, tmp_path / "old")
    if rebuild == "auto":  # weights that nobody has: nothing to rebuild from
        files = {"network.pt2": document(native)["files"]["network.pt2"]}
        folder = of_another_machine(native, tmp_path / "inside")
        copied(folder, tmp_path / "bare", files=files, weights=None, source="lost.pth")
        folder = tmp_path / "bare"
    monkeypatch.setattr(compiled_loading, "export", lambda *args, **options: pytest.fail("rebuilt"))
    with pytest.raises(MismatchError) as error:
        load(folder, device="cpu", rebuild=rebuild)
    assert error.value.exit_code == 5
    assert str(error.value).startswith(
        f"got the artefact {folder.name}, made for torch 2.6.0+cpu, here is {torch.__version__}; expected one made here"
    )


def test_the_command_refuses_in_one_line(native: Path, pictures: Path, tmp_path: Path, command: Command) -> None:
    folder = of_another_machine(native, tmp_path / "old")
    ran = command("seg", pictures, "-o", tmp_path / "out", "--model", folder, "--device", "cpu", "--rebuild", "never")
    assert ran.code == 5
    assert_one_line(ran.err, "vitruvian: got the artefact old, made for torch 2.6.0+cpu, here is")
    assert "vitruvian export tiny.safetensors -o DIR" in ran.err
    assert not (tmp_path / "out").exists()


def assert_one_line(printed: str, start: str) -> None:
    (line,) = printed.strip().splitlines()
    assert line.startswith(start)
    assert "Traceback" not in line


def test_the_command_rebuilds_and_says_so(
    native: Path, pictures: Path, tmp_path: Path, command: Command, eager_only: list[dict[str, Any]]
) -> None:
    folder = of_another_machine(native, tmp_path / "old")
    options = ("--model", folder, "--device", "cpu", "--format", "png", "--quality", "exact")
    ran = command("seg", pictures, "-o", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    assert len(list((tmp_path / "out").glob("*.seg.png"))) == MANY
    decisions = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["decisions"]
    (rebuilt,) = [one for one in decisions if one["what"] == "artefact"]
    assert "made for torch 2.6.0+cpu" in rebuilt["because"]


class AskedError(VitruvianError):
    """Carries what a rebuild was asked for."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """What a rebuild of an artefact would be asked for, where none was rebuilt before."""
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "cache"))
    calls: list[tuple[Any, dict[str, Any]]] = []

    def export(model: Any, **options: Any) -> None:
        calls.append((model, options))
        raise AskedError

    monkeypatch.setattr(compiled_loading, "export", export)

    def ask(folder: Path, device: str | None = None) -> tuple[Any, dict[str, Any]]:
        with pytest.raises(AskedError):
            artefact_source(folder, device=device, trust=False, rebuild="auto", report=lambda line: None)
        return calls[-1]

    return ask


def with_side(shape: list[Any], place: int, side: Any) -> list[Any]:
    return [side if index == place else value for index, value in enumerate(shape)]


def resized(native: Path) -> dict[str, Any]:
    (contract,) = document(native)["inputs"]
    shape = [*contract["shape"][:2], 128, 96]
    return {
        "inputs": [{**contract, "shape": shape}],
        "preparation": {**document(native)["preparation"], "canvas_hw": [128, 96]},
    }


def of_batch(native: Path, maximum: int | None) -> dict[str, Any]:
    (contract,) = document(native)["inputs"]
    shape = [{**contract["shape"][0], "maximum": maximum}, *contract["shape"][1:]]
    return {"inputs": [{**contract, "shape": shape}], "batch": {"minimum": 1, "maximum": maximum}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (lambda native: {}, {"backend": "auto", "dtype": "float32", "max_batch": 4, "size": None, "device": "cpu"}),
        (lambda native: {}, {"dynamic_size": False, "with_post": False, "quality": "balanced", "overwrite": True}),
        (lambda native: of_batch(native, None), {"max_batch": "auto"}),
        (lambda native: of_batch(native, 1), {"max_batch": 2}),
        (resized, {"size": (128, 96)}),
        (lambda native: {"any_size": True}, {"dynamic_size": True}),
        (lambda native: {"report": {"quality": "fast"}}, {"quality": "fast"}),
        (lambda native: {"report": {"quality": "glory"}}, {"quality": "balanced"}),
        (lambda native: {"report": {"quality": ["x"]}}, {"quality": "balanced"}),
        (lambda native: {"precision": {"dtype": "float16", "islands": []}}, {"dtype": None}),
    ],
)
def test_it_is_rebuilt_as_it_was(
    native: Path,
    changes: Callable[[Path], dict[str, Any]],
    expected: dict[str, Any],
    tmp_path: Path,
    asked: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_loading, "compute_types", lambda device: ("bfloat16", "float32"))
    folder = copied(of_another_machine(native, tmp_path / "old"), tmp_path / "changed", **changes(native))
    model, options = asked(folder)
    assert model == folder / WEIGHTS
    assert {key: options[key] for key in expected} == expected


@pytest.mark.parametrize("model", ["../../../evil", "/tmp/evil", "a b\x1b[2J", "x" * 3000, "..", ""])
def test_a_rebuilt_one_lies_in_the_cache_whatever_it_is_called(
    native: Path, model: str, tmp_path: Path, asked: Any
) -> None:
    _, options = asked(copied(of_another_machine(native, tmp_path / "old"), tmp_path / "changed", model=model))
    assert options["out"].resolve().parent == (cache_dir() / ledger.REBUILT).resolve()
    assert len(options["out"].name) < 100


def test_what_is_rebuilt_is_another_for_another_machine_or_artefact(native: Path, tmp_path: Path, asked: Any) -> None:
    places = {
        asked(of_another_machine(native, tmp_path / name, torch=torch_version))[1]["out"]
        for name, torch_version in (("a", "2.6.0"), ("b", "2.7.0"))
    }
    assert len(places) == 2


def test_weights_inside_come_from_the_catalogue_by_name(native: Path, tmp_path: Path, asked: Any) -> None:
    """The manifest names them; a path in it is none."""
    files = {"network.pt2": document(native)["files"]["network.pt2"]}
    old = of_another_machine(native, tmp_path / "old")
    bare = {"files": files, "weights": None}
    model, _ = asked(copied(old, tmp_path / "named", **bare, source="sapiens-seg-nano"))
    assert model == "sapiens-seg-nano"
    for source in ("", str(native / WEIGHTS), "../native/weights.safetensors"):
        folder = copied(old, tmp_path / f"bare{len(source)}", **bare, source=source)
        with pytest.raises(MismatchError):
            artefact_source(folder, device=None, trust=True, rebuild="auto", report=lambda line: None)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "bytes instead of"),
        (lambda path: small_artefacts.weight_file(path, seed=2), "other contents than were written"),
        (Path.unlink, "is missing"),
    ],
)
def test_changed_weights_are_not_rebuilt_from(
    native: Path, damage: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = of_another_machine(native, tmp_path / "old", torch="2.5.0")
    damage(folder / WEIGHTS)
    monkeypatch.setattr(compiled_loading, "export", lambda *args, **options: pytest.fail("rebuilt"))
    for trust in (False, True):
        with pytest.raises(RefusedError, match=rf"{WEIGHTS} .*{said}"):
            load(folder, device="cpu", trust=trust)


def imagine(monkeypatch: pytest.MonkeyPatch, card: bool) -> None:
    """Another machine, as far as choosing where to run goes."""
    hardware = machine(24 if card else None)
    for module in (compiled_loading, artefacts):
        monkeypatch.setattr(module, "probe", lambda: hardware)
        monkeypatch.setattr(module, "target_here", imagined_target)


def imagined_target(device: str) -> Any:
    here = target_here("cpu")
    return here if device == "cpu" else replace(here, device="cuda", architecture="sm_86")


@pytest.mark.parametrize(
    ("made_for", "card", "device", "runs_on"),
    [
        ("cpu", True, None, None),
        ("cuda", False, None, "cpu"),
        ("cuda", True, "cpu", "cpu"),
        ("cpu", True, "cuda", "cuda"),
        ("cpu", True, "cuda:0", "cuda:0"),
    ],
)
def test_it_is_rebuilt_for_the_device_it_shall_run_on(
    native: Path,
    made_for: str,
    card: bool,
    device: str | None,
    runs_on: str | None,
    tmp_path: Path,
    asked: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    architecture = "sm_86" if made_for == "cuda" else ""
    made = {**document(native)["target"], "device": made_for, "architecture": architecture}
    folder = copied(native, tmp_path / "made", target=made)
    imagine(monkeypatch, card)
    if runs_on is None:
        source = artefact_source(folder, device=device, trust=False, rebuild="auto", report=lambda line: None)
        assert source is not None
        assert source.device == made_for
        return
    _, options = asked(folder, device)
    assert options["device"].startswith(runs_on)
    with pytest.raises(MismatchError, match=f"made for {made_for}, this would run on {runs_on[:4]}"):
        artefact_source(folder, device=device, trust=False, rebuild="never", report=lambda line: None)


def test_weights_alone_belong_everywhere(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {**document(plain)["target"], "device": "cuda", "torch": "1.0", "system": "Plan 9", "machine": "vax"}
    folder = copied(plain, tmp_path / "made", target=made)
    imagine(monkeypatch, card=False)
    source = artefact_source(folder, device=None, trust=False, rebuild="never", report=lambda line: None)
    assert source is not None
    assert source.device is None


def test_a_device_that_is_not_here_is_the_users_mistake(native: Path, command: Command, pictures: Path) -> None:
    with pytest.raises(UsageError, match="got --device abacus; expected one of"):
        load(native, device="abacus")
    ran = command("seg", pictures, "-o", pictures.parent / "no", "--model", native, "--device", "abacus")
    assert ran.code == 2


# What is no artefact of a model, or cannot be trusted.


def of_a_module(native: Path, folder: Path) -> Path:
    return copied(native, folder, task="", model="Net")


def test_a_module_of_ones_own_is_no_model(native: Path, pictures: Path, tmp_path: Path, command: Command) -> None:
    folder = known(of_a_module(native, tmp_path / "own"))
    with pytest.raises(UsageError, match=r"got the artefact own of Net, .*use vitruvian\.open_artefact"):
        load(folder)
    ran = command("seg", pictures, "-o", tmp_path / "out", "--model", folder)
    assert ran.code == 2
    assert_one_line(ran.err, "vitruvian: got the artefact own of Net")


def test_unknown_code_runs_only_where_it_is_trusted(
    native: Path, pictures: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(native, tmp_path / "foreign", licence="theirs")
    options = ("--model", folder, "--device", "cpu", "--format", "png")
    ran = command("seg", pictures, "-o", tmp_path / "out", *options)
    assert ran.code == 5
    assert_one_line(ran.err, "vitruvian: got the artefact foreign, which holds code and was not made on this machine")
    ran = command("seg", pictures, "-o", tmp_path / "trusted", *options, "--trust")
    assert ran.code == 0, ran.err
    assert len(list((tmp_path / "trusted").glob("*.seg.png"))) == MANY


def without_canvas(native: Path) -> dict[str, Any]:
    preparation = dict(document(native)["preparation"])
    del preparation["canvas_hw"]
    return {"preparation": preparation}


def with_network(**entries: str) -> Callable[[Path], dict[str, Any]]:
    return lambda native: {"network": {**document(native)["network"], **entries}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (without_canvas, r"manifest\.json cannot be used \(no 'canvas_hw'\)"),
        (lambda native: {"preparation": {"canvas_hw": [-64, 48]}}, r"cannot be used \(the canvas \[-64, 48\]\)"),
        (lambda native: {"preparation": {"canvas_hw": [10**9, 48]}}, "cannot be used"),
        (lambda native: {"preparation": {"canvas_hw": [48, 64]}}, "a canvas of 48 x 64 for the input"),
        (lambda native: {"backend": "magic"}, "cannot be used"),
        (lambda native: {"task": "pose"}, "for pose, whose network is one for seg"),
        (lambda native: {"network": {}}, "weights"),
        (with_network(vitruvian_config="{"), "vitruvian_config"),
        (with_network(vitruvian_config="[]"), "vitruvian_config"),
        (with_network(vitruvian_network="detector-nano"), "vitruvian_config"),
    ],
)
@pytest.mark.parametrize("backend", ["native", "plain"])
def test_a_bad_manifest_is_refused_in_one_line(
    changes: Callable[[Path], dict[str, Any]],
    said: str,
    backend: str,
    pictures: Path,
    tmp_path: Path,
    command: Command,
    request: pytest.FixtureRequest,
) -> None:
    good: Path = request.getfixturevalue(backend)
    folder = copied(good, tmp_path / "bad", **changes(good))
    with pytest.raises(RefusedError, match=said) as error:
        load(folder, device="cpu")
    assert error.value.exit_code == 5
    ran = command("seg", pictures, "-o", tmp_path / "out", "--model", folder, "--device", "cpu")
    assert ran.code == 5
    assert_one_line(ran.err, "vitruvian: got ")


@pytest.mark.parametrize("damage", [b"", b"{}", b"[", b"\x00" * 100])
def test_a_file_that_is_no_manifest_is_refused(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(damage)
    with pytest.raises(RefusedError, match="cannot be used"):
        load(tmp_path)


def test_where_nothing_is_there_is_nothing_to_open(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", Path("x" * 300), Path("a\0b")):
        assert artefact_source(folder, device=None, trust=True, rebuild="auto", report=lambda line: None) is None


@pytest.mark.parametrize("name", ["always", "", "Auto", "AUTO "])
def test_other_words_for_rebuilding_are_refused(name: str, plain: Path) -> None:
    with pytest.raises(UsageError, match="expected auto or never"):
        load(plain, rebuild=name)
    assert (check_rebuild("auto"), check_rebuild("never")) == ("auto", "never")


# Where results come from.


def source_of(folder: Path, trust: bool = False, rebuild: Rebuild = "never") -> Source:
    source = artefact_source(folder, device="cpu", trust=trust, rebuild=rebuild, report=lambda line: None)
    assert source is not None
    return source


def test_what_was_written_here_is_believed(native: Path) -> None:
    provenance = source_of(native).provenance
    told = document(native)
    assert (provenance.model, provenance.licence) == (told["model"], told["licence"])
    assert provenance.weights_sha256 == told["weights_sha256"]
    assert source_of(native).spec.name == "tiny"


def test_a_strangers_word_for_a_hash_is_not_taken(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "copy", weights_sha256="f" * 64)
    assert source_of(folder).provenance.weights_sha256 == sha256_of(folder / WEIGHTS)
    assert source_of(folder, trust=True).provenance.weights_sha256 == "f" * 64
    bare = copied(plain, tmp_path / "bare", weights_sha256="")
    assert source_of(bare).provenance.weights_sha256 == sha256_of(bare / WEIGHTS)


def test_rounded_weights_stay_known_as_such(plain: Path, tmp_path: Path) -> None:
    network = {**document(plain)["network"], "weights_rounded_to": "bfloat16"}
    assert source_of(copied(plain, tmp_path / "copy", network=network)).provenance.rounded_to == "bfloat16"


def test_weights_are_found_beside_and_checked(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "copy")
    found = source_of(folder).checked_weights()
    assert found.paths == (folder / WEIGHTS,)
    small_artefacts.weight_file(folder / WEIGHTS, seed=2)
    with pytest.raises(RefusedError, match="other contents than were written"):
        source_of(folder).checked_weights()
    with pytest.raises(RefusedError, match="other contents than were written"):
        load(folder, device="cpu", quality="exact")


def test_weights_inside_are_not_found(native: Path, tmp_path: Path) -> None:
    files = {"network.pt2": document(native)["files"]["network.pt2"]}
    assert source_of(copied(native, tmp_path / "copy", files=files, weights=None)).found is None


def test_the_task_is_the_artefacts_own_canvas(native: Path, tmp_path: Path) -> None:
    assert source_of(native).task.input_hw == (64, 48)
    assert source_of(copied(native, tmp_path / "copy", **resized(native))).task.input_hw == (128, 96)


def test_pictures_that_it_calls_bad_are_named_by_place() -> None:
    raw: Mapping[str, Tensor] = {FINITE: torch.tensor([True, False, True, False]), "labels": torch.zeros(4)}
    assert rows_said_bad(raw) == {1: ("the network's output",), 3: ("the network's output",)}
    assert rows_said_bad({FINITE: torch.ones(2, dtype=torch.bool)}) == {}


def test_a_plain_network_can_take_its_place(native: Path) -> None:
    network, task = small_artefacts.network(native), source_of(native).task
    assert with_task(network, task) is network
    inside = with_task(network, InsideTask(task=task))
    assert isinstance(inside, PostInside)
    assert inside(torch.zeros(2, 64, 48, 3, dtype=torch.uint8)).keys() >= {"labels", FINITE}


def test_a_manifest_is_read_as_it_lies_there(native: Path) -> None:
    assert source_of(native).manifest == read_manifest(native)[0]
