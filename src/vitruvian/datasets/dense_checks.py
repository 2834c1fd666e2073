"""What can be wrong with one decoded sample of a dense task, and what many of them say together.

In: `Decoded` samples as the files hold them. Out: `Facts` of each, findings of all. Some 10 to 30 ms a megapixel.
"""

# Shape suffixes: H W picture size, N rim pixels, V 256 levels.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitruvian.datasets.findings import Facts, Finding, finding, voted
from vitruvian.datasets.layouts import DenseKind
from vitruvian.datasets.outline import Outline, agreement, outline_of
from vitruvian.datasets.sides import CONTRADICT, SWAPPED, label_sides
from vitruvian.datasets.targets import IGNORE, Decoded
from vitruvian.tasks.bands import any_nonzero
from vitruvian.tasks.labels import LABEL_SETS, label_set
from vitruvian.tasks.normal import CAMERA, NormalFrame

LENGTH_TOLERANCE = 0.05
"""How far from 1 a normal's length may be; 8-bit codes stay within 0.01."""
FEW = 0.01
"""Share of a sample's valid pixels below which oddities are left alone."""
DOUBTFUL = 0.2
"""Agreement with the outline within which a sample says nothing."""
_LOOKED_AT = 512
"""Rows and columns of normals that are looked at; shares need no more."""
RELATIVE, METRES, MILLIMETRES = "relative", "metres", "millimetres"
_UNITS = (RELATIVE, METRES, MILLIMETRES)
_FARTHEST_M = 100.0
"""Median distance above which numbers are no metres."""
_NEAREST_M = 0.02
"""No surface lies nearer: maps that begin below it and end at 1 are relative."""

