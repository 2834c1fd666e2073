"""`vitruvian plan`: what a model takes, what fits, what was changed for it."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvian.cli.options import Budget, Json, Objective


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Catalogue name, weight file, or sapiens-2b to train.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Knobs to keep: crop=768x576, micro_batch=2, batch_size=16 (effective), checkpointing=blocks, "
            "state=host, optimizer=adamw-8bit, precision=pure, trainable=lora, patch_size=16 ...; of a video: "
            "frames=72, resolution=576, tile=16, streamed=true ...",
        ),
    ] = None,
    train: Annotated[
        str | None, typer.Option("--train", metavar="TASK", help="Plan training: pose, seg, depth or normal.")
    ] = None,
    machine: Annotated[
        str | None, typer.Option("--machine", metavar="NAME", help="A known machine, e.g. t4. (default: this one)")
    ] = None,
    budget: Budget = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="Devices to train on together.")] = 1,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda:0, ... (default: the first)")] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, bfloat16 or float16. (default: by support)")
    ] = None,
    objective: Objective = "throughput",
    json: Json = False,
) -> None:
    """What MODEL takes as published, what fits and what each change costs; loads nothing (exit 4: does not fit)."""
    from vitruvian import zoo
    from vitruvian.errors import DoesNotFitError
    from vitruvian.fit.explain import plan_text, shortfall
    from vitruvian.fit.settings import parse_settings
    from vitruvian.planning import plan as make

    if model in zoo.ANIMATION_MODELS:
        _plan_clip(model, settings or [], train, machine, budget, device, dtype, json=json)
        return
    made = make(
        model,
        train=train,
        machine=machine,
        budget=budget,
        gpus=gpus,
        device=device,
        dtype=dtype,
        objective=objective,
        settings=parse_settings(settings or []),
    )
    if json:
        import json as encoder

        print(encoder.dumps(made.to_json(), indent=2))
    else:
        print(plan_text(made))
    if not made.fits:
        raise DoesNotFitError(shortfall(made))


def _plan_clip(
    model: str,
    settings: list[str],
    train: str | None,
    machine: str | None,
    budget: str | None,
    device: str | None,
    dtype: str | None,
    *,
    json: bool,
) -> None:
    """The same for a model that makes videos."""
    from vitruvian.animating.plan import shortfall
    from vitruvian.animating.plan_text import plan_clip, plan_kinds, plan_words
    from vitruvian.errors import DoesNotFitError, UsageError
    from vitruvian.fit.settings import parse_pairs

    if train:
        raise UsageError(f"got --train for {model}, which this release does not train; leave it out")
    wanted = parse_pairs(settings, plan_kinds())
    made = plan_clip(model, wanted, machine=machine, budget=budget, device=device, dtype=dtype)
    if json:
        import json as encoder

        print(encoder.dumps(made.to_json(), indent=2))
    else:
        print(plan_words(model, made))
    if not made.fits:
        raise DoesNotFitError(shortfall(made))
