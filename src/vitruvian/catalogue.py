"""The catalogue as rows for people: what `vitruvian models` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitruvian import zoo
from vitruvian.errors import UsageError

UNCONFIRMED = "(?)"
HEADINGS = ("model", "also", "task", "size", "input", "licence", "weights")
ADVICE = (
    f"{UNCONFIRMED} nobody has confirmed this id yet; facebook/sapiens on the hub lists the Sapiens files.\n"
    "Which should I use? The nano models to try things (nothing to download, small and imprecise); of the others the "
    "larger the better and slower: 0.3b to 2b hold 1.3 to 8.7 GB of float32 weights."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueRow:
    """One model as a table row."""

    model: str
    """Full name."""
    alias: str | None
    """Shorter name of the same model."""
    task: str
    parameters: int
    input_hw: tuple[int, int]
    licence: str
    weights: str
    """Where they come from, in words."""

    @property
    def parameters_text(self) -> str:
        """Parameters with a unit people read."""
        return f"{self.parameters / 1e9:.2f} B" if self.parameters >= 1e8 else f"{self.parameters / 1e6:.1f} M"

    @property
    def input_text(self) -> str:
        """Input height x width."""
        return f"{self.input_hw[0]}x{self.input_hw[1]}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of `HEADINGS`."""
        text = self.parameters_text, self.input_text
        return self.model, self.alias or "", self.task, *text, self.licence, self.weights

    def to_json(self) -> dict[str, Any]:
        """Plain containers; `name` is what every command takes."""
        document = asdict(self)
        return {"name": document.pop("model"), **document}


def rows(task: str | None = None) -> list[CatalogueRow]:
    """All models, or those of one task.

    Raises:
        UsageError: no such task.
    """
    known = (*zoo.DEFAULT_MODELS, zoo.ANIMATE)
    if task is not None and task not in known:
        raise UsageError(f"got --task {task}; expected one of {', '.join(known)}")
    names = {full: short for short, full in zoo.ALIASES.items()}
    for_pictures = [
        CatalogueRow(
            model=spec.name,
            alias=names.get(spec.name),
            task=spec.task,
            parameters=spec.config.parameters,
            input_hw=spec.config.input_hw,
            licence=spec.licence,
            weights=_weights_text(spec),
        )
        for spec in zoo.MODELS.values()
        if task in (None, spec.task)
    ]
    return [*for_pictures, *(map(_animation_row, zoo.ANIMATION_MODELS.values()) if task in (None, zoo.ANIMATE) else ())]


def table(listed: Sequence[CatalogueRow]) -> str:
    """Aligned text; as wide as it must be, because a cut name cannot be typed."""
    lines = [HEADINGS, *(row.cells for row in listed)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _animation_row(spec: zoo.AnimationSpec) -> CatalogueRow:
    others = len(spec.files) - 1
    first = _source_text(spec.files[0].source)
    return CatalogueRow(
        model=spec.name,
        alias=None,
        task=zoo.ANIMATE,
        parameters=spec.parameters,
        input_hw=spec.config.input_hw,
        licence=", ".join(spec.licences),
        weights=f"{first} and {others} more files" if others else first,
    )


def _weights_text(spec: zoo.ModelSpec) -> str:
    return _source_text(spec.files[0]) if spec.files else "never published; give your own file"


def _source_text(file: zoo.WeightSource) -> str:
    if isinstance(file, zoo.PackagedFile):
        return "in the package"
    assert isinstance(file, zoo.RemoteFile)
    return f"{file.repo_id}{'' if file.confirmed else f' {UNCONFIRMED}'}"
