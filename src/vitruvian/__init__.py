"""Vitruvian: dense vision models of people and scenes on the machine you have.

import vitruvian as vt
for result in vt.load("sapiens-seg-nano")("photos/"):
    result.save("out/")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitruvian.artefacts.artefact import Artefact, open_artefact
    from vitruvian.exporting import export
    from vitruvian.finetuning.road import finetune
    from vitruvian.fit.footprint import footprint
    from vitruvian.loading import load
    from vitruvian.planning import plan
    from vitruvian.predict import Model

__version__ = "0.1.0.dev0"
__all__ = ["Artefact", "Model", "__version__", "export", "finetune", "footprint", "load", "open_artefact", "plan"]

_HOMES = {
    "Artefact": "vitruvian.artefacts.artefact",
    "Model": "vitruvian.predict",
    "export": "vitruvian.exporting",
    "finetune": "vitruvian.finetuning.road",
    "footprint": "vitruvian.fit.footprint",
    "load": "vitruvian.loading",
    "open_artefact": "vitruvian.artefacts.artefact",
    "plan": "vitruvian.planning",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds: only those who load a model pay for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vitruvian' has no attribute {name!r}")
