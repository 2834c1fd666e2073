"""Write what `vitruvian doctor` compares float32 with; run it after the embedded networks were trained anew.

`python tools/make_doctor_expectations.py` -> `src/vitruvian/data/doctor.json`. Run it where all is known to work.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from vitruvian.doctor.examination import FULL_PICTURES, PICTURES, TASKS
from vitruvian.doctor.expectations import FILE
from vitruvian.doctor.networks import Subject, accuracy_of
from vitruvian.evaluation import measures


def main() -> None:
    """Compute and write."""
    torch.set_num_threads(1)
    stored: dict[str, dict[str, dict[str, float]]] = {}
    for count in (PICTURES, FULL_PICTURES):
        views = measures.held_out_views(count)
        for task in TASKS:
            subject = Subject.of(task, views)
            network = subject.network("float32", "cpu")
            results = [
                subject.results(network.raw([crop.canvas_HW3 for crop in crops]), picture)
                for picture, crops in enumerate(subject.crops)
            ]
            accuracy = {name: round(value, 4) for name, value in accuracy_of(task, views, results).items()}
            stored.setdefault(str(count), {})[task] = accuracy
    path = Path(__file__).parents[1] / "src" / "vitruvian" / "data" / FILE
    path.write_text(json.dumps({"float32": stored}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
