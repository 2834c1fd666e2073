"""Our Metric3D networks against the published key lists, in reduced precision, and as exported graphs."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export

from tolerances import EXPORT_ABS, METRIC_DEPTH_M
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.models.metric3d import (
    ISLANDS,
    LEFT_OUT,
    PUBLISHED,
    ConvNextConfig,
    HourglassConfig,
    Metric3dConfig,
    Metric3dNetwork,
    RefinerConfig,
    VitConfig,
    build_network,
    check_canvas,
)
from vitruvian.models.metric3d.refiner import ConvexUpsample, Expectation, Refiner, unit_normals
from vitruvian.models.metric3d.vit import cubic_weights

LISTS = json.loads((Path(__file__).parents[1] / "data" / "metric3d_checkpoints.json").read_text(encoding="utf-8"))

V2 = Metric3dConfig(
    encoder=VitConfig(width=16, depth=2, heads=2, mlp_width=32, grid=3),
    decoder=RefinerConfig(
        quarter_width=4, seventh_width=8, shared_width=6, hidden=8, steps=2, anchors=16, normal_width=8
    ),
    input_hw=(56, 84),
)
V2_TAPS = Metric3dConfig(
    encoder=VitConfig(width=16, depth=4, heads=2, mlp_width=24, gated=True, quarter_taps=True, grid=3),
    decoder=V2.decoder,
    input_hw=(56, 84),
)
V1 = Metric3dConfig(
    encoder=ConvNextConfig(depths=(1, 1, 1, 1), widths=(4, 8, 8, 16)),
    decoder=HourglassConfig(widths=(4, 8, 8), base=16, features=12, anchors=16, residual_width=4),
    input_hw=(64, 96),
)
TINY = {"v2": V2, "v2-taps": V2_TAPS, "v1": V1}


def random_network(config: Metric3dConfig) -> Metric3dNetwork:
    torch.manual_seed(0)
    network = build_network(config, "cpu")
    for parameter in network.parameters():
        parameter.data.normal_(std=0.2)
    return network


def expand(keys: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Key lists with `{i}` ranges -> every key with its shape."""
    rows: dict[str, tuple[int, ...]] = {}
    for key, value in keys.items():
        if isinstance(value, dict):
            first, last = value["i"]
            rows |= {key.replace("{i}", str(i)): tuple(value["shape"]) for i in range(first, last + 1)}
        else:
            rows[key] = tuple(value)
    return rows


@pytest.mark.parametrize("name", LISTS["models"])
def test_keys_and_shapes_equal_the_published_list(name: str) -> None:
    listed, config = LISTS["models"][name], PUBLISHED[name]
    everything = expand(listed["keys"])
    assert len(everything) == listed["num_keys"]
    left_out = {key for key in everything if any(fnmatchcase(key, pattern) for pattern in LEFT_OUT)}
    assert left_out - {"depth_model.encoder.mask_token"} == set(listed["aliases"])
    network = build_network(config)
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert found == {key: shape for key, shape in everything.items() if key not in left_out}
    mask_token = config.encoder.width if isinstance(config.encoder, VitConfig) else 0
    assert config.parameters == listed["params"] - mask_token
    assert config.encoder.parameters == listed["encoder_params"] - mask_token
    assert config.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_all_published_models_are_listed() -> None:
    assert LISTS["models"].keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", TINY)
def test_a_small_configuration_counts_its_parameters(name: str) -> None:
    network = build_network(TINY[name])
    assert TINY[name].parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_outputs_have_the_size_of_the_canvas(name: str) -> None:
    config = TINY[name]
    channels = {"depth": 1, "confidence": 1, **({"normal": 3, "kappa": 1} if config.has_normals else {})}
    found = random_network(config)(torch.randn(2, 3, *config.input_hw))
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        key: (2, count, *config.input_hw) for key, count in channels.items()
    }
    if config.has_normals:
        near_m, far_m = config.depth_range_m
        assert near_m <= found["depth"].min()
        assert found["depth"].max() <= far_m
        torch.testing.assert_close(found["normal"].norm(dim=1), torch.ones(2, *config.input_hw), atol=1e-4, rtol=0)
        assert found["kappa"].min() > 0


