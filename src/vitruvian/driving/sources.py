"""Where poses come from, by name: the published networks, or a pose model of this project."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vitruvian import zoo
from vitruvian.driving.of_model import ModelPoses
from vitruvian.driving.persons import PoseSource
from vitruvian.driving.published import open_published
from vitruvian.generation.weights import Access, locate_pose_models
from vitruvian.loading import load

AUTO, PUBLISHED = "auto", "published"
PROVIDERS = {"cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
"""Of ONNX Runtime by kind of device; the processor elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSource:
    """A source and what to say about it."""

    source: PoseSource
    name: str
    licence: str
    notes: tuple[str, ...]


def open_source(name: str, spec: zoo.AnimationSpec, access: Access, *, device: str) -> OpenSource:
    """The source of this name.

    Args:
        name: `published`, a pose model, or `auto`: as the model's own clips were made.
        spec: of the model that makes the video.
        access: how files are fetched.
        device: where it runs.

    Raises:
        UsageError: no such model, or one of another task.
        RefusedError: a licence that was not accepted.
    """
    if name == AUTO:
        name = PUBLISHED if spec.files_of("person_detector") else zoo.default_model("pose")
    if name == PUBLISHED:
        if not spec.files_of("person_detector"):  # the embedded model brings none
            spec = replace(spec, files=(*spec.files, *zoo.POSE_FILES))
        detector, whole_body = locate_pose_models(spec, access)
        kind = device.partition(":")[0]
        source = open_published(detector, whole_body, providers=PROVIDERS.get(kind, ("CPUExecutionProvider",)))
        licences = ", ".join(dict.fromkeys(file.licence for file in spec.files_of("person_detector", "whole_body")))
        return OpenSource(source=source, name=PUBLISHED, licence=licences, notes=())
    model = load(name, device=device, accept_licence=access.accept_licence, ask=access.ask, report=access.report)
    found = ModelPoses(model=model)
    return OpenSource(source=found, name=model.spec.name, licence=model.provenance.licence, notes=tuple(model.notes))
