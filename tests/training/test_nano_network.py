"""The joint network, and the files it is published in: one trunk and four heads that fit together again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tolerances import NETWORK_CPU_ABS
from vitruvian.models.sapiens import build_network, load_network, nano_config
from vitruvian.models.sapiens.config import NANO_BACKBONE, NANO_HEADS, HeadKind
from vitruvian.models.weight_files import read_weights
from vitruvian.training.nano.network import JointNetwork, sine_table
from vitruvian.training.nano.weights import LICENCE, write_weights
from vitruvian.zoo import spec_of_file

H, W = NANO_BACKBONE.input_hw
MAX_BYTES = 8_000_000
"""The embedded networks come with every installation."""


@pytest.fixture(scope="module")
def joint() -> JointNetwork:
    torch.manual_seed(0)
    network = JointNetwork().eval()
    for parameter in network.parameters():  # a trained network has no zeros and ones left
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network


@pytest.fixture(scope="module")
def folder(joint: JointNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "weights"
    size_bytes = write_weights(joint.state_dict(), folder)
    assert size_bytes == sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    return folder


@pytest.fixture(scope="module")
def x_B3HW() -> Tensor:
    return torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def rounded_outputs(joint: JointNetwork, x_B3HW: Tensor) -> dict[str, Tensor]:
    """What the joint network says when its weights are rounded as the files round them."""
    network = JointNetwork().eval()
    network.load_state_dict({key: value.half().float() for key, value in joint.state_dict().items()})
    with torch.inference_mode():
        return network(x_B3HW)


def test_every_head_has_its_output(rounded_outputs: dict[str, Tensor]) -> None:
    assert {kind: tuple(value.shape) for kind, value in rounded_outputs.items()} == {
        "pose": (2, 17, H // 4, W // 4),
        "seg": (2, 28, H // 2, W // 2),
        "depth": (2, 1, H, W),
        "normal": (2, 3, H // 2, W // 2),
    }


def test_a_fresh_network_starts_where_the_losses_can_see_it(x_B3HW: Tensor) -> None:
    torch.manual_seed(1)
    with torch.inference_mode():
        raw = JointNetwork().eval()(x_B3HW)
    assert all(torch.isfinite(value).all() for value in raw.values())
    assert (raw["depth"] > 1e-6).float().mean() > 0.95, "the scale-invariant loss has no gradient below"


def test_the_position_table_tells_rows_and_columns_apart() -> None:
    table = sine_table(3, 4, 16)[0]
    assert table.shape == (12, 16)
    assert table.abs().max() <= 1
    assert len(torch.unique(table, dim=0)) == 12
    columns, rows = table.reshape(3, 4, 2, 8).unbind(2)
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
    torch.testing.assert_close(columns, columns[:1].expand_as(columns))
    torch.testing.assert_close(columns[0, 1, [0, 4]], torch.stack([torch.tensor(1.0).sin(), torch.tensor(1.0).cos()]))


@pytest.mark.parametrize("kind", NANO_HEADS)
def test_trunk_and_head_files_make_the_network(
    joint: JointNetwork, folder: Path, x_B3HW: Tensor, rounded_outputs: dict[str, Tensor], kind: HeadKind
) -> None:
    files = [read_weights(folder / f"{name}.safetensors") for name in ("trunk", kind)]
    assert not files[0].tensors.keys() & files[1].tensors.keys()
    tensors = {**files[0].tensors, **files[1].tensors}
    network = build_network(nano_config(kind), "cpu")
    network.load_state_dict(tensors, strict=True)
    with torch.inference_mode():
        (found,) = network(x_B3HW).values()
        exact = joint(x_B3HW)[kind]
    assert (found - rounded_outputs[kind]).abs().max() <= NETWORK_CPU_ABS
    # Half precision keeps 11 bits; a few layers of rounding cost no more than a per cent of the output's spread.
    assert (found - exact).abs().max() <= 0.01 * exact.std()


def test_the_trunk_alone_is_the_encoder(joint: JointNetwork, folder: Path, x_B3HW: Tensor) -> None:
    file = read_weights(folder / "trunk.safetensors")
    loaded = load_network(nano_config("features"), file.tensors)
    assert loaded.notes == ()
    with torch.inference_mode():
        found, exact = loaded.network(x_B3HW)["features"], joint.backbone(x_B3HW)
    assert (found - exact).abs().max() <= 0.01 * exact.std()


@pytest.mark.parametrize("name", ["trunk", *NANO_HEADS])
def test_files_say_what_they_are(folder: Path, name: str) -> None:
    path = folder / f"{name}.safetensors"
    file = read_weights(path)
    spec = spec_of_file(path, file.tensors, file.metadata)
    kind = "features" if name == "trunk" else name
    assert (spec.task, spec.licence, spec.config) == (kind, LICENCE, nano_config(kind))  # type: ignore[arg-type]
    assert {tensor.dtype for tensor in file.tensors.values()} == {torch.float16}
