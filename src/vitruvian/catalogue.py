"""The catalogue as rows for people: what `vitruvian models` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitruvian import zoo
from vitruvian.errors import UsageError

ADVICE = (
    "Which should I use? Try the nano models first (nothing to download, small and imprecise); then 0.3b for speed, "
    "1b for quality, 2b when the card has 24 GB or more."
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
    def name(self) -> str:
        """Both names, for people."""
        return f"{self.model} (= {self.alias})" if self.alias else self.model

    @property
    def parameters_text(self) -> str:
        """Parameters with a unit people read."""
        return f"{self.parameters / 1e9:.2f} B" if self.parameters >= 1e8 else f"{self.parameters / 1e6:.1f} M"

    @property
    def input_text(self) -> str:
        """Input height x width."""
        return f"{self.input_hw[0]}x{self.input_hw[1]}"

    def to_json(self) -> dict[str, Any]:
        """Plain containers; `name` is what every command takes."""
        document = asdict(self)
        return {"name": document.pop("model"), **document}


def rows(task: str | None = None) -> list[CatalogueRow]:
    """All models, or those of one task.

    Raises:
        UsageError: no such task.
    """
    if task is not None and task not in zoo.DEFAULT_MODELS:
        raise UsageError(f"got --task {task}; expected one of {', '.join(zoo.DEFAULT_MODELS)}")
    names = {full: short for short, full in zoo.ALIASES.items()}
    return [
        CatalogueRow(
            model=spec.name,
            alias=names.get(spec.name),
            task=spec.task,
            parameters=spec.config.parameters,
            input_hw=spec.config.backbone.input_hw,
            licence=spec.licence,
            weights=_weights_text(spec),
        )
        for spec in zoo.MODELS.values()
        if task in (None, spec.task)
    ]


def _weights_text(spec: zoo.ModelSpec) -> str:
    if not spec.files:
        return "never published; give your own file"
    file = spec.files[0]
    if isinstance(file, zoo.PackagedFile):
        return "in the package"
    assert isinstance(file, zoo.RemoteFile)
    return f"{file.repo_id}{'' if file.confirmed else ' (id not confirmed)'}"
