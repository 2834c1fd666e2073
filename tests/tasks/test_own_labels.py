"""Label sets by number of classes."""

from __future__ import annotations

import pytest

from vitruvian.tasks.labels import label_set
from vitruvian.tasks.own_labels import labels_of


@pytest.mark.parametrize("classes", [28, 20, 19])
def test_published_numbers_mean_published_sets(classes: int) -> None:
    assert labels_of(classes) == label_set(classes)


def test_other_numbers_get_names_and_colours_of_their_own() -> None:
    labels = labels_of(6)
    assert labels.names == ("background", *(f"class {number}" for number in range(1, 6)))
    assert len(set(labels.palette)) == 6
    assert labels.flip_pairs == ()
    assert labels.class_weights is None
