"""Following people over synthetic clips: trackers against each other, keypoints and maps with and without smoothing.

Seeds -> clips with exact truth, detections and outputs disturbed as a detector and a network disturb them -> tables and
one JSON line. Boxes and keypoints of truth are traced without shading, some 20 ms a frame of 256 x 192. Libraries that
are not installed are left out: none of them is needed by the package.

    OMP_NUM_THREADS=1 python benchmarks/following.py [--clips N] [--first SEED] [--libraries] [--detector]
"""

# Shape suffixes: T frames, P persons or detections of one frame, K keypoints, H W picture, 4 = x0 y0 x1 y1, 2 = x y.

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from following_libraries import PICTURE_HW, Maker, Update, installed
from vitruvian.evaluation.following import (
    FollowingCounts,
    Persons,
    following_counts,
    jitter_per_frame2,
    lag_frames,
)
from vitruvian.following.dense_smoothing import DenseSmoother
from vitruvian.following.smoothing import KeypointSmoother
from vitruvian.following.tracker import Tracker, TrackerSettings
from vitruvian.people import Clip, Scene, random_clip, render
from vitruvian.people.person import joints_of, person_primitives, world_bones
from vitruvian.people.primitives import concatenate
from vitruvian.people.raster import trace
from vitruvian.people.surroundings import prop_primitives
from vitruvian.videos.followers import SURER
from vitruvian.zoo.detectors import NANO_SCORE

LEAST_SHARE = 0.25
"""Persons of whom less is visible are neither truth nor ever detected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """The persons of one frame: boxes between the outer edges of visible pixels (nan where nothing is), and more."""

    boxes_P4: np.ndarray
    share_P: np.ndarray
    """Visible share of the outline the person would have alone, 0..1."""
    keypoints_PK3: np.ndarray
    """x, y, and 0 outside the picture, 1 covered, 2 visible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footage:
    """What a tracker is given of one clip, and what is true."""

    frame_rate: float
    truths: list[Truth]
    detections: list[tuple[np.ndarray, np.ndarray]]


def clip_of(seed: int, size_hw: tuple[int, int]) -> Clip:
    """A clip of 2 to 5 persons, two of whom walk past each other, 48 to 72 frames at 12 to 24 per second."""
    rng = np.random.default_rng([seed, 77])
    persons, frames, fps = int(rng.integers(2, 6)), int(rng.integers(48, 73)), float(rng.choice([12, 15, 18, 24]))
    return random_clip(seed, persons=persons, frames=frames, fps=fps, height=size_hw[0], width=size_hw[1])


def clips_of(first: int, count: int) -> list[tuple[float, list[Truth]]]:
    """Frame rate and truth of some clips, not rendered."""
    clips = [clip_of(seed, PICTURE_HW) for seed in range(first, first + count)]
    return [(clip.fps, [truth_of(scene) for scene in clip]) for clip in clips]


def footage_found(first: int, count: int, size_hw: tuple[int, int] = (288, 384)) -> list[Footage]:
    """Rendered clips as the embedded detector sees them; some 0.15 s a frame."""
    from vitruvian.evaluation.detection import find, loaded

    model = loaded()
    footage = []
    for seed in range(first, first + count):
        clip = clip_of(seed, size_hw)
        finds = find(model, [render(scene).image_HW3 for scene in clip])
        detections = [(found.boxes_D4.astype(np.float64), found.scores_D.astype(np.float64)) for found in finds]
        truths = [truth_of(scene) for scene in clip]
        footage.append(Footage(frame_rate=clip.fps, truths=truths, detections=detections))
    return footage


