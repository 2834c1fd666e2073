"""What a check of training data found, as values that print and serialise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "hint", "note"]
NAMES = 5
"""Examples that are named per finding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What was seen in one sample."""

    name: str
    problems: tuple[tuple[str, str], ...] = ()
    """(kind, details) of everything that is wrong with this sample alone; kinds are keys of `KINDS`."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What only many samples together tell something by."""
    votes: Mapping[str, float] = field(default_factory=dict)
    """Kind -> below zero where this sample speaks for it, above where it speaks against; alone it proves nothing."""

    @property
    def suspicious(self) -> bool:
        """Whether anything is wrong with it, or speaks for something."""
        return bool(self.problems) or any(vote < 0 for vote in self.votes.values())

    @property
    def caption(self) -> str:
        """Name and kinds; those that it only speaks for with a question mark."""
        said = [kind for kind, _ in self.problems] + [f"{kind}?" for kind, vote in self.votes.items() if vote < 0]
        return f"{self.name}: {', '.join(said)}" if said else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One sort of problem."""

    level: Level
    sentence: str
    """What was expected, and what to do."""


KINDS: Mapping[str, Kind] = {
    "without a partner": Kind(level="error", sentence="expected a target for every picture; add or remove the files"),
    "unusable files": Kind(level="error", sentence="expected files of equal size that can be decoded; make them again"),
    "no samples": Kind(level="error", sentence="expected at least one picture with its target"),
    "nothing valid": Kind(level="error", sentence="expected values on some pixels; check masks and marks of no value"),
    "labels out of range": Kind(
        level="error", sentence="expected class numbers below --classes, or 255 for pixels to ignore; map the others"
    ),
    "only background": Kind(level="hint", sentence="such pictures teach no class but 0"),
    "infinite values": Kind(
        level="error", sentence="expected finite numbers, NaN where there is no value; replace them"
    ),
    "holes on persons": Kind(
        level="hint",
        sentence="pixels of the mask have no value; they are left out of the loss, make sure that is meant",
    ),
    "negative depth": Kind(level="error", sentence="expected distances, NaN where there is no value; replace them"),
    "zeros in depth": Kind(level="hint", sentence="0 counts as a distance; store NaN where there is no value"),
    "flat depth": Kind(level="error", sentence="expected different distances; such a picture teaches nothing"),
    "mixed depth units": Kind(level="error", sentence="expected one unit in all files; convert them to metres"),
    "depth in millimetres": Kind(level="hint", sentence="only the order and ratios are learned; metres are the custom"),
    "inverted depth": Kind(
        level="hint", sentence="persons come nearer toward their outline; expected larger = farther, not disparity"
    ),
    "depth unit": Kind(level="note", sentence="by the size of the numbers"),
    "not unit length": Kind(
        level="error", sentence="expected vectors of length 1; normalise them, or check the coding"
    ),
    "flipped x axis": Kind(level="error", sentence="normals at the left and right outline point inward; negate x"),
    "flipped y axis": Kind(level="error", sentence="normals at the upper and lower outline point inward; negate y"),
    "flipped z axis": Kind(level="error", sentence="visible surfaces face away from the camera; negate z"),
    "left and right contradict": Kind(
        level="hint", sentence="some left and right parts lie as from the front, others as from behind; look at them"
    ),
    "left and right swapped": Kind(
        level="hint", sentence="left and right are the person's own: seen from the front, left lies on the right"
    ),
    "odd visibility": Kind(level="error", sentence="expected 0 (not labelled), 1 (covered) or 2 (visible)"),
    "keypoints outside the picture": Kind(level="hint", sentence="expected labelled points inside the picture"),
    "box off the picture": Kind(level="error", sentence="expected bbox [x, y, width, height] in pixels"),
    "box off the keypoints": Kind(
        level="error", sentence="expected most visible keypoints in the box [x, y, width, height]"
    ),
    "classes not named": Kind(level="note", sentence="ids are checked where --classes says how many there are"),
    "no masks": Kind(level="note", sentence="every pixel with a value counts, background too"),
}
"""Everything a check can say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One sort of problem, how often, and where."""

    kind: str
    level: Level
    count: int
    of: int
    """How many were looked at."""
    examples: tuple[str, ...]
    """Names, with details where there are any; five at most."""
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What is wrong with a data folder."""

    task: str
    layout: str
    """Name of the layout, or of the keypoint convention."""
    samples: int
    parts: Mapping[str, int]
    """Samples of each part; empty where the layout has none."""
    checked: int
    findings: tuple[Finding, ...]
    """Errors first."""
    seconds: float

    @property
    def wrong(self) -> bool:
        """Whether there is an error; hints alone are none."""
        return any(finding.level == "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence."""
        errors = [finding for finding in self.findings if finding.level == "error"]
        hints = sum(finding.level == "hint" for finding in self.findings)
        if errors:
            listing = ", ".join(finding.kind for finding in errors)
            return f"got data with errors ({listing}); expected none; correct the files and check again"
        return f"nothing wrong, {hints} hint{'' if hints == 1 else 's'}" if hints else "nothing wrong"

    def text(self) -> str:
        """Lines for people."""
        parts = ", ".join(f"{part} {count}" for part, count in self.parts.items())
        of_parts = f" ({parts})" if parts else ""
        lines = [
            f"{self.task}, {self.layout}: {self.samples} samples{of_parts}, {self.checked} checked in "
            f"{self.seconds:.1f} s"
        ]
        for finding in self.findings:
            lines.append(f"{finding.level}: {finding.kind}, {finding.count} of {finding.of}; {finding.sentence}")
            lines += [f"    {example}" for example in finding.examples]
            if len(finding.examples) == NAMES < finding.count:
                lines.append(f"    and {finding.count - len(finding.examples)} more")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {**asdict(self), "wrong": self.wrong, "verdict": self.verdict}


def finding(
    kind: str, examples: Sequence[str], of: int, level: Level | None = None, count: int | None = None
) -> Finding:
    """A finding of this kind with the first few of its examples."""
    known = KINDS[kind]
    return Finding(
        kind=kind,
        level=level or known.level,
        count=len(examples) if count is None else count,
        of=of,
        examples=tuple(examples[:NAMES]),
        sentence=known.sentence,
    )


def grouped(facts: Sequence[Facts]) -> list[Finding]:
    """A finding for each kind of problem that samples have on their own."""
    by_kind: dict[str, list[str]] = {}
    for one in facts:
        for kind, details in one.problems:
            by_kind.setdefault(kind, []).append(f"{one.name}: {details}" if details else one.name)
    return [finding(kind, examples, len(facts)) for kind, examples in by_kind.items()]


def voted(kind: str, facts: Sequence[Facts], *, hint: float, error: float, least: int = 1) -> list[Finding]:
    """A finding where more than a share of the samples with a vote on this kind speak for it.

    It is an error above another share, if at least `least` samples vote.
    """
    judged = [one for one in facts if kind in one.votes]
    against = [one.name for one in judged if one.votes[kind] < 0]
    share = len(against) / max(1, len(judged))
    if share <= hint:
        return []
    wrong = share > error and len(judged) >= least
    return [finding(kind, against, len(judged), "error" if wrong else "hint")]
