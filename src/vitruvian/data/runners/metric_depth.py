"""Metric depth, confidence, normals and points of pictures, with numpy, onnxruntime and Pillow alone (Python 3.8).

    python run_metric_depth.py ARTEFACT PICTURE... -o OUT [--focal-px F | --fov-deg D | --intrinsics FILE]

In: a folder that `vitruvian export metric3d-... --backend onnx` wrote, and pictures. Out, for each: NAME.depth.npy
(float32 metres), .depth.png (16 bits, millimetres; 0: beyond 65.535 m), .depth.ply (points without the sky),
.depth.confidence.npy, .normal.npy (x right, y down, z forward), .depth.json (camera, and whether the metres are
metric). Exit codes: 0 all done, 2 usage, 3 some pictures failed. The network dominates time, normals the memory.
"""
# Shape suffixes: B pictures, H W picture or map, N points, 3 = RGB or x y z.
# ruff: noqa: B905 (zip has no `strict` before Python 3.10)

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageFilter, ImageOps

MAX_POINTS = 1_000_000
FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)  # EXIF's 35 mm equivalent gives the same angle over it (CIPA DCG-001)
EXIF, FOCAL_35MM, SIDES = 0x8769, 0xA405, (0xA002, 0xA003)
COLOURS = ("red", "green", "blue")
MATRICES = ("K", "camera_matrix", "intrinsics", "cam_in")
FORMS = '{"fx", "fy", "cx", "cy"}, {"K": 3x3}, [fx, fy, cx, cy], {"name.jpg": one of these}, or 4 or 9 numbers'
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class UsageError(Exception):
    """Nothing can be done: exit code 2. Whatever else is raised concerns one picture or batch."""


