"""Plans over imaginary machines: what is turned, in which order, and that a plan is a function of four values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fit.imagined import GB, footprint, job, machine
from vitruvian.errors import UsageError
from vitruvian.fit.budget import budget_of
from vitruvian.fit.calibration import Calibration, CalibrationPoint
from vitruvian.fit.footprint.record import traced
from vitruvian.fit.footprint.values import Breakdown, Footprint
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.ladder import SMALL_PARAMETERS, rungs
from vitruvian.fit.plan import make_plan
from vitruvian.fit.plan_values import Plan
from vitruvian.hardware import Support


def train(budget_gb: float, **fields: Any) -> Plan:
    return make_plan(footprint, job(train=True, batch=16, budget_bytes=round(budget_gb * GB), **fields), machine())


def turned(plan: Plan) -> dict[str, Any]:
    """The training knobs that differ from plain autocast."""
    plain = {
        "precision": "autocast",
        "checkpointing": "none",
        "state": "device",
        "optimizer": "adamw",
        "trainable": "all",
    }
    knobs = plan.knobs.to_json()
    return {name: knobs[name] for name, value in plain.items() if knobs[name] != value}


@pytest.mark.parametrize(
    ("budget_gb", "expected"),
    [
        (200, {}),
        (20, {"checkpointing": "blocks"}),
        (11, {"checkpointing": "blocks", "state": "host"}),
        (8.5, {"checkpointing": "blocks", "state": "host", "precision": "pure"}),
        (7.2, {"checkpointing": "blocks", "state": "host", "precision": "pure"}),
        (4.2, {"checkpointing": "blocks", "precision": "pure", "trainable": "lora"}),
        (3.8, {"precision": "pure", "trainable": "head"}),
    ],
)
def test_training_turns_what_leaves_the_numbers_alone_first(budget_gb: float, expected: dict[str, Any]) -> None:
    plan = train(budget_gb)
    assert plan.fits
    assert turned(plan) == expected
    assert plan.knobs.input_hw == (1024, 768)
    assert plan.knobs.patch_size == 16


@pytest.mark.parametrize(("budget_gb", "batch"), [(21.5, 1), (26, 2)])
def test_selective_checkpointing_is_taken_where_it_fits_and_is_faster(budget_gb: float, batch: int) -> None:
    plan = train(budget_gb)
    assert turned(plan) == {"checkpointing": "selective"}
    assert plan.knobs.micro_batch == batch
    fitting = {row.knobs.training.checkpointing: row for row in plan.rows if row.fits and row.knobs.training}
    assert (plan.items_per_s or 0) > (fitting["blocks"].items_per_s or 0)


@pytest.mark.parametrize("trainable", ["lora", "half", "head"])
def test_selective_checkpointing_is_offered_where_everything_learns(trainable: str) -> None:
    ways = [rung.knobs.training for group in rungs(job(train=True), machine().device("cuda:0")) for rung in group]
    assert {way.checkpointing for way in ways if way and way.trainable == "all"} == {"none", "selective", "blocks"}
    assert {way.checkpointing for way in ways if way and way.trainable == trainable} == {"none", "blocks"}


def test_eight_bit_state_comes_before_other_alterations_where_there_is_no_host_to_move_to() -> None:
    shared = machine(14, shares_host_memory=True)
    plan = make_plan(footprint, job(train=True, batch=16), shared)
    assert turned(plan) == {"checkpointing": "blocks", "optimizer": "adamw-8bit"}


def test_the_crop_is_the_last_resort_and_the_patch_none() -> None:
    def lean(knobs: Knobs) -> Footprint:
        # Weights so small that only activations decide.
        found = footprint(knobs)
        phase = found.phases[0]
        return replace(found, parameters=10**6, phases=(replace(phase, fixed=Breakdown(weights_bytes=4_000_000)),))

    plan = make_plan(lean, job(train=True, batch=4, budget_bytes=335_000_000), machine())
    assert plan.fits
    assert plan.knobs.input_hw == (768, 576)
    assert plan.knobs.patch_size == 16
    assert any(decision.what == "crop" for decision in plan.decisions)


@pytest.mark.parametrize("kind", ["train", "infer", "infer on a CPU"])
def test_a_bigger_budget_never_costs_more_and_never_runs_slower(kind: str) -> None:
    here = machine(None, cpu_gb=256) if kind.endswith("CPU") else machine(256, cpu_gb=32)
    before: tuple[int, float] | None = None
    for budget in range(1, 160):
        wanted = job(train=kind == "train", batch=16 if kind == "train" else None, budget_bytes=budget * GB // 2)
        plan = make_plan(footprint, wanted, here)
        if not plan.fits:
            assert before is None, "what fitted once fits for ever"
            continue
        ladder = {rung.label: rung.tier for group in rungs(wanted, here.device(plan.device)) for rung in group}
        chosen = next(row for row in plan.rows if row.knobs == plan.knobs and row.label in ladder)
        now = (ladder[chosen.label], -(plan.items_per_s or 0))
        assert before is None or now <= before
        before = now
        assert plan.peak_bytes + plan.margin_bytes <= plan.budget_bytes


def test_a_plan_is_a_function_of_its_values() -> None:
    first, second = train(24), train(24)
    assert first == second
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())


def test_every_footprint_is_asked_for_once() -> None:
    asked: list[Knobs] = []

    def counting(knobs: Knobs) -> Footprint:
        asked.append(knobs)
        return footprint(knobs)

    make_plan(counting, job(train=True, batch=16, budget_bytes=24 * GB), machine())
    assert len(asked) == len(set(asked))
    assert len({traced(knobs) for knobs in asked}) <= 5, "a plan must not take minutes"


def test_the_json_holds_what_programs_need() -> None:
    document = json.loads(json.dumps(train(24).to_json()))
    assert {"fits", "peak_bytes", "budget_bytes", "knobs", "decisions", "breakdown_bytes", "rows"} <= document.keys()
    assert document["fits"] is True
    assert document["peak_bytes"] == sum(document["breakdown_bytes"].values())
    assert document["missing_bytes"] == 0
    assert document["knobs"]["patch_size"] == 16
    assert document["knobs"]["dtype"] == "bfloat16"
    assert document["knobs"]["micro_batch"] >= 1
    assert all({"what", "value", "because", "measured"} <= decision.keys() for decision in document["decisions"])
    assert any(row["label"].startswith("as published") for row in document["rows"])


@pytest.mark.parametrize(
    ("gpu", "bf16", "fp16", "budget_gb", "expected"),
    [
        (24, "native", "native", None, "bfloat16"),
        (24, "emulated", "native", None, "float16"),
        (24, "emulated", "emulated", None, "float32"),
        (24, "none", "none", None, "float32"),
        (24, "unknown", "unknown", None, "float32"),
        (24, "none", "emulated", 4, "float16"),
        (None, "native", "native", None, "bfloat16"),
        (None, "emulated", "native", None, "float16"),  # by its data sheet four times as fast as float32
        (None, "emulated", "emulated", None, "float32"),
        (None, "emulated", "emulated", 4, "bfloat16"),
    ],
)
def test_the_compute_type_follows_native_support(
    gpu: float | None, bf16: Support, fp16: Support, budget_gb: float | None, expected: str
) -> None:
    budget = None if budget_gb is None else round(budget_gb * GB)
    plan = make_plan(footprint, job(budget_bytes=budget), machine(gpu, bf16=bf16, fp16=fp16))
    assert plan.fits
    assert plan.knobs.dtype == expected
    assert next(decision for decision in plan.decisions if decision.what == "dtype").because


def test_a_named_compute_type_is_kept() -> None:
    plan = make_plan(footprint, job(dtypes=("float32",)), machine())
    assert plan.knobs.dtype == "float32"


def test_inference_takes_the_largest_batch_that_fits_and_latency_takes_one() -> None:
    plan = make_plan(footprint, job(budget_bytes=8 * GB, offers=frozenset()), machine())
    batch = plan.knobs.micro_batch
    assert 1 < batch < 64
    bigger = footprint(plan.knobs).at(batch + 1)
    margin_bytes = budget_of(job(), machine()).margin_bytes(bigger, plan.knobs)
    assert bigger.total_bytes + margin_bytes > plan.budget_bytes
    assert make_plan(footprint, job(objective="latency"), machine()).knobs.micro_batch == 1
    assert make_plan(footprint, job(batch=3), machine()).knobs.micro_batch == 3


@pytest.mark.parametrize(
    ("gpu", "parameters", "offered", "chunked"),
    [
        (None, SMALL_PARAMETERS, True, True),
        (None, SMALL_PARAMETERS - 1, True, False),
        (None, None, True, False),
        (None, SMALL_PARAMETERS, False, False),
        (24, SMALL_PARAMETERS, True, False),
    ],
)
def test_large_networks_on_a_cpu_have_their_head_in_strips_whatever_fits(
    gpu: float | None, parameters: int | None, offered: bool, chunked: bool
) -> None:
    wanted = job(parameters=parameters, **({} if offered else {"offers": frozenset()}))
    plan = make_plan(footprint, wanted, machine(gpu))
    assert plan.knobs.chunked_head is chunked
    because = [decision.because for decision in plan.decisions if decision.what == "chunked_head"]
    assert because == (["on a CPU strips stay in its cache: faster, with less memory"] if chunked else [])
    kept = replace(wanted, fixed={"chunked_head": False})
    assert not make_plan(footprint, kept, machine(gpu)).knobs.chunked_head


def test_a_chunked_head_is_used_only_where_it_is_offered_and_needed() -> None:
    roomy, tight = make_plan(footprint, job(max_batch=4), machine()), job(budget_bytes=round(3.1 * GB))
    assert not roomy.knobs.chunked_head
    assert make_plan(footprint, tight, machine()).knobs.chunked_head
    without = make_plan(footprint, job(budget_bytes=tight.budget_bytes, offers=frozenset()), machine())
    assert not without.fits


@pytest.mark.parametrize(("batch", "gpus"), [(16, 1), (16, 2), (12, 1), (32, 4)])
def test_the_effective_batch_is_kept_by_accumulation(batch: int, gpus: int) -> None:
    plan = make_plan(footprint, job(train=True, batch=batch, gpus=gpus), machine(24))
    training = plan.knobs.training
    assert training is not None
    assert plan.knobs.micro_batch * training.accumulation * gpus == batch


def test_more_devices_share_weights_and_state() -> None:
    wanted = job(train=True, batch=16, gpus=8, budget_bytes=10 * GB)
    plan = make_plan(footprint, wanted, machine(cpu_gb=8))
    assert plan.fits
    assert plan.knobs.training is not None
    assert plan.knobs.training.parallel == "fsdp"
    assert turned(plan).keys() <= {"checkpointing"}


def test_state_goes_to_the_host_only_where_the_host_has_room() -> None:
    wanted = job(train=True, batch=16, budget_bytes=11 * GB)
    assert turned(make_plan(footprint, wanted, machine(cpu_gb=64)))["state"] == "host"
    cramped = make_plan(footprint, wanted, machine(cpu_gb=4))
    assert cramped.fits
    assert "state" not in turned(cramped)


def test_knobs_of_the_user_stay() -> None:
    plan = train(24, fixed={"checkpointing": "none", "trainable": "lora", "micro_batch": 1})
    assert plan.knobs.training is not None
    assert plan.knobs.training.checkpointing == "none"
    assert plan.knobs.training.trainable == "lora"
    assert plan.knobs.micro_batch == 1
    with pytest.raises(UsageError, match="speed"):
        train(24, fixed={"speed": 9})


def test_nothing_fits_says_how_much_is_missing_and_where_it_would_fit() -> None:
    machines = {"big": machine(80), "small": machine(6), "tiny": machine(2)}
    wanted = job(train=True, batch=16, budget_bytes=3 * GB // 2)
    plan = make_plan(footprint, wanted, machine(), machines=machines)
    assert not plan.fits
    assert plan.missing_bytes == plan.peak_bytes + plan.margin_bytes - plan.budget_bytes > 0
    assert plan.knobs.training is not None
    assert plan.knobs.training.trainable == "head"
    assert plan.smallest_machine == "small"
    assert plan.to_json()["smallest_machine"] == "small"
    assert any(row.at_least for row in plan.rows)
    nowhere = make_plan(footprint, wanted, machine(), machines={"tiny": machine(2)})
    assert nowhere.smallest_machine == ""


def test_slow_rows_are_marked() -> None:
    plan = make_plan(footprint, job(), machine())
    best = max(row.items_per_s or 0 for row in plan.rows if row.fits)
    assert any(row.starves for row in plan.rows)
    for row in plan.rows:
        assert row.starves == (row.fits and (row.items_per_s or 0) < best / 2)


def test_unknown_rates_give_no_estimates_and_the_least_turned_way() -> None:
    plan = make_plan(footprint, job(train=True, batch=16, budget_bytes=24 * GB), machine(rates=None))
    assert plan.fits
    assert plan.items_per_s is None
    assert all(row.items_per_s is None and not row.starves for row in plan.rows)


def test_a_smaller_patch_is_shown_to_take_more_memory() -> None:
    plan = train(200, fixed={"patch_size": 8})
    assert plan.knobs.patch_size == 8
    remark = next(remark for remark in plan.remarks if remark.startswith("patch_size=8"))
    native = footprint(Knobs(**{**_fields(plan.knobs), "patch_size": 16})).at(plan.knobs.micro_batch)
    assert f"raises the peak from {native.total_bytes / 1e9:.1f} GB to {plan.peak_bytes / 1e9:.1f} GB" in remark
    assert "crop=768x576" in remark
    peaks = {row.knobs.patch_size: row.breakdown.total_bytes for row in plan.rows if row.knobs.input_hw == (1024, 768)}
    assert peaks[8] > peaks[16] > peaks[32]


def _fields(knobs: Knobs) -> dict[str, Any]:
    return {name: getattr(knobs, name) for name in Knobs.__slots__}


@pytest.mark.parametrize("fields", [{"gpus": 2}, {"gpus": 0}, {"batch": 0}])
def test_senseless_jobs_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        make_plan(footprint, job(**fields), machine())


def test_what_was_measured_corrects_the_prediction() -> None:
    point = CalibrationPoint(
        mode="infer",
        dtype="bfloat16",
        workload="paper network",
        batch=1,
        estimated_bytes=GB,
        counted_bytes=GB,
        measured_bytes=round(2.5 * GB),
        date="2026-01-01",
    )
    calibration = Calibration(device="paper card", torch_version="0", points=(point,))
    plain = make_plan(footprint, job(batch=1), machine())
    corrected = make_plan(footprint, job(batch=1), machine(), calibration)
    assert corrected.breakdown.activations_bytes == 1.5 * plain.breakdown.activations_bytes
    assert corrected.breakdown.weights_bytes == plain.breakdown.weights_bytes
    assert corrected.margin_bytes < plain.margin_bytes
    other = make_plan(footprint, job(batch=1, dtypes=("float32",)), machine(), calibration)
    assert other == make_plan(footprint, job(batch=1, dtypes=("float32",)), machine()), "nothing like it was measured"


def test_sharded_bfloat16_weights_never_have_8_bit_state() -> None:
    (native, *_) = rungs(job(train=True, gpus=4), machine(80).accelerators[0])
    ways = [rung.knobs.training for rung in native if rung.knobs.training is not None]
    rounded = [way for way in ways if way.optimizer == "adamw-8bit" and way.precision == "pure"]
    assert {way.parallel for way in rounded} == {"ddp"}
    assert {way.parallel for way in ways} == {"ddp", "fsdp"}