def truth_of(scene: Scene) -> Truth:
    """Boxes, visible shares and keypoints by ray casting alone, without a picture."""
    camera, persons = scene.camera, scene.persons
    bones = [world_bones(person) for person in persons]
    sets = [person_primitives(p, b, camera, owner, 0) for owner, (p, b) in enumerate(zip(persons, bones, strict=True))]
    sets += [prop_primitives(scene.props, camera, 0)] if scene.props else []
    primitives = concatenate(sets)
    hits = trace(primitives, camera)
    owner_HW = np.full((camera.height, camera.width), -1)
    owner_HW.reshape(-1)[hits.pixel_K] = primitives.owner_N[hits.primitive_K]
    coarse = camera.coarsened(3)
    boxes_P4, share_P, keypoints_PK3 = np.full((len(persons), 4), np.nan), np.zeros(len(persons)), []
    for index, (person, posed) in enumerate(zip(persons, bones, strict=True)):
        rows, columns = np.nonzero(owner_HW == index)
        if len(rows):
            boxes_P4[index] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        alone = len(trace(person_primitives(person, posed, coarse, 0, 0), coarse).pixel_K) * 9
        share_P[index] = min(len(rows) / max(alone, 1), 1.0)
        xy_K2 = camera.project(camera.to_camera(joints_of(person, posed).world_m_K3))
        near_K2 = np.nan_to_num(np.floor(xy_K2 + 0.5), nan=-9).astype(np.int64)
        inside_K = np.all((near_K2 >= 0) & (near_K2 < np.array([camera.width, camera.height])), axis=1)
        column_K, row_K = np.where(np.expand_dims(inside_K, 1), near_K2, 0).T
        seen_K = np.where(owner_HW[row_K, column_K] == index, 2, 1) * inside_K
        keypoints_PK3.append(np.concatenate([xy_K2, seen_K[:, None]], axis=1))
    return Truth(boxes_P4=boxes_P4, share_P=share_P, keypoints_PK3=np.array(keypoints_PK3))