Camera = namedtuple("Camera", "fx fy cx cy source")  # pixels of its picture; the top-left pixel's centre is (0, 0)
Prepared = namedtuple("Prepared", "name image_HW3 canvas_HW3 inside scale camera")  # inside: rows, columns that show it


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with half-pixel centres, edges repeated, no smoothing before shrinking; float32 (height,width,C)."""
    for axis, length in enumerate((height, width)):
        have = values.shape[axis]
        place = np.clip((np.arange(length) + 0.5) * have / length - 0.5, 0, have - 1)
        low = place.astype(np.int64)
        share = np.expand_dims((place - low).astype(np.float32), (1, 2) if axis == 0 else (0, 2))
        first = np.take(values, low, axis).astype(np.float32)
        values = first + share * (np.take(values, np.minimum(low + 1, have - 1), axis).astype(np.float32) - first)
    return values


def numbers_of(value: Any) -> list[Any]:
    """fx, fy, cx, cy, width, height of one camera of an intrinsics file; None: the middle, or any size."""
    size: list[Any] = [None, None]
    if isinstance(value, dict):
        size = [value.get("width"), value.get("height")]
        matrix = next((value[name] for name in MATRICES if name in value), None)
        fields = [value.get("fx"), value.get("fy", value.get("fx")), value.get("cx"), value.get("cy")]
        value = fields if "fx" in value else matrix["data"] if isinstance(matrix, dict) else matrix
    flat = [None if one is None else float(one) for one in (*np.array(value, object).ravel().tolist(), *size)]
    if len(flat) == 11 and [flat[1], flat[3], *flat[6:9]] == [0, 0, 0, 0, 1]:
        flat = [flat[0], flat[4], flat[2], flat[5], *flat[9:]]
    if len(flat) != 6 or None in flat[:2] or not all(one is None or 0 <= abs(one) < math.inf for one in flat):
        raise ValueError(f"the camera {flat}")
    return flat


def read_cameras(path: Path) -> dict[str, list[Any]]:
    """Cameras by picture name, `*` for all others, in the forms that `vitruvian depth --intrinsics` takes."""
    try:
        text = path.read_text(encoding="utf-8")
        try:
            document = [float(word) for word in text.replace(",", " ").split()]
        except ValueError:
            document = json.loads(text)
        if isinstance(document, dict) and not {"fx", *MATRICES} & set(document):
            return {str(PurePosixPath(name)): numbers_of(value) for name, value in document.items()}
        return {"*": numbers_of(document)}
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise UsageError(f"got --intrinsics {path.name}, which cannot be used ({error}); expected {FORMS}") from error


def believed(camera: Camera, width: int, height: int) -> bool:
    """Whether this can be the camera of a picture of this size; if not, units are wrong or numbers are swapped."""
    angles = [2 * math.degrees(math.atan2(max(width, height) / 2, focal)) for focal in camera[:2]]
    centred = -width <= camera.cx <= 2 * width and -height <= camera.cy <= 2 * height
    return all(1 <= angle <= 170 for angle in angles) and 0.5 <= camera.fx / camera.fy <= 2 and centred


def camera_of(options: argparse.Namespace, path: Path, width: int, height: int, focal_35mm: float) -> Camera:
    """What was said, else EXIF, else a focal length of one longer side, which makes metres that are not metric."""
    centre, focal, source = ((width - 1) / 2, (height - 1) / 2), 0.0, ""
    if options.cameras is not None:
        names = (path.as_posix(), path.name, path.stem, "*")
        found = next((options.cameras[name] for name in names if name in options.cameras), None)
        if found is None:
            raise ValueError("has no entry in the intrinsics file; expected one by its file name; add it")
        across, down = width / (found[4] or width), height / (found[5] or height)
        if not 0.98 <= across / down <= 1.02:
            raise ValueError(f"is {width} x {height}; expected {found[4]} x {found[5]}, as the intrinsics file says")
        middle_and_said = zip(centre, found[2:4], (across, down))
        cx, cy = (middle if said is None else (said + 0.5) * by - 0.5 for middle, said, by in middle_and_said)
        camera = Camera(found[0] * across, found[1] * down, cx, cy, "file")
    else:
        if options.focal_px is not None:
            focal, source = options.focal_px, "focal length"
        elif options.fov_deg is not None:
            focal, source = width / (2 * math.tan(math.radians(options.fov_deg) / 2)), "field of view"
        elif 2 <= focal_35mm <= 5000:
            focal, source = focal_35mm / FULL_FRAME_DIAGONAL_MM * math.hypot(width, height), "EXIF"
        camera = Camera(focal, focal, *centre, source)
        if source in ("", "EXIF") and not believed(camera, width, height):
            camera = Camera(max(width, height), max(width, height), *centre, "assumed")
    if not believed(camera, width, height):
        raise ValueError(f"is {width} x {height}, got {camera}; expected 1 to 170 degrees and nearly square pixels")
    return camera


def focal_35mm_of(picture: Image.Image) -> float:
    """The 35 mm equivalent of EXIF; 0 where there is none, or where the picture was cut to another shape since."""
    try:
        exif = picture.getexif().get_ifd(EXIF)
        sides = [float(exif.get(tag, 0)) for tag in SIDES]
        then, now = (max(pair) / min(pair) if min(pair) > 0 else 0 for pair in (sides, picture.size))
        return 0.0 if then and abs(then / now - 1) > 0.02 else float(exif.get(FOCAL_35MM, 0))
    except Exception:  # damaged data of every kind: as if there were none
        return 0.0


def prepared(path: Path, options: argparse.Namespace, facts: dict[str, Any]) -> Prepared:
    """The picture, turned as EXIF says, transparency on white, in the middle of a canvas of the mean colour."""
    with Image.open(path) as picture:
        if picture.mode[0] in "IF":
            raise ValueError(f"has pixels of kind {picture.mode}; expected 8 bits per channel; convert it")
        focal_35mm, turned = focal_35mm_of(picture), ImageOps.exif_transpose(picture)
    if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
        rgba = turned.convert("RGBA")
        turned = Image.new("RGB", rgba.size, (255, 255, 255))
        turned.paste(rgba, mask=rgba.getchannel("A"))
    image_HW3 = np.asarray(turned.convert("RGB"))
    (height, width), (canvas_h, canvas_w) = image_HW3.shape[:2], facts["canvas_hw"]
    camera = camera_of(options, path, width, height, focal_35mm)
    scale = min(canvas_h / height, canvas_w / width)
    inner_h, inner_w = max(1, int(height * scale)), max(1, int(width * scale))  # cut off, as in the network's training
    top, left = (canvas_h - inner_h) // 2, (canvas_w - inner_w) // 2
    inside = slice(top, top + inner_h), slice(left, left + inner_w)
    canvas_HW3 = np.empty((canvas_h, canvas_w, 3), np.uint8)
    canvas_HW3[:] = facts["pad_rgb"]
    canvas_HW3[inside] = np.rint(resized(image_HW3, inner_h, inner_w))
    return Prepared(path.name, image_HW3, canvas_HW3, inside, scale, camera)


def ply(depth_m_HW: np.ndarray, one: Prepared, reach_m: float, about: str) -> bytes:
    """What is nearer than the network's reach, after a 5x5 median; every n-th row and column where it is too much."""
    smooth_HW = np.asarray(Image.fromarray(depth_m_HW).filter(ImageFilter.MedianFilter(5)))
    keep_HW, step = (depth_m_HW < reach_m) & (smooth_HW > 0), 1
    while np.count_nonzero(keep_HW[::step, ::step]) > MAX_POINTS:
        step += 1
    rows, columns = (places * step for places in np.nonzero(keep_HW[::step, ::step]))
    kinds = {**dict.fromkeys("xyz", ("float", "<f4")), **dict.fromkeys(COLOURS, ("uchar", "u1"))}
    points_N = np.empty(len(rows), [(name, kind) for name, (_, kind) in kinds.items()])
    points_N["z"] = smooth_HW[rows, columns]
    points_N["x"] = (columns - one.camera.cx) / one.camera.fx * points_N["z"]
    points_N["y"] = (rows - one.camera.cy) / one.camera.fy * points_N["z"]
    for channel, name in enumerate(COLOURS):
        points_N[name] = one.image_HW3[rows, columns, channel]
    lines = ["ply", "format binary_little_endian 1.0", f"comment {about}", f"element vertex {len(rows)}"]
    lines += [f"property {kind} {name}" for name, (kind, _) in kinds.items()]
    return "\n".join([*lines, "end_header", ""]).encode("ascii") + points_N.tobytes()


