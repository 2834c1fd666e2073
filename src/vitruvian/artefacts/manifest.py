"""`manifest.json`: what an artefact is, what it was made for and what was found out about it, as one value.

Read before anything else of the folder is touched. Bounded in size; whatever is missing or of the wrong kind is
refused, because what follows trusts it: ranges say which inputs reach compiled code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from vitruvian.artefacts.contract import Axis, TensorContract, contract_from_json, contract_to_json
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision
from vitruvian.hardware import DTYPES, Target
from vitruvian.media.names import printable

FORMAT = 1
"""Grows with every change that an older reader would misunderstand."""
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
CONSTANTS = "constants.safetensors"
"""Tensors that are no weights but that a compiled file wants handed in."""
RUNNER_PREFIX = "run_"
"""Of the program beside files that need no torch, which users may start there; nothing here ever does."""
MAX_MANIFEST_BYTES = 4 * 10**6
MAX_SIDE = 2**14
"""Longest side of a canvas."""
MAX_SAID = 200
"""Characters of a manifest's own that a message repeats."""

Backend = Literal["aoti", "export", "eager", "onnx", "onnx-int8", "int8", "fp8", "torchscript"]
"""aoti: native code by AOTInductor. export: an exported program, its blocks compiled at load. eager: weights alone.
onnx, onnx-int8: for ONNX Runtime. int8, fp8: matrices stored in 8 bits (torchao). torchscript: for old environments."""

BACKENDS: tuple[Backend, ...] = get_args(Backend)

_PLAIN_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}(/[0-9A-Za-z][0-9A-Za-z._-]{0,127}){0,2}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of an artefact."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWeights:
    """How the weights beside a weight-less compiled file are handed to it."""

    prefix: str = ""
    """Before the names of the weights in the compiled file, where the network is wrapped."""
    kept_float32: tuple[str, ...] = ()
    """Names (without the prefix) that stay in float32; all other floating weights take the compute type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """All that is known about an artefact."""

    model: str
    task: str
    """pose, seg, ...; empty for a module of the user's."""
    licence: str
    weights_sha256: str
    """Of the file(s) that the weights came from; empty for weights that were never a file."""
    source: str
    """The name under which the weights can be had again: a catalogue name or a file's name; never a path."""
    backend: Backend
    precision: Precision
    inputs: tuple[TensorContract, ...]
    outputs: tuple[TensorContract, ...]
    with_post: bool = False
    """Whether normalisation and post-processing are inside."""
    any_size: bool = False
    """Whether height and width may change from call to call."""
    network: Mapping[str, str] = field(default_factory=dict)
    """What the network is, as the metadata of its weight file say it; empty for a module of the user's."""
    preparation: Mapping[str, Any] = field(default_factory=dict)
    """Constants of what comes before and after, for other programs."""
    target: Target
    files: Mapping[str, FileEntry]
    """Every file of the folder but this one, by its name."""
    entry: str = ""
    """The file that is opened; empty where there is none beside the weights."""
    weights: StoredWeights | None = None
    """None: the weights are inside the entry."""
    blocks: tuple[str, ...] = ()
    """Names of the repeated blocks, for compiling them one by one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the backend alone understands."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Verification: what was compared, how it came out, times, memory; and the rungs that failed, with causes."""
    version: str
    """Of the program that wrote it."""

    @property
    def canvas_hw(self) -> tuple[int, int]:
        """Height and width of the canvases of a task's artefact; a user's module has none."""
        return _pair(self.preparation["canvas_hw"])

    @property
    def runner(self) -> str:
        """Name of the program beside the files that runs them without this package; empty where there is none."""
        names = (name for name in self.files if name.startswith(RUNNER_PREFIX) and name.endswith(".py"))
        return next(names, "")

    @property
    def batch_range(self) -> tuple[int, int | None]:
        """Smallest and largest batch; (1, None) where no input has a batch axis."""
        axis = next((contract.batch for contract in self.inputs if contract.batch), None)
        return (1, None) if axis is None else (axis.minimum, axis.maximum)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "format": FORMAT,
            "made_by": f"vitruvian {self.version}",
            "model": self.model,
            "task": self.task,
            "licence": self.licence,
            "weights_sha256": self.weights_sha256,
            "source": self.source,
            "backend": self.backend,
            "precision": asdict(self.precision),
            "batch": dict(zip(("minimum", "maximum"), self.batch_range, strict=True)),
            "inputs": [contract_to_json(one) for one in self.inputs],
            "outputs": [contract_to_json(one) for one in self.outputs],
            "with_post": self.with_post,
            "any_size": self.any_size,
            "network": dict(self.network),
            "preparation": dict(self.preparation),
            "target": asdict(self.target),
            "entry": self.entry,
            "weights": None if self.weights is None else asdict(self.weights),
            "blocks": list(self.blocks),
            "options": dict(self.options),
            "files": {name: asdict(entry) for name, entry in sorted(self.files.items())},
            "report": dict(self.report),
        }


