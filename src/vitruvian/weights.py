"""From a model name or a path to a network with its weights: locate, licence, fetch, hash; then build, once or often.

Finding costs no memory: files are mapped. Building is apart from it, because what precision a network is built in is
known only after its plan, and an audit builds it twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian import hub, licences, zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision
from vitruvian.hardware import compute_exact_float32
from vitruvian.media.names import printable
from vitruvian.models.weight_files import WeightFile, read_weights, sha256_of
from vitruvian.tasks.base import Provenance

RANDOM_NOTE = "random weights: times and memory are real, results mean nothing"
RANDOM_DEVIATION = 0.02
"""Small enough that activations stay finite through 48 blocks, as in a freshly initialised network."""

ROUNDED_KEY, SOURCE_KEY, SOURCE_SHA256_KEY = "weights_rounded_to", "source_file", "source_sha256"
"""Entries of a weight file's metadata: what its weights were rounded to, and the file that they were published in."""
ROUNDED_TYPES = frozenset({"bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"})
"""Types that metadata may claim the weights were rounded to."""
DESCRIPTION_SUFFIX = ".json"
"""Added to a weight file's whole name: the file beside it that says what it cannot say itself."""
LARGEST_DESCRIPTION_BYTES = 1_000_000
"""A network's configuration takes 500 bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedFile:
    """A weight file of the user's and the network that it belongs to."""

    spec: zoo.ModelSpec
    file: WeightFile


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedWeights:
    """A network with its weights, where they came from and what was adapted."""

    spec: zoo.ModelSpec
    network: nn.Module
    provenance: Provenance
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundWeights:
    """Weights that are here and known by hash, not yet in memory."""

    spec: zoo.ModelSpec
    provenance: Provenance
    paths: tuple[Path, ...]
    """Empty: random weights."""

    def build(self, *, device: str = "cpu", precision: Precision | None = None) -> LoadedWeights:
        """The network on a device; every weight is read once, in the type it will have."""
        precision = precision or Precision()
        compute_exact_float32()
        if not self.paths:
            return LoadedWeights(
                spec=self.spec,
                network=_random_network(self.spec, device, precision),
                provenance=self.provenance,
                notes=(RANDOM_NOTE,),
            )
        files = [_read(path) for path in self.paths]
        loaded = self.spec.family.load(self.spec.config, _taken(files), device=device, dtype_of=precision.dtype_of)
        notes = tuple(dict.fromkeys([*self._notes(files), *loaded.notes]))
        return LoadedWeights(spec=self.spec, network=loaded.network, provenance=self.provenance, notes=notes)

    def _notes(self, files: Sequence[WeightFile]) -> list[str]:
        # How the embedded files were written is known and stands in their documentation.
        if self.spec.embedded:
            return []
        notes = [note for file in files for note in file.notes]
        if isinstance(self.spec.files[0], zoo.LocalFile):
            notes += rounding_notes(self.spec, files[0], self.paths[0])
        return notes


