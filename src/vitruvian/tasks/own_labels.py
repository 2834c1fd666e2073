"""Label sets by the number of classes: a published one, or else numbered classes with made-up colours."""

from __future__ import annotations

from vitruvian.tasks.id_drawing import id_colour
from vitruvian.tasks.labels import LABEL_SETS, LabelSet, label_set


def labels_of(classes: int) -> LabelSet:
    """The set of a network with so many outputs; nothing is known of left and right in one that was never published."""
    if classes in LABEL_SETS.values():
        return label_set(classes)
    palette = ((0, 0, 0), *(id_colour(index) for index in range(1, classes)))
    names = ("background", *(f"class {index}" for index in range(1, classes)))
    return LabelSet(name=f"classes{classes}", names=names, palette=palette, flip_pairs=(), class_weights=None)
