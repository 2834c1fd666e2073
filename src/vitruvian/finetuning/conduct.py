"""What every road to trained weights does alike: the folder, predictions, the run and its document.

In: values of the road. Out: the same, ready to use. Only the first of several processes writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

from vitruvian import __version__
from vitruvian.finetuning.folder import Mode, RunFolder, open_run
from vitruvian.finetuning.training import Outcome, Training
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan_values import Plan
from vitruvian.hardware import probe
from vitruvian.training.ranks import Ranks


class Predicts(Protocol):
    """Knows a training's footprints."""

    def predicted(self, knobs: Knobs) -> Breakdown:
        """What some knobs take, by the footprint alone."""


def opened_together(stack: ExitStack, out: Path, mode: Mode, identity: Mapping[str, Any], ranks: Ranks) -> RunFolder:
    """The folder of a training, which the first process alone locks and clears.

    Raises:
        UsageError, RefusedError: as `open_run`.
    """
    if ranks.leads:
        folder = stack.enter_context(open_run(out, mode, identity))
    ranks.wait()
    return folder if ranks.leads else RunFolder(path=out)


def predictor(plan: Plan, planner: Predicts) -> Callable[[Knobs], int]:
    """Predicted peak bytes of any knobs; the plan's own, which measurements corrected, for the plan's."""

    def predicted_bytes(knobs: Knobs) -> int:
        return plan.peak_bytes if knobs == plan.knobs else planner.predicted(knobs).total_bytes

    return predicted_bytes


def conducted(training: Training, document: Callable[[Outcome | None], dict[str, Any]]) -> Outcome:
    """Train, with a `run.json` that is true before, after, and where it breaks off."""
    leads, folder = training.leads, training.folder
    if leads:
        folder.write_document(document(None))
    try:
        outcome = training.run()
    except BaseException as error:
        if leads:
            folder.write_document(document(None) | {"ended_by": f"{type(error).__name__}: {error}"})
        raise
    if leads:
        folder.write_document(document(outcome))
    return outcome


def common_document(training: Training, plan: Plan, outcome: Outcome | None) -> dict[str, Any]:
    """What `run.json` says of any training; holds no private path."""
    rig = training.rig
    return {
        "vitruvian": __version__,
        "torch": torch.__version__,
        "written_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": outcome is not None,
        "machine": probe().line(),
        "device": plan.device,
        "processes": rig.ranks.count,
        "steps": training.steps,
        "recipe": asdict(training.recipe),
        "knobs": rig.knobs.to_json(),
        "predicted_bytes": plan.peak_bytes,
        "budget_bytes": plan.budget_bytes,
        "decisions": [decision.to_json() for decision in (*plan.decisions, *rig.decisions, *training.decisions)],
        "outcome": None if outcome is None else asdict(outcome),
    }