def finish(one: Prepared, maps: dict[str, np.ndarray], facts: dict[str, Any], out: Path) -> bool:
    """Maps of the canvas (channels first) to metres at the picture's size, and all files."""
    height, width = one.image_HW3.shape[:2]
    whole = {name: resized(np.moveaxis(values, 0, 2)[one.inside], height, width) for name, values in maps.items()}
    if not all(np.isfinite(values).all() for values in whole.values()):
        raise ValueError("got numbers that are not finite from the network; expected finite ones; export it again")
    factor = one.camera.fx * one.scale / facts["canonical_focal_px"]
    depth_m_HW = np.clip(whole["depth"][..., 0] * np.float32(factor), 0, facts["farthest_m"])
    reach_m = min(facts["reach_share"] * facts["canonical_far_m"] * factor, facts["farthest_m"])  # farther: sky
    metric = one.camera.source != "assumed"
    unit = "metres" if metric else "metres, if the assumed focal length were right: not metric"
    about = {"unit": unit, "metric": metric, "camera_px": one.camera._asdict(), "reach_m": reach_m}
    arrays = {"depth": depth_m_HW, "depth.confidence": whole["confidence"][..., 0]}
    if "normal" in whole:
        length_HW1 = np.sqrt(np.square(whole["normal"]).sum(axis=2, keepdims=True))
        arrays["normal"] = whole["normal"] / np.maximum(length_HW1, 1e-6)
    codes_HW = np.rint(depth_m_HW * 1000.0)
    codes = Image.fromarray(np.where(codes_HW <= 65535, codes_HW, 0).astype(np.uint16))
    files: dict[str, Any] = {f"{name}.npy": partial(np.save, arr=values) for name, values in arrays.items()}
    files["depth.png"] = partial(codes.save, format="PNG")
    files["depth.ply"] = lambda file: file.write(ply(depth_m_HW, one, reach_m, unit))
    files["depth.json"] = lambda file: file.write(json.dumps(about, indent=1).encode("ascii"))
    for ending, write in files.items():
        path = out / f"{one.name}.{ending}"
        with path.with_name(path.name + ".partial").open("wb") as file:  # it gets its name when all is in it
            write(file)
        os.replace(file.name, path)
    low, middle, high = np.percentile(depth_m_HW, (0, 50, 100))
    said = "" if metric else ": NOT METRIC, give --focal-px, --fov-deg or --intrinsics"
    print(f"{one.name}: {low:.2f} to {high:.2f} m, half nearer than {middle:.2f} m; camera {one.camera.source}{said}")
    return True


