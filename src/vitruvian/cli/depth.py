"""`vitruvian depth`: metres where the model knows the camera, relative depth of persons where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvian.cli.options import (
    Accept,
    Batch,
    Budget,
    Device,
    Dtype,
    Objective,
    Quality,
    Quiet,
    Rebuild,
    Trust,
)
from vitruvian.cli.run import (
    Boxes,
    Camera,
    End,
    Explain,
    Formats,
    Fps,
    Inputs,
    Json,
    MaxLatency,
    ModelName,
    Options,
    Out,
    Overwrite,
    PersonsBy,
    Recursive,
    Resume,
    Smooth,
    Start,
    Stride,
    Track,
    run_verb,
)

FocalPx = Annotated[
    float | None,
    typer.Option("--focal-px", metavar="PX", help="Focal length in pixels of the pictures as they are; makes metres."),
]
FovDeg = Annotated[
    float | None, typer.Option("--fov-deg", metavar="DEG", help="Horizontal field of view, instead of a focal length.")
]
IntrinsicsFile = Annotated[
    Path | None,
    typer.Option(
        "--intrinsics",
        metavar="FILE",
        help="fx, fy, cx, cy or a 3x3 matrix, for all pictures or by name, as JSON or numbers. (default: EXIF, or else "
        "an assumption that is said)",
    ),
]
Canvas = Annotated[
    str | None,
    typer.Option(
        "--canvas",
        metavar="fixed|fit|WxH",
        help="Metric models: padded as published, each picture's own aspect, or a size. (default: fixed)",
    ),
]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens", metavar="N", help="Metric models: a smaller canvas of about N tokens of 14x14 pixels."),
]

MetricFrom = Annotated[
    str | None,
    typer.Option(
        "--metric-from",
        metavar="NAME",
        help="With a sapiens depth model: the metric model that gives its relative depth of persons metres.",
    ),
]


def depth(
    out: Out,
    inputs: Inputs = None,
    camera: Camera = None,
    model: ModelName = None,
    focal_px: FocalPx = None,
    fov_deg: FovDeg = None,
    intrinsics: IntrinsicsFile = None,
    canvas: Canvas = None,
    tokens: Tokens = None,
    metric_from: MetricFrom = None,
    detector: PersonsBy = "auto",
    boxes: Boxes = None,
    track: Track = False,
    smooth: Smooth = False,
    start: Start = 0.0,
    end: End = None,
    stride: Stride = 1,
    fps: Fps = 25.0,
    formats: Formats = "",
    recursive: Recursive = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
    quality: Quality = "balanced",
    budget: Budget = None,
    batch: Batch = None,
    objective: Objective = "throughput",
    max_latency: MaxLatency = None,
    trust: Trust = False,
    rebuild: Rebuild = "auto",
    accept_licence: Accept = None,
    explain: Explain = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Depth: in metres with normals and point clouds (metric3d models, the default), or relative (sapiens models)."""
    run_verb("depth", Options(**locals()))
