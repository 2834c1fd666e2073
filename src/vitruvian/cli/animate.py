"""`vitruvian animate`: a person from a picture moves as the persons of a video do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitruvian.cli.options import Accept, Budget, Device, Dtype, Quality, Quiet
from vitruvian.errors import InterruptedRunError, UsageError

if TYPE_CHECKING:
    from vitruvian.animating.wish import AnimateJob

Person = Annotated[Path, typer.Argument(metavar="PERSON.jpg", help="Picture of the person who shall move.")]
Driving = Annotated[Path, typer.Argument(metavar="DRIVING.mp4", help="Video whose poses drive.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT.mp4", help="The video to make.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="Catalogue name, checkpoint or its folder. (default: mimicmotion-nano)"
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        "--base", metavar="DIR", help="Folder of stable-video-diffusion-img2vid-xt-1-1. (default: fetched, or beside)"
    ),
]
Poses = Annotated[
    str,
    typer.Option("--poses", metavar="NAME", help="What finds poses: auto, published, or a pose model of `models`."),
]
PresetOption = Annotated[
    str, typer.Option("--preset", help="fast (12 steps, at most 15 frames/s), balanced (25) or best (40).")
]
Resolution = Annotated[
    int | None, typer.Option("--resolution", metavar="PX", help="Shorter side of the video. (default: the model's)")
]
FramesRange = Annotated[
    str, typer.Option("--frames", metavar="A:B", help="Frames of the driving video, from A up to B. (default: all)")
]
Fps = Annotated[
    str, typer.Option("--fps", metavar="auto|N", help="Frames a second; speed is kept. auto: the source's rate.")
]
GuidanceScale = Annotated[
    str | None,
    typer.Option(
        "--guidance-scale",
        metavar="S[:MAX]",
        help="How far guidance pushes, rising to MAX at the end. (published: 2)",
    ),
]
GuidanceInterval = Annotated[
    str | None,
    typer.Option(
        "--guidance-interval", metavar="A:B", help="Shares of the steps that are guided, e.g. 0.1:0.8. (default: all)"
    ),
]
PoseStrength = Annotated[float, typer.Option("--pose-strength", metavar="X", help="Weight of the poses.")]
NoHands = Annotated[bool, typer.Option("--no-hands", help="Leave hands out of the poses.")]
NoFace = Annotated[bool, typer.Option("--no-face", help="Leave faces out of the poses.")]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", help="Denoising steps. (default: the preset's; nano: 4)")
]
Seed = Annotated[int, typer.Option("--seed", help="Of the noise that the video begins as.")]
Guidance = Annotated[str, typer.Option("--guidance", help="auto, batched (both branches in a call) or sequential.")]
Tile = Annotated[str, typer.Option("--tile", metavar="auto|N", help="Frames that go through the network together.")]
Overlap = Annotated[
    int | None, typer.Option("--overlap", min=1, metavar="N", help="Frames that tiles share. (default: the preset's)")
]
Who = Annotated[
    str,
    typer.Option("--person", metavar="WHO", help="Who drives: all, largest, N from the left (0), or x0,y0,x1,y1."),
]
Gaps = Annotated[str, typer.Option("--missing", help="Where nobody is seen: hold the pose before, or blank.")]
AlignmentOption = Annotated[
    str, typer.Option("--alignment", help="How persons are fitted to the picture's: robust or published.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Knobs to keep: streamed=true, decode_chunk=2, storage=float8 ..."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run was killed, at any step.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the video of an earlier run.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Only write OUT.preview.mp4: the poses on the picture, in seconds.")
]
Explain = Annotated[bool, typer.Option("--explain", "-v", help="Print every automatic choice and why.")]
Json = Annotated[bool, typer.Option("--json", help="Print the content of OUT.run.json instead of a summary.")]


def animate(
    person: Person,
    driving: Driving,
    out: Out,
    model: Model = None,
    base: Base = None,
    poses: Poses = "auto",
    preset: PresetOption = "balanced",
    resolution: Resolution = None,
    frames: FramesRange = "0:",
    fps: Fps = "auto",
    guidance_scale: GuidanceScale = None,
    guidance_interval: GuidanceInterval = None,
    pose_strength: PoseStrength = 1.0,
    no_hands: NoHands = False,
    no_face: NoFace = False,
    steps: Steps = None,
    seed: Seed = 42,
    guidance: Guidance = "auto",
    tile: Tile = "auto",
    overlap: Overlap = None,
    who: Who = "all",
    missing: Gaps = "hold",
    alignment: AlignmentOption = "robust",
    settings: Set = None,
    budget: Budget = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    preview: Preview = False,
    device: Device = None,
    dtype: Dtype = None,
    quality: Quality = "balanced",
    accept_licence: Accept = None,
    explain: Explain = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A person from a picture moves as a video's persons do (MimicMotion); keeps the video's rate, speed and sound."""
    run(dict(locals()))


