"""Audits: what reduced precision breaks is seen, the ladder is walked down to what works, and nothing is run twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitruvian.audit import Choice, Crop, Run, Subject, audit, bundled_crops, choose_precision
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision, apply_precision, more_islands, precision_ladder
from vitruvian.fit.quality import Quality
from vitruvian.fit.verdicts import FILE, VerdictStore
from vitruvian.hardware import Accelerator, Dtype
from vitruvian.tasks.base import Provenance, Task
from vitruvian.tasks.depth import DepthTask
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.normal import NormalTask
from vitruvian.tasks.seg import SegTask
from vitruvian.weights import find_weights
from vitruvian.zoo import DEFAULT_MODELS, NANO_MODELS, TaskName

PROVENANCE = Provenance(model="tiny", weights_sha256="ab" * 32, licence="mine")
TASK = DepthTask(input_hw=(32, 24))
DEVICE = Accelerator(
    device="cuda:0",
    name="a card",
    total_bytes=10**10,
    free_bytes=10**10,
    bf16="native",
    fp16="native",
    tf32="none",
    fp8="none",
)
BF16, FP16, FP32 = (Precision(dtype=dtype) for dtype in ("bfloat16", "float16", "float32"))


def crops_for(task: Task, count: int = 2) -> tuple[Crop, ...]:
    rng = np.random.default_rng(0)
    found = [task.prepare(rng.integers(0, 255, (30, 20, 3), dtype=np.uint8), None) for _ in range(count)]
    return tuple(Crop(canvas_HW3=canvas, geometry=geometry) for canvas, geometry in found)


def run_of(network: nn.Module, task: Task = TASK) -> Run:
    def run(canvases: Sequence[np.ndarray]) -> Mapping[str, Tensor]:
        return network(task.network_input(torch.from_numpy(np.stack(canvases))))

    return run


class Plain(nn.Module):
    """Two convolutions: any precision will do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle: nn.Module = nn.Identity()
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"depth": self.last(self.middle(self.first(x)))}


class Lifted(nn.Module):
    """Adds a large number and takes it away again: what is smaller than its spacing is lost."""

    def __init__(self, height: float) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor([height]))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.height) - self.height


class Loud(nn.Module):
    """Goes through values beyond float16's range."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([3e4]))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.gain * 8) / self.gain


class Stubborn(nn.Module):
    """Insists on float32, as a user's own code may."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.eye(x.shape[-1])


class Broken(nn.Module):
    """Gives no numbers whatever the precision."""

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.zeros_like(x) * 0


def with_middle(middle: nn.Module) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        network = Plain()
        network.middle = middle
        return network.eval().requires_grad_(False)

    return make


@dataclass
class Bench:
    """A network to choose a precision for, and a count of what was built."""

    make: Callable[[], nn.Module]
    built: list[str] = field(default_factory=list)

    def choose(
        self,
        ladder: Sequence[Precision] | None = None,
        *,
        quality: Quality = "balanced",
        store: VerdictStore | None = None,
        with_reference: bool = True,
        insisted: bool = False,
        fits: Callable[[Precision], bool] = lambda precision: True,
        crops: int = 2,
        provenance: Provenance = PROVENANCE,
    ) -> Choice:
        subject = Subject(
            task=TASK,
            provenance=provenance,
            device="a card",
            torch_version="2.13",
            crops=crops_for(TASK, crops),
        )
        steps = precision_ladder(DEVICE, more=[["middle"]]) if ladder is None else ladder
        return choose_precision(
            subject,
            steps,
            fits=fits,
            quality=quality,
            build=self._build,
            build_reference=(lambda: self._build(FP32, "reference")) if with_reference else None,
            store=store,
            insisted=insisted,
        )

    def _build(self, precision: Precision, name: str = "") -> Run:
        self.built.append(name or str(precision))
        return run_of(apply_precision(self.make(), precision))


