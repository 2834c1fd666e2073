"""Where the samples of a dense task lie: known layouts of folders, and pairs of pictures and targets by their stems.

In: a folder and a task. Out: samples as paths, and a sentence for everything without a partner. Only names are read:
some three seconds for a hundred thousand samples.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from vitruvian.errors import UsageError
from vitruvian.media.names import printable, shown
from vitruvian.media.signatures import has_picture_extension
from vitruvian.media.walking import Unreadable, walk_folder

DenseKind = Literal["seg", "depth", "normal"]
Split = Literal["", "train", "val"]

TARGET_EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    "seg": (".png",),
    "depth": (".npy", ".png"),
    "normal": (".npy", ".png"),
}
"""Files that a task's targets may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way to lay a data set out in folders; `{split}` stands for its own name of a part."""

    name: str
    tasks: tuple[DenseKind, ...]
    images: str
    """Folder of the pictures, below the data folder."""
    targets: str
    """Folder of the targets; may be the pictures' own."""
    masks: str | None = None
    """Folder of person masks; it may be missing."""
    target_suffix: str = ""
    """What a target's stem has behind its picture's."""
    split_names: tuple[str, str] = ("train", "val")
    """What the parts to train and to validate on are called."""
    classes: int | None = None
    """Of the labels, where the data set decides that."""

    @property
    def in_words(self) -> str:
        """How it looks, for messages."""
        images, targets = (folder.replace("{split}", f"({'|'.join(self.split_names)})") for folder in self._folders)
        if self.images == self.targets:
            return f"{self.name}: NAME.png and NAME{self.target_suffix}.png in one folder"
        masks = f" and perhaps {self.masks}/" if self.masks else ""
        return f"{self.name}: {images}/ and {targets}/{masks} with files of equal stems"

    @property
    def _folders(self) -> tuple[str, str]:
        return self.images, self.targets


