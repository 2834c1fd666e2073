"""From a model's name or a path to its networks with their weights: licences, files, hash; then one network at a time.

Networks of a clip are not needed all at once, so each is built when it is asked for and read from its file then.
Finding costs no memory that stays; building holds the network, or its file where that is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vitruvian import licences, weights, zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32
from vitruvian.models.mimicmotion import (
    BASE_PARTS,
    PARTS,
    POSE_NET_NAME,
    Part,
    base_file,
    check_layout,
    is_whole,
    load_network,
    taken,
)
from vitruvian.models.weight_files import WeightFile, read_weights
from vitruvian.tasks.base import Provenance

SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How files are fetched, and who hears about it."""

    accept_licence: Collection[str] = ()
    ask: Callable[[str], bool] | None = None
    report: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundAnimation:
    """Files of all networks that are here and known by hash, nothing in memory."""

    spec: zoo.AnimationSpec
    provenance: Provenance
    paths: Mapping[Part, Path]
    notes: tuple[str, ...]

    def build(self, part: Part, *, device: str | torch.device = "cpu", dtype_of: DtypeOf = all_float32) -> Loaded:
        """One network on a device; every weight is read once, in the type that `dtype_of` says for its key.

        Raises:
            RefusedError: the file holds other networks, or weights that do not belong to this one.
            UsageError: the library that builds it is missing.
        """
        path = self.paths[part]
        file = read_weights(path)
        layout = check_layout(file.tensors, path.name)
        if part not in layout:
            raise RefusedError(
                f"got {path.name} with {', '.join(layout)}; expected the weights of {part}; put the right file in its "
                "place"
            )
        tensors = taken(part, file.tensors, layout[part])
        file.tensors.clear()
        loaded = load_network(part, self.spec.config, tensors, device=device, dtype_of=dtype_of)
        return replace(loaded, notes=(*(() if self.spec.embedded else file.notes), *loaded.notes))


def find_weights(name: str | Path, *, base: Path | None = None, access: Access | None = None) -> FoundAnimation:
    """Files of a catalogue name, of a weight file or of a folder with one; what they lack is fetched.

    A checkpoint's own image codec and image encoder are used where it has them whole. Else they come from `base`, from
    the checkpoint's folder where that has them, or from the published base, whose licence must be accepted first.

    Args:
        name: of the catalogue, or the path of a checkpoint, or of a folder that holds one.
        base: folder laid out as the published base (`vae/`, `image_encoder/`).
        access: how files are fetched; None: no licence is accepted and nobody can be asked.

    Raises:
        UsageError: no such name, path, or network in `base`.
        RefusedError: a licence not accepted, or a file that is no checkpoint.
        DoesNotFitError: a download does not fit the disk.
    """
    access = access or Access()
    own = None if zoo.is_name(str(name)) else _own_file(Path(name))
    file = None if own is None else read_weights(own)
    spec = zoo.find_animation(str(name)) if own is None or file is None else _spec_of(own, file)
    spec = _with_local_base(spec, base, None if own is None else own.parent)
    (main,) = spec.files_of("unet")
    if own is None:
        _agree(spec, spec.files_of(*PARTS), access)
    path = weights.path_of(main.source, access.report)
    file = file or read_weights(path)
    within, notes = _within(spec, path, file)
    others = [other for other in spec.files_of(*PARTS) if other != main and set(within).isdisjoint(other.parts)]
    if own is not None:
        _agree(spec, others, access)
    paths: dict[Part, Path] = dict.fromkeys(within, path)
    for other in others:
        there = weights.path_of(other.source, access.report)
        paths |= {part: there for part in PARTS if part in other.parts}
    if absent := [part for part in PARTS if part not in paths]:
        raise RefusedError(
            f"got {path.name} without {', '.join(absent)}; expected it inside, or {POSE_NET_NAME} beside it; put that "
            "file there, or give the official checkpoint, which holds both"
        )
    used = (replace(main, parts=tuple(within)), *others)
    provenance = Provenance(
        model=spec.name,
        weights_sha256=weights.fingerprint(list(dict.fromkeys(paths[part] for part in PARTS))),
        licence=", ".join(dict.fromkeys(one.licence for one in used)),
        rounded_to="" if spec.embedded else weights.rounding_of(file),
    )
    poses = [one for one in spec.files if set(one.parts).isdisjoint(PARTS)]
    return FoundAnimation(spec=replace(spec, files=(*used, *poses)), provenance=provenance, paths=paths, notes=notes)


