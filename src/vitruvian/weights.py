"""From a model name or a path to a network with its weights: locate, licence, fetch, hash; then build, once or often.

Finding costs no memory: files are mapped. Building is apart from it, because what precision a network is built in is
known only after its plan, and an audit builds it twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian import hub, licences, zoo
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision
from vitruvian.models.weight_files import WeightFile, read_weights, sha256_of
from vitruvian.tasks.base import Provenance

RANDOM_NOTE = "random weights: times and memory are real, results mean nothing"
RANDOM_DEVIATION = 0.02
"""Small enough that activations stay finite through 48 blocks, as in a freshly initialised network."""


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
        if not self.paths:
            return LoadedWeights(
                spec=self.spec,
                network=_random_network(self.spec, device, precision),
                provenance=self.provenance,
                notes=(RANDOM_NOTE,),
            )
        files = [read_weights(path) for path in self.paths]
        loaded = self.spec.family.load(self.spec.config, _taken(files), device=device, dtype_of=precision.dtype_of)
        # How the embedded files were written is known and stands in their documentation.
        of_files = [] if self.spec.embedded else [note for file in files for note in file.notes]
        notes = tuple(dict.fromkeys([*of_files, *loaded.notes]))
        return LoadedWeights(spec=self.spec, network=loaded.network, provenance=self.provenance, notes=notes)


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
    spec = spec_of(name)
    if all(isinstance(file, zoo.LocalFile) for file in spec.files) and spec.files:
        paths = [_path_of(file, report) for file in spec.files]
    else:
        paths = locate(spec, accept_licence=accept_licence, ask=ask, report=report)
    provenance = Provenance(model=spec.name, weights_sha256=_fingerprint(paths), licence=spec.licence)
    return FoundWeights(spec=spec, provenance=provenance, paths=tuple(paths))


def spec_of(name: str | Path) -> zoo.ModelSpec:
    """The spec of a catalogue name, of a weight file by its shapes, or of a folder as on the hub; nothing is fetched.

    Raises:
        UsageError: neither a name nor a file.
        RefusedError: a file that is no weight file of a known network.
    """
    known = str(name) in zoo.MODELS or str(name) in zoo.ALIASES
    path = Path(name)
    if not known and (path / zoo.WEIGHTS_NAME).is_file():
        path = path / zoo.WEIGHTS_NAME
    if path.is_file():
        file = read_weights(path)
        return zoo.spec_of_file(path, file.tensors, file.metadata)
    if not known and (path.suffix or path.is_dir()):  # `sapiens-seg-0.3b` ends in what looks like a suffix, too
        raise UsageError(f"got the model {str(name)!r}, which is no file; expected a weight file or a catalogue name")
    return zoo.find(str(name))


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
    return [_path_of(file, report) for file in spec.files]


def _path_of(file: zoo.WeightSource, report: Callable[[str], None]) -> Path:
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


def _fingerprint(paths: list[Path]) -> str:
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
        if value.ndim == 1 and name == "weight":
            noise += 1  # normalisation scales
        parameter = nn.Parameter(noise.to(device=device, dtype=precision.dtype_of(key)), requires_grad=False)
        setattr(network.get_submodule(owner), name, parameter)
    return network
