"""One model of the catalogue for people: its files, what each holds, and the licence that each is under."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitruvian import zoo
from vitruvian.catalogue import UNCONFIRMED, CatalogueRow, rows
from vitruvian.licences import LICENCES

HEADINGS = ("file", "holds", "licence", "from")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRow:
    """One file of a model."""

    file: str
    """Path inside its repository, or inside the package's data."""
    holds: str
    licence: str
    source: str
    """Repository on the hub, or `the package`."""
    confirmed: bool
    """Whether somebody has seen the file under this id."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of `HEADINGS`."""
        return self.file, self.holds, self.licence, f"{self.source}{'' if self.confirmed else f' {UNCONFIRMED}'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """One model with its files."""

    row: CatalogueRow
    files: tuple[FileRow, ...]
    tile_frames: int | None = None
    """Of a model that makes videos: frames it was trained on at once."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        frames = {} if self.tile_frames is None else {"tile_frames": self.tile_frames}
        return {**self.row.to_json(), **frames, "files": [asdict(file) for file in self.files]}

    @property
    def text(self) -> str:
        """For a terminal: the model in a line, its files, and what their licences mean."""
        row = self.row
        lines = [HEADINGS, *(file.cells for file in self.files)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        if not self.files:
            table = [row.weights]
        title = f"{row.model}: {row.task}, {row.parameters_text} parameters, input {row.input_text}"
        title += "" if self.tile_frames is None else f", {self.tile_frames} frames at once"
        return "\n".join([title, "", *table, "", *map(_meaning, dict.fromkeys(file.licence for file in self.files))])


def details(name: str) -> Details:
    """What the catalogue knows about a model, by its full or shorter name.

    Raises:
        UsageError: no such name.
    """
    if name in zoo.ANIMATION_MODELS:
        animation = zoo.ANIMATION_MODELS[name]
        files = [_file_row(file.source, ", ".join(file.parts), file.licence) for file in animation.files]
        return Details(row=_row(name), files=tuple(files), tile_frames=animation.config.tile_frames)
    spec = zoo.find(name)
    return Details(row=_row(spec.name), files=tuple(_file_row(file, "weights", spec.licence) for file in spec.files))


def _row(name: str) -> CatalogueRow:
    return next(row for row in rows() if row.model == name)


def _file_row(file: zoo.WeightSource, holds: str, licence: str) -> FileRow:
    if isinstance(file, zoo.PackagedFile):
        return FileRow(file=file.path, holds=holds, licence=licence, source="the package", confirmed=True)
    assert isinstance(file, zoo.RemoteFile)
    return FileRow(file=file.filename, holds=holds, licence=licence, source=file.repo_id, confirmed=file.confirmed)


def _meaning(licence_id: str) -> str:
    licence = LICENCES[licence_id]
    asked = "; asked for before the files are used" if licence.must_be_accepted else ""
    return f"{licence.id}: {licence.name}: {licence.meaning}{asked}. {licence.url}"
