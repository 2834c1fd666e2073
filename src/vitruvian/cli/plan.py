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
            "state=host, optimizer=adamw-8bit, precision=pure, trainable=lora, patch_size=16 ...",
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
    from vitruvian.errors import DoesNotFitError
    from vitruvian.fit.explain import plan_text, shortfall
    from vitruvian.fit.settings import parse_settings
    from vitruvian.planning import plan as make

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