def find_weights(
    name: str | Path,
    *,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> FoundWeights:
    """Spec, files and hash of a catalogue name, or of a weight file given by path.

    Raises:
        UsageError: unknown name or path.
        RefusedError: licence not accepted, or a file that is no weight file.
        DoesNotFitError: the download does not fit the disk.
    """
    own = _own_file(name)
    if own is not None:
        described = describe_file(own)
        spec, paths, rounded_to = described.spec, [own], rounding_of(described.file)
    else:
        spec = zoo.find(str(name))
        paths = locate(spec, accept_licence=accept_licence, ask=ask, report=report)
        rounded_to = "" if spec.embedded else next(filter(None, map(rounding_of, map(read_weights, paths))), "")
    provenance = Provenance(
        model=spec.name, weights_sha256=fingerprint(paths), licence=spec.licence, rounded_to=rounded_to
    )
    return FoundWeights(spec=spec, provenance=provenance, paths=tuple(paths))


def spec_of(name: str | Path) -> zoo.ModelSpec:
    """The spec of a catalogue name, of a weight file by its shapes, or of a folder as on the hub; nothing is fetched.

    Raises:
        UsageError: neither a name nor a file.
        RefusedError: a file that is no weight file of a known network.
    """
    own = _own_file(name)
    return zoo.find(str(name)) if own is None else describe_file(own).spec


def describe_file(path: Path) -> DescribedFile:
    """Read a weight file and find out what network it belongs to, running nothing in it.

    By the configuration in its metadata, or in `<file>.json` beside it (the same entries as a JSON object, for formats
    without metadata), or by its shapes.

    Raises:
        UsageError: no such file.
        RefusedError: no weight file, or nothing tells what it is.
    """
    file = _read(path)
    return DescribedFile(spec=zoo.spec_of_file(path, file.tensors, file.metadata), file=file)


def _read(path: Path) -> WeightFile:
    """A weight file with what stands beside it."""
    file = read_weights(path)
    if zoo.CONFIG_KEY in file.metadata:
        return file
    return replace(file, metadata={**file.metadata, **_description_beside(path)})


def rounding_of(file: WeightFile) -> str:
    """What a file's weights were rounded to, by their types or by what the file says; empty where they were not."""
    claimed = file.metadata.get(ROUNDED_KEY, "")
    return file.rounded_to or (claimed if claimed in ROUNDED_TYPES else "")


def rounding_notes(spec: zoo.ModelSpec, file: WeightFile, path: Path) -> list[str]:
    """Sentences about rounded weights beside those that reading gave: where the float32 ones are to be had."""
    rounded_to = rounding_of(file)
    if not rounded_to:
        return []
    notes = [] if file.rounded_to else [f"weights were rounded to {rounded_to} once, as the file says"]
    where = zoo.float32_original(spec, printable(file.metadata.get(SOURCE_KEY, path.name))[:200])
    return [*notes, f"for full precision fetch the float32 file: {where}"] if where else notes


def _own_file(name: str | Path) -> Path | None:
    """The weight file of a path, or of a folder as on the hub; None where it can only be a name."""
    known = zoo.is_name(str(name))
    path = Path(name)
    if not known and _is_file(path / zoo.WEIGHTS_NAME):
        path = path / zoo.WEIGHTS_NAME
    if _is_file(path):
        return path
    if not known and (path.suffix or path.is_dir()):  # `sapiens-seg-0.3b` ends in what looks like a suffix, too
        raise UsageError(f"got the model {str(name)!r}, which is no file; expected a weight file or a catalogue name")
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # longer than any name can be
        return False


def _description_beside(path: Path) -> dict[str, str]:
    """Metadata from the file beside a weight file; empty where there is none of ours."""
    beside = path.with_name(path.name + DESCRIPTION_SUFFIX)
    if not beside.is_file():
        return {}
    try:
        with beside.open("rb") as file:
            text = file.read(LARGEST_DESCRIPTION_BYTES + 1)
        if zoo.CONFIG_KEY.encode() not in text:
            return {}  # somebody else's
        if len(text) > LARGEST_DESCRIPTION_BYTES:
            raise ValueError(f"more than {LARGEST_DESCRIPTION_BYTES} bytes")
        document = json.loads(text)
        config = document[zoo.CONFIG_KEY]
        found = {key: value for key, value in document.items() if isinstance(value, str)}
        found |= {zoo.CONFIG_KEY: config if isinstance(config, str) else json.dumps(config)}
        "".join(found.values()).encode()  # JSON may spell characters that no text can hold
        return found
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedError(
            f"got {beside.name}, which cannot be read ({type(error).__name__}: {str(error)[:100]}); expected JSON with "
            f"{zoo.CONFIG_KEY!r}; write it again, or take it away from beside {path.name}"
        ) from error


def random_weights(name: str) -> FoundWeights:
    """Noise in the shape of a catalogue model, for measurements where the real weights are not at hand."""
    spec = zoo.find(name)
    spec = replace(spec, name=f"{spec.name} (random weights)", files=(), licence="none: random numbers")
    return FoundWeights(
        spec=spec, provenance=Provenance(model=spec.name, weights_sha256="", licence=spec.licence), paths=()
    )


def load_weights(
    name: str | Path,
    *,
    device: str = "cpu",
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> LoadedWeights:
    """Network and weights in float32 of a catalogue name, or of a weight file given by path."""
    return find_weights(name, accept_licence=accept_licence, ask=ask, report=report).build(device=device)


def locate(
    spec: zoo.ModelSpec,
    *,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Paths of a model's weight files, fetched where they are not here; asks for the licence first."""
    if not spec.files:
        raise UsageError(
            f"got {spec.name}, whose layout is known but whose weights were never published; "
            "expected a model with files; give the path of your own weight file instead"
        )
    if not spec.embedded:
        licences.require(spec.licence, model=spec.name, accepted=accept_licence, ask=ask)
    return [path_of(file, report) for file in spec.files]


def path_of(file: zoo.WeightSource, report: Callable[[str], None]) -> Path:
    """Where a weight file lies, fetched where it is not here; consent to its licence is the caller's matter."""
    if isinstance(file, zoo.PackagedFile):
        return file.locate()
    if isinstance(file, zoo.LocalFile):
        return file.path
    return hub.fetch(file, report=report)


def _taken(files: list[WeightFile]) -> Mapping[str, Tensor]:
    """The tensors of all files, taken out of them: whoever converts them may let them go one by one."""
    taken: dict[str, Tensor] = {}
    for file in files:
        taken |= file.tensors
        file.tensors.clear()
    return taken


def fingerprint(paths: list[Path]) -> str:
    """SHA-256 of the file, or of the files' hashes in order where the weights are spread over several."""
    hashes = [sha256_of(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _random_network(spec: zoo.ModelSpec, device: str, precision: Precision) -> nn.Module:
    """The same numbers whatever the precision, so that an audit compares like with like."""
    network = spec.family.build(spec.config)
    generator = torch.Generator().manual_seed(0)
    for key, value in list(network.state_dict().items()):
        owner, _, name = key.rpartition(".")
        noise = torch.empty(value.shape).normal_(std=RANDOM_DEVIATION, generator=generator)
        if value.ndim == 1 and name in ("weight", "running_var"):
            noise += 1  # normalisation scales, and variances, whose root is taken
        parameter = nn.Parameter(noise.to(device=device, dtype=precision.dtype_of(key)), requires_grad=False)
        setattr(network.get_submodule(owner), name, parameter)
    return network
