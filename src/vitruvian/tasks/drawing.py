"""Pictures for people to look at: skeletons, class overlays, depth and normal maps, features, contact sheets.

uint8 RGB picture and result arrays -> uint8 RGB picture of the same size. Lines and text scale with the picture; a
handful of picture-sized temporaries dominate the memory.
"""

# Shape suffixes: P persons, K keypoints, C channels, h w feature grid, M = h*w its cells, R directions, H W picture
# size, 2 = x y, 3 = RGB or x y z, 4 = x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vitruvian.tasks.bands import all_finite, bands
from vitruvian.tasks.labels import Colour, KeypointSet, LabelSet

_SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates: sixteenths of a pixel."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND = (24, 24, 27)
_INK = (244, 244, 245)

NO_VALUE_LEVEL = 64
"""Grey of pixels without a value in maps."""


def draw_pose(
    image_HW3: np.ndarray,
    keypoints_PK2: np.ndarray,
    scores_PK: np.ndarray,
    boxes_P4: np.ndarray,
    convention: KeypointSet,
    min_score: float = 0.3,
) -> np.ndarray:
    """Skeletons with the convention's colours; keypoints below `min_score` and their links are left out.

    Sizes follow each person's box, within limits set by the picture. Thin dark edges keep lines readable on any
    background. The default threshold is that of the published drawings.
    """
    canvas = image_HW3.copy()
    linked = {index for link in convention.links for index in link}
    for xy_K2, score_K, box in zip(keypoints_PK2, scores_PK, boxes_P4, strict=True):
        seen_K = (score_K >= min_score) & np.isfinite(xy_K2).all(axis=1)
        width = _limb_width(image_HW3.shape, box)
        links = [
            (xy_K2[a], xy_K2[b], colour)
            for (a, b), colour in zip(convention.links, convention.link_colours, strict=True)
            if seen_K[a] and seen_K[b]
        ]
        dots = []
        for index in np.flatnonzero(seen_K):
            radius = width * (0.8 if index in linked else 0.42)
            dots.append((xy_K2[index], max(radius, 0.9), convention.keypoint_colours[index]))
        _draw_person(canvas, links, dots, width)
    return canvas


def _limb_width(shape: tuple[int, ...], box: np.ndarray) -> float:
    """Width of a limb in pixels: 1.2 % of the box's longer side, between 0.15 % and 0.8 % of the picture's diagonal."""
    diagonal = float(np.hypot(shape[0], shape[1]))
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    return max(1.2, min(max(0.012 * longer, 0.0015 * diagonal), 0.008 * diagonal))


_Link = tuple[np.ndarray, np.ndarray, Colour]
_Dot = tuple[np.ndarray, float, Colour]


def _draw_person(canvas: np.ndarray, links: Sequence[_Link], dots: Sequence[_Dot], width: float) -> None:
    edge = max(0.6, 0.22 * width)
    for a, b, _ in links:
        _limb(canvas, a, b, width / 2 + edge, (20, 20, 20))
    for a, b, colour in links:
        _limb(canvas, a, b, width / 2, colour)
    for centre, radius, colour in dots:
        _disc(canvas, centre, radius + min(edge, 0.35 * radius), (20, 20, 20))
        _disc(canvas, centre, radius, colour)


def _fixed_point(xy: np.ndarray) -> np.ndarray:
    """Coordinates in sixteenths of a pixel, kept within what OpenCV can draw."""
    return np.rint(np.clip(xy, -30000, 30000) * (1 << _SHIFT)).astype(np.int32)


def _limb(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, half_width: float, colour: Colour) -> None:
    """A straight bar with sub-pixel ends and width."""
    along = (b - a).astype(np.float64)
    length = float(np.hypot(*along))
    if length < 1e-3:
        return
    aside = np.array([-along[1], along[0]]) / length * half_width
    corners = np.stack([a + aside, b + aside, b - aside, a - aside])
    cv2.fillConvexPoly(canvas, _fixed_point(corners), colour, cv2.LINE_AA, _SHIFT)


