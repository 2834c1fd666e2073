"""Vitruvian: dense vision models of people and scenes on the machine you have.

import vitruvian as vt
for result in vt.load("sapiens-seg-nano")("photos/"):
    result.save("out/")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitruvian.fit.footprint import footprint
    from vitruvian.loading import load
    from vitruvian.planning import plan
    from vitruvian.predict import Model

__version__ = "0.1.0.dev0"
__all__ = ["Model", "__version__", "footprint", "load", "plan"]

_HOMES = {
    "Model": "vitruvian.predict",
    "footprint": "vitruvian.fit.footprint",
    "load": "vitruvian.loading",
    "plan": "vitruvian.planning",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds: only those who load a model pay for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vitruvian' has no attribute {name!r}")