def run(typed: dict[str, Any]) -> None:
    """Carry out what was typed, and say how it went."""
    if typed["resume"] and typed["overwrite"]:
        raise UsageError("got --resume and --overwrite; expected one of them; --resume goes on with what is there")
    from vitruvian.animating.road import animate as carry_out
    from vitruvian.cli.screen import ask_on_terminal, say, stage_line
    from vitruvian.generation.weights import Access

    job, out, json, quiet = job_of(typed), typed["out"], typed["json"], typed["quiet"]
    for line in _limit(job):
        say(line)
    access = Access(accept_licence=typed["accept_licence"] or (), ask=ask_on_terminal(), report=say)
    try:
        with stage_line(quiet=quiet or json) as on_progress:
            done = carry_out(job, access, on_progress)
    except KeyboardInterrupt as stop:
        said = f"interrupted; the steps taken are kept beside {out.name}; --resume goes on"
        raise InterruptedRunError(said) from stop
    for note in done.notes:
        say(f"  note: {note}")
    if json:
        print(done.out.with_suffix(".run.json").read_text(encoding="utf-8"), end="")
        return
    if typed["explain"]:
        print("\n".join(map(str, done.decisions)))
    if not quiet:
        print(f"{done.frames} frames in {done.seconds:.0f} s -> {done.out}")


def _limit(job: AnimateJob) -> list[str]:
    """Hold the process to the budget before anything is loaded; what was set, for people."""
    if job.wish.budget_bytes is None:
        return []
    from vitruvian.hardware import limit_memory, probe

    hardware = probe()
    place = hardware.device(job.wish.device or hardware.default_device).device
    return [limit_memory(place, job.wish.budget_bytes).sentence]


def job_of(typed: dict[str, Any]) -> AnimateJob:
    """What was typed as a job.

    Raises:
        UsageError: a number or a pair that cannot be read.
    """
    from vitruvian import zoo
    from vitruvian.animating.way import parse_way
    from vitruvian.animating.wish import AnimateJob, AnimateWish
    from vitruvian.driving.persons import Choice
    from vitruvian.fit.quality import check_quality
    from vitruvian.generation.denoised import Interval
    from vitruvian.hardware import parse_size

    knobs = parse_way(typed["settings"] or [])
    if typed["tile"] != "auto":
        knobs["tile"] = _whole("--tile", typed["tile"], "auto, or frames from 2 on, such as 16")
    if typed["overlap"] is not None:
        knobs["overlap"] = typed["overlap"]
    first, end = _pair("--frames", typed["frames"], "frame numbers such as 0:72")
    interval = typed["guidance_interval"]
    shares = None if interval is None else _pair("--guidance-interval", interval, "shares such as 0.1:0.8")
    wish = AnimateWish(
        preset=typed["preset"],
        resolution=typed["resolution"],
        frames=(_number("--frames", first or "0"), None if not end else _number("--frames", end)),
        fps=None if typed["fps"] == "auto" else _float("--fps", typed["fps"], "auto, or frames a second such as 15"),
        guidance_scale=None if typed["guidance_scale"] is None else _scales(typed["guidance_scale"]),
        interval=None
        if shares is None
        else Interval(
            begin=_float("--guidance-interval", shares[0] or "0", "shares such as 0.1:0.8"),
            end=_float("--guidance-interval", shares[1] or "1", "shares such as 0.1:0.8"),
        ),
        pose_strength=typed["pose_strength"],
        hands=not typed["no_hands"],
        face=not typed["no_face"],
        steps=typed["steps"],
        seed=typed["seed"],
        guidance=typed["guidance"],
        knobs=knobs,
        who=Choice.of(typed["who"]),
        missing=typed["missing"],
        alignment=typed["alignment"],
        poses=typed["poses"],
        budget_bytes=None if typed["budget"] is None else parse_size(typed["budget"]),
        device=typed["device"],
        dtype=typed["dtype"],
        quality=check_quality(typed["quality"]),
        mode="resume" if typed["resume"] else "overwrite" if typed["overwrite"] else "new",
        preview=typed["preview"],
    )
    return AnimateJob(
        person=typed["person"],
        driving=typed["driving"],
        out=typed["out"],
        model=typed["model"] or zoo.NANO_ANIMATION_NAME,
        base=typed["base"],
        wish=wish,
    )


def _scales(text: str) -> tuple[float, float]:
    expected = "a number such as 2, or two such as 1:3"
    first, separator, last = text.partition(":")
    low = _float("--guidance-scale", first, expected)
    return low, _float("--guidance-scale", last, expected) if separator else low


def _pair(option: str, text: str, expected: str) -> tuple[str, str]:
    first, separator, last = text.partition(":")
    if not separator:
        raise UsageError(f"got {option} {text}; expected {expected}")
    return first, last


def _number(option: str, text: str) -> int:
    return _whole(option, text, "frame numbers such as 0:72")


def _whole(option: str, text: str, expected: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"got {option} {text}; expected {expected}") from None


def _float(option: str, text: str, expected: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"got {option} {text}; expected {expected}") from None
