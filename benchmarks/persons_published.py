"""Finding persons and their keypoints as the published programs do it, re-made from a description of them.

Pictures are taken `batch` at a time (one at a time with 1), the detector sees each alone, the persons of these pictures
go through a float32 program `batch` at a time, the last of them filled up with blanks; all heat maps come to the host
in float32 and are pickled to a pool of processes, which blurs and refines keypoint by keypoint and writes JSON.

Kinder than the originals: pictures are read ahead whatever their sizes, a picture without persons gives an empty result
instead of a made-up box, pixels travel to the pool only where something is drawn, and the pool's line is bounded (there
it grows until memory ends). There is no flip test: theirs is never passed on.
"""

# Shape suffixes: P persons, B crops of a batch, K keypoints, H W picture, h w heat map or canvas, 3 = RGB or x y score.

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from automatic import Only
from decoding import decode_by_loop
from vitruvian.hardware.process_memory import process_memory
from vitruvian.media.sinks import JPEG_QUALITY
from vitruvian.network_stage import Timings
from vitruvian.tasks.base import Geometry, Provenance, Region
from vitruvian.tasks.decode import to_source
from vitruvian.tasks.detect import DetectTask
from vitruvian.tasks.drawing import draw_pose
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose import PoseTask
from vitruvian.tasks.preprocess import MEAN_RGB, STD_RGB, crop_geometry, crop_matrix

MOST_WAITING = 32
"""Pictures that may wait for the pool: at 0.3b's size the maps of one person take 60 MB."""

