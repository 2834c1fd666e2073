"""Weights of old published files, rescued and run: bit for bit, at any batch, never half written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from command import Command
from parity.legacy import _config as legacy_config
from parity.sapiens import weights_of
from tolerances import LEGACY_NETWORK_ABS
from vitruvian import importing, weights, zoo
from vitruvian.errors import RefusedError
from vitruvian.importing import import_file
from vitruvian.models.weight_files import sha256_of

LEGACY = Path(__file__).parent / "golden" / "legacy"
BFLOAT16, TORCHSCRIPT = "pose_tiny_bfloat16.pt2", "pose_tiny_torchscript.pt2"
CONFIG = legacy_config(json.loads((LEGACY / "pose_tiny.json").read_text(encoding="utf-8")))
EXPECTED = weights_of(load_file(LEGACY / "pose_tiny.safetensors"))
PICTURES = 52
"""More than one batch of 50, which the program inside the archive refuses."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with both archives; their network is of no published size, so a description stands beside them."""
    folder = tmp_path / "old"
    folder.mkdir()
    for name in (BFLOAT16, TORCHSCRIPT):
        shutil.copy(LEGACY / name, folder)
        description = {"vitruvian_config": CONFIG.to_json(), "licence": "cc-by-nc-4.0"}
        (folder / f"{name}.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [(BFLOAT16, "exported program", torch.bfloat16), (TORCHSCRIPT, "TorchScript archive", torch.float32)],
)
def test_weights_come_out_bit_for_bit_and_say_what_they_are(
    command: Command, old: Path, tmp_path: Path, name: str, kind: str, dtype: torch.dtype
) -> None:
    new = tmp_path / "made" / "new.safetensors"
    ran = command("import", old / name, "-o", new)
    assert ran.code == 0, ran.err
    found = load_file(new)
    assert found.keys() == EXPECTED.keys()
    for key, value in EXPECTED.items():
        assert found[key].dtype == dtype
        assert torch.equal(found[key].float(), value), key
    with safe_open(new, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["source_file"] == name
    assert metadata["source_sha256"] == sha256_of(old / name)
    assert metadata["licence"] == "cc-by-nc-4.0"
    assert metadata.get("weights_rounded_to") == ("bfloat16" if name == BFLOAT16 else None)
    assert (weights.spec_of(new).config, weights.spec_of(new).task) == (CONFIG, "pose")
    for said in (kind, "network pose", "input 96x64", "cc-by-nc-4.0", sha256_of(old / name), sha256_of(new)):
        assert said in ran.out
    assert ("pose_tiny.pth or pose_tiny_torchscript.pt2" in ran.out) == (name == BFLOAT16)
    assert left_in(new.parent) == ["new.safetensors"]


def test_a_rescued_file_can_be_imported_again_and_still_knows_its_origin(
    command: Command, old: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    import_file(old / BFLOAT16, first)
    ran = command("import", first, "-o", second, "--json")
    document = json.loads(ran.out)
    assert document["old_sha256"] == sha256_of(first)
    assert document["new_sha256"] == sha256_of(second) == sha256_of(first)
    assert (document["format"], document["rounded_to"]) == ("safetensors", "bfloat16")
    assert "pose_tiny.pth" in document["notes"][-1]


def test_a_checkpoint_of_a_training_framework_is_freed_of_the_rest(old: Path, tmp_path: Path) -> None:
    path = old / "epoch_7.pth"
    state = {f"module.{key}": value for key, value in EXPECTED.items()}
    torch.save({"state_dict": state, "optimizer": {"lr": 1.0}, "meta": {"epoch": 7}}, path)
    shutil.copy(old / f"{BFLOAT16}.json", old / "epoch_7.pth.json")
    done = import_file(path, tmp_path / "new.safetensors")
    assert load_file(tmp_path / "new.safetensors").keys() == EXPECTED.keys()
    assert (done.format, done.layout, done.rounded_to) == ("pth", None, None)
    assert done.parameters == sum(value.numel() for value in EXPECTED.values())


def test_a_published_layout_is_named(tmp_path: Path) -> None:
    trunk, head = (file.locate() for file in zoo.find("sapiens-depth-nano").files if isinstance(file, zoo.PackagedFile))
    save_file(
        {key: value.float() for key, value in (load_file(trunk) | load_file(head)).items()},
        tmp_path / "whole.safetensors",
        metadata=zoo.metadata_of(zoo.find("sapiens-depth-nano")),
    )
    done = import_file(tmp_path / "whole.safetensors", tmp_path / "new.safetensors")
    assert (done.layout, done.task, done.notes) == ("sapiens-depth-nano", "depth", ())


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for index in range(PICTURES):
        noise = cv2.resize(rng.integers(0, 255, (8, 6, 3), dtype=np.uint8), (48, 72), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f"{index:02}.png"), noise)
    return folder


def poses(command: Command, many: Path, model: Path, batch: int) -> tuple[list[Any], dict[str, Any]]:
    """What stands in each picture's file but the model's name and hash; `run.json`."""
    out = many.parent / f"{model.name}-{batch}"
    ran = command(
        *("pose", many, "-o", out, "--model", model, "--batch", batch, "--detector", "none"),
        *("--quality", "exact", "--format", "json", "--device", "cpu"),
    )
    assert ran.code == 0, ran.err
    assert f"{PICTURES} of {PICTURES} pictures done" in ran.out
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.pose.json"))]
    for document in documents:
        del document["model"], document["weights_sha256"]
    return documents, json.loads((out / "run.json").read_text(encoding="utf-8"))


def test_old_files_run_at_any_batch_and_results_say_that_weights_were_rounded(
    command: Command, old: Path, many: Path, tmp_path: Path
) -> None:
    reference = tmp_path / "reference.safetensors"
    save_file(EXPECTED, reference, metadata={"vitruvian_config": json.dumps(CONFIG.to_json())})
    import_file(old / BFLOAT16, tmp_path / "imported.safetensors")
    for batch in (3, 50):
        wanted, _ = poses(command, many, reference, batch)
        for model in (old / BFLOAT16, old / TORCHSCRIPT, tmp_path / "imported.safetensors"):
            found, run = poses(command, many, model, batch)
            rounded = "bfloat16" if model.name != TORCHSCRIPT else None
            assert run["micro_batch"] == batch
            assert run["weights_rounded_to"] == rounded
            assert any("pose_tiny.pth or pose_tiny_torchscript.pt2" in note for note in run["notes"]) == bool(rounded)
            for ours, theirs in zip(found, wanted, strict=True):
                assert ours.pop("weights_rounded_to", None) == rounded
                # The weights are the same numbers, and so is all that is made of them.
                assert ours | {"licence": ""} == theirs | {"licence": ""}


def test_scores_do_not_depend_on_the_batch(command: Command, old: Path, many: Path) -> None:
    small, large = (poses(command, many, old / BFLOAT16, batch)[0] for batch in (3, 50))
    for ours, theirs in zip(small, large, strict=True):
        (one,), (other,) = ours["instances"], theirs["instances"]
        np.testing.assert_allclose(one["scores"], other["scores"], atol=LEGACY_NETWORK_ABS)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("new.pth", "ends in .safetensors"),
        ("new", "ends in .safetensors"),
        ("there.safetensors", "there already; expected a new name; choose one, or add --overwrite"),
        ("folder.safetensors", "which is a folder"),
        ("dangling.safetensors", "there already"),
    ],
)
def test_places_to_write_to_are_checked_first(
    command: Command, old: Path, tmp_path: Path, place: str, words: str
) -> None:
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "dangling.safetensors").symlink_to("nowhere")
    before = left_in(tmp_path)
    ran = command("import", old / BFLOAT16, "-o", tmp_path / place)
    assert ran.code == 2
    assert words in ran.err
    assert left_in(tmp_path) == before
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("how", ["itself", "symlink", "hard link"])
def test_a_file_is_never_written_over_itself(command: Command, old: Path, tmp_path: Path, how: str) -> None:
    source = tmp_path / "source.safetensors"
    import_file(old / BFLOAT16, source)
    data = source.read_bytes()
    new = source if how == "itself" else tmp_path / "other.safetensors"
    if how == "symlink":
        new.symlink_to(source)
    if how == "hard link":
        new.hardlink_to(source)
    ran = command("import", source, "-o", new, "--overwrite")
    assert ran.code == 2
    assert "the file to read and to write" in ran.err
    assert source.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("", 2, "got the folder"), ("missing.pth", 2, "does not exist"), ("note.txt", 5, "no weight file")],
)
def test_what_is_no_weight_file_is_refused(
    command: Command, old: Path, tmp_path: Path, name: str, code: int, words: str
) -> None:
    (old / "note.txt").write_text("hello, this is text and no weights at all", encoding="utf-8")
    ran = command("import", old / name, "-o", tmp_path / "out" / "new.safetensors")
    assert ran.code == code
    assert words in ran.err
    assert not (tmp_path / "out").exists()


