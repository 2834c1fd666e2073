"""Write what `vitruvian doctor` compares float32 with; run it after the embedded networks were trained anew.

`python tools/make_doctor_expectations.py` -> `src/vitruvian/data/doctor.json`. Run it where all is known to work.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from vitruvian.doctor.examination import FULL_PICTURES, PICTURES, pictures_of
from vitruvian.doctor.expectations import FILE
from vitruvian.doctor.networks import Subject, accuracy_of


def main() -> None:
    """Compute and write."""
    torch.set_num_threads(1)
    stored: dict[str, dict[str, dict[str, float]]] = {}
    for count in (PICTURES, FULL_PICTURES):
        for name, views in pictures_of(count).items():
            subject = Subject.of(name, views)
            network = subject.network("float32", "cpu")
            results = [
                subject.results(network.raw([crop.canvas_HW3 for crop in crops]), picture)
                for picture, crops in enumerate(subject.crops)
            ]
            accuracy = {measure: round(value, 4) for measure, value in accuracy_of(name, views, results).items()}
            stored.setdefault(str(count), {})[name] = accuracy
    path = Path(__file__).parents[1] / "src" / "vitruvian" / "data" / FILE
    path.write_text(json.dumps({"float32": stored}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
