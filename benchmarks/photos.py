"""Photographs, files in to files out: this project's road against the plain loop that people write first.

A folder of photographs -> re-sized, re-encoded copies of mixed sizes -> result files of both ways, compared. Decoding,
drawing and encoding of pictures dominate around a nano network; the network itself around a published one. Both ways
crop, draw and fill documents with the same functions and write the same kinds of files.
"""

# Shape suffixes: B pictures, K keypoints, C classes, h w network resolution, H W source size, 3 = RGB.

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from decoding import decode_by_loop
from side_by_side import interleaved_best
from vitruvian.jobs import RUN_FILE, Job, run_job
from vitruvian.loading import load
from vitruvian.media.sinks import JPEG_QUALITY
from vitruvian.predict import Model
from vitruvian.tasks.base import Geometry, Origin, Result
from vitruvian.tasks.pose import COMPARED_SCORE, Pose
from vitruvian.tasks.preprocess import MEAN_RGB, STD_RGB
from vitruvian.tasks.seg import Segmentation, SegTask

BUNDLED = Path(__file__).parents[1] / "src" / "vitruvian" / "data" / "demo"
"""Pictures that are taken when no folder is given."""

LONG_SIDES_PX = (480, 2560)
"""Longer sides of the smallest and the largest copy; those between grow by a constant factor."""

COPY_QUALITY = 90
SUFFIXES = {".jpg", ".jpeg", ".png"}


def mixed_sizes(originals: Path, folder: Path, amount: int) -> list[Path]:
    """Write `amount` JPEG copies of the photographs in a folder, each of its own size, in a shuffled order of sizes."""
    paths = sorted(path for path in originals.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"got {originals}, a folder without .jpg or .png files; name one with photographs by --photos")
    folder.mkdir()
    long_sides = np.random.default_rng(0).permutation(np.geomspace(*LONG_SIDES_PX, amount))
    copies = []
    for index, long_side in enumerate(long_sides):
        image = _read_bgr(paths[index % len(paths)])
        scale = long_side / max(image.shape[:2])
        smaller = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        copies.append(folder / f"{index:03d}.jpg")
        cv2.imwrite(str(copies[-1]), smaller, [cv2.IMWRITE_JPEG_QUALITY, COPY_QUALITY])
    return copies


def _read_bgr(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"got {path}, which OpenCV cannot read; expected photographs; remove it from the folder")
    return image


@torch.inference_mode()
def plain_loop(model: Model, paths: Sequence[Path], out: Path) -> None:
    """One picture after the other, in one thread apart from torch's and OpenCV's own."""
    out.mkdir(parents=True)
    finish = {"pose": _plain_pose, "seg": _plain_seg}[model.task.name]
    mean_3, std_3 = np.array(MEAN_RGB, np.float32), np.array(STD_RGB, np.float32)
    for index, path in enumerate(paths):
        image_HW3 = cv2.cvtColor(_read_bgr(path), cv2.COLOR_BGR2RGB)
        canvas_HW3, geometry = model.task.prepare(image_HW3, None)
        x_3HW = ((canvas_HW3.astype(np.float32) - mean_3) / std_3).transpose(2, 0, 1)
        raw = model.runner.network(torch.from_numpy(np.ascontiguousarray(x_3HW))[None])
        result = finish(model, raw, geometry)
        result = replace(result, origin=Origin(name=path.name, index=index, time_s=None, image_HW3=image_HW3))
        _plain_write(result, out / path.name)


def _plain_pose(model: Model, raw: Mapping[str, Tensor], geometry: Geometry) -> Result:
    """Heat maps to NumPy, then keypoint by keypoint."""
    points_K3 = decode_by_loop(raw["heatmaps"][0].numpy(), geometry.canvas_hw)
    return model.task.finish({"points": torch.from_numpy(points_K3)}, geometry, model.provenance)[0]


def _plain_seg(model: Model, raw: Mapping[str, Tensor], geometry: Geometry) -> Result:
    """All logits to source size, then arg-max."""
    logits_BCHW = functional.interpolate(raw["logits"], geometry.source_hw, mode="bilinear", align_corners=False)
    labels_HW = logits_BCHW[0].argmax(dim=0).to(torch.uint8).numpy()
    assert isinstance(model.task, SegTask)
    return Segmentation(provenance=model.provenance, labels_HW=labels_HW, label_set=model.task.labels)