_Problems = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseCheck:
    """What samples are checked against."""

    task: DenseKind
    classes: int | None = None
    """Of labels; None: not known, ids are not checked."""
    frame: NormalFrame = CAMERA
    """Declared axes of normals."""

    def facts(self, decoded: Decoded) -> Facts:
        """What is seen in one sample."""
        inside_HW = np.ones(decoded.valid_HW.shape, bool) if decoded.mask_HW is None else decoded.mask_HW
        valid_HW = decoded.valid_HW & inside_HW
        if not valid_HW.any():
            return Facts(name=decoded.name, problems=(("nothing valid", ""),))
        numbers: dict[str, float] = {}
        if self.task == "seg":
            problems, votes = self._labels(decoded.target)
        elif self.task == "depth":
            problems, numbers, votes = _depth(decoded.target, valid_HW)
        else:
            problems, votes = self._normals(decoded.target, valid_HW)
        if self.task != "seg":
            infinite = np.isinf(decoded.target)
            count = int(((infinite if infinite.ndim == 2 else any_nonzero(infinite)) & inside_HW).sum())
            if count:
                problems.append(("infinite values", f"{count} pixels"))
            holes = 1 - valid_HW.sum() / inside_HW.sum()
            if decoded.mask_HW is not None and holes > FEW:
                problems.append(("holes on persons", f"{100 * holes:.0f} % of the mask"))
        return Facts(name=decoded.name, problems=tuple(problems), numbers=numbers, votes=votes)

    def verdicts(self, facts: Sequence[Facts]) -> list[Finding]:
        """What all samples say together."""
        if self.task == "seg":
            # Correct labels of rendered people: 9 % of pictures of one person contradict, 33 % of three (none and 12 %
            # look swapped); hence no error by contradictions alone.
            return [
                *voted(CONTRADICT, facts, hint=0.5, error=2.0),
                *voted(SWAPPED, facts, hint=0.25, error=0.75, least=5),
            ]
        if self.task == "depth":
            return [*_unit_verdict(facts), *voted("inverted depth", facts, hint=0.6, error=2.0)]
        # Of 160 correct pictures none spoke for a flipped axis, nor for inverted depth.
        found = [one for axis in "xyz" for one in voted(f"flipped {axis} axis", facts, hint=0.02, error=0.1)]
        if self.frame.name == CAMERA.name:
            return found
        # Nobody confirmed the axes of other frames: deviations are told, not held against the data.
        return [replace(one, level="hint") for one in found]

    def _labels(self, labels_HW: np.ndarray) -> tuple[_Problems, dict[str, float]]:
        counts_V = np.bincount(labels_HW.ravel(), minlength=256)
        ids = np.flatnonzero(counts_V[:IGNORE])
        problems: _Problems = []
        if self.classes is not None and ids.max() >= self.classes:
            problems.append(("labels out of range", ", ".join(map(str, ids[ids >= self.classes][:8]))))
        if not ids.any():
            problems.append(("only background", ""))
        known = self.classes in LABEL_SETS.values() and not problems
        return problems, label_sides(labels_HW, label_set(self.classes)) if known and self.classes else {}

    def _normals(self, normals_HW3: np.ndarray, valid_HW: np.ndarray) -> tuple[_Problems, dict[str, float]]:
        step = max(1, max(valid_HW.shape) // _LOOKED_AT)
        vectors_N3 = normals_HW3[::step, ::step][valid_HW[::step, ::step]]
        if not len(vectors_N3):
            vectors_N3 = normals_HW3[valid_HW]
        length_N = np.sqrt(np.square(vectors_N3).sum(axis=1))
        problems: _Problems = []
        odd = float((np.abs(length_N - 1) > LENGTH_TOLERANCE).mean())
        if odd > FEW:
            typical = float(np.median(length_N))
            problems.append(("not unit length", f"{100 * odd:.0f} % of the pixels, median length {typical:.3g}"))
        votes: dict[str, float] = {}
        facing = float((vectors_N3[:, 2] * self.frame.to_display[2] > 0).mean())
        if abs(facing - 0.5) > DOUBTFUL:
            votes["flipped z axis"] = facing - 0.5
        outline = outline_of(valid_HW)
        return problems, votes | ({} if outline is None else self._outward(normals_HW3, outline))

    def _outward(self, normals_HW3: np.ndarray, outline: Outline) -> dict[str, float]:
        """How x and y agree with the outline, where they clearly do or do not."""
        rim_N3 = outline.thinned(normals_HW3)[outline.rim_HW]
        # Display axes are right and up, picture axes right and down.
        signs = (self.frame.to_display[0], -self.frame.to_display[1])
        votes = {}
        for place, axis in enumerate("xy"):
            score = agreement(rim_N3[:, place] * signs[place], outline.outward_N2[:, place])
            if score is not None and abs(score) > DOUBTFUL:
                votes[f"flipped {axis} axis"] = score
        return votes


def depth_unit(low: float, middle: float, high: float) -> str:
    """relative, metres or millimetres, by the smallest, middle and largest depth of a map."""
    if high <= 1.0 + 1e-3 and low < _NEAREST_M:
        return RELATIVE
    return METRES if middle <= _FARTHEST_M else MILLIMETRES


def _depth(depth_HW: np.ndarray, valid_HW: np.ndarray) -> tuple[_Problems, dict[str, float], dict[str, float]]:
    values_N = depth_HW[valid_HW]
    low, middle, high = (float(value) for value in np.percentile(values_N, (0, 50, 100)))
    problems: _Problems = []
    if low < 0:
        problems.append(("negative depth", f"down to {low:.4g}"))
    if high <= low:
        problems.append(("flat depth", f"{low:.4g} everywhere"))
    unit = depth_unit(low, middle, high)
    zeros = float((values_N == 0).mean())
    if zeros > FEW and unit != RELATIVE:
        problems.append(("zeros in depth", f"{100 * zeros:.0f} % of the pixels"))
    numbers = {"unit": float(_UNITS.index(unit)), "median": middle}
    votes = {}
    outline = outline_of(valid_HW)
    if outline is not None:
        score = _farther_outward(depth_HW, outline)
        if score is not None and abs(score) > DOUBTFUL:
            votes["inverted depth"] = score
    return problems, numbers, votes


def _farther_outward(depth_HW: np.ndarray, outline: Outline) -> float | None:
    """-1 .. 1: share of rim pixels where depth grows toward the outline, less those where it shrinks."""
    with np.errstate(invalid="ignore"):
        down_HW, right_HW = np.gradient(outline.thinned(depth_HW))
    slope_N2 = np.stack((right_HW[outline.rim_HW], down_HW[outline.rim_HW]), axis=1)
    return agreement(np.sign((slope_N2 * outline.outward_N2).sum(axis=1)), np.ones(len(slope_N2)))


def _unit_verdict(facts: Sequence[Facts]) -> list[Finding]:
    judged = [one for one in facts if "unit" in one.numbers]
    by_unit = {unit: [one for one in judged if one.numbers["unit"] == index] for index, unit in enumerate(_UNITS)}
    present = sorted((unit for unit in _UNITS if by_unit[unit]), key=lambda unit: -len(by_unit[unit]))
    if not present:
        return []
    described = [f"{unit}: {len(by_unit[unit])} samples, e.g. {by_unit[unit][0].name}" for unit in present]
    median = float(np.median([one.numbers["median"] for one in by_unit[present[0]]]))
    found = [finding("depth unit", [f"{present[0]}, median {median:.4g}"], len(judged), count=len(by_unit[present[0]]))]
    if len(present) > 1:
        odd = sum(len(by_unit[unit]) for unit in present[1:])
        found.append(finding("mixed depth units", described, len(judged), count=odd))
    elif present[0] == MILLIMETRES:
        found.append(finding("depth in millimetres", [], len(judged), count=len(judged)))
    return found