def opened(folder: Path, provider: str, batch: int) -> tuple[dict[str, Any], int, onnxruntime.InferenceSession]:
    """Manifest, batch, and the network on that provider and on no other; TensorRT keeps its engine in `tensorrt/`."""
    wanted, here = PROVIDERS[provider], onnxruntime.get_available_providers()
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        facts, entry, contract = manifest["preparation"], folder / manifest["entry"], manifest["inputs"][0]
        if "canonical_focal_px" not in facts or entry.suffix != ".onnx":
            raise ValueError(f"{manifest['backend']} for {manifest['task']}")
        least, most = manifest["batch"]["minimum"], manifest["batch"]["maximum"] or batch
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"got {folder} ({error}); expected an ONNX folder of metric depth; export one") from error
    batch, settings = max(least, min(batch, most)), {}
    if provider == "tensorrt":
        sides, sizes = "x".join(map(str, contract["shape"][1:])), {"min": least, "opt": batch, "max": batch}
        settings = {f"trt_profile_{kind}_shapes": f"{contract['name']}:{size}x{sides}" for kind, size in sizes.items()}
        settings.update(trt_engine_cache_enable="True", trt_engine_cache_path=str(folder / "tensorrt"))
    others = [name for name in here if name in ("CUDAExecutionProvider", "CPUExecutionProvider") and name != wanted]
    providers = [(wanted, settings), *((name, {}) for name in others if provider != "cpu")]
    try:
        session = onnxruntime.InferenceSession(str(entry), providers=providers)
    except Exception as error:  # onnxruntime's errors have no common class
        raise UsageError(f"got {entry.name} ({error}); expected the exported file; copy the folder again") from error
    if session.get_providers()[0] != wanted:
        raise UsageError(f"got an onnxruntime without {wanted}; expected one of {here}; install its package")
    return manifest, batch, session


def attempt(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; None where it failed, which is said: the other pictures go on."""
    try:
        return function(*arguments)
    except Exception as error:  # Pillow raises anything for damaged files, onnxruntime where memory is short
        print(f"{name}: {error or type(error).__name__}", file=sys.stderr)
        return None


def run(options: argparse.Namespace) -> int:
    """All pictures; how many of them failed."""
    options.cameras = None if options.intrinsics is None else read_cameras(options.intrinsics)
    manifest, batch, session = opened(options.artefact, options.provider, options.batch)
    facts, least = manifest["preparation"], manifest["batch"]["minimum"]
    mean, std = np.array(facts["mean"], np.float32), np.array(facts["std"], np.float32)
    wanted = [output.name for output in session.get_outputs() if output.name in ("depth", "confidence", "normal")]
    options.out.mkdir(parents=True, exist_ok=True)
    done, started = 0, time.perf_counter()
    for start in range(0, len(options.pictures), batch):
        paths = options.pictures[start : start + batch]
        group = [one for one in (attempt(path.name, prepared, path, options, facts) for path in paths) if one]
        if not group:
            continue
        x = np.stack([one.canvas_HW3 for one in group + group[-1:] * (least - len(group))])
        if not manifest["with_post"]:
            x = np.ascontiguousarray(((x - mean) / std).transpose(0, 3, 1, 2))
        names = ", ".join(one.name for one in group)
        outputs = attempt(names, session.run, wanted, {manifest["inputs"][0]["name"]: x})
        for row, one in enumerate(group if outputs else ()):
            maps = {name: values[row] for name, values in zip(wanted, outputs)}
            done += bool(attempt(one.name, finish, one, maps, facts, options.out))
    print(f"{done} of {len(options.pictures)} done in {time.perf_counter() - started:.2f} s -> {options.out}")
    return len(options.pictures) - done


def main() -> int:
    parser = argparse.ArgumentParser(description="Metric depth of pictures from an ONNX artefact.")
    parser.add_argument("artefact", type=Path, help="folder of the export")
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--focal-px", type=float, help="focal length in pixels of the pictures as they are")
    camera.add_argument("--fov-deg", type=float, help="horizontal field of view")
    camera.add_argument("--intrinsics", type=Path, help=FORMS)
    parser.add_argument("--batch", type=int, default=1, help="pictures in one call (default: 1)")
    parser.add_argument("--provider", choices=sorted(PROVIDERS), default="cpu")
    options = parser.parse_args()
    for name, low, high in (("batch", 1, 2**20), ("focal_px", 1e-9, 1e9), ("fov_deg", 1, 170)):
        if getattr(options, name) is not None and not low <= getattr(options, name) <= high:
            parser.error(f"got --{name.replace('_', '-')} {getattr(options, name)}; expected {low:g} to {high:g}")
    if len({path.name for path in options.pictures}) < len(options.pictures):
        parser.error("got two pictures of one name; expected names of their own; rename one, or run twice")
    try:
        return 3 if run(options) else 0
    except (UsageError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