LAYOUTS: tuple[Layout, ...] = (
    Layout(name="published-depth", tasks=("depth",), images="images", targets="depths", masks="masks"),
    Layout(name="published-normal", tasks=("normal",), images="images", targets="normals", masks="masks"),
    Layout(name="plain", tasks=("seg", "depth", "normal"), images="images", targets="labels", masks="masks"),
    Layout(name="lip", tasks=("seg",), images="{split}_images", targets="{split}_segmentations", classes=20),
    Layout(
        name="lip-archive",
        tasks=("seg",),
        images="TrainVal_images/{split}_images",
        targets="TrainVal_parsing_annotations/{split}_segmentations",
        classes=20,
    ),
    Layout(
        name="cihp",
        tasks=("seg",),
        images="{split}/Images",
        targets="{split}/Category_ids",
        split_names=("Training", "Validation"),
        classes=20,
    ),
    Layout(name="face", tasks=("seg",), images=".", targets=".", target_suffix="_seg", classes=19),
)
"""All that are known; the first one found serves, so special names come before general ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One picture with its target, not read yet."""

    name: str
    """The picture's path below the data folder, `/` between the parts."""
    image: Path
    target: Path
    mask: Path | None
    """Picture whose first channel is above 0 on persons; None: every pixel with a value counts."""
    split: Split = ""
    """Part of the data set it belongs to, where the layout says so."""
    metres_per_code: float | None = None
    """What a code of a 16-bit PNG of depth is, where the layout or the user says so; None: what the file says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The samples of a data folder."""

    layout: Layout
    samples: tuple[Sample, ...]
    """Sorted by name within each part."""
    missing: tuple[str, ...]
    """A sentence for every file that has no partner, or more than one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """One part of a data set on disk."""

    split: Split
    images: Path
    targets: Path
    masks: Path | None


_Files = dict[str, list[Path]]
"""Stem, with the folders below the searched one -> files."""


def find_samples(folder: Path, task: DenseKind) -> Found:
    """Samples of a data folder.

    `train/` and `val/` below the folder are its parts if it holds no samples itself; see `held_out` for others. Folders
    inside the folders of pictures and targets belong to the stem.

    Raises:
        UsageError: no such folder, or none of the known layouts; lists them.
    """
    if not folder.is_dir():
        raise UsageError(f"got {shown(folder)}, which is no folder; expected a folder of training data; name another")
    layouts = [layout for layout in LAYOUTS if task in layout.tasks]
    for layout in layouts:
        places = _places(layout, folder)
        if places:
            return _found(layout, places, folder, TARGET_EXTENSIONS[task])
    listing = "; ".join(layout.in_words for layout in layouts)
    raise UsageError(
        f"got {shown(folder)} without samples for {task}; expected one of these layouts, in the folder itself or in "
        f"train/ and val/ below it: {listing}; name or move the folders like one of them"
    )


def held_out(name: str, share: float) -> bool:
    """Whether the sample of this name belongs to a validation part of about this share, 0..1.

    By a hash of the stem: no file changes sides when others come or go, or when the folder moves.
    """
    digest = hashlib.sha256(Path(name).stem.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class InPart(Protocol):
    """A sample of any kind."""

    @property
    def name(self) -> str: ...

    @property
    def split(self) -> Split: ...


AnySample = TypeVar("AnySample", bound=InPart)


def split_samples(samples: Sequence[AnySample], share: float) -> tuple[tuple[AnySample, ...], tuple[AnySample, ...]]:
    """(to train on, to validate on): by the data's own parts if there are both, else `share` of all is held out.

    Persons of one picture stay together.
    """
    parts = {sample.split for sample in samples}
    if {"train", "val"} <= parts:
        chosen = [sample.split == "val" for sample in samples]
    else:
        chosen = [held_out(sample.name, share) for sample in samples]
    train = tuple(sample for sample, out in zip(samples, chosen, strict=True) if not out)
    return train, tuple(sample for sample, out in zip(samples, chosen, strict=True) if out)


def _places(layout: Layout, folder: Path) -> list[_Place]:
    """The parts of a data set that are laid out like this."""
    splits: tuple[Split, Split] = ("train", "val")
    if "{split}" in layout.images:
        named = zip(splits, layout.split_names, strict=True)
        return [place for split, name in named if (place := _place(layout, folder, split, name))]
    whole = _place(layout, folder, "", "")
    if whole is not None:
        return [whole]
    return [place for split in splits if (place := _place(layout, folder / split, split, split))]


def _place(layout: Layout, base: Path, split: Split, name: str) -> _Place | None:
    images, targets = (base / path.replace("{split}", name) for path in (layout.images, layout.targets))
    if not (images.is_dir() and targets.is_dir()):
        return None
    if images == targets and not any(images.glob(f"*{layout.target_suffix}.png")):
        return None
    masks = base / layout.masks if layout.masks else None
    return _Place(split=split, images=images, targets=targets, masks=masks if masks and masks.is_dir() else None)


def _found(layout: Layout, places: Sequence[_Place], folder: Path, extensions: tuple[str, ...]) -> Found:
    samples: list[Sample] = []
    missing: list[str] = []
    for place in places:
        for one in _pairs(layout, place, folder, extensions):
            if isinstance(one, Sample):
                samples.append(one)
            else:
                missing.append(one)
    return Found(layout=layout, samples=tuple(samples), missing=tuple(missing))


def _pairs(layout: Layout, place: _Place, folder: Path, extensions: tuple[str, ...]) -> Iterator[Sample | str]:
    """Samples and sentences of one part."""
    suffix = layout.target_suffix
    images, unreadable = _files(place.images, "")
    targets, more = _files(place.targets, suffix)
    masks, others = _files(place.masks, "") if place.masks else ({}, [])
    yield from dict.fromkeys((*unreadable, *more, *others))
    if place.images == place.targets:
        images = {stem: paths for stem, paths in images.items() if not stem.endswith(suffix)}
    pictures = {stem: kept for stem, paths in images.items() if (kept := [p for p in paths if _is_picture(p)])}
    for stem, paths in pictures.items():
        name = _name(paths[0], folder)
        if len(paths) > 1:
            yield f"{_names(paths, folder)} have one stem; left out: rename or remove all but one"
            continue
        target = _partner(targets.get(stem, []), extensions)
        mask = _partner(masks.get(stem, []), None)
        if isinstance(target, str):
            yield f"{name} has {target} in {_name(place.targets, folder)}"
        elif place.masks is not None and isinstance(mask, str):
            yield f"{name} has {mask} in {_name(place.masks, folder)}"
        else:
            found_mask = mask if isinstance(mask, Path) else None
            yield Sample(name=name, image=paths[0], target=target, mask=found_mask, split=place.split)
    for stem, paths in targets.items():
        if stem not in pictures and _fitting(paths, extensions):
            yield f"{_name(paths[0], folder)} has no picture in {_name(place.images, folder)}"


def _files(folder: Path, suffix: str) -> tuple[_Files, list[str]]:
    """Files whose stems end so, by their stems without it, and sentences about folders that cannot be read."""
    files: _Files = {}
    problems = []
    for path in walk_folder(folder, recursive=True, wanted=lambda path: not suffix or path.stem.endswith(suffix)):
        if isinstance(path, Unreadable):
            problems.append(f"the folder {printable(path.path.name)} cannot be read: {path.reason}")
        else:
            name = _below(path, folder)
            stem = name[: len(name) - len(path.suffix)]
            files.setdefault(stem.removesuffix(suffix), []).append(path)
    return files, problems


def _is_picture(path: Path) -> bool:
    return has_picture_extension(path.name)


def _fitting(paths: Sequence[Path], extensions: tuple[str, ...] | None) -> list[Path]:
    if extensions is None:
        return [path for path in paths if _is_picture(path)]
    return [path for path in paths if path.suffix.lower() in extensions]


def _partner(paths: Sequence[Path], extensions: tuple[str, ...] | None) -> Path | str:
    """The only fitting file, or what there is instead, in words."""
    fitting = _fitting(paths, extensions)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        return f"several partners ({', '.join(printable(path.name) for path in fitting)})"
    if paths and extensions:
        return f"only {printable(paths[0].name)}, where {' or '.join(extensions)} is expected,"
    return "no partner"


def _name(path: Path, folder: Path) -> str:
    """A path below the data folder as it may be shown."""
    return printable(_below(path, folder))


def _below(path: Path, folder: Path) -> str:
    """Name of a path that was made from the folder's, `/` between the parts; `relative_to` takes ten times as long."""
    name = str(path)[len(str(folder)) + 1 :] if folder.parts else str(path)
    return name if os.sep == "/" else name.replace(os.sep, "/")


def _names(paths: Sequence[Path], folder: Path) -> str:
    return " and ".join(_name(path, folder) for path in paths)
