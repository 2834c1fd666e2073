"""Persons in pictures and in a clip, files to files: the published flow against ours, detector and 308 keypoints.

Folder of made pictures and a made clip -> JSON a picture, JSONL for the clip, by every way in a process of its own, in
turn -> persons and pictures a second, share of each stage, peak memory, how far the results are apart, and persons a
second over the batch. Both ways use the embedded detector and one pose network: nano with 308 maps, or a published size
with random weights. Loading is in no time. Finding and decoding share the time with the network where that is small.

    python benchmarks/persons.py FOLDER [--pictures N] [--seconds S] [--device cuda --random sapiens-pose-0.3b-308]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

import persons_data
from persons_agreement import distances, persons_in, same_persons
from persons_published import Picture, Pool, PublishedFlow
from side_by_side import Watch, conditions_line, print_json, print_table
from vitruvian import weights, zoo
from vitruvian.hardware import PeakWatch, open_meter
from vitruvian.hardware.host import usable_cores
from vitruvian.jobs import RUN_FILE, Job, run_job
from vitruvian.loading import load
from vitruvian.media.video.joining import joined
from vitruvian.media.video.writing import SegmentWriter
from vitruvian.network_stage import Timings
from vitruvian.stages import prefetched
from vitruvian.tasks.detect import DetectTask
from vitruvian.tasks.pose import PoseTask
from vitruvian.tasks.regions import read_boxes

PUBLISHED, ONE_THREAD, OUR_CROPS = "published flow", "published flow, one thread", "published flow, our crops"
OURS = "ours"
WAYS = (PUBLISHED, ONE_THREAD, OUR_CROPS, OURS)
TIMED = (PUBLISHED, ONE_THREAD, OURS)
"""The published flow is timed as it comes and with its networks on one thread, which is faster where its pool needs the
cores of a small machine; ratios are to the faster. "Our crops": one thread, and persons cut out as here, so that equal
boxes give equal network inputs."""

PARTS = ("pictures", "clip", "boxes", "batches")
BATCHES = (1, 2, 4, 8, 16, 32)

AHEAD = 4
"""Pictures that the published flow reads ahead."""


def published(arguments: argparse.Namespace, source: Path, watch: PeakWatch, pool: Pool) -> dict[str, Any]:
    """One run of the published flow; JSON-able."""
    torch.set_num_threads(usable_cores() if arguments.way == PUBLISHED else 1)
    detector = weights.find_weights(zoo.NANO_DETECTOR_NAME).build(device=arguments.device)
    found = weights.random_weights(arguments.random) if arguments.random else weights.find_weights(arguments.model)
    task, detect_task = found.spec.make_task(), detector.spec.make_task()
    assert isinstance(task, PoseTask)
    assert isinstance(detect_task, DetectTask)
    timings = Timings(watch=watch)
    batch = arguments.batch or 1
    flow = PublishedFlow(
        detector=detector.network,
        detect_task=detect_task,
        network=found.build(device=arguments.device).network,
        task=task,
        device=arguments.device,
        batch=batch,
        own_crops=arguments.way == OUR_CROPS,
        draw=arguments.draw,
        timings=timings,
        pool=pool,
    )
    arguments.out.mkdir(parents=True)
    started = time.perf_counter()
    frames = persons = 0
    for done in _published_files(flow, arguments, source):
        frames, persons = frames + 1, persons + done
    return {
        "run_s": time.perf_counter() - started,
        "frames": frames,
        "persons": persons,
        "stages_s": timings.seconds,
        "dtype": "float32",
        "micro_batch": batch,
        "pool_peak_bytes": pool.peak_bytes,
    }


def _published_files(flow: PublishedFlow, arguments: argparse.Namespace, source: Path) -> Iterator[int]:
    """Write everything; gives the persons of each picture or frame."""
    if source.is_dir():
        for done in flow.run(prefetched(_read_pictures(arguments, source), ahead=AHEAD)):
            yield done.persons
        return
    frame_rate = cv2.VideoCapture(str(source)).get(cv2.CAP_PROP_FPS)
    video = arguments.out / f"{source.name}.pose"
    work = arguments.out / "segments"
    with SegmentWriter(work, frames_per_segment=1 << 30) as writer, Path(f"{video}.jsonl").open("w") as lines:
        for index, done in enumerate(flow.run(prefetched(_read_frames(source), ahead=AHEAD))):
            lines.write(done.text + "\n")
            if done.drawn_HW3 is not None:
                with flow.timings.measure("encode"):
                    writer.write(done.drawn_HW3, index / frame_rate)
            yield done.persons
        if writer.frames:
            joined(writer.finish(), Path(f"{video}.mp4"))


def _read_pictures(arguments: argparse.Namespace, folder: Path) -> Iterator[Picture]:
    table = read_boxes(arguments.boxes) if arguments.boxes else None
    for path in _paths(arguments, folder):
        image_HW3 = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        boxes = (table.lookup(path.name) or ()) if table else None
        yield Picture(name=path.name, image_HW3=image_HW3, out=arguments.out / f"{path.name}.pose.json", boxes=boxes)


def _read_frames(path: Path) -> Iterator[Picture]:
    capture = cv2.VideoCapture(str(path))
    while True:
        there, image_HW3 = capture.read()
        if not there:
            return
        yield Picture(name=path.name, image_HW3=cv2.cvtColor(image_HW3, cv2.COLOR_BGR2RGB), out=None)


def _paths(arguments: argparse.Namespace, folder: Path) -> list[Path]:
    return sorted(folder.iterdir())[: arguments.amount]


def ours(arguments: argparse.Namespace, source: Path, watch: PeakWatch) -> dict[str, Any]:
    """One run of our road; JSON-able."""
    model = load(
        arguments.random or arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        micro_batch=arguments.batch,
        random_weights=bool(arguments.random),
    )
    inputs = [str(path) for path in _paths(arguments, source)] if source.is_dir() else [str(source)]
    formats = ("json", "draw") if arguments.draw else ("json",)
    started = time.perf_counter()
    progress = run_job(
        model, Job(inputs=inputs, out=arguments.out, formats=formats, boxes=arguments.boxes), watch=watch
    )
    run_s = time.perf_counter() - started
    if progress.failures:
        raise SystemExit(f"got failures: {progress.failures[:3]}; expected none; mend the inputs")
    document = json.loads((arguments.out / RUN_FILE).read_text())
    persons = [len(found) for found in persons_in(arguments.out).values()]
    return {
        "run_s": run_s,
        "frames": len(persons),
        "persons": sum(persons),
        "stages_s": document["timings_s"],
        "dtype": document["precision"],
        "micro_batch": document["micro_batch"],
        "pool_peak_bytes": 0,
    }


def run_way(arguments: argparse.Namespace) -> dict[str, Any]:
    """One way in this process; JSON-able."""
    pool = None if arguments.way == OURS else Pool(usable_cores())  # forked before anything starts threads
    with PeakWatch(open_meter(arguments.device)) as watch:
        if pool is None:
            row = ours(arguments, arguments.source, watch)
        else:
            row = published(arguments, arguments.source, watch, pool)
    return {"way": arguments.way, **row, "peak_bytes": watch.peak_bytes}


def in_child(arguments: argparse.Namespace, way: str, source: Path, out: Path, **options: Any) -> dict[str, Any]:
    """One way in a fresh process."""
    wanted = {"device": arguments.device, "random": arguments.random, "dtype": arguments.dtype, **options}
    command = [sys.executable, __file__, str(arguments.folder), "--way", way, "--source", str(source)]
    command += ["--model", str(arguments.model), "--out", str(out)] + (["--draw"] if arguments.draw else [])
    for name, value in wanted.items():
        command += [f"--{name}", str(value)] if value is not None else []
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"got exit code {done.returncode} of {way}: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    speed = f"{row['persons'] / row['run_s']:.1f} persons/s, {row['frames'] / row['run_s']:.1f} pictures/s"
    print(f"{source.name}: {way}, batch {row['micro_batch']}: {row['run_s']:.1f} s, {speed}", file=sys.stderr)
    return row | {"out": str(out)}


def measure(arguments: argparse.Namespace, what: str, source: Path, work: Path) -> list[dict[str, Any]]:
    """The ways in turn; the shortest run of each, and what share of persons was found by it and by ours.

    The published flow as it comes runs once, over pictures alone.
    """
    best: dict[str, dict[str, Any]] = {}
    for turn in range(arguments.rounds):
        for index, way in enumerate(TIMED):
            if way == PUBLISHED and (turn or what == "clip"):
                continue  # threads that wait for each other: once is long enough
            row = in_child(arguments, way, source, work / f"{what}-{turn}-{index}")
            if way not in best or row["run_s"] < best[way]["run_s"]:
                best[way] = row | {"what": what}
    base = persons_in(Path(best[OURS]["out"]))
    for row in best.values():
        row["same_persons"] = same_persons(persons_in(Path(row.pop("out"))), base)
    return list(best.values())


def compare(arguments: argparse.Namespace, pictures: Path, work: Path) -> list[dict[str, Any]]:
    """Keypoints of the same boxes: both ways of the published flow against ours."""
    boxes = persons_data.boxes_of(pictures)
    found = {}
    for index, way in enumerate((ONE_THREAD, OUR_CROPS, OURS)):
        row = in_child(arguments, way, pictures, work / f"boxes-{index}", boxes=boxes, amount=arguments.compared)
        found[way] = persons_in(Path(row["out"]))
    return [{"way": way, **distances(found[way], found[OURS])} for way in (ONE_THREAD, OUR_CROPS)]


def over_batches(arguments: argparse.Namespace, way: str, pictures: Path, work: Path) -> list[dict[str, Any]]:
    """A way of the published flow and ours at fixed batches, in turn; the shortest run of each."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for turn in range(arguments.rounds):
        for batch in arguments.batches:
            for one in (way, OURS):
                out = work / f"batch-{turn}-{batch}-{one == OURS}"
                row = in_child(arguments, one, pictures, out, batch=batch, amount=arguments.batch_pictures)
                if (one, batch) not in best or row["run_s"] < best[one, batch]["run_s"]:
                    best[one, batch] = row | {"asked": batch}
    return [{key: value for key, value in row.items() if key != "out"} for row in best.values()]


