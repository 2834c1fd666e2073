"""Keypoints as a table for spreadsheets: one row per person and keypoint.

A `pose.json` document -> lines of CSV (RFC 4180, UTF-8, no comments). Some 15 kB per person for 308 keypoints.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = ("name", "time_s", "id", "person", "keypoint", "x_px", "y_px", "score")
"""Header row. Empty: `time_s` of single pictures, `id` where nobody follows, `x_px` and `y_px` without a location."""


def csv_header() -> str:
    """The first line of a file."""
    return _lines([COLUMNS])


def csv_lines(document: Mapping[str, Any], name: str) -> str:
    """All rows of one document; `name` is the input they belong to, persons are counted from 0."""
    names, time_s = document["keypoint_names"], document.get("time_s")
    return _lines(
        (name, time_s, instance.get("id"), person, keypoint, *(xy or (None, None)), score)
        for person, instance in enumerate(document["instances"])
        for keypoint, xy, score in zip(names, instance["keypoints"], instance["scores"], strict=True)
    )


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