_NOBODY = Provenance(model="", weights_sha256="", licence="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture or frame to look at."""

    name: str
    image_HW3: np.ndarray
    out: Path | None
    """JSON file to write; None: the text comes back, for a line of a video."""
    boxes: Sequence[Region] | None = None
    """Persons that are given; None: the detector finds them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What the pool gives back for a picture."""

    persons: int
    text: str
    drawn_HW3: np.ndarray | None
    finish_s: float
    write_s: float
    process: int
    private_bytes: int
    """Of the process that did it, shared pages not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """All that is pickled for a picture."""

    heat_PKhw: np.ndarray
    geometries: Sequence[Geometry]
    out: Path | None
    image_HW3: np.ndarray | None
    """Pixels, where something is drawn."""
    keep_drawn: bool
    """Whether the drawing comes back, for a video, instead of going to a file."""


class Pool:
    """Processes that decode and write; make it before torch starts threads or a device, because they are forked."""

    def __init__(self, workers: int) -> None:
        self._pool = multiprocessing.get_context("fork").Pool(workers, initializer=cv2.setNumThreads, initargs=(1,))
        self._waiting: deque[AsyncResult[Done]] = deque()
        self._largest: dict[int, int] = {}

    @property
    def peak_bytes(self) -> int:
        """Highest private memory of each process seen at the end of a picture, summed."""
        return sum(self._largest.values())

    def hand(self, order: _Order, timings: Timings) -> Iterator[Done]:
        """Put a picture in line; gives those that are done, in order."""
        with timings.measure("hand over"):
            self._waiting.append(self._pool.apply_async(_decode_and_write, (order,)))
        while self._waiting and (self._waiting[0].ready() or len(self._waiting) > MOST_WAITING):
            yield self._next(timings)

    def rest(self, timings: Timings) -> Iterator[Done]:
        """Those that are still in line."""
        while self._waiting:
            yield self._next(timings)
        self._pool.close()
        self._pool.join()

    def _next(self, timings: Timings) -> Done:
        with timings.measure("wait for pool"):
            done = self._waiting.popleft().get()
        for stage, seconds in (("finish", done.finish_s), ("write", done.write_s)):
            timings.seconds[stage] = timings.seconds.get(stage, 0.0) + seconds
        self._largest[done.process] = max(self._largest.get(done.process, 0), done.private_bytes)
        return done


@dataclass(kw_only=True)
class PublishedFlow:
    """Two float32 networks and a pool."""

    detector: nn.Module
    detect_task: DetectTask
    network: nn.Module
    task: PoseTask
    device: str
    batch: int
    own_crops: bool
    """Cut persons out as this project does instead of as the published programs do."""
    draw: bool
    timings: Timings
    pool: Pool
    _programs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Programs of one batch size, as the published ones are."""
        sizes = {"detector": (1, self.detect_task.input_hw), "pose": (self.batch, self.task.input_hw)}
        networks = {"detector": self.detector, "pose": Only(self.network, "heatmaps")}
        for name, (batch, canvas_hw) in sizes.items():
            example = torch.zeros(batch, 3, *canvas_hw, device=self.device)
            with torch.inference_mode():
                traced = torch.jit.trace(networks[name].eval(), example, strict=False, check_trace=False)
            self._programs[name] = torch.jit.freeze(traced)

    def run(self, pictures: Iterator[Picture]) -> Iterator[Done]:
        """All pictures, in order."""
        pictures = self._timed(pictures)
        while group := list(islice(pictures, self.batch)):
            with torch.inference_mode():
                boxes = [self._find(picture) if picture.boxes is None else picture.boxes for picture in group]
                crops = [self._crop(picture, box) for picture, found in zip(group, boxes, strict=True) for box in found]
                heat_PKhw = self._heat_maps([canvas for canvas, _ in crops])
            first = 0
            for picture, found in zip(group, boxes, strict=True):
                persons = slice(first, first + len(found))
                first += len(found)
                order = _Order(
                    heat_PKhw=heat_PKhw[persons],
                    geometries=[geometry for _, geometry in crops[persons]],
                    out=picture.out,
                    image_HW3=picture.image_HW3 if self.draw else None,
                    keep_drawn=picture.out is None,
                )
                yield from self.pool.hand(order, self.timings)
        yield from self.pool.rest(self.timings)

    def _timed(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        while True:
            with self.timings.measure("read"):
                picture = next(pictures, None)
            if picture is None:
                return
            yield picture

    def _find(self, picture: Picture) -> Sequence[Region]:
        """One picture through the detector."""
        task = self.detect_task
        with self.timings.measure("detector prepare"):
            canvas_hw3, geometry = task.prepare(picture.image_HW3, None)
            x_13hw = task.network_input(torch.from_numpy(canvas_hw3[None]).to(self.device))
        with self.timings.measure("detector network"):
            raw = self._programs["detector"](x_13hw)
            tensors = {name: value[0].cpu() for name, value in task.finish_tensors(raw).items()}
        with self.timings.measure("detector finish"):
            return task.finish(tensors, geometry, _NOBODY)[0].regions

    def _crop(self, picture: Picture, region: Region) -> tuple[np.ndarray, Geometry]:
        """A person as a normalised canvas (3,h,w) and where it was.

        The published way copies the picture, grows the box to the picture's shape, warps it to a picture of that size
        and makes that small: two resamplings and a distorted person.
        """
        with self.timings.measure("prepare"):
            image_HW3, canvas_hw = picture.image_HW3, self.task.input_hw
            if self.own_crops:
                canvas_hw3, geometry = self.task.prepare(image_HW3, region)
            else:
                height, width = image_HW3.shape[:2]
                geometry = crop_geometry((height, width), region, (height, width))
                warped_HW3 = cv2.warpAffine(image_HW3.copy(), crop_matrix(geometry), (width, height))
                canvas_hw3 = np.asarray(cv2.resize(warped_HW3, canvas_hw[::-1]), np.uint8)
            x_3hw = ((canvas_hw3.astype(np.float32) - _MEAN_3) / _STD_3).transpose(2, 0, 1)
            return np.ascontiguousarray(x_3hw), geometry

    def _heat_maps(self, canvases: Sequence[np.ndarray]) -> np.ndarray:
        """All of them on the host in float32; the last batch is filled up with blanks."""
        parts = []
        for first in range(0, len(canvases), self.batch):
            part = canvases[first : first + self.batch]
            with self.timings.measure("prepare"):
                blanks = [np.zeros_like(part[0])] * (self.batch - len(part))
                x_B3hw = torch.from_numpy(np.stack([*part, *blanks]))
            with self.timings.measure("network"):
                heat_BKhw: Tensor = self._programs["pose"](x_B3hw.to(self.device))
                parts.append(heat_BKhw[: len(part)].cpu().float().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.task.keypoints.count, 1, 1), np.float32)


_MEAN_3, _STD_3 = np.array(MEAN_RGB, np.float32), np.array(STD_RGB, np.float32)


def _decode_and_write(order: _Order) -> Done:
    """In a process of the pool: one picture's persons, keypoint by keypoint, and its file."""
    started = time.perf_counter()
    instances = []
    for heat_Khw, geometry in zip(order.heat_PKhw, order.geometries, strict=True):
        points_K3 = decode_by_loop(heat_Khw, _canvas_hw(heat_Khw))
        xy_K2 = to_source(points_K3[:, :2], geometry.centre_xy, geometry.size_wh, _canvas_hw(heat_Khw))
        assert geometry.region is not None
        instances.append(
            {
                "keypoints": xy_K2.tolist(),
                "keypoint_scores": points_K3[:, 2].tolist(),
                "bbox": list(geometry.region.box_xyxy),
            }
        )
    decoded = time.perf_counter()
    text = json.dumps({"instance_info": instances})
    if order.out is not None:
        order.out.write_text(text)
    drawn_HW3 = _drawn(order, instances)
    return Done(
        persons=len(instances),
        text="" if order.out is not None else text,
        drawn_HW3=drawn_HW3,
        finish_s=decoded - started,
        write_s=time.perf_counter() - decoded,
        process=os.getpid(),
        private_bytes=_private_bytes(),
    )


def _canvas_hw(heat_Khw: np.ndarray) -> tuple[int, int]:
    """Heat maps are a quarter of the canvas."""
    return heat_Khw.shape[1] * 4, heat_Khw.shape[2] * 4


def _drawn(order: _Order, instances: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """The picture with skeletons, by this project's functions, into a file or back."""
    drawn_HW3 = order.image_HW3
    if drawn_HW3 is None:
        return None
    if instances:
        xy_PK2, scores_PK, boxes_P4 = (
            np.array([person[key] for person in instances], np.float32)
            for key in ("keypoints", "keypoint_scores", "bbox")
        )
        drawn_HW3 = draw_pose(drawn_HW3, xy_PK2, scores_PK, boxes_P4, keypoint_set(xy_PK2.shape[1]))
    if order.keep_drawn:
        return drawn_HW3
    assert order.out is not None
    path = str(order.out.with_suffix(".drawn.jpg"))
    cv2.imwrite(path, cv2.cvtColor(drawn_HW3, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return None


def _private_bytes() -> int:
    """Memory of this process alone: a forked process shares the rest with its parent."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return process_memory().private_bytes
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))
