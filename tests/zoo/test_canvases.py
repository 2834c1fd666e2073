"""Other canvases than the published one: which networks take them, and how large they are."""

from __future__ import annotations

import pytest

from vitruvian.errors import UsageError
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.zoo import MODELS, CanvasWish, ModelSpec
from vitruvian.zoo.metric3d import with_tokens

VIT, CONVNEXT = MODELS["metric3d-vit-small"], MODELS["metric3d-convnext-tiny"]
OTHERS = ("sapiens-seg-nano", "sapiens-depth-nano", "detector-nano")


@pytest.mark.parametrize("wish", [CanvasWish(), CanvasWish(canvas="fixed")])
@pytest.mark.parametrize("name", ["metric3d-vit-small", "metric3d-convnext-tiny", *OTHERS])
def test_nothing_said_changes_nothing(wish: CanvasWish, name: str) -> None:
    assert wish.applied(MODELS[name]) == MODELS[name]


def test_fit_is_for_networks_that_do_not_read_places() -> None:
    spec = CanvasWish(canvas="fit").applied(VIT)
    assert (spec.fit, spec.input_hw) == (True, (616, 1064))
    task = spec.make_task()
    assert isinstance(task, MetricDepthTask)
    assert task.fit
    for name in ("metric3d-convnext-tiny", "metric3d-convnext-large", *OTHERS):
        with pytest.raises(UsageError, match=f"got --canvas fit for {name}; .*metric3d-vit models can"):
            CanvasWish(canvas="fit").applied(MODELS[name])


def test_a_size_is_width_by_height() -> None:
    spec = CanvasWish(canvas="532x308").applied(VIT)
    assert (spec.input_hw, spec.fit) == ((308, 532), False)
    task = spec.make_task()
    assert isinstance(task, MetricDepthTask)
    assert (task.input_hw, task.native_hw, task.protocol.published) == ((308, 532), (616, 1064), False)
    assert spec.workload.inputs(2)["x_B3HW"].shape == (2, 3, 308, 532)
    assert CanvasWish(canvas="1064X616").applied(VIT) == VIT, "the published size is the published protocol"


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("metric3d-vit-small", "530x308", "multiples of 28"),
        ("metric3d-vit-small", "532x294", "multiples of 28"),  # whole tokens, but not two
        ("metric3d-vit-small", "0x28", "multiples of 28"),
        ("metric3d-convnext-tiny", "532x308", "multiples of 32"),
        ("detector-nano", "64x64", "its own size"),
    ],
)
def test_sizes_that_a_network_cannot_take_are_refused(name: str, size: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CanvasWish(canvas=size).applied(MODELS[name])


@pytest.mark.parametrize("canvas", ["", "fitted", "FIT", "532", "532x", "532x308x3", "-28x28", "5 x 5", "999999x28"])
def test_words_that_mean_no_canvas_are_refused(canvas: str) -> None:
    with pytest.raises(UsageError, match="expected fixed, fit, or a width and height such as 532x308"):
        CanvasWish(canvas=canvas)


@pytest.mark.parametrize("canvas", ["fixed", "532x308"])
def test_tokens_and_a_size_exclude_each_other(canvas: str) -> None:
    with pytest.raises(UsageError, match=f"got --canvas {canvas} and --tokens 900"):
        CanvasWish(canvas=canvas, tokens=900)


@pytest.mark.parametrize("canvas", [None, "fit"])
def test_tokens_make_a_smaller_fitted_canvas(canvas: str | None) -> None:
    spec = CanvasWish(canvas=canvas, tokens=836).applied(VIT)  # a quarter of 44 x 76
    assert (spec.input_hw, spec.fit) == ((308, 532), True)


@pytest.mark.parametrize(
    ("spec", "least", "most"), [(VIT, 4, 4 * 3344), (CONVNEXT, 6, 4 * 3375)], ids=["vit", "convnext"]
)
def test_tokens_have_bounds(spec: ModelSpec, least: int, most: int) -> None:
    stride = spec.family.stride(spec.config)
    assert with_tokens(spec, least).input_hw == (stride, stride)
    assert with_tokens(spec, most).input_hw[0] * with_tokens(spec, most).input_hw[1] <= most * 196
    for tokens in (0, -5, least - 1, most + 1):
        with pytest.raises(UsageError, match=f"got --tokens {tokens}; expected {least} to {most}"):
            with_tokens(spec, tokens)


@pytest.mark.parametrize("tokens", [4, 100, 500, 1000, 2000, 3344, 10000])
def test_as_many_tokens_as_asked_for_or_a_few_less(tokens: int) -> None:
    height, width = with_tokens(VIT, tokens).input_hw
    assert height % 28 == width % 28 == 0
    found = (height // 14) * (width // 14)
    assert found <= tokens
    assert found >= 0.85 * tokens


def test_v1_takes_tokens_on_a_padded_canvas() -> None:
    spec = with_tokens(CONVNEXT, 900)
    assert not spec.fit
    assert spec.input_hw[0] % 32 == spec.input_hw[1] % 32 == 0


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_count_no_tokens(name: str) -> None:
    with pytest.raises(UsageError, match="expected a Metric3D network"):
        CanvasWish(tokens=900).applied(MODELS[name])
