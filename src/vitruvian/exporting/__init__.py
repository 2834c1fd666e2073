"""From a model, or any module, to an artefact that is planned, built, verified and explained."""

from vitruvian.exporting.making import Exported, export

__all__ = ["Exported", "export"]
