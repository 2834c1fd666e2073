"""What memory a workload takes, predicted without weights and without the device.

`footprint(module, example_inputs)` serves any module; `footprints_of(workload)` is what planners ask.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitruvian.fit.footprint.predict import footprint, footprints_of
    from vitruvian.fit.footprint.values import Breakdown, Footprint, Footprints, Phase

__all__ = ["Breakdown", "Footprint", "Footprints", "Phase", "footprint", "footprints_of"]

_PREDICTING = ("footprint", "footprints_of")


def __getattr__(name: str) -> Any:
    # The child process that traces comes through here and starts ten times faster without torch.
    if name in __all__:
        home = "predict" if name in _PREDICTING else "values"
        return getattr(import_module(f"vitruvian.fit.footprint.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
