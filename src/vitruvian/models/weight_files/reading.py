"""One weight file -> its tensors by key, with the format told by content and never by name.

Looking at the first bytes decides; then safetensors go to its library, everything else to the inert pickle reader and
the checked storages of this folder. Time: one pass over the table of contents; tensors are mapped and cost nothing
until used, except where an archive lays them down unaligned (exported programs), which reads them once.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.weight_files.archive import Archive, Span, whole_file
from vitruvian.models.weight_files.inert_pickle import MAX_PICKLE_BYTES, read_pickle
from vitruvian.models.weight_files.inert_values import Inert, StorageRecord, TensorRecord
from vitruvian.models.weight_files.legacy import read_legacy
from vitruvian.models.weight_files.storages import Storages

WeightFormat = Literal["safetensors", "pth", "torchscript", "exported-program"]

_WEIGHTS_KEYS = ("state_dict", "model_state_dict", "model")
"""Where training frameworks put the weights inside a checkpoint, first match counts."""
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
"""Put before every key by data-parallel and compile wrappers."""
_EXPORTED_MEMBER = "serialized_state_dict.pt"
_MAX_SAFETENSORS_HEADER_BYTES = 10**8
"""The format's own limit; text that happens to have a brace in ninth place spells a far larger number."""
_MAX_ATTRIBUTES = 10**6
_MAX_NESTING = 64
"""Deepest module tree that is followed in a TorchScript archive; real networks have less than ten levels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFile:
    """The tensors of a weight file, and what a reader should know about them."""

    tensors: dict[str, Tensor]
    """By key as the network's author names it; on the CPU, element types as in the file, possibly mapped from it."""
    format: WeightFormat
    """What the file is, by content."""
    notes: tuple[str, ...] = ()
    """Sentences for people: what was dropped, ignored or rounded by the writer."""
    rounded_to: str | None = None
    """`bfloat16`, `float16`, ... when floating-point weights are stored below float32; None when none are."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Text that a safetensors file carries beside its tensors."""


