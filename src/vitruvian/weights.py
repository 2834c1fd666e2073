"""From a model name or a path to a network with its weights: locate, licence, fetch, hash, load."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vitruvian import hub, licences, zoo
from vitruvian.errors import UsageError
from vitruvian.models.sapiens import load_network
from vitruvian.models.weight_files import WeightFile, read_weights, sha256_of
from vitruvian.tasks.base import Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedWeights:
    """A network in float32 with its weights, where they came from and what was adapted."""

    spec: zoo.ModelSpec
    network: nn.Module
    provenance: Provenance
    notes: tuple[str, ...]


def load_weights(
    name: str | Path,
    *,
    device: str = "cpu",
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> LoadedWeights:
    """Network and weights of a catalogue name, or of a weight file given by path."""
    path = Path(name)
    if path.is_file():
        files = [read_weights(path)]
        paths = [path]
        spec = zoo.spec_of_file(path, files[0].tensors, files[0].metadata)
    elif path.suffix or path.is_dir():
        raise UsageError(f"got the model {str(name)!r}, which is no file; expected a weight file or a catalogue name")
    else:
        spec = zoo.find(str(name))
        paths = locate(spec, accept_licence=accept_licence, ask=ask, report=report)
        files = [read_weights(path) for path in paths]
    loaded = load_network(spec.config, _taken(files), device=device)
    provenance = Provenance(model=spec.name, weights_sha256=_fingerprint(paths), licence=spec.licence)
    notes = tuple(dict.fromkeys([*(note for file in files for note in file.notes), *loaded.notes]))
    return LoadedWeights(spec=spec, network=loaded.network, provenance=provenance, notes=notes)


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