@torch.no_grad()
def test_depth_of_v1_is_not_clamped() -> None:
    network = random_network(V1)
    network.get_parameter("depth_model.decoder.conv_up_2.7.bias").fill_(-1e4)
    assert network(torch.randn(1, 3, 64, 96))["depth"].max() < 0


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_one_exported_graph_serves_every_batch(name: str) -> None:
    network = random_network(TINY[name])
    hw = TINY[name].input_hw
    program = export(
        network, (torch.randn(2, 3, *hw),), dynamic_shapes=({0: Dim("batch", min=1, max=64)},), strict=False
    )
    (span,) = program.range_constraints.values()
    assert (span.lower, span.upper) == (1, 64)
    for size in (1, 2, 5):
        x_B3HW = torch.randn(size, 3, *hw)
        expected, found = network(x_B3HW), program.module()(x_B3HW)
        assert expected.keys() == found.keys()
        for key in expected:
            tolerance = METRIC_DEPTH_M if key == "depth" else EXPORT_ABS
            torch.testing.assert_close(found[key], expected[key], atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v2", "v1"])
@torch.no_grad()
def test_one_exported_graph_can_serve_every_canvas(name: str) -> None:
    config = TINY[name]
    network, stride = random_network(config), config.stride
    rows, columns = Dim("rows", min=2, max=20), Dim("columns", min=2, max=20)
    shapes = ({0: Dim("batch", min=1, max=8), 2: stride * rows, 3: stride * columns},)
    program = export(network, (torch.randn(2, 3, 4 * stride, 3 * stride),), dynamic_shapes=shapes, strict=False)
    for batch, height, width in ((1, 2, 5), (3, 7, 4)):
        x_B3HW = torch.randn(batch, 3, height * stride, width * stride)
        expected, found = network(x_B3HW), program.module()(x_B3HW)
        torch.testing.assert_close(found["depth"], expected["depth"], atol=METRIC_DEPTH_M, rtol=0)


@torch.no_grad()
def test_the_result_can_be_taken_after_any_step() -> None:
    network = random_network(V2)
    decoder = network.depth_model.decoder
    assert isinstance(decoder, Refiner)
    x_B3HW = torch.randn(1, 3, 56, 84)
    refinement = decoder.start(*network.depth_model.encoder(x_B3HW))
    first = decoder.step(refinement)
    second = decoder.step(first)
    expected = network(x_B3HW)
    assert torch.equal(decoder.outputs(second)["depth"], expected["depth"])
    assert not torch.equal(decoder.outputs(first)["depth"], expected["depth"])


@torch.no_grad()
def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    network = random_network(V2)
    x_B3HW = torch.randn(3, 3, 56, 84)
    together, alone = network(x_B3HW), network(x_B3HW[1:2])
    torch.testing.assert_close(together["depth"][1:2], alone["depth"], atol=METRIC_DEPTH_M, rtol=0)


@pytest.mark.parametrize("name", ["v2", "v1"])
@torch.no_grad()
def test_islands_keep_depth_in_float32(name: str) -> None:
    network = random_network(TINY[name])
    x_B3HW = torch.randn(1, 3, *TINY[name].input_hw)
    exact = network(x_B3HW)["depth"]
    apply_precision(network, Precision(dtype="bfloat16", islands=ISLANDS))
    assert {value.dtype for value in network(x_B3HW).values()} == {torch.float32}
    assert next(network.depth_model.encoder.parameters()).dtype == torch.bfloat16
    coarse = {round(value, 6) for value in network(x_B3HW)["depth"].flatten().bfloat16().float().tolist()}
    fine = {round(value, 6) for value in network(x_B3HW)["depth"].flatten().tolist()}
    assert len(fine) > 2 * len(coarse), "depth holds no more values than bfloat16 has"
    assert (network(x_B3HW)["depth"] - exact).abs().median() < 0.05 * exact.abs().median()
    if name == "v2":
        decoder = network.depth_model.decoder
        assert isinstance(decoder, Refiner)
        first = decoder.step(decoder.start(*network.depth_model.encoder(x_B3HW.bfloat16())))
        assert first.state_BSHW.dtype == torch.float32
        assert first.hidden.quarter.dtype == torch.bfloat16


def test_every_island_is_part_of_a_network() -> None:
    networks = [build_network(config) for config in (V2, V1)]
    names = {name for network in networks for name, _ in [*network.named_modules(), *network.named_parameters()]}
    for pattern in ISLANDS:
        assert any(fnmatchcase(name, pattern) for name in names), pattern


@torch.no_grad()
def test_gradients_reach_every_parameter_that_is_read() -> None:
    network = random_network(V2)
    with torch.enable_grad():
        sum(value.sum() for value in network(torch.randn(1, 3, 56, 84)).values()).backward()  # type: ignore[union-attr]
    missing = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert missing == []


def test_upsampling_with_the_centre_alone_repeats_the_map() -> None:
    state_BSHW = torch.arange(12.0).reshape(1, 2, 2, 3)
    logits = torch.zeros(1, 9, 16, 2, 3)
    logits[:, 4] = 100.0
    found = ConvexUpsample()(state_BSHW, logits.flatten(1, 2))
    torch.testing.assert_close(found, state_BSHW.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_upsampling_counts_zeros_beyond_the_border() -> None:
    logits = torch.zeros(1, 9, 16, 2, 2)
    logits[:, 0, 5] = 100.0  # of the sixteen pixels, row 1 column 1 takes the upper left neighbour
    found = ConvexUpsample()(torch.ones(1, 1, 2, 2), logits.flatten(1, 2))
    corners = [round(found[0, 0, row, column].item(), 6) for row, column in ((1, 1), (1, 5), (5, 1), (5, 5))]
    assert corners == [0, 0, 0, 1]


def test_expected_depth_of_equal_logits_is_the_mean_of_the_anchors() -> None:
    logits = torch.zeros(1, 3, 1, 1)
    torch.testing.assert_close(Expectation(0.1, 10.0)(logits).item(), (0.1 + 1.0 + 10.0) / 3, atol=1e-5, rtol=0)


def test_normals_are_unit_vectors_and_a_zero_vector_stays_finite() -> None:
    raw: Tensor = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, -50.0]])[..., None, None]
    raw.requires_grad_()
    found = unit_normals(raw)[..., 0, 0]
    found.sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.0, 0.8, 1.01], [0.0, 0.0, 0.0, 0.01]]))


