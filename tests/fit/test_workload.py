"""A workload is all that planners and exporters need: of a user's module, and of every model of the catalogue."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.fit.workload import TensorSpec, Workload, forward_once, meta_copy
from vitruvian.models.sapiens import build_network


class Mine(nn.Module):
    """A user's module with all that a copy can get wrong: tied weights, buffers, a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.table = torch.arange(4.0)

    def forward(self, x_B4: Tensor, scale: Tensor) -> Tensor:
        return self.tied(self.norm(self.first(x_B4))) * self.frozen * scale + self.table


@pytest.fixture
def mine() -> Mine:
    torch.manual_seed(0)
    return Mine().eval()


EXAMPLE = (torch.zeros(3, 4), torch.tensor(2.0))


def test_building_leaves_the_original_as_it_is(mine: Mine) -> None:
    before = {name: (value.clone(), value.data_ptr()) for name, value in mine.state_dict().items()}
    expected = mine(*EXAMPLE)
    built = Workload.from_module(mine, EXAMPLE).build()
    assert built is not mine
    for name, value in mine.state_dict().items():
        assert value.data_ptr() == before[name][1], name
        assert torch.equal(value, before[name][0]), name
    assert torch.equal(mine(*EXAMPLE), expected)
    assert mine.table.device.type == "cpu"


def test_the_copy_holds_no_memory_and_all_the_structure(mine: Mine) -> None:
    mine.first.weight.grad = torch.ones(4, 4)
    built = meta_copy(mine)
    assert isinstance(built, Mine)
    assert {tensor.device.type for tensor in (*built.parameters(), *built.buffers(), built.table)} == {"meta"}
    assert built.tied.weight is built.first.weight, "tied weights count once"
    assert {name: value.requires_grad for name, value in built.named_parameters()} == {
        name: value.requires_grad for name, value in mine.named_parameters()
    }
    assert built.norm.num_batches_tracked.dtype == torch.int64
    assert built.first.weight.grad is None
    assert not built.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_copy_keeps_the_element_type(dtype: torch.dtype) -> None:
    built = meta_copy(nn.Linear(2, 3, dtype=dtype))
    assert {parameter.dtype for parameter in built.parameters()} == {dtype}


@pytest.mark.parametrize("batch", [1, 7])
def test_inputs_follow_the_batch(mine: Mine, batch: int) -> None:
    workload = Workload.from_module(mine, EXAMPLE)
    assert workload.name == "Mine"
    assert workload.inputs(batch) == {"input_0": TensorSpec(shape=(batch, 4)), "input_1": TensorSpec(shape=())}
    (stage,) = workload.stages
    assert (stage.name, stage.repeats) == ("forward", 1)
    given = {name: spec.empty() for name, spec in workload.inputs(batch).items()}
    output = stage.call(workload.build(), given)
    assert (output.shape, output.device.type) == ((batch, 4), "meta")


def test_inputs_keep_their_types() -> None:
    workload = Workload.from_module(nn.Embedding(5, 2), (torch.zeros(1, 3, dtype=torch.int64),))
    (spec,) = workload.inputs(2).values()
    assert spec == TensorSpec(shape=(2, 3), dtype=torch.int64)
    assert (spec.empty("cpu").shape, spec.empty("cpu").dtype) == ((2, 3), torch.int64)


@pytest.mark.parametrize(
    ("example", "named"),
    [
        ((), r"\[\]"),
        ((torch.zeros(2, 1), torch.zeros(3, 1)), r"\[2, 3\]"),
        ((torch.tensor(1.0),), r"\[\]"),
    ],
)
def test_inputs_without_one_batch_are_refused(example: tuple[Tensor, ...], named: str) -> None:
    with pytest.raises(UsageError, match=f"batch sizes {named}; expected one or more tensors"):
        Workload.from_module(nn.Identity(), example)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_model_builds_without_memory(name: str) -> None:
    spec = zoo.MODELS[name]
    module = spec.workload.build()
    assert {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} == {"meta"}
    assert sum(parameter.numel() for parameter in module.parameters()) == spec.config.parameters
    assert not module.training
    islands = [key for key, _ in module.named_modules() if key in spec.workload.islands]
    known = {"pretrain": 0, "detector-nano": 2, "metric3d-convnext": 4, "metric3d-vit": 8, "metric3d": 8}
    kind = name if spec.task == "detect" else name.rpartition("-")[0] if "metric3d" in name else name.split("-")[1]
    last = known.get(kind, 1)
    assert len(islands) == last, (
        "the last convolutions stay in float32, of published detectors and metric networks more of the decoder"
    )


# Forward shapes do not depend on the size beyond its width: one size of each kind, and the odd one out.
@pytest.mark.parametrize(
    "name", [*zoo.NANO_MODELS.values(), *(name for name in zoo.MODELS if "0.3b" in name), "sapiens-pretrain-2b"]
)
def test_every_sapiens_kind_runs_on_shapes_alone(name: str) -> None:
    spec = zoo.MODELS[name]
    workload, batch = spec.workload, 3
    assert all(stage.call is forward_once for stage in workload.stages)
    output = forward_once(workload.build(), {key: value.empty() for key, value in workload.inputs(batch).items()})
    ((key, value),) = output.items()
    config = zoo.sapiens_config(spec)
    grid_hw, head = config.backbone.grid_hw(), config.head
    channels, hw = (head.channels, head.output_hw(grid_hw)) if head else (config.backbone.width, grid_hw)
    assert (tuple(value.shape), value.device.type) == ((batch, channels, *hw), "meta")
    # What the network calls its output is what the task asks for.
    assert spec.make_task().finish_tensors({key: torch.zeros(1, channels, *(min(side, 8) for side in hw))})


def test_a_detector_runs_on_shapes_alone() -> None:
    spec = zoo.MODELS[zoo.DEFAULT_MODELS["detect"]]
    output = forward_once(spec.workload.build(), {key: x.empty() for key, x in spec.workload.inputs(3).items()})
    cells = output["logits"].shape[1]
    assert (tuple(output["logits"].shape), tuple(output["boxes"].shape)) == ((3, cells), (3, cells, 4))
    assert spec.make_task().finish_tensors({"logits": torch.zeros(1, 9), "boxes": torch.zeros(1, 9, 4)})


def test_shapes_of_a_nano_network_are_those_of_a_real_run() -> None:
    spec = zoo.MODELS["sapiens-seg-nano"]
    given = {name: value.empty("cpu").zero_() for name, value in spec.workload.inputs(1).items()}
    network = build_network(spec.config, "cpu")
    with torch.inference_mode():
        (real,) = forward_once(network, given).values()
    (on_meta,) = forward_once(
        spec.workload.build(), {name: value.empty() for name, value in spec.workload.inputs(1).items()}
    ).values()
    assert (real.shape, real.dtype) == (on_meta.shape, on_meta.dtype)