def turned_down(choice: Choice) -> dict[str, str]:
    return {str(one.value): one.because for one in choice.decisions if one.what == "dtype_turned_down"}


def test_a_tame_network_takes_the_first_candidate() -> None:
    bench = Bench(with_middle(nn.Identity()))
    choice = bench.choose()
    assert choice.precision == BF16
    assert bench.built == ["reference", "bfloat16"]
    (decision,) = choice.decisions
    assert (decision.what, decision.value, decision.measured) == ("dtype", "bfloat16", True)
    assert "on 2 crops: relative 0.00" in decision.because
    assert "(<= 0.01)" in decision.because
    assert choice.report is not None
    assert 0 < choice.report.discrepancies["relative"] < 0.01
    assert choice.ladder == precision_ladder(DEVICE, more=[["middle"]])
    assert choice.notes == ()


def test_an_island_rescues_a_sensitive_layer() -> None:
    bench = Bench(with_middle(Lifted(300.0)))
    choice = bench.choose()
    assert choice.precision == Precision(dtype="bfloat16", islands=("middle",))
    assert bench.built == ["reference", "bfloat16", "bfloat16 with 1 float32 island"]
    assert turned_down(choice).keys() == {"bfloat16"}
    assert "expected <= 0.01" in turned_down(choice)["bfloat16"]
    assert BF16 not in choice.ladder
    assert FP16 in choice.ladder


def test_a_finer_type_is_tried_next() -> None:
    ladder = precision_ladder(DEVICE)
    assert Bench(with_middle(Lifted(20.0))).choose(ladder).precision == FP16


def test_what_does_not_fit_is_passed_over_and_what_comes_after_is_not_asked_about() -> None:
    asked: list[Precision] = []

    def fits(precision: Precision) -> bool:
        asked.append(precision)
        return precision == FP16

    bench = Bench(with_middle(nn.Identity()))
    assert bench.choose([BF16, FP16, FP32], fits=fits).precision == FP16
    assert bench.built == ["reference", "float16"]
    assert asked == [BF16, FP16]


def test_a_smaller_type_serves_where_float32_does_not_fit() -> None:
    bench = Bench(with_middle(nn.Identity()))
    choice = bench.choose([FP32, BF16], fits=lambda precision: precision == BF16, with_reference=False)
    assert choice.precision == BF16
    assert "not audited: float32 fits neither" in choice.decisions[-1].because


def test_overflow_steps_down_and_is_counted() -> None:
    bench = Bench(with_middle(Loud()))
    choice = bench.choose([FP16, FP32])
    assert choice.precision == FP32
    assert bench.built == ["reference", "float16"]
    assert "values that are not finite" in turned_down(choice)["float16"]
    assert choice.decisions[-1].because == "no smaller compute type keeps --quality balanced"
    assert choice.ladder == (FP32,)
    assert Bench(with_middle(Loud())).choose([BF16, FP32]).precision == BF16


def test_an_error_is_a_miss_and_not_a_crash(tmp_path: Path) -> None:
    store = VerdictStore(path=tmp_path / FILE)
    choice = Bench(with_middle(Stubborn())).choose([BF16, FP32], store=store)
    assert choice.precision == FP32
    assert "got an error: expected" in turned_down(choice)["bfloat16"]
    assert store.entries() == {}  # what failed today may run tomorrow


