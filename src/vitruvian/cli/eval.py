"""`vitruvian eval`: a model, or a results file, against known truth."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvian.cli.options import Accept, Batch, Budget, Device, Dtype, FlipTest, Json, Quality, Quiet
from vitruvian.errors import InputError, UsageError

if TYPE_CHECKING:
    from vitruvian.datasets.layouts import DenseKind
    from vitruvian.evaluation.dense_run import DenseReport
    from vitruvian.evaluation.pose_run import PoseReport
    from vitruvian.predict import Model

DENSE: dict[str, DenseKind] = {"seg": "seg", "depth": "depth", "normal": "normal"}
TASKS = ("pose", *DENSE)


ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="Catalogue name or weight file. Leave it out with --results.")
]
Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="COCO keypoint annotations (JSON) or a folder with them; for other tasks a folder of samples.",
        show_default=False,
    ),
]
Task = Annotated[str, typer.Option("--task", help="What is measured: pose, seg, depth or normal.")]
Pictures = Annotated[
    Path | None, typer.Option("--pictures", metavar="DIR", help="The pictures. (default: beside the annotations)")
]
Boxes = Annotated[
    str, typer.Option("--boxes", metavar="truth|FILE", help="Persons' boxes: the annotated ones, or COCO detections.")
]
Detector = Annotated[
    str | None,
    typer.Option("--detector", metavar="NAME", help="Find persons by this detector instead (auto: the embedded one)."),
]
Frame = Annotated[str, typer.Option("--frame", help="Axes of true normals: camera (y down, z forward) or published.")]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="kitti|nyu|none",
        help="Crop, cap and codes of metric depth. (default: what the folder is of)",
    ),
]
Align = Annotated[
    str, typer.Option("--align", metavar="none|median|scale-shift", help="What is fitted to each true metric depth.")
]
LogBase = Annotated[
    str, typer.Option("--log-base", metavar="e|10", help="Of RMSE-log and SILog; 10 as in Metric3D's own program.")
]
Results = Annotated[
    Path | None, typer.Option("--results", metavar="FILE", help="Measure this COCO results file; no model runs.")
]


def evaluate(
    model: ModelName,
    data: Data = None,
    task: Task = "pose",
    pictures: Pictures = None,
    boxes: Boxes = "truth",
    detector: Detector = None,
    results: Results = None,
    frame: Frame = "camera",
    protocol: Protocol = None,
    align: Align = "none",
    log_base: LogBase = "e",
    flip_test: FlipTest = False,
    device: Device = None,
    dtype: Dtype = None,
    quality: Quality = "balanced",
    budget: Budget = None,
    batch: Batch = None,
    accept_licence: Accept = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy against known truth: AP, AR, PCK; mIoU; AbsRel, RMSE; angles (exit 3: some pictures failed)."""
    of_poses = {"--pictures": pictures, "--detector": detector, "--results": results, "--flip-test": flip_test}
    _check_options(task, of_poses, {"--protocol": protocol, "--align": align != "none", "--log-base": log_base != "e"})
    from vitruvian.cli.screen import ask_on_terminal, say
    from vitruvian.evaluation import pose_run

    if detector is not None and boxes != pose_run.TRUE_BOXES:
        raise UsageError(f"got --detector {detector} and --boxes {boxes}; expected one of them; leave the other out")

    def load() -> Model:
        from vitruvian.loading import load

        return load(
            model,
            device=device,
            dtype=dtype,
            quality=quality,
            budget=budget,
            micro_batch=batch,
            detector=detector or "none",
            accept_licence=accept_licence or (),
            ask=ask_on_terminal(),
            report=(lambda line: None) if quiet else say,
        )

    if results is not None:
        report: PoseReport | DenseReport = pose_run.evaluate_results(data or Path(model), results)
    elif data is None:
        raise UsageError(f"got {model} alone; expected MODEL DATA, or DATA --results FILE; name both")
    elif task != "pose":
        from vitruvian.evaluation.dense_run import evaluate_dense
        from vitruvian.evaluation.metric_run import wish_of

        report = evaluate_dense(load, data, DENSE[task], frame=frame, wish=wish_of(protocol, align, log_base))
    else:
        found = boxes if detector is None else pose_run.FOUND_BOXES
        report = pose_run.evaluate_model(load, data, pictures=pictures, boxes=found, flip_test=flip_test)
    _print(report, as_json=json)


def _check_options(task: str, of_poses: Mapping[str, object], of_depth: Mapping[str, object]) -> None:
    """`UsageError` for an unknown task, or for options of another one than this."""
    if task not in TASKS:
        raise UsageError(f"got --task {task}; expected one of {', '.join(TASKS)}; name one of them")
    for of, options in (("pose", of_poses), ("depth", of_depth)):
        named = [name for name, value in options.items() if value]
        if named and of != task:
            raise UsageError(f"got {', '.join(named)} with --task {task}; expected them for {of} alone; leave them out")


def _print(report: PoseReport | DenseReport, *, as_json: bool) -> None:
    if as_json:
        from vitruvian.media.documents import json_text

        print(json_text(report.to_json(), indent=2))
    else:
        print(report.text())
    for failure in report.failures:
        print(f"  failed {failure.name}: {failure.reason}", file=sys.stderr)
    if report.failures:
        raise typer.Exit(InputError.exit_code)
