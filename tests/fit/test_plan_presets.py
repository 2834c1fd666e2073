"""As published: the settings and their arithmetic; whether they fit is for the numbers to say."""

from __future__ import annotations

from dataclasses import replace

from fit.imagined import GB, footprint, job, machine
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.plan import make_plan
from vitruvian.fit.plan_values import PlanRow
from vitruvian.fit.presets import INFERENCE_ASSUMPTIONS, TRAINING_ASSUMPTIONS


def published(**fields: object) -> tuple[PlanRow, ...]:
    plan = make_plan(footprint, job(**fields), machine(80))
    assert (TRAINING_ASSUMPTIONS if fields.get("train") else INFERENCE_ASSUMPTIONS) in plan.remarks
    # Whether a row starves the device depends on its company.
    return tuple(replace(row, starves=False) for row in plan.rows if row.label.startswith("as published"))


def test_training_is_float32_ddp_foreach_without_checkpointing_at_batch_one_and_two() -> None:
    rows = published(train=True, batch=16)
    assert [(row.knobs.micro_batch, row.knobs.training and row.knobs.training.attention) for row in rows] == [
        (1, "fused"),
        (2, "fused"),
        (1, "materialised"),
        (2, "materialised"),
    ]
    for row in rows:
        assert row.knobs.training is not None
        assert row.knobs == Knobs(
            micro_batch=row.knobs.micro_batch,
            input_hw=(1024, 768),
            patch_size=16,
            training=TrainingKnobs(
                optimizer="adamw-foreach", parallel="ddp", attention=row.knobs.training.attention, accumulation=1
            ),
        )
        assert row.price == ""


def test_inference_holds_every_output_of_a_batch_at_source_size() -> None:
    rows = published(upsampled_bytes_per_item=GB)
    assert [row.knobs.micro_batch for row in rows] == [2, 8]
    for row in rows:
        bare = footprint(row.knobs).at(row.knobs.micro_batch)
        assert row.knobs.dtype == "float32"
        assert not row.knobs.chunked_head
        assert row.breakdown.results_bytes - bare.results_bytes == GB * row.knobs.micro_batch
        assert row.breakdown.total_bytes - bare.total_bytes == GB * row.knobs.micro_batch


def test_outputs_count_when_asking_whether_it_fits() -> None:
    assert [row.fits for row in published(upsampled_bytes_per_item=0)] == [True, True]
    assert [row.fits for row in published(upsampled_bytes_per_item=20 * GB)] == [True, False]


def test_settings_of_the_user_do_not_change_what_was_published() -> None:
    assert published(train=True, batch=16, fixed={"trainable": "lora", "patch_size": 8}) == published(
        train=True, batch=16
    )
