"""Knobs as people type them, wishes that make no sense, presets."""

from __future__ import annotations

from typing import Any

import pytest

from vitruvian.animating.way import Way, parse_way, way_kinds, with_knobs
from vitruvian.animating.wish import PRESETS, AnimateWish
from vitruvian.errors import UsageError
from vitruvian.zoo import find_animation

WAY = Way(tile=72, overlap=6, decode_chunk=8, decode_overlap=2)


def test_knobs_reach_the_way_and_its_measures() -> None:
    typed = parse_way(["tile=16", "streamed=true", "feed_forward_parts=4", "features=recomputed", "codec=bfloat16"])
    way = with_knobs(WAY, typed)
    assert (way.tile, way.features, way.codec, way.overlap) == (16, "recomputed", "bfloat16", 6)
    assert way.measures.streamed
    assert way.measures.feed_forward_parts == 4
    assert way.to_json().keys() == {"dtype", *way_kinds()}
    assert str(way.measures) == "feed-forward in 4 parts, weights streamed"


def test_a_smaller_chunk_takes_its_overlap_with_it() -> None:
    assert with_knobs(WAY, {"decode_chunk": 2}).decode_overlap == 1
    assert with_knobs(WAY, {"decode_chunk": 1}).decode_overlap == 0
    with pytest.raises(UsageError, match="an overlap below that"):
        with_knobs(WAY, {"decode_chunk": 2, "decode_overlap": 2})


@pytest.mark.parametrize("pair", ["tiles=4", "tile=0", "tile", "features=disk", "streamed=perhaps", "storage=int4"])
def test_knobs_that_are_none_are_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_way([pair])


@pytest.mark.parametrize(
    "wishes",
    [
        {"preset": "finest"},
        {"frames": (5, 5)},
        {"frames": (-1, None)},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"guidance_scale": (0.5, 2.0)},
        {"guidance_scale": (2.0, float("nan"))},
        {"steps": 0},
        {"pose_strength": -1.0},
        {"pose_strength": float("nan")},
    ],
    ids=str,
)
def test_wishes_that_make_no_sense_are_refused(wishes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        AnimateWish(**wishes)


def test_presets_are_what_is_taken_where_nothing_is_said() -> None:
    for name, preset in PRESETS.items():
        wish = AnimateWish(preset=name)
        assert wish.steps_taken == preset.steps
        assert wish.guided_steps() <= preset.steps
    assert AnimateWish(preset="fast").guided_steps() == 8, "the first 60 % of 12"
    assert AnimateWish(preset="fast", steps=5).guided_steps() == 3
    assert AnimateWish(guidance_scale=(1.0, 1.0)).guided_steps() == 0


def test_guidance_and_steps_are_the_models_own_where_nothing_is_said() -> None:
    published, nano = find_animation("mimicmotion-1.1"), find_animation("mimicmotion-nano")
    assert AnimateWish().of_model(published).guidance_scale == published.guidance_scale == (2.0, 2.0)
    assert AnimateWish(guidance_scale=(1.0, 3.0)).of_model(published).scales == (1.0, 3.0)
    assert (AnimateWish().of_model(nano).guided_steps(), AnimateWish(steps=9).of_model(nano).steps_taken) == (0, 9)
    assert AnimateWish(preset="best").of_model(published).steps_taken == 40
    assert AnimateWish(preset="best").of_model(nano).steps_taken == nano.steps
