"""The weight file of a trained network: small, known again, and equal up to float16."""

from __future__ import annotations

from pathlib import Path

import torch

from training.metric.tiny_metric import TINY
from vitruvian.models.metric3d import NANO, build_network, load_network
from vitruvian.models.weight_files import read_weights
from vitruvian.training.metric.fresh import initialise_metric
from vitruvian.training.metric.stepped import SteppedNetwork
from vitruvian.training.metric.weights import METRIC, write_metric_weights
from vitruvian.zoo import spec_of_file

FILE_LIMIT_BYTES = 4_000_000


def test_a_file_is_the_network_it_was_written_from(tmp_path: Path) -> None:
    network = build_network(TINY, "cpu")
    initialise_metric(network, torch.Generator().manual_seed(0))
    size_bytes = write_metric_weights(SteppedNetwork(network).state_dict(), TINY, tmp_path, "mine")
    path = tmp_path / METRIC
    assert size_bytes == path.stat().st_size
    file = read_weights(path)
    spec = spec_of_file(path, file.tensors, file.metadata)
    assert (spec.config, spec.family.name, spec.licence) == (TINY, "metric3d", "mine")
    loaded = load_network(TINY, file.tensors)
    assert loaded.notes == ()
    own = network.state_dict()
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, own[key].half().float()), key


def test_the_small_network_is_small(tmp_path: Path) -> None:
    network = build_network(NANO, "cpu")
    assert NANO.parameters == sum(parameter.numel() for parameter in network.parameters()) <= 2_000_000
    assert write_metric_weights(network.state_dict(), NANO, tmp_path, "mine") <= FILE_LIMIT_BYTES