def _plain_write(result: Result, stem: Path) -> None:
    """The same kinds of files as the road's default formats."""
    if isinstance(result, Segmentation):
        cv2.imwrite(f"{stem}.seg.png", result.labels_HW)
    else:
        assert isinstance(result, Pose)
        Path(f"{stem}.pose.json").write_text(json.dumps(result.document(), indent=1))
    drawn = cv2.cvtColor(result.draw(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(f"{stem}.{result.kind}.drawn.jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def compare_nano(task: str, photos: Sequence[Path], work: Path, rounds: int) -> dict[str, Any]:
    """Both ways over the same photographs, interleaved; one JSON-able row with times, shares and agreement."""
    model = load(f"sapiens-{task}-nano", device="cpu", dtype="float32")
    ours = load(f"sapiens-{task}-nano", device="cpu")
    turn = count()
    last: dict[str, Path] = {}

    def plain() -> None:
        last["plain"] = work / f"plain-{task}-{next(turn)}"
        plain_loop(model, photos, last["plain"])

    def road() -> None:
        last["road"] = work / f"road-{task}-{next(turn)}"
        run_job(ours, Job(inputs=[str(photos[0].parent)], out=last["road"]))

    best = interleaved_best({"plain": plain, "road": road}, rounds)
    return {
        "benchmark": f"photos_{task}_nano",
        "pictures": len(photos),
        "long_sides_px": LONG_SIDES_PX,
        "rounds": rounds,
        "road_precision": str(ours.precision),
        "plain_s": round(best["plain"].wall_s, 3),
        "road_s": round(best["road"].wall_s, 3),
        "speed_up": round(best["plain"].wall_s / best["road"].wall_s, 2),
        "plain_cpu_s": round(best["plain"].cpu_s, 3),
        "road_cpu_s": round(best["road"].cpu_s, 3),
        "road_stage_shares": stage_shares(last["road"]),
        **_AGREEMENT[task]([path.name for path in photos], last["plain"], last["road"]),
    }


def stage_shares(out: Path) -> dict[str, float]:
    """Share of each stage in the time of all stages of the run in `out`, summed over threads."""
    seconds = json.loads((out / RUN_FILE).read_text())["timings_s"]
    return {stage: round(value / sum(seconds.values()), 3) for stage, value in seconds.items()}


def _pose_agreement(names: Sequence[str], plain: Path, road: Path) -> dict[str, Any]:
    """Distances in source pixels between keypoints that score above the drawn threshold."""
    distances: list[float] = []
    for name in names:
        first, second = (_keypoints(folder / f"{name}.pose.json") for folder in (plain, road))
        compared = np.minimum(first[:, 2], second[:, 2]) > COMPARED_SCORE
        distances += np.linalg.norm((first - second)[compared, :2], axis=1).tolist()
    if not distances:
        return {"compared_keypoints": 0}
    median, high = np.quantile(distances, (0.5, 0.99))
    return {
        "compared_keypoints": len(distances),
        "median_px": round(float(median), 4),
        "p99_px": round(float(high), 4),
        "largest_px": round(max(distances), 4),
    }


def _keypoints(path: Path) -> np.ndarray:
    """(K,3) x, y, score of the only person; NaN where there is no location."""
    person = json.loads(path.read_text())["instances"][0]
    pairs = zip(person["keypoints"], person["scores"], strict=True)
    return np.array([[*(xy or (np.nan, np.nan)), score] for xy, score in pairs], np.float64)


def _label_agreement(names: Sequence[str], plain: Path, road: Path) -> dict[str, Any]:
    """Share of equal labels over all pixels of all pictures."""
    equal = total = 0
    for name in names:
        first, second = (_labels(folder / f"{name}.seg.png") for folder in (plain, road))
        equal, total = equal + int((first == second).sum()), total + first.size
    return {"equal_label_share": round(equal / total, 6)}


def _labels(path: Path) -> np.ndarray:
    """uint8 (H,W) class numbers, of grey and of indexed pictures alike."""
    with Image.open(path) as picture:
        return np.asarray(picture)


_AGREEMENT: dict[str, Callable[[Sequence[str], Path, Path], dict[str, Any]]] = {
    "pose": _pose_agreement,
    "seg": _label_agreement,
}


def measure_large(name: str, photos: Sequence[Path], work: Path) -> dict[str, Any]:
    """A published size with random weights on the road: how much of the time is the network's."""
    model = load(name, device="cpu", random_weights=True)
    out = work / name
    run_job(model, Job(inputs=[str(path) for path in photos], out=out))
    document = json.loads((out / RUN_FILE).read_text())
    return {
        "benchmark": f"photos_{name}",
        "pictures": len(photos),
        "road_s": document["wall_s"],
        "network_share_of_wall": round(document["timings_s"]["network"] / document["wall_s"], 3),
        "road_stage_shares": stage_shares(out),
    }