def is_artefact(path: Path) -> bool:
    """Whether a path is a folder with a manifest."""
    try:
        return (path / MANIFEST).is_file()
    except OSError:  # a name that is too long, a folder that nobody may look into
        return False


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """The manifest of an artefact and its very bytes, whose hash the ledger knows.

    Raises:
        UsageError: no such folder, or no manifest in it.
        RefusedError: it is not one that this program understands, or not what it claims to be.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"got {folder.name} without a readable {MANIFEST} ({error.strerror}); expected a folder that "
            "`vitruvian export` wrote; check the path"
        ) from error
    try:
        if len(data) > MAX_MANIFEST_BYTES:
            raise ValueError(f"more than {MAX_MANIFEST_BYTES} bytes")
        return _manifest(json.loads(data)), data
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RefusedError(
            f"got the artefact {folder.name}, whose {MANIFEST} cannot be used ({_said(error)}); expected one of format "
            f"{FORMAT}; export the model again: vitruvian export MODEL -o DIR"
        ) from error


def _said(error: Exception) -> str:
    said = f"no {error}" if isinstance(error, KeyError) else (str(error).splitlines() or [type(error).__name__])[0]
    return printable(said if len(said) <= MAX_SAID else said[:MAX_SAID] + " ...")


def _manifest(document: Any) -> Manifest:
    if not isinstance(document, dict):
        raise ValueError("no table of fields")
    if type(document["format"]) is not int or document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}")
    if document["backend"] not in BACKENDS:
        raise ValueError(f"the backend {document['backend']!r}")
    weights = document["weights"]
    manifest = Manifest(
        model=_text(document["model"]),
        task=_text(document["task"]),
        licence=_text(document["licence"]),
        weights_sha256="" if document["weights_sha256"] == "" else _hash(document["weights_sha256"]),
        source=_text(document["source"]),
        backend=document["backend"],
        precision=_precision(_table(document["precision"])),
        inputs=_contracts(document["inputs"]),
        outputs=_contracts(document["outputs"]),
        with_post=_flag(document["with_post"]),
        any_size=_flag(document["any_size"]),
        network={key: _text(value) for key, value in _table(document["network"]).items()},
        preparation=_table(document["preparation"]),
        target=_target(_table(document["target"])),
        files={_file_name(name): _file(_table(entry)) for name, entry in _table(document["files"]).items()},
        entry=_text(document["entry"]),
        weights=None if weights is None else _stored(_table(weights)),
        blocks=_texts(document["blocks"]),
        options=_table(document["options"]),
        report=_table(document["report"]),
        version=_text(document["made_by"]).removeprefix("vitruvian "),
    )
    if document["batch"] != dict(zip(("minimum", "maximum"), manifest.batch_range, strict=True)):
        raise ValueError(f"the batch {document['batch']!r}, which is not that of its inputs")
    _check_files(manifest)
    _check_inputs(manifest)
    return manifest


def _check_files(manifest: Manifest) -> None:
    """What is opened stands among the files: nothing else is held against a hash."""
    if manifest.entry and manifest.entry not in manifest.files:
        raise ValueError(f"the entry {manifest.entry!r}, which is none of its files")
    if bool(manifest.entry) == (manifest.backend == "eager"):
        raise ValueError(f"the entry {manifest.entry!r} for the backend {manifest.backend}")
    if manifest.weights is None and manifest.backend == "eager":
        raise ValueError("weights alone, but without weights")
    if manifest.weights is not None and WEIGHTS not in manifest.files:
        raise ValueError(f"no {WEIGHTS} among its files")


def _check_inputs(manifest: Manifest) -> None:
    """Axes of one name are one axis, and a task's canvas is what the network takes."""
    axes: dict[str, Axis] = {}
    for contract in manifest.inputs:
        for side in contract.shape:
            if isinstance(side, Axis) and axes.setdefault(side.name, side) != side:
                raise ValueError(f"two ranges of one axis: {axes[side.name]}; {side}")
    if not manifest.task:
        return
    canvas_hw = _pair(manifest.preparation["canvas_hw"])
    shape = manifest.inputs[0].shape
    sides = shape[1:3] if manifest.with_post else shape[2:4]
    if len(manifest.inputs) > 1 or len(shape) != 4 or not all(map(_takes, sides, canvas_hw)):
        taken = "; ".join(map(str, manifest.inputs))
        raise ValueError(f"a canvas of {canvas_hw[0]} x {canvas_hw[1]} for the input {taken}")


def _takes(side: int | Axis, length: int) -> bool:
    return side.accepts(length) if isinstance(side, Axis) else side == length


def _pair(value: Any) -> tuple[int, int]:
    whole = isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)
    if not whole or not all(1 <= side <= MAX_SIDE for side in value):
        raise ValueError(f"the canvas {value!r}")
    return value[0], value[1]


def _contracts(document: Any) -> tuple[TensorContract, ...]:
    if not isinstance(document, list) or not document:
        raise ValueError(f"{document!r} where a list of tensors belongs")
    contracts = tuple(map(contract_from_json, document))
    if len({contract.name for contract in contracts}) < len(contracts):
        raise ValueError("two tensors of one name")
    return contracts


def _precision(document: Mapping[str, Any]) -> Precision:
    if document["dtype"] not in DTYPES:
        raise ValueError(f"the compute type {document['dtype']!r}")
    return Precision(dtype=document["dtype"], islands=_texts(document["islands"]))


def _target(document: Mapping[str, Any]) -> Target:
    plain = {name: _text(document[name]) for name in Target.__dataclass_fields__ if name != "instructions"}
    return Target(**plain, instructions=_texts(document["instructions"]))


def _stored(document: Mapping[str, Any]) -> StoredWeights:
    return StoredWeights(prefix=_text(document["prefix"]), kept_float32=_texts(document["kept_float32"]))


def _file(document: Mapping[str, Any]) -> FileEntry:
    size_bytes = document["size_bytes"]
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
        raise ValueError(f"a file of {size_bytes!r} bytes")
    return FileEntry(sha256=_hash(document["sha256"]), size_bytes=size_bytes)


def _file_name(name: Any) -> str:
    """A name inside the folder: what leads out of it is refused."""
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"the file name {name!r}")
    return name


def _hash(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"the sha256 {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where text belongs")
    value.encode()  # JSON may spell characters that no text can hold
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} where a list of names belongs")
    return tuple(map(_text, value))


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} where a table belongs")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} where true or false belongs")
    return value