def _disc(canvas: np.ndarray, centre: np.ndarray, radius: float, colour: Colour) -> None:
    x, y = _fixed_point(centre).tolist()
    cv2.circle(canvas, (x, y), round(radius * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT)


def draw_labels(image_HW3: np.ndarray, labels_HW: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Half picture, half class colour; dimmed background, thin outlines and, where there is room, a legend."""
    # Tables over all 256 levels let OpenCV walk the picture once per step; NumPy would index pixel by pixel.
    palette = np.zeros((256, 3), np.uint8)
    palette[: label_set.count] = label_set.palette_N3
    canvas = cv2.addWeighted(image_HW3, 0.5, cv2.applyColorMap(labels_HW, palette[:, None]), 0.5, 0)
    dimmed_HW3 = cv2.LUT(image_HW3, (np.arange(256) * 0.7).astype(np.uint8))
    cv2.copyTo(dimmed_HW3, (labels_HW == 0).view(np.uint8), canvas)
    light = (palette * 0.35 + 255 * 0.65).astype(np.uint8)
    cv2.copyTo(cv2.applyColorMap(labels_HW, light[:, None]), _outline(labels_HW).view(np.uint8), canvas)
    shares = cv2.calcHist([labels_HW], [0], None, [256], [0, 256]).ravel() / max(labels_HW.size, 1)
    present = [index for index in range(1, label_set.count) if shares[index] > 5e-4]
    _legend(canvas, [(label_set.names[index].replace("_", " "), label_set.palette[index]) for index in present])
    return canvas


def _outline(labels_HW: np.ndarray) -> np.ndarray:
    """bool (H,W): foreground pixels whose right or lower neighbour has another label, widened on large pictures."""
    edge_HW = np.zeros(labels_HW.shape, bool)
    edge_HW[:, :-1] |= labels_HW[:, :-1] != labels_HW[:, 1:]
    edge_HW[:-1] |= labels_HW[:-1] != labels_HW[1:]
    thickness = round(min(labels_HW.shape) / 900)
    if thickness > 1:
        kernel = np.ones((thickness, thickness), np.uint8)
        edge_HW = cv2.dilate(edge_HW.astype(np.uint8), kernel).astype(bool)
    return edge_HW & (labels_HW > 0)


def _legend(canvas: np.ndarray, entries: Sequence[tuple[str, Colour]]) -> None:
    """Colours and names in the lower left corner, if they take at most 70 % of the height and 40 % of the width."""
    height, width = canvas.shape[:2]
    line = max(12, round(min(height, width) / 32))
    scale = line / 40
    if not entries:
        return
    text_width = max(cv2.getTextSize(name, _FONT, scale, 1)[0][0] for name, _ in entries)
    panel_w, panel_h = text_width + round(2.4 * line), len(entries) * line + line
    if panel_h > 0.7 * height or panel_w > 0.4 * width:
        return
    top, left = height - panel_h - line // 2, line // 2
    panel = canvas[top : top + panel_h, left : left + panel_w]
    panel[:] = (panel * 0.3 + np.array(_BACKGROUND) * 0.7).astype(np.uint8)
    for row, (name, colour) in enumerate(entries):
        y = round((row + 0.5) * line)
        box = round(0.7 * line)
        cv2.rectangle(panel, (line // 2, y + line // 8), (line // 2 + box, y + line // 8 + box), colour, -1)
        _text(panel, name, (round(1.7 * line), y + round(0.78 * line)), scale)


def _text(canvas: np.ndarray, text: str, origin_xy: tuple[int, int], scale: float) -> None:
    cv2.putText(canvas, text, origin_xy, _FONT, scale, _INK, max(1, round(scale * 1.6)), cv2.LINE_AA)


def depth_limits(depth_HW: np.ndarray, mask_HW: np.ndarray | None = None) -> tuple[float, float] | None:
    """Depths of the brightest and the darkest colour: the 1st and 99th percentile of the finite values in the mask.

    So a few stray pixels do not darken the rest. A map of one value gets a range of 1; None where nothing is shown.
    """
    shown_HW = _has_depth(depth_HW, mask_HW)
    if not shown_HW.any():
        return None
    low, high = np.percentile(depth_HW[shown_HW], (1, 99)).tolist()
    return low, high if high > low else low + 1.0


def _has_depth(depth_HW: np.ndarray, mask_HW: np.ndarray | None) -> np.ndarray:
    return np.isfinite(depth_HW) if mask_HW is None else np.isfinite(depth_HW) & (mask_HW > 0)


def draw_depth(
    depth_HW: np.ndarray, mask_HW: np.ndarray | None = None, *, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """INFERNO colours, near bright, grey where there is no value or outside the mask; uint8 RGB (H,W,3).

    `limits` are the depths of the brightest and the darkest colour, unless given those of `depth_limits`.
    """
    shown_HW = _has_depth(depth_HW, mask_HW)
    canvas = np.full((*depth_HW.shape, 3), NO_VALUE_LEVEL, np.uint8)
    limits = depth_limits(depth_HW, mask_HW) if limits is None else limits
    if limits is None:
        return canvas
    low, span = np.float64(limits[0]), limits[1] - limits[0]
    for rows in bands(*depth_HW.shape):
        near_HW = 1 - np.clip((np.where(shown_HW[rows], depth_HW[rows], low) - low) / span, 0, 1)
        colour_HW3 = cv2.applyColorMap(np.rint(near_HW * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
        cv2.cvtColor(colour_HW3, cv2.COLOR_BGR2RGB, dst=colour_HW3)
        cv2.copyTo(colour_HW3, shown_HW[rows].view(np.uint8), canvas[rows])
    return canvas


def draw_normals(
    normals_HW3: np.ndarray, to_display: tuple[int, int, int] = (1, 1, 1), mask_HW: np.ndarray | None = None
) -> np.ndarray:
    """x, y, z as red, green, blue after the frame's signs, -1..1 to 0..255 by truncation; uint8 RGB (H,W,3).

    Grey where there is no value (not finite) or outside the mask.
    """
    canvas = np.full(normals_HW3.shape, NO_VALUE_LEVEL, np.uint8)
    signs_3 = np.array(to_display, np.float32)
    for rows in bands(*normals_HW3.shape[:2]):
        shown_HW = all_finite(normals_HW3[rows])
        if mask_HW is not None:
            shown_HW &= mask_HW[rows] > 0
        signed_HW3 = np.where(shown_HW[..., None], normals_HW3[rows], 0).clip(-1, 1) * signs_3
        cv2.copyTo(((signed_HW3 + 1) / 2 * 255).astype(np.uint8), shown_HW.view(np.uint8), canvas[rows])
    return canvas


def draw_features(image_HW3: np.ndarray, map_Chw: np.ndarray) -> np.ndarray:
    """The first three principal components as red, green, blue over a grey picture, uint8 RGB (H,W,3)."""
    channels, height, width = map_Chw.shape
    cells_MC = np.nan_to_num(map_Chw.reshape(channels, -1).T)
    centred_MC = cells_MC - cells_MC.mean(axis=0)
    parts_M3 = centred_MC @ _principal_axes(centred_MC)
    low_3, high_3 = np.percentile(parts_M3, (2, 98), axis=0)
    parts_M3 = np.clip((parts_M3 - low_3) / np.where(high_3 > low_3, high_3 - low_3, 1), 0, 1)
    colour_hw3 = (parts_M3 * 255).reshape(height, width, 3).astype(np.float32)
    size_wh = (image_HW3.shape[1], image_HW3.shape[0])
    colour_HW3 = cv2.resize(colour_hw3, size_wh, interpolation=cv2.INTER_LINEAR).clip(0, 255).astype(np.uint8)
    grey_HW3 = cv2.cvtColor(cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey_HW3, 0.35, colour_HW3, 0.65, 0)


def _principal_axes(centred_MC: np.ndarray) -> np.ndarray:
    """The three directions (C,3) of largest variance, by block iteration; zeros where there are fewer.

    Twelve rounds with sixteen directions take a fraction of a full decomposition of a thousand channels. The start is
    fixed and so is each sign (an axis' largest entry is positive), so that colours do not jump between runs.
    """
    channels = centred_MC.shape[1]
    basis_CR = np.random.default_rng(0).standard_normal((channels, min(16, channels)), np.float32)
    for _ in range(12):
        basis_CR, _ = np.linalg.qr(centred_MC.T @ (centred_MC @ basis_CR))
    turn_RR = np.linalg.svd(centred_MC @ basis_CR, full_matrices=False)[2]
    axes_C3 = np.zeros((channels, 3))
    found = (basis_CR @ turn_RR[:3].T)[:, : min(3, channels)]
    axes_C3[:, : found.shape[1]] = found
    strongest_3 = np.abs(axes_C3).argmax(axis=0)
    return axes_C3 * np.where(axes_C3[strongest_3, np.arange(3)] < 0, -1, 1)


def side_by_side(
    images: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    *,
    height: int = 540,
    columns: int | None = None,
) -> np.ndarray:
    """A contact sheet: uint8 RGB pictures of one height in rows of `columns` (default: one row), captions above.

    Captions are cut to the width of their picture; only ASCII can be drawn.
    """
    captions = captions or [""] * len(images)
    if not images or len(captions) != len(images):
        raise ValueError(
            f"got {len(images)} pictures and {len(captions)} captions; expected at least one, equally many"
        )
    gap = max(4, height // 60)
    tiles = [_tile(image, caption, height) for image, caption in zip(images, captions, strict=True)]
    columns = columns or len(tiles)
    rows = [_row(tiles[start : start + columns], gap) for start in range(0, len(tiles), columns)]
    width = max(row.shape[1] for row in rows)
    parts = [np.full((gap, width, 3), _BACKGROUND, np.uint8)]
    for row in rows:
        padding = ((0, 0), (0, width - row.shape[1]))
        parts.append(np.dstack([np.pad(row[..., i], padding, constant_values=_BACKGROUND[i]) for i in range(3)]))
        parts.append(parts[0])
    return np.concatenate(parts)


def _tile(image_HW3: np.ndarray, caption: str, height: int) -> np.ndarray:
    """The picture at this height under a bar with its caption."""
    width = max(1, round(image_HW3.shape[1] * height / image_HW3.shape[0]))
    smaller = image_HW3.shape[0] > height
    picture = cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    bar = np.full((max(20, height // 15), width, 3), _BACKGROUND, np.uint8)
    scale = bar.shape[0] / 48
    text = caption
    while text and cv2.getTextSize(text, _FONT, scale, 1)[0][0] > width - 8:
        text = text[:-4] + "..." if len(text) > 4 else ""
    if text:
        _text(bar, text, (4, round(0.68 * bar.shape[0])), scale)
    return np.concatenate([bar, picture])


def _row(tiles: Sequence[np.ndarray], gap: int) -> np.ndarray:
    space = np.full((tiles[0].shape[0], gap, 3), _BACKGROUND, np.uint8)
    parts = [space]
    for tile in tiles:
        parts += [tile, space]
    return np.concatenate(parts, axis=1)