@pytest.mark.parametrize(("side", "wanted"), [(37, 44), (37, 4), (3, 7)])
def test_resize_weights_add_up_to_one(side: int, wanted: int) -> None:
    weights = cubic_weights(side, wanted, torch.device("cpu"))
    assert weights.shape == (wanted, side)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(wanted))


def test_a_table_of_its_own_size_is_not_resized() -> None:
    encoder = build_network(V2, "cpu").depth_model.encoder
    table = encoder.position_table((3, 3))  # type: ignore[operator]
    assert table is encoder.pos_embed


@pytest.mark.parametrize(
    ("config", "canvas_hw", "message"),
    [(V2, (518, 518), r"multiples of 28.*take 504 x 504"), (V1, (0, 96), r"multiples of 32.*take 32 x 96")],
)
def test_canvases_off_the_grid_are_refused(config: Metric3dConfig, canvas_hw: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_canvas(config, canvas_hw)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VitConfig(width=10, depth=1, heads=3, mlp_width=8), "divide"),
        (lambda: VitConfig(width=8, depth=6, heads=2, mlp_width=8, quarter_taps=True), "multiple of 4"),
        (lambda: Metric3dConfig(encoder=V1.encoder, decoder=V2.decoder, input_hw=(64, 96)), "v1"),
    ],
)
def test_configurations_that_do_not_go_together_are_refused(build: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize("config", [*PUBLISHED.values(), V2_TAPS, V1])
def test_a_config_survives_json(config: Metric3dConfig) -> None:
    assert Metric3dConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
