"""A manifest comes back as it was written; anything else is refused in one sentence, whatever stands in it."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import small_artefacts
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.folder import seal
from vitruvian.artefacts.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    StoredWeights,
    is_artefact,
    read_manifest,
)
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision

BATCH = Axis(name="batch", maximum=4)
SIDES = (Axis(name="height", minimum=32, maximum=256, multiple=16), Axis(name="width", minimum=32, maximum=192))
ENTRY = FileEntry(sha256="0" * 64, size_bytes=3)

NATIVE = Manifest(
    model="sapiens-seg-nano",
    task="seg",
    licence="cc-by-nc-4.0",
    weights_sha256="ab" * 32,
    source="sapiens-seg-nano",
    backend="aoti",
    precision=Precision(dtype="bfloat16", islands=("head.*",)),
    inputs=(TensorContract(name="x_B3HW", dtype="float32", shape=(BATCH, 3, 64, 48), values="normalised"),),
    outputs=(TensorContract(name="logits", dtype="float32", shape=(BATCH, 20, 32, 24)),),
    network={"vitruvian_network": "sapiens", "licence": "grün"},
    preparation={"canvas_hw": [64, 48], "mean": [1.5, 2, 3]},
    target=small_artefacts.target(),
    files={"network.pt2": ENTRY, "weights.safetensors": ENTRY, "logs/aoti.log": ENTRY},
    entry="network.pt2",
    weights=StoredWeights(prefix="network.", kept_float32=("a", "b")),
    blocks=("layers.0",),
    options={"structure": "x"},
    report={"quality": "exact", "attempts": []},
    version="1.2",
)
WITH_POST = replace(
    NATIVE,
    with_post=True,
    any_size=True,
    inputs=(TensorContract(name="canvas_BHW3", dtype="uint8", shape=(replace(BATCH, maximum=None), *SIDES, 3)),),
    preparation={"canvas_hw": [64, 48]},
)
OWN = replace(
    NATIVE,
    model="Net",
    task="",
    weights_sha256="",
    source="",
    backend="torchscript",
    inputs=(NATIVE.inputs[0], TensorContract(name="t", dtype="int64", shape=())),
    network={},
    preparation={},
    files={"network.pt2": ENTRY},
    weights=None,
)
PLAIN = replace(NATIVE, backend="eager", entry="", files={"weights.safetensors": ENTRY})


def written(folder: Path, document: Any) -> Path:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    (folder / MANIFEST).write_bytes(data)
    return folder


@pytest.mark.parametrize("manifest", [NATIVE, WITH_POST, OWN, PLAIN], ids=["native", "inside", "own", "plain"])
def test_it_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    back, data = read_manifest(written(tmp_path, manifest.to_json()))
    assert back == manifest
    assert data == (tmp_path / MANIFEST).read_bytes()
    assert back.batch_range == ((1, None) if manifest is WITH_POST else (1, 4))


def test_sealing_writes_it_with_the_hashes_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "network.pt2").write_bytes(b"abc")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "aoti.log").write_bytes(b"")
    sealed, data = seal(tmp_path, replace(OWN, files={}))
    assert read_manifest(tmp_path) == (sealed, data)
    assert sealed.files == {
        "logs/aoti.log": FileEntry(
            sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", size_bytes=0
        ),
        "network.pt2": FileEntry(
            sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", size_bytes=3
        ),
    }


def changed(*path: Any, to: Any, of: Manifest = NATIVE) -> bytes:
    """The manifest with another value at a place."""
    document = of.to_json()
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return json.dumps(document).encode()


def lacking(*path: Any) -> bytes:
    document = copy.deepcopy(NATIVE.to_json())
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(document).encode()


def with_file(name: str) -> bytes:
    return changed("files", to={**NATIVE.to_json()["files"], name: {"sha256": "0" * 64, "size_bytes": 3}})


BAD_NAMES = (
    *("../network.pt2", "..", ".", "/etc/passwd", "a/../b", "logs/../../b", "\\\\host\\x", "a\\b", "C:/x", "C:x"),
    *("manifest.json", "", " ", "a b", "a\0b", "a\nb", ".hidden", "a//b", "a/", "a/b/c/d", "\u00e9", "x" * 200),
)
GOOD = NATIVE.to_json()
INPUT = GOOD["inputs"][0]
FIRST = INPUT["shape"][0]
BAD: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"not JSON",
    "cut off": json.dumps(GOOD).encode()[:-20],
    "two documents": json.dumps(GOOD).encode() * 2,
    "no text": b"\xff\xfe\xfa" * 40,
    "a zip": b"PK\x03\x04" + bytes(100),
    "a list": b"[]",
    "a number": b"1",
    "a word": b'"format"',
    "null": b"null",
    "empty": b"{}",
    "huge": json.dumps(GOOD).encode() + b" " * MAX_MANIFEST_BYTES,
    "deep": b'{"format": ' + b"[" * 200_000,
    "deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "many digits": b'{"format": ' + b"1" * 10_000 + b"}",
    **{f"no {key}": lacking(key) for key in GOOD if key not in ("made_by",)},
    "no made_by": lacking("made_by"),
    "no torch": lacking("target", "torch"),
    "no instructions": lacking("target", "instructions"),
    "no dtype": lacking("precision", "dtype"),
    "no islands": lacking("precision", "islands"),
    "no prefix": lacking("weights", "prefix"),
    "no hash": lacking("files", "network.pt2", "sha256"),
    "no size": lacking("files", "network.pt2", "size_bytes"),
    "no canvas": lacking("preparation", "canvas_hw"),
    **{f"format {value!r}": changed("format", to=value) for value in (0, 2, "1", None, True, 1.0, [1])},
    **{f"backend {value!r}": changed("backend", to=value) for value in ("cuda", "", None, 1, ["aoti"], {})},
    **{f"dtype {value!r}": changed("precision", "dtype", to=value) for value in ("int8", "", None, 16, [])},
    **{f"{key} a number": changed(key, to=3) for key in GOOD if key != "format"},
    **{f"{key} a list": changed(key, to=[3]) for key in GOOD},
    **{f"{key} null": changed(key, to=None) for key in GOOD if key != "weights"},
    **{f"file {name!r}": with_file(name) for name in BAD_NAMES},
    **{f"entry {name!r}": changed("entry", to=name) for name in ("", "other.pt2", "../network.pt2", None, 3)},
    "a surrogate": changed("model", to="\ud800"),
    "sha of letters": changed("files", "network.pt2", "sha256", to="g" * 64),
    "sha in capitals": changed("files", "network.pt2", "sha256", to="A" * 64),
    "short sha": changed("files", "network.pt2", "sha256", to="0" * 63),
    "sha with a line": changed("files", "network.pt2", "sha256", to="0" * 64 + "\n"),
    "sha of numbers": changed("files", "network.pt2", "sha256", to=0),
    "sha of weights": changed("weights_sha256", to="0" * 40),
    "no sha of weights": changed("weights_sha256", to=0),
    **{
        f"size {value!r}": changed("files", "network.pt2", "size_bytes", to=value)
        for value in (-1, True, 3.0, "3", None, [])
    },
    "a file of text": changed("files", "network.pt2", to="x"),
    "weights not among the files": changed("files", to={"network.pt2": GOOD["files"]["network.pt2"]}),
    "weights alone without weights": changed("weights", to=None, of=PLAIN),
    "weights alone with an entry": changed("backend", to="eager"),
    "native code without a file": changed("backend", to="aoti", of=PLAIN),
    "smallest batch 2": changed("inputs", 0, "shape", 0, "minimum", to=2),
    "smallest batch 0": changed("inputs", 0, "shape", 0, "minimum", to=0),
    "smallest above largest": changed("inputs", 0, "shape", 0, to={**FIRST, "minimum": 9}),
    "batch in twos": changed("inputs", 0, "shape", 0, "multiple", to=2),
    "true for a length": changed("inputs", 0, "shape", 0, "maximum", to=True),
    "a length of 2^70": changed("inputs", 0, "shape", 1, to=2**70),
    "another batch than its inputs'": changed("batch", "maximum", to=8),
    "no inputs": changed("inputs", to=[]),
    "no outputs": changed("outputs", to=[]),
    "a table of inputs": changed("inputs", to={"x": INPUT}),
    "two inputs for a task": changed("inputs", to=[INPUT, {**INPUT, "name": "y"}]),
    "two of one name": changed("inputs", to=[INPUT, INPUT], of=OWN),
    "two ranges of one batch": changed(
        "inputs", to=[INPUT, {**INPUT, "name": "y", "shape": [{**FIRST, "maximum": 8}]}], of=OWN
    ),
    "flag as a number": changed("with_post", to=1),
    "flag as a word": changed("any_size", to="false"),
    "bytes inside out": changed("with_post", to=True),
    **{
        f"canvas {value!r}": changed("preparation", "canvas_hw", to=value)
        for value in ([], [64], [64, 48, 3], "64x48", None, 64, [64.0, 48.0], [True, True], [0, 48], [-64, 48])
    },
    "another canvas": changed("preparation", "canvas_hw", to=[48, 64]),
    "a canvas between its steps": changed("preparation", "canvas_hw", to=[72, 48], of=WITH_POST),
    "a canvas too large for its axes": changed("preparation", "canvas_hw", to=[512, 48], of=WITH_POST),
    "a canvas too large for anybody": json.dumps(
        replace(
            NATIVE,
            preparation={"canvas_hw": [10**6, 10**6]},
            inputs=(replace(NATIVE.inputs[0], shape=(BATCH, 3, 10**6, 10**6)),),
        ).to_json()
    ).encode(),
    "an island of numbers": changed("precision", "islands", to=[3]),
    "blocks in one word": changed("blocks", to="layers.0"),
    "a network of numbers": changed("network", to={"vitruvian_network": 3}),
    "a device of numbers": changed("target", "device", to=0),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_one_is_refused_in_one_sentence(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as error:
        read_manifest(written(tmp_path, data))
    said = str(error.value)
    assert re.fullmatch(
        rf"got the artefact {re.escape(tmp_path.name)}, whose manifest\.json cannot be used \(.+\); expected one of "
        r"format 1; export the model again: vitruvian export MODEL -o DIR",
        said,
    )
    assert said.isprintable()
    assert len(said) < 500
    assert error.value.exit_code == 5


def test_what_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert not is_artefact(folder)
        with pytest.raises(UsageError, match=r"without a readable manifest\.json .*check the path"):
            read_manifest(folder)
    (tmp_path / MANIFEST).mkdir()
    assert not is_artefact(tmp_path)
    with pytest.raises(UsageError, match=r"without a readable manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_no_artefact(name: str) -> None:
    assert not is_artefact(Path(name))


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 2**31, 2**63, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "..", "../x", "/x", "manifest.json", "network.pt2", "\0", "\ud800", "\x1b[2J", "float32", "batch"),
    *([], {}, [None], [[]], [1, 2], {"": ""}, {"name": "batch"}, {"minimum": 1, "maximum": None}, "A" * 10_000),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a nested document."""
    inner: list[Any] = []
    if isinstance(document, dict):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    return [*([path] if path else []), *(place for key, value in inner for place in places(value, (*path, key)))]


