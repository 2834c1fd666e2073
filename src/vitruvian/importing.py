"""Old published weight files -> one safetensors file that says what it is.

In: any weight file that can be read without running it. Out: the same tensors under the same names, bit for bit in
their own types, with the network's configuration, licence and origin as metadata. Time: each file is read twice, once
for its hash; memory: one tensor beside the old file, which is mapped, or held where its tensors lie unaligned.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from torch import Tensor

from vitruvian import __version__, zoo
from vitruvian.errors import DoesNotFitError, RefusedError, UsageError
from vitruvian.hardware import format_bytes
from vitruvian.media.atomic import replacing
from vitruvian.media.names import printable, shown
from vitruvian.models.weight_files import WeightFile, sha256_of
from vitruvian.models.weight_files.writing import safetensors_bytes, safetensors_pieces
from vitruvian.weights import (
    ROUNDED_KEY,
    SOURCE_KEY,
    SOURCE_SHA256_KEY,
    describe_file,
    rounding_notes,
    rounding_of,
)

SUFFIX = ".safetensors"
_ROOM_BYTES = 10**6
"""For the table of contents and what else grows on the disk meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What was read and what was written."""

    old: str
    """As messages may show it."""
    new: str
    format: str
    """safetensors, pth, torchscript or exported-program."""
    task: str
    layout: str | None
    """Catalogue model with the same configuration; None: a network of the user's own."""
    input_hw: tuple[int, int]
    parameters: int
    licence: str
    rounded_to: str | None
    """What the weights were rounded to before they were written."""
    old_sha256: str
    new_sha256: str
    size_bytes: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def import_file(old: Path, new: Path, *, overwrite: bool = False) -> Imported:
    """Rescue the weights of a file into a new safetensors file.

    Weights that were rounded to 16 bits stay so: widening them would double the file, restore nothing and hide that
    they were rounded; whoever loads them widens them anyway.

    Args:
        old: weight file of any readable format.
        new: where to write; ends in `.safetensors`.
        overwrite: replace a file that is there.

    Raises:
        UsageError: no such file, or a place that cannot be written to.
        RefusedError: no weight file, nothing tells its network, weights that do not belong to it, or a file that
            changed while it was read.
        DoesNotFitError: the disk is too small; nothing is left behind.
    """
    _check_places(old, new, overwrite)
    origin = _Origin.of(old)
    described = describe_file(old)
    spec, file = described.spec, described.file
    spec.family.load(spec.config, file.tensors, device="meta")  # refuses what does not belong
    rounded_to = rounding_of(file)
    old_sha256 = sha256_of(old)
    metadata = {
        **zoo.metadata_of(spec),
        **({ROUNDED_KEY: rounded_to} if rounded_to else {}),
        **_source(file, old, old_sha256),
        "made_by": f"vitruvian {__version__}",
        "format": "pt",  # other libraries ask for it
    }
    new_sha256 = _write(origin, file.tensors, metadata, new)
    layout = zoo.same_layout(spec)
    return Imported(
        old=shown(old),
        new=shown(new),
        format=file.format,
        task=spec.task,
        layout=layout.name if layout else None,
        input_hw=spec.config.input_hw,
        parameters=spec.config.parameters,
        licence=spec.licence,
        rounded_to=rounded_to or None,
        old_sha256=old_sha256,
        new_sha256=new_sha256,
        size_bytes=new.stat().st_size,
        notes=tuple(dict.fromkeys([*file.notes, *rounding_notes(spec, file, old)])),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Origin:
    """The old file as it was when it was first looked at."""

    path: Path
    signature: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> _Origin:
        return cls(path=path, signature=_signature(path))

    def check(self) -> None:
        """Raise `RefusedError` if it is another file by now, or has other contents."""
        if _signature(self.path) != self.signature:
            raise self.changed()

    def changed(self) -> RefusedError:
        return RefusedError(
            f"got {shown(self.path)}, which changed while it was read; expected a file that nobody writes to; import "
            "it again when it is whole; nothing was written"
        )


def _signature(path: Path) -> tuple[int, ...]:
    """Changes whenever a file does; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _source(file: WeightFile, old: Path, old_sha256: str) -> dict[str, str]:
    """Where the weights come from: of a file that was imported once already, what it says itself."""
    first = {key: file.metadata[key] for key in (SOURCE_KEY, SOURCE_SHA256_KEY) if key in file.metadata}
    return first if len(first) == 2 else {SOURCE_KEY: printable(old.name), SOURCE_SHA256_KEY: old_sha256}


def _check_places(old: Path, new: Path, overwrite: bool) -> None:
    if old.is_dir():
        raise UsageError(f"got the folder {shown(old)}; expected a weight file; name the file inside it")
    if new.suffix.lower() != SUFFIX:
        raise UsageError(f"got -o {shown(new)}; expected a name that ends in {SUFFIX}; choose such a one")
    if new.is_dir():
        raise UsageError(f"got -o {shown(new)}, which is a folder; expected a file to write; add a name to it")
    if new.exists() and old.exists() and new.samefile(old):
        raise UsageError(
            f"got {shown(old)} as the file to read and to write; expected two; choose another name with -o"
        )
    if (new.exists() or new.is_symlink()) and not overwrite:
        raise UsageError(
            f"got -o {shown(new)}, which is there already; expected a new name; choose one, or add --overwrite"
        )


def _write(origin: _Origin, tensors: dict[str, Tensor], metadata: Mapping[str, str], new: Path) -> str:
    """Write the file whole or not at all, emptying the dict; its hash."""
    needed_bytes = safetensors_bytes(tensors) + _ROOM_BYTES
    free_bytes = shutil.disk_usage(_existing(new.absolute().parent)).free
    if free_bytes < needed_bytes:
        raise _no_room(new, needed_bytes, f"{format_bytes(free_bytes)} of free disk")
    try:
        with replacing(new, size_bytes=needed_bytes) as temporary:
            with temporary.open("xb", buffering=0) as file:
                for piece in safetensors_pieces(tensors, metadata):
                    origin.check()
                    _put(file, piece, origin)
            sha256 = sha256_of(temporary)
            origin.check()
        return sha256
    except DoesNotFitError as error:
        raise _no_room(new, needed_bytes, "a full disk or quota") from error


def _put(file: FileIO, piece: bytes | memoryview, origin: _Origin) -> None:
    """Write all of a piece, straight from the old file's mapping.

    Where that was cut off meanwhile there are addresses without contents: reading them here would end the process, the
    operating system only says so.
    """
    left = memoryview(piece)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno == errno.EFAULT:
            raise origin.changed() from error
        raise


def _no_room(new: Path, needed_bytes: int, got: str) -> DoesNotFitError:
    return DoesNotFitError(
        f"got {got} for {shown(new)}; expected {format_bytes(needed_bytes)}; free some space, or choose another folder "
        "with -o; nothing was left behind"
    )


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