def test_an_older_file_is_replaced_when_asked(command: Command, old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    new.write_bytes(b"older")
    assert command("import", old / BFLOAT16, "-o", new, "--overwrite").code == 0
    assert load_file(new).keys() == EXPECTED.keys()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("name", [BFLOAT16, TORCHSCRIPT, "weights.pth", "weights.safetensors"])
def test_a_file_that_was_cut_off_leaves_nothing(
    command: Command, old: Path, tmp_path: Path, name: str, share: float
) -> None:
    torch.save(EXPECTED, old / "weights.pth")
    save_file(EXPECTED, old / "weights.safetensors")
    for written in ("weights.pth", "weights.safetensors"):
        shutil.copy(old / f"{BFLOAT16}.json", old / f"{written}.json")
    os.truncate(old / name, int((old / name).stat().st_size * share))
    ran = command("import", old / name, "-o", tmp_path / "out" / "new.safetensors")
    assert ran.code == 5, ran.err
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_belong_are_refused(command: Command, old: Path, tmp_path: Path) -> None:
    path = old / f"{BFLOAT16}.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"depth": 3', '"depth": 4'), encoding="utf-8")
    ran = command("import", old / BFLOAT16, "-o", tmp_path / "new.safetensors")
    assert ran.code == 5
    assert "layers.3" in ran.err
    assert not (tmp_path / "new.safetensors").exists()


def meddled(monkeypatch: pytest.MonkeyPatch, meddle: Any, after: int) -> None:
    """Let something happen after so many pieces were written."""
    pieces = importing.safetensors_pieces

    def meddling(*arguments: Any) -> Iterator[Any]:
        for count, piece in enumerate(pieces(*arguments)):
            if count == after:
                meddle()
            yield piece

    monkeypatch.setattr(importing, "safetensors_pieces", meddling)


@pytest.mark.parametrize("after", [0, 20, len(EXPECTED)])
@pytest.mark.parametrize(
    "meddle",
    [
        lambda path: os.utime(path, ns=(5, 5)),
        lambda path: path.open("ab").write(b"x"),
        lambda path: os.truncate(path, 100),
        lambda path: path.unlink(),
        lambda path: os.replace(path.with_name(TORCHSCRIPT), path),
    ],
    ids=["touched", "longer", "cut", "gone", "replaced"],
)
def test_a_file_that_changes_while_it_is_read_leaves_nothing(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meddle: Any, after: int
) -> None:
    path = old / "weights.pth"
    torch.save(EXPECTED, path)
    shutil.copy(old / f"{BFLOAT16}.json", old / "weights.pth.json")
    out = tmp_path / "out"
    meddled(monkeypatch, lambda: meddle(path), after)
    with pytest.raises(RefusedError, match=r"weights\.pth, which changed while it was read"):
        import_file(path, out / "new.safetensors")
    assert left_in(out) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a mapped file cannot be cut off, or is told otherwise")
def test_a_file_cut_off_under_its_mapping_does_not_end_the_process(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old / "weights.pth"
    torch.save(EXPECTED, path)
    shutil.copy(old / f"{BFLOAT16}.json", old / "weights.pth.json")
    monkeypatch.setattr(importing._Origin, "check", lambda self: None)
    meddled(monkeypatch, lambda: os.truncate(path, 100), after=1)
    with pytest.raises(RefusedError, match="changed while it was read"):
        import_file(path, tmp_path / "out" / "new.safetensors")
    assert left_in(tmp_path / "out") == []


def test_too_small_a_disk_is_seen_before_anything_is_written(
    command: Command, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(importing.shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
    ran = command("import", old / BFLOAT16, "-o", tmp_path / "out" / "new.safetensors")
    assert ran.code == 4
    assert "got 1 kB of free disk" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    command: Command, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    meddled(monkeypatch, full, after=3)
    ran = command("import", old / BFLOAT16, "-o", tmp_path / "out" / "new.safetensors")
    assert ran.code == 4
    assert "got a full disk or quota for new.safetensors" in ran.err
    assert left_in(tmp_path / "out") == []
