"""Folders of metric depth: the layouts of KITTI and NYU beside those of `layouts`, and the cameras of their pictures.

In: a folder. Out: samples as paths, where each one's intrinsics are, and the protocol that the layout belongs to. Names
are read; of cameras one small file at a time, when a picture is measured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitruvian.datasets.depth_protocols import KITTI, NYU, PROTOCOLS, DepthProtocol
from vitruvian.datasets.layouts import Sample, Split, find_samples
from vitruvian.errors import InputError, UsageError
from vitruvian.media.names import printable
from vitruvian.media.signatures import has_picture_extension
from vitruvian.media.walking import walk_folder
from vitruvian.tasks.intrinsics_files import Intrinsics, IntrinsicsTable, read_intrinsics

INTRINSICS = "intrinsics.json"
"""Beside `images/`."""
CALIBRATION = "calib_cam_to_cam.txt"
SELECTION = Path("depth_selection") / "val_selection_cropped"
METRIC_LAYOUTS = (
    "kitti-selection: image/, groundtruth_depth/ and intrinsics/",
    "kitti: DRIVE/proj_depth/groundtruth/image_02/N.png and DATE/DRIVE/image_02/data/N.png",
    "nyu: rgb_N.jpg and sync_depth_N.png in one folder",
)
"""How they look, for messages."""

_TRUTH = "proj_depth/groundtruth/image_02"
_PICTURES = "image_02/data"
_PROJECTION = re.compile(r"^P_rect_02:((?:\s+\S+){12})\s*$", re.MULTILINE)
_Partners = Iterator[tuple[Path | None, Path, Path | None]]
"""Picture, target, file of the camera."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFound:
    """The samples of a folder of depth."""

    layout: str
    samples: tuple[Sample, ...]
    missing: tuple[str, ...]
    """A sentence for every file that has no partner."""
    own: DepthProtocol | None = None
    """What the layout is of; None: a plain one."""
    tables: Mapping[Split, IntrinsicsTable] = field(default_factory=dict)
    """Cameras of plain layouts, by part."""
    files: Mapping[Path, Path] = field(default_factory=dict)
    """Picture -> file of its camera."""

    def read_as(self, protocol: DepthProtocol, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """Samples with depth coded as the layout has it, or, in a plain one, as the protocol has it."""
        coding = (self.own or protocol).metres_per_code
        return tuple(replace(sample, metres_per_code=coding) for sample in samples)

    def camera(self, sample: Sample, protocol: DepthProtocol) -> IntrinsicsTable | None:
        """What files or the protocol say about the camera of a picture; None: nothing.

        Raises:
            InputError: the picture's own file cannot be used.
        """
        if sample.split in self.tables:
            return self.tables[sample.split]
        path = self.files.get(sample.image)
        if path is not None:
            return IntrinsicsTable(common=_camera_in(path), by_name={})
        common = (self.own or protocol).intrinsics
        return None if common is None else IntrinsicsTable(common=common, by_name={})


def protocol_named(name: str) -> DepthProtocol:
    """By name; `UsageError` lists them."""
    if name not in PROTOCOLS:
        raise UsageError(f"got the protocol {name!r}; expected {', '.join(PROTOCOLS)}; name one of them")
    return PROTOCOLS[name]


def find_depth(folder: Path) -> MetricFound:
    """Samples of a folder of depth, in a layout of `layouts` or one of `METRIC_LAYOUTS`.

    Raises:
        UsageError: no such folder, or none of the known layouts; lists them.
    """
    try:
        found = find_samples(folder, "depth")
    except UsageError as error:
        if not folder.is_dir():
            raise
        for layout, protocol, partners in _LAYOUTS:
            metric = _gathered(layout, protocol, folder, partners(folder))
            if metric is not None:
                return metric
        raise UsageError(f"{error}; or of metric depth: {'; '.join(METRIC_LAYOUTS)}") from None
    return MetricFound(
        layout=found.layout.name, samples=found.samples, missing=found.missing, tables=_tables(folder, found.samples)
    )


def _tables(folder: Path, samples: tuple[Sample, ...]) -> dict[Split, IntrinsicsTable]:
    """Of each part the file in it, or else the one of the whole folder."""
    tables: dict[Split, IntrinsicsTable] = {}
    for split in {sample.split for sample in samples}:
        for path in (folder / split / INTRINSICS, folder / INTRINSICS):
            if path.is_file():
                tables[split] = read_intrinsics(path)
                break
    return tables


def _gathered(layout: str, protocol: DepthProtocol, folder: Path, partners: _Partners) -> MetricFound | None:
    samples, missing, files = [], [], {}
    for image, target, camera in partners:
        name = printable(target.relative_to(folder).as_posix())
        if image is None:
            missing.append(f"{name} has no picture")
            continue
        if camera is not None:
            files[image] = camera
        first = target.relative_to(folder).parts[0]
        samples.append(
            Sample(
                name=printable(image.relative_to(folder).as_posix()),
                image=image,
                target=target,
                mask=None,
                split="train" if first == "train" else "val" if first == "val" else "",
                metres_per_code=protocol.metres_per_code,
            )
        )
    if not samples and not missing:
        return None
    samples.sort(key=lambda sample: sample.name)
    return MetricFound(layout=layout, samples=tuple(samples), missing=tuple(missing), own=protocol, files=files)


def _selection(folder: Path) -> _Partners:
    """KITTI's thousand cut pictures for validation, each with a file of its camera."""
    base = next((one for one in (folder, folder / SELECTION, folder / SELECTION.name) if _is_selection(one)), None)
    if base is None:
        return
    pictures = {path.stem: path for path in _files(base / "image", lambda path: has_picture_extension(path.name))}
    for target in _files(base / "groundtruth_depth", _is_depth):
        stem = target.stem.replace("_groundtruth_depth_", "_image_")
        camera = base / "intrinsics" / f"{stem}.txt"
        yield pictures.get(stem), target, camera if camera.is_file() else None


def _is_selection(folder: Path) -> bool:
    return (folder / "image").is_dir() and (folder / "groundtruth_depth").is_dir()


def _annotated(folder: Path) -> _Partners:
    """KITTI's annotated depth, and the raw pictures of the left colour camera by drive and number."""
    pictures: dict[tuple[str, str], Path] = {}
    targets: list[Path] = []
    for path in _files(folder, lambda path: has_picture_extension(path.name)):
        place = path.parent.as_posix()
        if place.endswith(f"/{_TRUTH}") and _is_depth(path):
            targets.append(path)
        elif place.endswith(f"/{_PICTURES}"):
            pictures[path.parents[2].name, path.stem] = path
    for target in targets:
        image = pictures.get((target.parents[3].name, target.stem))
        camera = None if image is None else image.parents[3] / CALIBRATION
        yield image, target, camera if camera and camera.is_file() else None


def _nyu(folder: Path) -> _Partners:
    """Pairs with the numbers of their names in common."""
    found = {
        (path.parent, path.stem): path
        for path in _files(folder, lambda path: path.name.startswith(("rgb_", "sync_depth_")))
    }
    for (place, stem), target in found.items():
        if stem.startswith("sync_depth_") and _is_depth(target):
            yield found.get((place, stem.replace("sync_depth_", "rgb_"))), target, None


_LAYOUTS: tuple[tuple[str, DepthProtocol, Callable[[Path], _Partners]], ...] = (
    ("kitti-selection", KITTI, _selection),
    ("kitti", KITTI, _annotated),
    ("nyu", NYU, _nyu),
)
"""Name, protocol, and how samples are found; the first that has any serves."""


def _files(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    return [path for path in walk_folder(folder, recursive=True, wanted=wanted) if isinstance(path, Path)]


def _is_depth(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".npy")


def _camera_in(path: Path) -> Intrinsics:
    """Of a text of 4 or 9 numbers, or of KITTI's calibration of all cameras of a day."""
    try:
        if path.name != CALIBRATION:
            common = read_intrinsics(path).common
            if common is None:
                raise UsageError("got cameras by name; expected 4 or 9 numbers of one")
            return common
        found = _PROJECTION.search(path.read_text(encoding="utf-8"))
        if found is None:
            raise UsageError(f"got {CALIBRATION} without a line P_rect_02 of 12 numbers; expected one")
        numbers = [float(word) for word in found[1].split()]
    except (OSError, ValueError, UsageError) as error:
        raise InputError(
            f"has a camera in {printable(os.path.join(path.parent.name, path.name))} that cannot be used: "
            f"{str(error).replace(str(path), path.name)}"
        ) from None
    return Intrinsics(fx_px=numbers[0], fy_px=numbers[5], cx_px=numbers[2], cy_px=numbers[6])