def fastest_published(rows: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    """The published run that ratios are to."""
    return min((row for row in rows if row["what"] == what and row["way"] != OURS), key=lambda row: row["run_s"])


def print_speeds(rows: Sequence[dict[str, Any]]) -> None:
    """A table, and the shares of the stages below it."""
    cells = []
    for row in rows:
        base = fastest_published(rows, row["what"])
        pool = f" + pool {row['pool_peak_bytes'] / 1e9:.2f}" if row["pool_peak_bytes"] else ""
        cells.append(
            (
                row["what"],
                row["way"],
                f"{row['dtype']}, batch {row['micro_batch']}",
                row["persons"],
                f"{row['run_s']:.1f}",
                f"{row['persons'] / row['run_s']:.1f}",
                f"{row['frames'] / row['run_s']:.2f}",
                f"{base['run_s'] / row['run_s']:.2f}x",
                f"{row['peak_bytes'] / 1e9:.2f}{pool}",
                f"{100 * row['same_persons']:.1f} %",
            )
        )
    header = (
        "what",
        "way",
        "ran as",
        "persons",
        "seconds",
        "persons/s",
        "pictures/s",
        "speed",
        "peak GB",
        "same persons",
    )
    print_table(header, cells)
    for row in rows:
        total = sum(row["stages_s"].values())
        shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in row["stages_s"].items())
        print(f"{row['what']}, {row['way']}: {total:.1f} s in stages, threads and processes summed: {shares}")


