"""Files of a whole run, gathered from its `pose.json` documents one at a time: COCO results, and a table as CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from vitruvian.media.atomic import write_atomic
from vitruvian.media.documents import write_json_atomic
from vitruvian.media.names import output_name
from vitruvian.tasks.pose_csv import csv_header, csv_lines
from vitruvian.tasks.pose_files import coco_results

CSV_FILE = "pose.csv"
RESULTS_FILE = "pose.coco.json"
IDS_FILE = "pose.coco.images.json"


def image_ids(names: Sequence[str]) -> dict[str, int]:
    """COCO image id of each input: the number its stem ends with; 1, 2, 3, ... where one is missing or not unique."""
    found = [re.search(r"(\d+)$", PurePosixPath(name).stem) for name in names]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) == len(names) == len(set(numbers)):
        return dict(zip(names, numbers, strict=True))
    return {name: place for place, name in enumerate(names, 1)}


def gather_coco_results(out: Path, names: Sequence[str], *, announce: Callable[[str], None]) -> None:
    """Write `pose.coco.json` (results list) and `pose.coco.images.json` (which id is which input) into `out`.

    `announce` hears each file name first, so that the ledger knows it.
    """
    ids = image_ids(names)

    def write(file: BinaryIO) -> None:
        file.write(b"[")
        first = True
        for name, document in _documents(out, names):
            for entry in coco_results(document, ids[name]):
                file.write((b"" if first else b",\n") + json.dumps(entry).encode())
                first = False
        file.write(b"]\n")

    announce(RESULTS_FILE)
    write_atomic(out / RESULTS_FILE, write)
    announce(IDS_FILE)
    write_json_atomic(out / IDS_FILE, {str(number): name for name, number in ids.items()})


def gather_csv(out: Path, names: Sequence[str], *, announce: Callable[[str], None]) -> None:
    """Write `pose.csv` into `out`: a header row, then a row per person and keypoint, in the order of `names`.

    `announce` hears the file name first. UTF-8; what is no text in a file's name is written as `\\udcff`.
    """

    def write(file: BinaryIO) -> None:
        file.write(csv_header().encode())
        for name, document in _documents(out, names):
            file.write(csv_lines(document, name).encode("utf-8", "backslashreplace"))

    announce(CSV_FILE)
    write_atomic(out / CSV_FILE, write)


def _documents(out: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        yield name, json.loads((out / f"{output_name(name)}.pose.json").read_text(encoding="utf-8"))
