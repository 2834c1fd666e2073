"""The table that spreadsheets read."""

from __future__ import annotations

import csv
import io

from vitruvian.tasks.pose_csv import COLUMNS, csv_header, csv_lines

DOCUMENT = {
    "time_s": 0.25,
    "keypoint_names": ["nose", "left_eye"],
    "instances": [
        {"id": 4, "keypoints": [[1.5, 2.0], None], "scores": [0.9, -0.125]},
        {"id": -1, "keypoints": [[0.0, 0.0], [3.25, 4.0]], "scores": [None, 1.01]},
    ],
}


def test_one_row_a_person_and_keypoint() -> None:
    rows = list(csv.reader(io.StringIO(csv_header() + csv_lines(DOCUMENT, 'a,"b".jpg'), newline="")))
    assert rows == [
        list(COLUMNS),
        ['a,"b".jpg', "0.25", "4", "0", "nose", "1.5", "2.0", "0.9"],
        ['a,"b".jpg', "0.25", "4", "0", "left_eye", "", "", "-0.125"],
        ['a,"b".jpg', "0.25", "-1", "1", "nose", "0.0", "0.0", ""],
        ['a,"b".jpg', "0.25", "-1", "1", "left_eye", "3.25", "4.0", "1.01"],
    ]


def test_pictures_have_no_time_and_nobody_followed_no_number() -> None:
    instance = {"keypoints": [[1, 2]], "scores": [0.5]}
    line = csv_lines({"keypoint_names": ["nose"], "instances": [instance]}, "one.jpg")
    assert line == "one.jpg,,,0,nose,1,2,0.5\r\n"


def test_nobody_has_no_rows() -> None:
    assert csv_lines({"keypoint_names": ["nose"], "instances": []}, "one.jpg") == ""