def detections_of(truths: Sequence[Truth], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes and scores as a middling detector finds them: edges off by 3 % of the box (standard deviation), 5 % of the
    persons missed, lower scores for covered persons, a false box in every tenth frame."""
    rng = np.random.default_rng(seed)
    height, width = PICTURE_HW
    found = []
    for truth in truths:
        there_P = np.isfinite(truth.boxes_P4).all(axis=1) & (truth.share_P >= LEAST_SHARE)
        there_P &= rng.random(len(there_P)) >= 0.05
        boxes_P4 = truth.boxes_P4[there_P]
        size_P4 = np.tile(boxes_P4[:, 2:] - boxes_P4[:, :2], 2)
        boxes_P4 = boxes_P4 + rng.normal(0, 0.03, boxes_P4.shape) * size_P4
        scores_P = 0.25 + 0.65 * truth.share_P[there_P] + rng.normal(0, 0.08, len(boxes_P4))
        false = int(rng.poisson(0.1))
        centre_2 = rng.uniform(0, 1, (false, 2)) * (width, height)
        half_2 = rng.uniform(0.05, 0.2, (false, 1)) * height * np.array([0.4, 1.0])
        boxes_P4 = np.concatenate([boxes_P4, np.concatenate([centre_2 - half_2, centre_2 + half_2], axis=1)])
        low_P2, high_P2 = np.minimum(boxes_P4[:, :2], boxes_P4[:, 2:]), np.maximum(boxes_P4[:, :2], boxes_P4[:, 2:])
        scores_P = np.concatenate([scores_P.clip(0.05, 0.99), rng.uniform(0.1, 0.6, false)])
        found.append((np.concatenate([low_P2, high_P2], axis=1), scores_P))
    return found


def persons_of(truth: Truth) -> Persons:
    """Who counts in one frame of truth."""
    there = np.flatnonzero(np.isfinite(truth.boxes_P4).all(axis=1) & (truth.share_P >= LEAST_SHARE))
    return Persons(ids_P=there + 1, boxes_P4=truth.boxes_P4[there])


def our_follower(frame_rate: float) -> Update:
    """The package's own, as runs set it for the embedded detector."""
    settings = TrackerSettings(sure_score=NANO_SCORE + SURER)
    return Tracker(frame_rate, settings).update


def judge(make: Maker, sequences: Sequence[Footage]) -> dict[str, Any]:
    """Measures of a tracker over all sequences, and its time."""
    counts, spent_s, frames = FollowingCounts(), 0.0, 0
    for sequence in sequences:
        update = make(sequence.frame_rate)
        started = time.perf_counter()
        ids = [update(boxes_P4, scores_P) for boxes_P4, scores_P in sequence.detections]
        spent_s += time.perf_counter() - started
        frames += len(ids)
        found = [Persons(ids_P=i, boxes_P4=b) for i, (b, _) in zip(ids, sequence.detections, strict=True)]
        counts += following_counts([persons_of(truth) for truth in sequence.truths], found)
    return {
        "idf1": round(counts.idf1, 3),
        "switches": counts.switches,
        "fragmentations": counts.fragmentations,
        "recall": round(counts.recall, 3),
        "precision": round(counts.precision, 3),
        "ms_per_frame": round(spent_s / frames * 1e3, 2),
    }


def our_tracker(frame_rate: float) -> Update:
    """The package's own."""
    return Tracker(frame_rate).update


def tracker_rows(clips: Sequence[tuple[float, list[Truth]]], libraries: bool) -> list[dict[str, Any]]:
    """One row for every tracker and stride."""
    rows = []
    for stride in (1, 2, 4):
        footage = [
            Footage(
                frame_rate=fps / stride,
                truths=truths[::stride],
                detections=detections_of(truths[::stride], 1000 * noise + index),
            )
            for noise in range(3)
            for index, (fps, truths) in enumerate(clips)
        ]
        makers: dict[str, Maker] = {"ours": our_tracker}
        makers |= installed() if libraries else {}
        rows += [{"tracker": name, "stride": stride} | judge(make, footage) for name, make in makers.items()]
    return rows


def keypoint_row(
    clips: Sequence[tuple[float, list[Truth]]], name: str, noise: float, of: slice, still: bool
) -> dict[str, Any]:
    """Jitter, error and lag of the chosen persons' keypoints before and after smoothing.

    Keypoints are off by `noise` (share of the person's height, standard deviation) where visible and by three times
    that where covered, with Student's t of four degrees, each frame anew; outside the picture they are missing. `still`
    repeats the first frame for two seconds, so that only noise moves.
    """
    kept: dict[str, list[float]] = {
        key: [] for key in ("jitter", "jitter_smoothed", "error", "error_smoothed", "lag_ms")
    }
    for index, (fps, truths) in enumerate(clips):
        frames = [truths[0]] * round(2 * fps) if still else truths
        rng = np.random.default_rng([index, 9])
        height_TP = np.array([np.nan_to_num(t.boxes_P4[:, 3] - t.boxes_P4[:, 1], nan=PICTURE_HW[0]) for t in frames])
        points_TPK3 = np.array([truth.keypoints_PK3 for truth in frames])
        true_TPK2, seen_TPK = points_TPK3[..., :2], points_TPK3[..., 2]
        spread_TPK = noise * np.where(seen_TPK == 2, 1.0, 3.0) * height_TP[..., None]
        found_TPK2 = true_TPK2 + rng.standard_t(4, true_TPK2.shape) / np.sqrt(2) * spread_TPK[..., None]
        found_TPK2[seen_TPK == 0] = np.nan
        smoother, ids_P = KeypointSmoother(), np.arange(found_TPK2.shape[1]) + 1
        smooth_TPK2 = np.array(
            [smoother.update(found_TPK2[t], ids_P, height_TP[t], t / fps) for t in range(len(found_TPK2))]
        )
        for person in range(found_TPK2.shape[1])[of]:
            height_px = float(np.median(height_TP[:, person]))
            true_TK2 = true_TPK2[:, person]
            if not np.isfinite(found_TPK2[:, person]).any():
                continue
            for suffix, some_TK2 in (("", found_TPK2[:, person]), ("_smoothed", smooth_TPK2[:, person])):
                kept["jitter" + suffix].append(1e3 * jitter_per_frame2(true_TK2, some_TK2, height_px))
                error_TK = np.linalg.norm(some_TK2 - true_TK2, axis=2)
                kept["error" + suffix].append(1e3 * float(np.nanmean(error_TK)) / height_px)
            kept["lag_ms"].append(lag_frames(true_TK2, smooth_TPK2[:, person]) * 1e3 / fps)
    lag_ms = [value for value in kept.pop("lag_ms") if np.isfinite(value)]
    means = {key: round(float(np.nanmean(values)), 1) for key, values in kept.items()}
    return {"persons": name, "noise": noise} | means | {"lag_ms": round(float(np.mean(lag_ms))) if lag_ms else None}


def dense_rows(first: int, count: int) -> list[dict[str, Any]]:
    """Error and change from frame to frame of depth (share of the people's spread) and normals (degrees), on people.

    Depth flickers by 2 % in blobs and 1 % as a whole, normals by some 5 degrees in blobs, each frame anew. Pixels count
    as still where true depth changes by less than 1 % of the spread and true normals by less than 3 degrees.
    """
    sums = {"still": np.zeros(9), "moving": np.zeros(9)}
    for index, clip in enumerate(_clips_on_the_spot(first, count)):
        rng = np.random.default_rng(index)
        depth_smoother, normal_smoother = DenseSmoother("values"), DenseSmoother("directions")
        before: tuple[np.ndarray, ...] | None = None
        for t, scene in enumerate(clip):
            view = render(scene)
            on_HW, normal_HW3 = view.person_ids_HW > 0, view.normals_HW3
            near, far = view.depth_m_HW[on_HW].min(), view.depth_m_HW[on_HW].max()
            depth_HW = np.where(on_HW, (view.depth_m_HW - near) / (far - near), 1.2).astype(np.float32)
            flicker_HW = 0.02 * _blobs(rng, depth_HW.shape, 6) + 0.01 * rng.normal()
            found_HW = (depth_HW + flicker_HW).astype(np.float32)
            found_HW3 = normal_HW3 + 0.07 * _blobs(rng, normal_HW3.shape, 4)
            found_HW3 = found_HW3 / np.linalg.norm(found_HW3, axis=2, keepdims=True)
            smooth_HW = depth_smoother.update(found_HW, view.image_HW3, t / clip.fps)
            smooth_HW3 = normal_smoother.update(found_HW3, view.image_HW3, t / clip.fps)
            now = (depth_HW, found_HW, smooth_HW, normal_HW3, found_HW3, smooth_HW3, on_HW)
            if before is not None:
                still_HW = (np.abs(depth_HW - before[0]) < 0.01) & (_angle_deg(normal_HW3, before[3]) < 3)
                both_HW = on_HW & before[6]
                sums["still"] += _dense_sums(now, before, both_HW & still_HW)
                sums["moving"] += _dense_sums(now, before, both_HW & ~still_HW)
            before = now
    measures = ("depth_error", "depth_change", "normal_error_deg", "normal_change_deg")
    names = [measure + suffix for measure in measures for suffix in ("", "_smoothed")]
    return [
        {"pixels": kind} | dict(zip(names, (values[1:] / values[0]).round(4).tolist(), strict=True))
        for kind, values in sums.items()
    ]


def _clips_on_the_spot(first: int, count: int) -> list[Clip]:
    """Clips of one person who moves without walking."""
    clips: list[Clip] = []
    seed = first
    while len(clips) < count:
        clip = random_clip(seed, persons=1, frames=30, fps=24.0, height=256, width=256)
        if clip[0].persons[0].position_m_3 == clip[len(clip) - 1].persons[0].position_m_3:
            clips.append(clip)
        seed += 1
    return clips


def _blobs(rng: np.random.Generator, shape: tuple[int, ...], sigma_px: float) -> np.ndarray:
    """Smooth noise of about unit variance."""
    return np.asarray(cv2.GaussianBlur(rng.normal(size=shape), (0, 0), sigma_px)) * sigma_px * 2 * np.sqrt(np.pi)


def _angle_deg(one_HW3: np.ndarray, other_HW3: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos((one_HW3 * other_HW3).sum(axis=2).clip(-1, 1)))


def _dense_sums(now: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...], where_HW: np.ndarray) -> np.ndarray:
    depth, found, smooth, normal, found3, smooth3, _ = now
    columns = (
        np.ones(depth.shape),
        np.abs(found - depth),
        np.abs(smooth - depth),
        np.abs(found - before[1]),
        np.abs(smooth - before[2]),
        _angle_deg(found3, normal),
        _angle_deg(smooth3, normal),
        _angle_deg(found3, before[4]),
        _angle_deg(smooth3, before[5]),
    )
    return np.array([column[where_HW].sum() for column in columns])