def locate_pose_models(spec: zoo.AnimationSpec, access: Access | None = None) -> tuple[Path, Path]:
    """The published person detector and whole-body network (ONNX files), fetched where they are not here."""
    access = access or Access()
    (detector,), (points,) = spec.files_of("person_detector"), spec.files_of("whole_body")
    _agree(spec, (detector, points), access)
    return weights.path_of(detector.source, access.report), weights.path_of(points.source, access.report)


def _agree(spec: zoo.AnimationSpec, files: Iterable[zoo.PartFile], access: Access) -> None:
    """Consent to the licence of every file that would be fetched, before the first one is."""
    by_licence: dict[str, list[str]] = {}
    for file in files:
        if isinstance(file.source, zoo.RemoteFile):
            by_licence.setdefault(file.licence, []).append(f"{file.file_name} of {file.source.repo_id}")
    for licence, names in by_licence.items():
        what = f"{spec.name} ({', '.join(names)})"
        licences.require(licence, model=what, accepted=access.accept_licence, ask=access.ask)


def _within(spec: zoo.AnimationSpec, main: Path, file: WeightFile) -> tuple[list[Part], tuple[str, ...]]:
    """Networks that the checkpoint itself brings, and what is to be said about those that it brings in part."""
    within: list[Part] = []
    notes = []
    for part, prefix in check_layout(file.tensors, main.name).items():
        keys = [key.removeprefix(prefix) for key in file.tensors if key.startswith(prefix)]
        if part not in BASE_PARTS or is_whole(part, spec.config, keys):
            within.append(part)
        else:
            notes.append(f"left out {len(keys)} tensors of {part} in {main.name}: not whole; the base's own are used")
    return within, tuple(notes)


def _spec_of(own: Path, file: WeightFile) -> zoo.AnimationSpec:
    """A spec for a file of the user's, with the PoseNet beside it where it has none."""
    held = check_layout(file.tensors, own.name)
    if "unet" not in held:
        raise RefusedError(
            f"got {own.name} with {', '.join(held)}; expected a checkpoint with the denoising network; give the file "
            "that holds it, the others are found beside it"
        )
    count = sum(value.numel() for value in file.tensors.values())
    spec = zoo.animation_spec_of_file(own, held, file.metadata, parameters=count)
    beside = own.with_name(POSE_NET_NAME)
    if "pose_net" in held or not beside.is_file():
        return spec
    (main,) = spec.files_of("unet")
    pose_net = zoo.PartFile(parts=("pose_net",), source=zoo.LocalFile(path=beside), licence=main.licence)
    return replace(spec, files=(*spec.files, pose_net))


def _with_local_base(spec: zoo.AnimationSpec, base: Path | None, beside: Path | None) -> zoo.AnimationSpec:
    """The spec with networks of the base from a folder; those that it lacks stay as they are."""
    here: dict[str, Path] = {}
    for part in BASE_PARTS:
        path = next((found for folder in (base, beside) if folder and (found := base_file(part, folder))), None)
        if path is not None:
            here[part] = path
        elif base is not None:
            raise UsageError(
                f"got the base {base} without weights in {part}/; expected a folder laid out as "
                "stable-video-diffusion-img2vid-xt-1-1 is; check the path, or leave it out"
            )
    files = (
        replace(file, source=zoo.LocalFile(path=here[file.parts[0]])) if file.parts[0] in here else file
        for file in spec.files
    )
    return replace(spec, files=tuple(files))


def _own_file(path: Path) -> Path | None:
    """The checkpoint of a path: the file itself, or the one in a folder; None: it can only be a name."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # longer than any name can be
        return None
    if is_folder:
        if (path / zoo.WEIGHTS_NAME).is_file():
            return path / zoo.WEIGHTS_NAME
        found = [one for one in sorted(path.iterdir()) if one.suffix in SUFFIXES and one.name != POSE_NET_NAME]
        if len(found) == 1:
            return found[0]
        raise UsageError(
            f"got the folder {path} with {len(found)} weight files; expected one checkpoint in it "
            f"({', '.join(SUFFIXES)}); give its path"
        )
    if is_file:
        return path
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise UsageError(f"got the model {str(path)!r}, which is no file; expected a checkpoint or a catalogue name")
    return None
