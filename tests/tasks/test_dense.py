"""What all result files say about where they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.sinks import PROVENANCE
from vitruvian.tasks.dense import about_result
from vitruvian.tasks.depth import Depth


@pytest.mark.parametrize(("rounded_to", "said"), [("", {}), ("bfloat16", {"weights_rounded_to": "bfloat16"})])
def test_rounded_weights_are_named_and_others_are_not(rounded_to: str, said: dict[str, str]) -> None:
    depth = Depth(provenance=replace(PROVENANCE, rounded_to=rounded_to), depth_HW=np.ones((3, 4), np.float32))
    about = depth.about()
    assert {key: value for key, value in about.items() if key.startswith("weights_r")} == said
    assert about_result(depth, (3, 4), unit="none") == {
        "kind": "depth",
        "model": "tiny",
        "weights_sha256": "ab" * 32,
        "licence": "CC BY-NC 4.0",
        **said,
        "height": 3,
        "width": 4,
        "unit": "none",
    }
