"""All kinds of training that render their own pictures, by the task that names them."""

from __future__ import annotations

from vitruvian.finetuning.joint_nano import JOINT_NANO
from vitruvian.finetuning.metric_nano import METRIC_NANO
from vitruvian.finetuning.nano_kind import NanoKind

NANO_KINDS: dict[str, NanoKind] = {kind.task: kind for kind in (JOINT_NANO, METRIC_NANO)}