def of_values(rng: random.Random, document: dict[str, Any]) -> bytes:
    """One to three places with other values, some of them from elsewhere in the document, or gone."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(places(document))
        *before, last = path
        inner: Any = document
        for key in before:
            inner = inner[key]
        kind = rng.random()
        if kind < 0.2:
            del inner[last]
        elif kind < 0.4:
            other: Any = document
            for key in rng.choice(places(document)):
                other = other[key]
            inner[last] = copy.deepcopy(other)
        else:
            inner[last] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(document).encode()


def of_bytes(rng: random.Random, document: dict[str, Any]) -> bytes:
    """A few bytes flipped, taken away, doubled, or the end cut off."""
    data = bytearray(json.dumps(document).encode())
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 20)]
        elif kind == 2:
            data[place:place] = data[place : place + rng.randint(1, 20)]
        elif rng.random() < 0.1:
            del data[place:]
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("mutate", [of_values, of_bytes])
@pytest.mark.parametrize("manifest", [NATIVE, WITH_POST, OWN, PLAIN], ids=["native", "inside", "own", "plain"])
def test_whatever_happens_to_it_it_is_a_manifest_or_refused(
    manifest: Manifest, mutate: Callable[[random.Random, dict[str, Any]], bytes], tmp_path: Path
) -> None:
    rng = random.Random(1)
    document = json.loads(json.dumps(manifest.to_json()))
    refused = 0
    for _ in range(300):
        data = mutate(rng, document)
        found = loaded(written(tmp_path, data))
        if isinstance(found, str):
            refused += 1
            assert found.isprintable()
            assert len(found) < 600
            continue
        assert_sound(found)
        again = tmp_path / "again"
        again.mkdir(exist_ok=True)
        assert repr(read_manifest(written(again, found.to_json()))[0]) == repr(found)
    assert refused > 60


def loaded(folder: Path) -> Manifest | str:
    """The manifest, or why it was refused; nothing else may come of it."""
    try:
        return read_manifest(folder)[0]
    except RefusedError as error:
        return str(error)


def assert_sound(manifest: Manifest) -> None:
    """What the rest of the program relies on."""
    minimum, maximum = manifest.batch_range
    assert minimum == 1
    assert maximum is None or maximum >= 1
    assert all(re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) and ".." not in name.split("/") for name in manifest.files)
    assert not manifest.entry or manifest.entry in manifest.files
    assert manifest.weights is None or "weights.safetensors" in manifest.files
    assert all(contract.torch_dtype is not None for contract in (*manifest.inputs, *manifest.outputs))
    if manifest.task:
        height, width = manifest.canvas_hw
        assert 1 <= height * width <= 2**28
    text = (manifest.model, manifest.task, manifest.licence, manifest.source, manifest.version, manifest.target.torch)
    assert all(isinstance(word, str) and word.encode() is not None for word in text)
