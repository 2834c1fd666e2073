"""One optimiser step: micro-batches equal the big batch, and what must not reach the weights does not."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import SGD, AdamW

from fit.small_networks import transformer_workload
from training.test_ranks import free_port
from training.tiny_normals import Batch, losses, losses_of, network, pictures, split, step_of, weights
from vitruvian.errors import CheckFailedError, UsageError
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.training.losses import LossSum
from vitruvian.training.optimizers import make_optimizer
from vitruvian.training.parameter_groups import parameter_groups
from vitruvian.training.ranks import Ranks, join_ranks
from vitruvian.training.spike_guard import SpikeGuard
from vitruvian.training.step import TrainingStep

GRADIENT_REL = 1e-5


def moved(sizes: Sequence[int], **fields: Any) -> tuple[dict[str, Tensor], Any]:
    """Weights after one step on the six pictures, cut into micro-batches of these sizes."""
    module = network()
    step = step_of(module, accumulation=len(sizes), **fields)
    result = step(split(pictures(6), sizes))
    return weights(module), result


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], rel: float = GRADIENT_REL) -> None:
    """Weights of order one; what is compared is the move."""
    start = weights(network())
    for name, value in expected.items():
        move = value - start[name]
        assert (found[name] - value).abs().max() <= rel * move.abs().max() + 1e-7, name


@pytest.mark.parametrize("sizes", [(6,), (1,) * 6, (3, 3), (1, 5), (4, 2)], ids=str)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_micro_batches_equal_the_big_batch(sizes: tuple[int, ...], clip_norm: float | None) -> None:
    expected, whole = moved((6,), counts_of=None, clip_norm=clip_norm)
    found, result = moved(sizes, clip_norm=clip_norm)
    assert_close(found, expected)
    assert result.loss == pytest.approx(whole.loss, rel=1e-5)
    assert result.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert (result.skipped, result.items, result.guarded) == (None, 6, 0)
    assert result.seconds > 0


def test_the_mean_of_means_would_be_another_step() -> None:
    """The pictures are uneven enough for the test above to fail without the counts."""
    expected, _ = moved((6,))
    module = network()
    for batch in split(pictures(6), (1, 5)):
        sum(term.mean for term in losses_of(module, batch)).div(2).backward()  # type: ignore[union-attr]
    start = weights(network())
    wrong = max(
        ((start[name] - p.grad - expected[name]).abs().max() / p.grad.abs().max()).item()
        for name, p in module.named_parameters()
        if p.grad is not None
    )
    assert wrong > 0.1


def test_gradients_are_those_of_autograd_and_clipped_to_the_norm() -> None:
    module = network()
    loss = torch.stack([term.mean for term in losses_of(module, pictures(6))]).sum()
    gradients = dict(zip(weights(module), torch.autograd.grad(loss, list(module.parameters())), strict=True))
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    found, result = moved((2, 4), clip_norm=0.05)
    assert result.grad_norm == pytest.approx(norm.item(), rel=1e-4)
    assert norm > 0.05
    start = weights(module)
    assert_close(found, {name: start[name] - gradients[name] * 0.05 / norm for name in start}, rel=1e-4)


def test_no_gradient_outlives_the_step_even_when_it_breaks() -> None:
    module = network()
    step = step_of(module, accumulation=2)
    step(split(pictures(6), (3, 3)))
    assert all(parameter.grad is None for parameter in module.parameters())

    def breaking(module: nn.Module, batch: Batch) -> tuple[LossSum, ...]:
        if any(parameter.grad is not None for parameter in module.parameters()):
            raise RuntimeError("out of memory")
        return losses_of(module, batch)

    step.losses_of = breaking
    before = weights(module)
    with pytest.raises(RuntimeError, match="out of memory"):
        step(split(pictures(6), (3, 3)))
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in weights(module).items())


def bad_loss(module: nn.Module, batch: Batch) -> tuple[LossSum, ...]:
    first, second = losses_of(module, batch)
    return LossSum(total=first.total * math.nan, count=first.count), second


def infinite_gradient(module: nn.Module, batch: Batch) -> tuple[LossSum, ...]:
    first, second = losses_of(module, batch)
    return LossSum(total=first.total + (0 * first.total).abs().sqrt(), count=first.count), second


@pytest.mark.parametrize(
    ("bad", "message"), [(bad_loss, "a loss of nan"), (infinite_gradient, "a gradient norm of nan")]
)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_bad_numbers_leave_the_weights_alone(bad: Any, message: str, clip_norm: float | None) -> None:
    found, result = moved((3, 3), losses_of=bad, clip_norm=clip_norm)
    assert result.skipped == message
    assert all(torch.equal(found[name], value) for name, value in weights(network()).items())


def spike_in(picture: int, size: float) -> Any:
    """Losses of a micro-batch that begins with this picture are multiplied."""
    marked = pictures(6)[0][picture]

    def losses_with_spike(module: nn.Module, batch: Batch) -> tuple[LossSum, ...]:
        factor = size if torch.equal(batch[0][0], marked) else 1.0
        return tuple(LossSum(total=term.total * factor, count=term.count) for term in losses_of(module, batch))

    return losses_with_spike


@pytest.mark.parametrize("size", [1000.0, math.nan, math.inf])
def test_a_batch_whose_loss_jumps_contributes_nothing(size: float) -> None:
    module = network()
    step = step_of(module, accumulation=3, guard=SpikeGuard(), losses_of=spike_in(2, size))
    result = step(split(pictures(6), (2, 2, 2)))
    assert (result.skipped, result.guarded) == (None, 1)
    without = network()
    image, target = pictures(6)
    blank = torch.full_like(target[2:4], -1000)
    # Zero gradient, but counted: as if its pixels were perfect.
    counts = torch.stack([term.count.float() for term in losses(torch.zeros_like(target), (image, target))])
    given = (image, torch.cat([target[:2], blank, target[4:]]))
    plain = step_of(without, counts_of=None, losses_of=lambda m, b: tuple(
        LossSum(total=term.total, count=count) for term, count in zip(losses_of(m, b), counts, strict=True)
    ))  # fmt: skip
    expected = plain([given])
    assert_close(weights(module), weights(without))
    assert result.loss == pytest.approx(expected.loss, rel=1e-5)


def test_nothing_left_is_no_step_and_the_guard_remembers() -> None:
    module = network()
    step = step_of(module, guard=SpikeGuard(), losses_of=spike_in(0, 1e6))
    image, target = pictures(6)
    assert step([(image[1:], target[1:])]).skipped is None
    before = weights(module)
    state = step.state_dict()
    result = step([(image, target)])
    assert result.skipped is not None
    assert "loss-spike guard: all 1 micro-batches left out" in result.skipped
    assert result.loss > 1e5
    assert math.isnan(result.grad_norm)
    assert all(torch.equal(before[name], value) for name, value in weights(module).items())
    resumed = step_of(network(), guard=SpikeGuard(), losses_of=spike_in(0, 1e6))
    resumed.load_state_dict(state)
    assert resumed([(image, target)]).guarded == 1


def test_counts_that_disagree_are_found_before_the_weights_change() -> None:
    module = network()
    step = step_of(module, accumulation=2, counts_of=lambda batch: torch.tensor([3.0, 3.0]))
    with pytest.raises(CheckFailedError, match=r"losses that counted.*expected \[6\.0, 6\.0\]"):
        step(split(pictures(6), (3, 3)))
    assert all(torch.equal(weights(module)[name], value) for name, value in weights(network()).items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_released_gradients_make_the_same_step(dtype: Any) -> None:
    def trained(release: bool) -> tuple[dict[str, Tensor], float]:
        torch.manual_seed(0)
        workload = transformer_workload()
        module = workload.build().to_empty(device="cpu")
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.1)
        precision: Any = "float32" if dtype == "float32" else "autocast"
        training = TrainingKnobs(precision=precision, checkpointing="blocks")
        knobs = Knobs(dtype=dtype, training=training)
        applied = apply_knobs(module, workload, knobs)
        groups = parameter_groups(module, applied.blocks, weight_decay=0.1, layer_decay=0.8)
        step = TrainingStep[Tensor](
            module=module,
            optimizer=make_optimizer(groups, training, 1e-2),
            knobs=knobs,
            losses_of=lambda m, x: [LossSum(total=m(x).float().square().sum(), count=torch.tensor(16.0))],
            items_of=len,
            clip_norm=None,
            release_gradients=release,
        )
        batch = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(1))
        norm = [step([batch]).grad_norm for _ in range(2)][-1]
        return weights(module), norm

    (released, norm), (whole, expected) = trained(True), trained(False)
    assert norm == pytest.approx(expected, rel=1e-5)
    assert all(torch.equal(released[name], value) for name, value in whole.items())


def test_released_steps_are_judged_before_they_begin() -> None:
    module = network()
    step = step_of(module, release_gradients=True, losses_of=bad_loss)
    assert step([pictures(6)]).skipped == "a loss of nan"
    step.close()
    assert all(torch.equal(weights(module)[name], value) for name, value in weights(network()).items())
    result = step_of(module, release_gradients=True, losses_of=infinite_gradient)([pictures(6)])
    assert result.skipped is not None
    assert "saw a gradient of zero" in result.skipped
    assert all(value.isfinite().all() for value in weights(module).values())


def loud(module: nn.Module, batch: Batch) -> tuple[LossSum, ...]:
    return tuple(LossSum(total=1e4 * term.total, count=term.count) for term in losses_of(module, batch))


@pytest.mark.parametrize("optimizer_of", [partial(SGD, lr=1.0), partial(AdamW, fused=True)], ids=["sgd", "fused adamw"])
def test_scaled_losses_make_the_same_step_and_too_large_a_scale_none(optimizer_of: Any) -> None:
    """The scaler of float16, here on a CPU in float32, where its arithmetic is the same."""
    plain, module = network(), network()
    fields: dict[str, Any] = {"accumulation": 2, "clip_norm": 0.1, "losses_of": loud}
    step_of(plain, optimizer=optimizer_of(plain.parameters()), **fields)(split(pictures(6), (3, 3)))
    step = step_of(module, optimizer=optimizer_of(module.parameters()), **fields)
    step._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    result = step(split(pictures(6), (3, 3)))
    assert result.skipped is not None
    assert "a gradient norm of" in result.skipped
    assert step._scaler.get_scale() == 2.0**126, "lowered for the next step"
    state = step.state_dict()
    step._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    assert step(split(pictures(6), (3, 3))).skipped is None
    assert_close(weights(module), weights(plain), rel=1e-3)
    step.load_state_dict(state)
    assert step._scaler.get_scale() == 2.0**126


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "autocast", "dtype": "float16"}, "float16 autocast for training on cpu"),
        ({"knobs": Knobs()}, "knobs of inference"),
        ({"release_gradients": True, "clip_norm": 1.0, "accumulation": 2}, "clip_norm=1.0 and accumulation=2"),
        ({"release_gradients": True, "ranks": Ranks(count=2)}, "2 processes"),
        ({"optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))])}, r"got 4 parameters that learn \(0.weight"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        step_of(network(), **fields)


@pytest.mark.parametrize(
    ("sizes", "fields", "message"),
    [
        ((), {}, "got 0 micro-batches"),
        ((2, 2, 2), {"accumulation": 2}, "expected 1 to 2"),
        ((3, 3), {"accumulation": 2, "counts_of": None}, "without counts_of"),
    ],
)
def test_numbers_of_micro_batches(sizes: tuple[int, ...], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        step_of(network(), **fields)(split(pictures(sum(sizes)), sizes) if sizes else [])


def one_rank(rank: int, port: int, out: Path, parallel: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = join_ranks()
    module = network()
    if parallel == "fsdp":
        mesh = init_device_mesh("cpu", (2,))
        for part in (module[0], module[2], module):  # type: ignore[index]
            fully_shard(part, mesh=mesh)
    together: dict[str, Any] = {"ranks": ranks, "parallel": parallel, "gpus": 2}
    step = step_of(module, accumulation=2, guard=SpikeGuard(), clip_norm=0.1, **together)
    result = step(split(pictures(6), (1, 2, 1, 2))[2 * rank : 2 * rank + 2])
    spiked = step_of(module, guard=SpikeGuard(previous=1e-9 if rank else None), **together)
    left_out = spiked([split(pictures(6), (3, 3))[rank]])
    gathered = {
        name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in weights(module).items()
    }
    state = {"weights": gathered, "loss": result.loss, "norm": result.grad_norm, "guarded": left_out.guarded}
    torch.save(state, out / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_make_the_step_of_one(tmp_path: Path, parallel: str) -> None:
    multiprocessing.spawn(one_rank, args=(free_port(), tmp_path, parallel), nprocs=2)
    expected, whole = moved((6,), clip_norm=0.1)
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_close(state["weights"], expected)
        assert state["loss"] == pytest.approx(whole.loss, rel=1e-5)
        assert state["norm"] == pytest.approx(whole.grad_norm, rel=1e-4)
        assert state["guarded"] == 1, "a spike in one process leaves the batches of both out"
