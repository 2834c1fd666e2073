"""The network as it is trained against the network as it runs; what stays in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.metric.tiny_metric import DECODER, TINY
from vitruvian.errors import UsageError
from vitruvian.models.metric3d import ConvNextConfig, HourglassConfig, Metric3dConfig, Metric3dNetwork, build_network
from vitruvian.training.metric.objective import prediction_of
from vitruvian.training.metric.stepped import CANVAS, STATES, SteppedNetwork, quarter_of


def random_network() -> Metric3dNetwork:
    torch.manual_seed(0)
    network = build_network(TINY, "cpu")
    for parameter in network.parameters():
        parameter.data.normal_(std=0.1)
    return network


def pictures() -> Tensor:
    return torch.randn(2, 3, *TINY.input_hw, generator=torch.Generator().manual_seed(1))


def test_the_last_prediction_is_the_networks_result() -> None:
    network = random_network()
    with torch.no_grad():
        result = network(pictures())
        outputs = SteppedNetwork(network)(pictures())
    made = prediction_of(outputs[CANVAS], DECODER.far_m)
    depth_BHW = made.depth_BHW.clamp(DECODER.near_m, DECODER.far_m)
    torch.testing.assert_close(depth_BHW, result["depth"][:, 0])
    torch.testing.assert_close(made.confidence_BHW, result["confidence"][:, 0])
    torch.testing.assert_close(made.normal_B3HW, result["normal"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made.kappa_BHW, result["kappa"][:, 0])


def test_early_predictions_are_those_of_a_network_of_fewer_steps() -> None:
    network = random_network()
    stepped = SteppedNetwork(network)
    with torch.no_grad():
        states_BTShw = stepped(pictures())[STATES]
        assert states_BTShw.shape == (2, DECODER.steps, 6, 14, 21)
        decoder = network.depth_model.decoder
        refinement = decoder.start(*network.depth_model.encoder(pictures()))
        assert torch.equal(states_BTShw[:, 0], refinement.state_BSHW)
        assert torch.equal(states_BTShw[:, 1], decoder.step(refinement).state_BSHW)


def test_the_weights_are_the_networks_own() -> None:
    network = random_network()
    stepped = SteppedNetwork(network)
    assert stepped.state_dict().keys() == network.state_dict().keys()
    own = dict(network.named_parameters())
    assert all(parameter is own[name] for name, parameter in stepped.named_parameters())


def test_autocast_leaves_states_in_float32() -> None:
    """One unit is 100 m: rounding a state near -2 to bfloat16 would move depth by up to 0.4 m."""
    stepped = SteppedNetwork(random_network())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = stepped(pictures())
    for value in outputs.values():
        assert value.dtype == torch.float32
        assert (value != value.bfloat16().float()).float().mean() > 0.9, "float32 in name alone"


def test_an_error_inside_leaves_autocast_as_it_was() -> None:
    stepped = SteppedNetwork(random_network())
    resize = stepped.get_submodule("depth_model.decoder.decoder_mono.resize")
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(TypeError):
            resize(torch.zeros(1, 2, 4, 4))
        assert torch.is_autocast_enabled("cpu")
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16


def test_the_first_kind_has_no_steps() -> None:
    config = Metric3dConfig(
        encoder=ConvNextConfig(depths=(1, 1, 1, 1), widths=(4, 8, 8, 16)),
        decoder=HourglassConfig(widths=(4, 8, 8), base=16, features=12, anchors=16, residual_width=4),
        input_hw=(64, 96),
    )
    with pytest.raises(UsageError, match="v2"):
        SteppedNetwork(build_network(config))


def test_a_quarter_takes_a_pixel_near_the_middle_of_each_block() -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij")
    assert quarter_of(rows)[:, 0].tolist() == [2, 6]
    assert quarter_of(columns)[0].tolist() == [2, 6, 10]
