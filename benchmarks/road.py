"""The road against the usual ways: decoding, labels, photographs with nano networks, and a published size.

One table and one JSON line; every ratio comes from one run that takes both ways in turn. Run on an idle machine:
python benchmarks/road.py [--photos DIR] [--only decoding,labels,photos,0.3b]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decoding
import labels
import photos
from side_by_side import Watch, conditions_line, print_json, print_table

PARTS = ("decoding", "labels", "photos", "0.3b")
LARGE = ("sapiens-pose-0.3b", "sapiens-seg-0.3b")
Cells = tuple[str, str, str, str, str, str]


def main() -> None:
    """Measure the parts that are asked for; print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=photos.BUNDLED, help="folder of photographs [bundled pictures]")
    parser.add_argument("--only", default=",".join(PARTS), help=f"comma list of {', '.join(PARTS)}")
    parser.add_argument("--pictures", type=int, default=200, help="copies of mixed sizes that the nano networks see")
    parser.add_argument("--large-pictures", type=int, default=3, help="copies that the published size sees")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each method; the best counts")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"got --only {','.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")

    watch = Watch()
    rows: list[dict[str, Any]] = []
    if "decoding" in parts:
        rows.append(decoding.measure(rounds=arguments.rounds))
    if "labels" in parts:
        rows.append(labels.measure(rounds=arguments.rounds))
    with tempfile.TemporaryDirectory(prefix="vitruvian-road-") as temporary:
        work = Path(temporary)
        if "photos" in parts:
            copies = photos.mixed_sizes(arguments.photos, work / "photos", arguments.pictures)
            rows += [photos.compare_nano(task, copies, work, arguments.rounds) for task in ("pose", "seg")]
        if "0.3b" in parts:
            few = photos.mixed_sizes(arguments.photos, work / "few", arguments.large_pictures)
            rows += [photos.measure_large(name, few, work) for name in LARGE]

    found = watch.conditions()
    print(conditions_line(found) + f"; best of {arguments.rounds}")
    print_table(("what", "usual", "ours", "ratio", "aim", "agreement"), [_cells(row) for row in rows])
    for row in rows:
        if "road_stage_shares" in row:
            shares = ", ".join(f"{stage} {share:.0%}" for stage, share in row["road_stage_shares"].items())
            print(f"{row['benchmark']}: share of each stage, threads summed: {shares}")
    print_json({"benchmark": "road", **found, "rows": rows})


def _cells(row: dict[str, Any]) -> Cells:
    kind = row["benchmark"].partition("_")[0]
    return _CELLS["photos_large" if "network_share_of_wall" in row else kind](row)


def _decoding_cells(row: dict[str, Any]) -> Cells:
    return (
        f"decode {row['keypoints']} keypoints of {row['persons']} persons",
        f"{row['loop_s']:.2f} s",
        f"{row['ours_s']:.3f} s",
        f"{row['speed_up']:.1f}x",
        ">= 10x",
        f"within {row['largest_difference_px']:.1e} px",
    )


def _labels_cells(row: dict[str, Any]) -> Cells:
    height, width = row["source_hw"]
    memory = [row["usual_extra_bytes"], row["ours_extra_bytes"]]
    usual_mib, ours_mib = (", memory unknown" if size is None else f", {size / 2**20:.0f} MiB" for size in memory)
    share = "" if None in memory else f", memory 1/{memory[0] / memory[1]:.1f}"
    return (
        f"{row['classes']} classes to {width}x{height} labels",
        f"{row['usual_s']:.2f} s{usual_mib}",
        f"{row['ours_s']:.2f} s{ours_mib}",
        f"{row['speed_up']:.1f}x{share}",
        ">= 4x, memory <= 1/4",
        f"{row['different_labels']} labels differ",
    )


def _photos_cells(row: dict[str, Any]) -> Cells:
    if "equal_label_share" in row:
        agreement = f"{row['equal_label_share']:.4%} labels equal"
    elif row["compared_keypoints"]:
        agreement = f"median {row['median_px']} px, 99 % within {row['p99_px']} px"
    else:
        agreement = "no keypoint scores enough to compare"
    return (
        f"{row['pictures']} photographs, {row['benchmark'].split('_')[1]} nano",
        f"{row['plain_s']:.1f} s (processor {row['plain_cpu_s']:.1f} s)",
        f"{row['road_s']:.1f} s (processor {row['road_cpu_s']:.1f} s)",
        f"{row['speed_up']:.2f}x",
        ">= 1.7x",
        agreement,
    )


def _large_cells(row: dict[str, Any]) -> Cells:
    what = f"{row['pictures']} photographs, {row['benchmark'].removeprefix('photos_')}, random weights"
    return (what, "", f"{row['road_s']:.1f} s", f"network {row['network_share_of_wall']:.1%}", ">= 90 %", "")


_CELLS: dict[str, Callable[[dict[str, Any]], Cells]] = {
    "decoding": _decoding_cells,
    "labels": _labels_cells,
    "photos": _photos_cells,
    "photos_large": _large_cells,
}


if __name__ == "__main__":
    main()