class Hungry(nn.Module):
    """Runs out of memory in anything but float32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise torch.OutOfMemoryError("out of memory")
        return x


def test_full_memory_says_nothing_about_a_precision() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Bench(with_middle(Hungry())).choose()


def test_float32_that_gives_no_numbers_is_kept_and_said() -> None:
    bench = Bench(with_middle(Broken()))
    choice = bench.choose()
    assert choice.precision == FP32
    assert bench.built == ["reference"]
    assert "float32 itself gave" in choice.decisions[-1].because
    assert "not audited" in choice.notes[0]


def test_without_a_reference_native_support_decides_and_it_is_said() -> None:
    bench = Bench(with_middle(nn.Identity()))
    choice = bench.choose(with_reference=False)
    assert (choice.precision, bench.built) == (BF16, [])
    (decision,) = choice.decisions
    assert decision.because == "not audited: float32 fits neither the device nor the host"
    assert not decision.measured
    assert len(choice.notes) == 1


def test_nothing_to_choose_from_needs_no_audit() -> None:
    bench = Bench(with_middle(nn.Identity()))
    choice = bench.choose([FP32])
    assert (choice.precision, bench.built) == (FP32, [])
    assert "no smaller compute type" in choice.decisions[0].because
    with pytest.raises(UsageError, match="no precision"):
        bench.choose([])


def test_exact_means_float32() -> None:
    bench = Bench(with_middle(nn.Identity()))
    assert bench.choose(quality="exact").precision == FP32
    assert bench.built == []


def test_float32_that_was_no_candidate_is_the_answer_where_all_others_miss() -> None:
    assert Bench(with_middle(Lifted(300.0))).choose([BF16]).precision == FP32


@pytest.mark.parametrize(("quality", "warned"), [("balanced", False), ("exact", True)])
def test_what_the_user_insists_on_is_audited_all_the_same(quality: Quality, warned: bool) -> None:
    choice = Bench(with_middle(Lifted(5.0))).choose([BF16], quality=quality, insisted=True)
    assert choice.precision == BF16
    assert choice.report is not None
    assert choice.decisions[-1].because.startswith("asked for")
    assert choice.decisions[-1].measured
    assert bool(choice.notes) == warned
    if warned:
        assert choice.notes[0].startswith("warning: bfloat16 was asked for")
        assert "got relative 0.00" in choice.notes[0]


def test_of_two_ways_that_miss_the_one_with_numbers_is_taken() -> None:
    ladder = [FP16, Precision(dtype="float16", islands=("middle",))]
    loud = nn.Sequential(Loud(), Lifted(30.0))
    bench = Bench(with_middle(loud))
    assert bench.choose(ladder, quality="exact", insisted=True).precision == ladder[1]
    neither = Bench(with_middle(Stubborn())).choose(ladder[:1], insisted=True)
    assert neither.precision == FP16
    assert "got an error" in neither.notes[0]


def test_verdicts_are_used_again_and_nothing_runs(tmp_path: Path) -> None:
    store = VerdictStore(path=tmp_path / FILE)
    first, second = (Bench(with_middle(Lifted(300.0))) for _ in range(2))
    chosen = first.choose(store=store)
    assert first.built.count("reference") == 1
    again = second.choose(store=store)
    assert second.built == []
    assert again.precision == chosen.precision
    assert again.decisions == chosen.decisions
    unaudited = second.choose(store=store, with_reference=False)
    assert (unaudited.precision, unaudited.notes) == (chosen.precision, ())


def test_a_wider_quality_judges_remembered_numbers_anew(tmp_path: Path) -> None:
    store = VerdictStore(path=tmp_path / FILE)
    bench = Bench(with_middle(Lifted(20.0)))
    assert bench.choose([BF16, FP32], store=store).precision == FP32
    bench.built.clear()
    assert bench.choose([BF16, FP32], store=store, quality="fast").precision == BF16
    assert bench.built == []


@pytest.mark.parametrize(
    "changes", [{"crops": 3}, {"provenance": replace(PROVENANCE, weights_sha256="cd" * 32)}], ids=["crops", "weights"]
)
def test_a_verdict_on_something_else_does_not_count(tmp_path: Path, changes: dict[str, object]) -> None:
    store = VerdictStore(path=tmp_path / FILE)
    bench = Bench(with_middle(nn.Identity()))
    bench.choose(store=store)
    bench.choose(store=store, **changes)  # type: ignore[arg-type]
    assert bench.built.count("reference") == 2


def test_a_verdict_that_cannot_be_kept_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    choice = Bench(with_middle(nn.Identity())).choose(store=VerdictStore(path=tmp_path / "file" / FILE))
    assert choice.precision == BF16
    assert "could not be remembered" in choice.notes[0]


def test_a_damaged_store_means_another_audit(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    bench = Bench(with_middle(nn.Identity()))
    assert bench.choose(store=VerdictStore(path=tmp_path / FILE)).precision == BF16
    assert bench.built == ["reference", "bfloat16"]


FLAT: dict[str, tuple[Task, int]] = {
    "depth": (TASK, 1),
    "normal": (NormalTask(input_hw=(32, 24)), 3),
    "logits": (SegTask(labels=label_set(28), input_hw=(32, 24)), 28),
}


@pytest.mark.parametrize("key", FLAT)
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_flat_outputs_divide_by_nothing(key: str, value: float) -> None:
    task, channels = FLAT[key]

    def run(canvases: Sequence[np.ndarray]) -> Mapping[str, Tensor]:
        return {key: torch.full((len(canvases), channels, 8, 6), value)}

    with np.errstate(all="raise"):
        report = audit(run, run, task=task, crops=crops_for(task), provenance=PROVENANCE)
    nothing_to_compare = key == "normal" and value == 0
    assert bool(report.misses("exact")) == nothing_to_compare


@pytest.mark.parametrize("task", DEFAULT_MODELS)
def test_bundled_crops_are_network_inputs(task: TaskName) -> None:
    found = find_weights(DEFAULT_MODELS[task]).spec.make_task()
    crops = bundled_crops(found)
    assert len(crops) == (8 if task == "pose" else 5)
    assert all(crop.canvas_HW3.shape == (*found.input_hw, 3) for crop in crops)
    assert all((crop.geometry.region is not None) == (task == "pose") for crop in crops)
    first = bundled_crops(found, 2)
    assert [crop.geometry for crop in first] == [crop.geometry for crop in crops[:2]]
    assert not np.array_equal(first[0].canvas_HW3, first[1].canvas_HW3)


@pytest.mark.parametrize("task", NANO_MODELS)
def test_embedded_networks_keep_balanced_in_bfloat16_and_more_islands_help(task: TaskName) -> None:
    found = find_weights(DEFAULT_MODELS[task])
    workload, made = found.spec.workload, found.spec.make_task()
    crops = bundled_crops(made, 2)
    reference = run_of(found.build().network, made)
    errors = []
    dtypes: tuple[Dtype, ...] = ("bfloat16", "float16")
    steps = [(dtype, workload.islands) for dtype in dtypes]
    steps.append(("bfloat16", more_islands(workload.build(), workload.islands, workload.head)[-1]))
    for dtype, islands in steps:
        precision = Precision(dtype=dtype, islands=islands)
        network = apply_precision(found.build(precision=precision).network, precision)
        with torch.inference_mode():
            report = audit(reference, run_of(network, made), task=made, crops=crops, provenance=found.provenance)
        assert report.misses("balanced") == []
        assert report.crops == 2
        errors.append(raw_error(reference, run_of(network, made), crops))
    published, half, more = errors
    assert half < 0.5 * published
    assert more < 0.8 * published


def raw_error(reference: Run, candidate: Run, crops: Sequence[Crop]) -> float:
    """Relative length of the difference of all raw outputs."""
    with torch.inference_mode():
        pairs = [(run([crop.canvas_HW3]) for run in (reference, candidate)) for crop in crops]
        stacked = [
            (torch.cat([true.flatten() for true in first.values()]), torch.cat([v.flatten() for v in second.values()]))
            for first, second in pairs
        ]
    off = sum(float((true - found.float()).square().sum()) for true, found in stacked)
    return (off / sum(float(true.square().sum()) for true, _ in stacked)) ** 0.5