def read_weights(path: Path) -> WeightFile:
    """Read a weight file without running anything in it.

    Raises:
        UsageError: there is no such file, or it may not be read.
        RefusedError: it is no weight file, is damaged, or claims what it does not hold.
    """
    if not path.is_file():
        raise UsageError(
            f"got {path}, {'a folder' if path.is_dir() else 'which does not exist'}; expected a weight file "
            "(.safetensors, .pth, .pt2); check the path"
        )
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UsageError(f"got {path}, which cannot be read ({error.strerror}); check its permissions") from error
    if head[:4] == b"PK\x03\x04":
        return _read_archive(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER_BYTES:
        return _read_safetensors(path)
    if head[:1] == b"\x80":
        legacy = read_legacy(path)
        return _from_checkpoint(path, legacy.value, Storages(legacy.locate), "pth")
    raise _not_weights(path, head)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits; reads the file once, in small pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> WeightFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: _unmapped_if_reduced(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise RefusedError(
            f"got {path.name}, a damaged or cut-off safetensors file ({error}); expected a whole one; delete it and "
            "download it again"
        ) from error
    return replace(_described(path, tensors, "safetensors", []), metadata=metadata)


def _unmapped_if_reduced(tensor: Tensor) -> Tensor:
    """Small element types are converted before use: pages of a mapping would stay beside the converted weights."""
    return tensor.clone() if tensor.itemsize < torch.float32.itemsize else tensor


def _read_archive(path: Path) -> WeightFile:
    archive = Archive(whole_file(path))
    if _EXPORTED_MEMBER in archive:
        inner = Archive(archive.member(_EXPORTED_MEMBER))
        value, storages = _read_table(inner, _root(inner))
        return _from_checkpoint(path, value, storages, "exported-program")
    value, storages = _read_table(archive, _root(archive))
    if isinstance(value, Inert) and (value.what + ".").startswith("__torch__."):
        tensors = {key: storages.tensor(record, key) for key, record in _attributes(path, value).items()}
        return _described(path, tensors, "torchscript", [])
    return _from_checkpoint(path, value, storages, "pth")


def _root(archive: Archive) -> str:
    """The folder inside the archive that holds `data.pkl`."""
    roots = [name.removesuffix("/data.pkl") for name in archive.names if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) == 1:
        return roots[0]
    if any(name.endswith("archive_format") or "/models/" in name for name in archive.names):
        raise RefusedError(
            f"got {archive.span.path.name}, a program exported by a recent torch; expected weights; load it with "
            "torch.export.load where you trust it and save its state_dict() as safetensors"
        )
    raise RefusedError(
        f"got {archive.span.path.name}, a zip archive without weights that torch wrote; expected .safetensors, .pth "
        "or .pt2 weights; if it is a packed folder, unpack it and pass the weight file inside"
    )


def _read_table(archive: Archive, root: str) -> tuple[Any, Storages]:
    """The value in `data.pkl`, and the storages beside it."""
    byte_order = f"{root}/byteorder"
    if byte_order in archive and _small(archive.member(byte_order), 16) != b"little":
        raise RefusedError(f"got {archive.span.path.name}, written on a big-endian machine; save it on a common one")

    def locate(record: StorageRecord) -> Span:
        return archive.member(f"{root}/data/{record.key}")

    table = _small(archive.member(f"{root}/data.pkl"), MAX_PICKLE_BYTES)
    return read_pickle(io.BytesIO(table)), Storages(locate)


def _small(span: Span, limit_bytes: int) -> bytes:
    if span.size_bytes > limit_bytes:
        raise RefusedError(
            f"got {span.path.name} with a table of {span.size_bytes} bytes where {limit_bytes} are the limit; "
            "expected a weight file; save the weights alone as safetensors"
        )
    return span.read()


def _attributes(path: Path, module: Inert) -> dict[str, TensorRecord]:
    """Tensors of a scripted module and the modules below it; attribute names joined with dots."""
    found: dict[str, TensorRecord] = {}
    pending: list[tuple[str, int, Inert]] = [("", 0, module)]
    steps = 0
    while pending:
        prefix, depth, holder = pending.pop()
        for name, value in holder.state.items() if isinstance(holder.state, dict) else ():
            steps += 1
            # A module that contains itself has no end of levels; one that is shared widely, no end of names.
            if depth > _MAX_NESTING or steps > _MAX_ATTRIBUTES:
                raise RefusedError(
                    f"got {path.name}, whose modules contain one another without end; expected a network; the file is "
                    "damaged or forged, get it again from its publisher"
                )
            if isinstance(value, TensorRecord):
                found[f"{prefix}{_name(name)}"] = value
            elif isinstance(value, Inert):
                pending.append((f"{prefix}{_name(name)}.", depth + 1, value))
    return found


def _from_checkpoint(path: Path, value: Any, storages: Storages, format: WeightFormat) -> WeightFile:
    """Weights of an unpickled checkpoint: the mapping itself, or the one a training framework put inside."""
    notes: list[str] = []
    mapping = _mapping(value)
    weights = mapping
    for key in _WEIGHTS_KEYS:
        inside = _mapping(mapping.get(key))
        if any(isinstance(item, TensorRecord) for item in inside.values()):
            weights = inside
            if len(mapping) > 1:
                notes.append(f"ignored what stands beside the weights: {_names(set(mapping) - {key})}")
            break
    records = {key: item for key, item in weights.items() if isinstance(item, TensorRecord) and isinstance(key, str)}
    if not records:
        raise RefusedError(
            f"got {path.name}, which holds {_label(value)} and no table of tensors; expected a state_dict; save "
            "`network.state_dict()` instead of the network"
        )
    if len(records) < len(weights):
        notes.append(f"ignored entries that are no tensors: {_names(set(weights) - set(records))}")
    records = _without_wrapper_prefixes(path, records, notes)
    return _described(path, {key: storages.tensor(record, key) for key, record in records.items()}, format, notes)


def _mapping(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Inert):
        return value.items
    return value if isinstance(value, dict) else {}


def _label(value: Any) -> str:
    return f"an object of {_name(value.what)}" if isinstance(value, Inert) else f"a {type(value).__name__}"


def _name(key: Any) -> str:
    """A key for people: printable and short, whatever the file put there."""
    if not isinstance(key, str):
        return "(no name)"
    return (key if key.isprintable() else ascii(key))[:200]


def _names(keys: Set[Any]) -> str:
    names = sorted(map(_name, keys))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _without_wrapper_prefixes(
    path: Path, records: dict[str, TensorRecord], notes: list[str]
) -> dict[str, TensorRecord]:
    for prefix in _WRAPPER_PREFIXES:
        wrapped = sum(key.startswith(prefix) for key in records)
        if not wrapped:
            continue
        bare = {key.removeprefix(prefix): record for key, record in records.items()}
        if len(bare) < len(records):
            raise RefusedError(
                f"got {path.name} with the same weights with and without the prefix {prefix!r}; expected one set of "
                "weights; save the one you mean alone"
            )
        records = bare
        notes.append(f"dropped the prefix {prefix!r} from {wrapped} keys")
    return records


def _described(path: Path, tensors: dict[str, Tensor], format: WeightFormat, notes: list[str]) -> WeightFile:
    """Add what the element types say about the writer."""
    if not tensors:
        raise RefusedError(f"got {path.name}, which holds no tensors; expected weights; get the file again")
    floating = Counter(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    reduced = {dtype: count for dtype, count in floating.items() if dtype.itemsize < torch.float32.itemsize}
    rounded_to = None
    for dtype, count in sorted(reduced.items(), key=lambda item: -item[1]):
        name = str(dtype).removeprefix("torch.")
        rounded_to = rounded_to or name
        part = "weights" if count == floating.total() else f"{count} of {floating.total()} weights"
        notes.append(f"{part} were rounded to {name} by the writer")
    return WeightFile(tensors=tensors, format=format, notes=tuple(notes), rounded_to=rounded_to)


def _not_weights(path: Path, head: bytes) -> RefusedError:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        what, then = "an empty file", "download it again"
    elif text.startswith(b"version https://git-lfs"):
        what, then = "a git-lfs pointer, not the file it points to", "run `git lfs pull` where you cloned it"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        what, then = "a web page, probably an error message or a login", "download the file itself, not its page"
    elif text.startswith((b"{", b"[")):
        what, then = "JSON text", "pass the weight file that lies beside it"
    else:
        what, then = "no weight file by its first bytes", "check the path, or download the file again"
    return RefusedError(f"got {path.name}, {what}; expected .safetensors, .pth or .pt2 weights; {then}")
