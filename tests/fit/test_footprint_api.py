"""`footprint(module, example_inputs)` for any module: users' own, and those of two large libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit.small_networks import Stack, Transformer, transformer_workload
from vitruvian.errors import UsageError
from vitruvian.fit.footprint import Footprint, footprint, footprints_of, predict
from vitruvian.fit.footprint.isolate import TraceFailedError
from vitruvian.fit.footprint.trace import trace
from vitruvian.fit.knobs import Knobs, TrainingKnobs


def test_a_module_of_the_users_is_left_alone() -> None:
    module = Transformer().train()
    before = {key: (value.data_ptr(), value.clone()) for key, value in module.state_dict().items()}
    made = footprint(module, torch.zeros(3, 8, 64), train=True)
    assert made.remarks == ()
    assert module.training
    for key, value in module.state_dict().items():
        assert value.data_ptr() == before[key][0]
        assert torch.equal(value, before[key][1])
        assert value.grad is None
    assert made.knobs == Knobs(training=TrainingKnobs())
    assert made.peak_bytes(3) > made.at(1).process_bytes + 4 * 4 * made.parameters * 0.9


def test_the_child_says_the_same_as_this_process() -> None:
    knobs = Knobs(dtype="bfloat16", training=TrainingKnobs(precision="autocast", checkpointing="blocks"))
    apart = footprint(Transformer(), torch.zeros(1, 8, 64), knobs=knobs, backend="cpu")
    here = trace(transformer_workload(), knobs)
    assert (apart.phases, apart.flops_per_item) == (here.phases, here.flops_per_item)


def test_inputs_may_be_one_tensor_or_several() -> None:
    one, several = footprint(Stack(), torch.zeros(2, 256)), footprint(Stack(), (torch.zeros(2, 256),))
    assert one == several


def test_what_is_asked_for_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="knobs together with train or dtype"):
        footprint(Stack(), torch.zeros(1, 256), train=True, knobs=Knobs())


def test_a_module_of_a_closure_is_traced_here_and_says_so() -> None:
    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    made = footprint(Local(), torch.zeros(1, 4))
    (remark,) = made.remarks
    assert "traced in this process" in remark
    assert "cannot be sent to another" in remark


def test_a_module_that_ends_its_process_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import os\nfrom torch import nn\nclass Abort(nn.Module):\n    def forward(self, x):\n        os.abort()\n"
    (tmp_path / "aborting_network.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    predict.CHILD.close()  # or it would not know the folder
    with pytest.raises(TraceFailedError, match=r"Abort .inference. ran on shapes alone.*SIGABRT"):
        footprint(__import__("aborting_network").Abort(), torch.zeros(1, 4))


class Branching(nn.Module):
    """Looks at values."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("known", [False, True])
def test_a_branch_on_values_is_explained(known: bool) -> None:
    with pytest.raises(TraceFailedError, match=r"no branch on tensor contents.*DataDependent"):
        if known:  # traced in this process
            predict._here("it", transformer_workload().from_module(Branching(), (torch.zeros(1, 4),)), Knobs(), "cpu")
        else:
            footprint(Branching(), torch.zeros(1, 4))


def check(made: Footprint, module: nn.Module) -> None:
    weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    assert made.phases[0].fixed.weights_bytes == pytest.approx(weights, rel=0.02)
    assert made.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert made.flops_per_item > 2 * made.parameters * 0.5
    assert made.remarks == ()


def trained(**fields: Any) -> Knobs:
    return Knobs(training=TrainingKnobs(**fields))


def test_a_transformers_network() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=96, num_hidden_layers=4, num_attention_heads=3, intermediate_size=384, image_size=64
    )
    module, example = transformers.ViTModel(config), torch.zeros(1, 3, 64, 64)
    check(footprint(module, example), module)
    plain, checkpointed, adapted = (
        footprint(module, example, knobs=knobs)
        for knobs in (trained(), trained(checkpointing="blocks"), trained(trainable="lora"))
    )
    check(plain, module)
    assert checkpointed.at(64).activations_bytes < 0.7 * plain.at(64).activations_bytes
    # Six linear layers a block: query, key, value, projection, and two of the MLP.
    widths = 4 * (4 * (96 + 96) + 2 * (96 + 384))
    assert adapted.parameters - plain.parameters == 16 * widths


def test_a_diffusers_network() -> None:
    diffusers = pytest.importorskip("diffusers")
    module = diffusers.UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    example = (torch.zeros(1, 3, 32, 32), torch.tensor(1))
    check(footprint(module, example), module)
    training = footprint(module, example, train=True)
    check(training, module)
    assert training.at(8).activations_bytes > 3 * footprint(module, example).at(8).activations_bytes


def test_asking_again_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    footprints = footprints_of(transformer_workload())
    first = footprints(trained())
    monkeypatch.setattr(predict, "_traced", None)
    assert footprints(trained(parallel="ddp", gpus=2, accumulation=3)).peak_bytes(1) > first.peak_bytes(1)
