"""What can be wrong with one annotated person, and what many of them say together.

In: a `PersonSample` and its picture's size. Out: `Facts` of each, findings of all.
"""

# Shape suffixes: K keypoints, 2 = x y, 3 = x y visibility.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitruvian.datasets.coco_persons import PersonSample
from vitruvian.datasets.findings import Facts, Finding, voted
from vitruvian.datasets.sides import CONTRADICT, SWAPPED, keypoint_sides
from vitruvian.tasks.labels import KeypointSet
from vitruvian.tasks.preprocess import BOX_PADDING

BEYOND = 0.05
"""How far keypoints and boxes may reach beyond the picture, as a share of its sides."""


def person_facts(sample: PersonSample, source_hw: tuple[int, int], convention: KeypointSet) -> Facts:
    """What is seen in one person of a picture of this size."""
    keypoints_K3, size_2 = sample.keypoints_K3, np.array(source_hw[::-1], np.float64)
    problems = []
    odd = sorted(set(np.unique(keypoints_K3[:, 2]).tolist()) - {0.0, 1.0, 2.0})
    if odd:
        problems.append(("odd visibility", ", ".join(f"{value:g}" for value in odd[:5])))
    labelled_N2 = keypoints_K3[keypoints_K3[:, 2] > 0, :2]
    outside_N = ((labelled_N2 < -BEYOND * size_2) | (labelled_N2 > (1 + BEYOND) * size_2)).any(axis=1)
    if outside_N.any():
        problems.append(("keypoints outside the picture", f"{outside_N.sum()} of {len(labelled_N2)}"))
    low_2, high_2 = np.reshape(sample.box_xyxy, (2, 2))
    shown = ", ".join(f"{value:.0f}" for value in sample.box_xyxy)
    if (low_2 >= size_2).any() or (high_2 <= 0).any() or (high_2 - size_2 > np.maximum(size_2 * BEYOND, 2)).any():
        problems.append(
            ("box off the picture", f"from x, y, width, height: {shown} in {size_2[0]:.0f}x{size_2[1]:.0f}")
        )
    reach_2 = (high_2 - low_2) * (BOX_PADDING - 1) / 2
    # Boxes may hold what is to be seen of a person alone, so covered keypoints prove nothing.
    seen_N2 = keypoints_K3[keypoints_K3[:, 2] == 2, :2]
    inside_N = ((seen_N2 >= low_2 - reach_2) & (seen_N2 <= high_2 + reach_2)).all(axis=1)
    if len(seen_N2) and inside_N.mean() < 0.5:
        problems.append(("box off the keypoints", f"{inside_N.sum()} of {len(seen_N2)} visible ones inside"))
    votes = keypoint_sides(keypoints_K3, convention, sample.box_xyxy)
    return Facts(name=sample.name, problems=tuple(problems), votes=votes)


def person_verdicts(facts: Sequence[Facts]) -> list[Finding]:
    """What all persons say together; 4 to 7 % of correct rendered people look over a shoulder, none look swapped."""
    return [
        *voted(CONTRADICT, facts, hint=0.1, error=0.3, least=5),
        *voted(SWAPPED, facts, hint=0.05, error=0.4, least=5),
    ]