def print_distances(rows: Sequence[dict[str, Any]]) -> None:
    """How far from ours at equal boxes."""
    cells = [
        (
            row["way"],
            row["persons"],
            row["keypoints"],
            *(row.get(key, "-") for key in ("median_px", "p90_px", "p99_px")),
        )
        for row in rows
    ]
    print_table(("against ours, same boxes", "persons", "keypoints", "median px", "90 % px", "99 % px"), cells)


def print_batches(rows: Sequence[dict[str, Any]]) -> None:
    """Persons a second over the batch."""
    cells = []
    way = next(row["way"] for row in rows if row["way"] != OURS)
    for batch in dict.fromkeys(row["asked"] for row in rows):
        pair = {row["way"]: row for row in rows if row["asked"] == batch}
        speeds = [pair[one]["persons"] / pair[one]["run_s"] for one in (way, OURS)]
        ran = pair[OURS]["micro_batch"]
        note = "" if ran == batch else f" (ran {ran})"
        cells.append((f"{batch}{note}", *(f"{speed:.1f}" for speed in speeds), f"{speeds[1] / speeds[0]:.2f}x"))
    print_table(("batch", f"{way}, persons/s", f"{OURS}, persons/s", "speed"), cells)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where pictures, clip and network are made once and kept")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the clip")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--random", metavar="MODEL", help="a published pose model with random weights, instead of nano")
    parser.add_argument("--dtype", help="compute type of ours (default: chosen)")
    parser.add_argument("--draw", action="store_true", help="both ways draw, too")
    parser.add_argument("--only", default=",".join(PARTS), help=f"comma list of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way; the best counts")
    parser.add_argument("--compared", type=int, default=40, help="pictures whose keypoints are compared at equal boxes")
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=list(BATCHES))
    parser.add_argument("--batch-pictures", type=int, default=60, help="pictures for the table over batches")
    child = parser.add_argument_group("one run in this process, as the benchmark calls itself")
    child.add_argument("--way", choices=WAYS)
    child.add_argument("--source", type=Path)
    child.add_argument("--model", type=Path)
    child.add_argument("--out", type=Path)
    child.add_argument("--batch", type=int)
    child.add_argument("--boxes", type=Path)
    child.add_argument("--amount", type=int, help="only the first pictures")
    arguments = parser.parse_args()
    if unknown := set(arguments.only.split(",")) - set(PARTS):
        parser.error(f"got --only {','.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    return arguments


def main() -> None:
    """Run all, or one way when called as a child."""
    arguments = _arguments()
    if arguments.way:
        print(json.dumps(run_way(arguments)))
        return
    parts = arguments.only.split(",")
    arguments.model = persons_data.network(arguments.folder)
    pictures = persons_data.pictures(arguments.folder, arguments.pictures) if parts != ["clip"] else Path()
    clip = persons_data.clip(arguments.folder, arguments.seconds) if "clip" in parts else Path()
    watch = Watch()
    speeds: list[dict[str, Any]] = []
    work = Path(tempfile.mkdtemp(prefix="vitruvian-persons-"))
    try:
        for what, source in (("pictures", pictures), ("clip", clip)):
            if what in parts:
                speeds += measure(arguments, what, source, work)
        compared = compare(arguments, pictures, work) if "boxes" in parts else []
        way = fastest_published(speeds, "pictures")["way"] if "pictures" in parts else ONE_THREAD
        batches = over_batches(arguments, way, pictures, work) if "batches" in parts else []
    finally:
        shutil.rmtree(work)
    found = watch.conditions()
    print(
        conditions_line(found) + f"; {arguments.random or 'nano, 308 maps'} on {arguments.device}; "
        f"drawing {'on' if arguments.draw else 'off'}; best of {arguments.rounds}"
    )
    if speeds:
        print_speeds(speeds)
    if compared:
        print_distances(compared)
    if batches:
        print_batches(batches)
    options = {"pictures": arguments.pictures, "seconds": arguments.seconds, "random": arguments.random}
    options |= {"device": arguments.device, "draw": arguments.draw, "rounds": arguments.rounds}
    print_json({"benchmark": "persons", **options, **found, "speeds": speeds, "boxes": compared, "batches": batches})


if __name__ == "__main__":
    main()