def _print_table(rows: list[dict[str, Any]]) -> None:
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    print()


def main() -> None:
    """Print the three tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--first", type=int, default=5000, help="first seed; settings were chosen on 1000 ff.")
    parser.add_argument("--libraries", action="store_true", help="also the tracker libraries that are installed")
    parser.add_argument("--detector", action="store_true", help="also what the embedded detector finds, on 10 clips")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    clips = clips_of(arguments.first, arguments.clips)
    found: dict[str, list[dict[str, Any]]] = {
        "trackers": tracker_rows(clips, arguments.libraries),
        "keypoints": [
            keypoint_row(clips, name, noise, of, still)
            for noise in (0.004, 0.008)
            for name, of, still in (
                ("still", slice(None), True),
                ("walking", slice(0, 2), False),
                ("on the spot", slice(2, None), False),
            )
        ],
        "dense": dense_rows(arguments.first, 5),
    }
    if arguments.detector:
        footage = footage_found(arguments.first, 10)
        makers = {"ours": our_follower} | (installed() if arguments.libraries else {})
        found["embedded detector"] = [{"tracker": name} | judge(make, footage) for name, make in makers.items()]
    for rows in found.values():
        _print_table(rows)
    print(json.dumps({"benchmark": "following", "clips": arguments.clips, "first": arguments.first, **found}))


if __name__ == "__main__":
    main()
