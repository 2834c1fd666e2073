"""RT-DETR v2 and D-FINE behind our interface: the library's own answers, strict loading, compute types, one graph."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from published_folders import FAMILIES, published_folder
from tolerances import EXPORT_ABS, PUBLISHED_DETECTOR_ABS
from vitruvian import weights
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.models.detectors.published import PublishedDetector, build_published, load_published
from vitruvian.models.detectors.published_config import PublishedConfig
from vitruvian.tasks.base import Provenance
from vitruvian.tasks.detect import Detections, DetectTask
from vitruvian.tasks.preprocess import whole_geometry
from vitruvian.zoo.published_detectors import PUBLISHED_FAMILY, published_config


class Case:
    """A folder, the library's network, and ours from the folder."""

    def __init__(self, folder: Path, family: str) -> None:
        self.folder, self.reference = published_folder(folder, family)
        self.config: PublishedConfig = published_config(weights.spec_of(folder))
        self.network = self.load(self.tensors)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.folder / "model.safetensors")

    def load(self, tensors: dict[str, Tensor], **options: Any) -> nn.Module:
        return load_published(self.config, tensors, **options).network


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp(request.param), request.param)


def pictures(count: int, height: int = 128, width: int = 160) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count))


def test_answers_are_the_librarys(case: Case) -> None:
    with torch.inference_mode():
        wanted, given = case.reference(pixel_values=pictures(3)), case.network(pictures(3))
    assert list(given) == ["logits", "boxes"]
    assert given["boxes"].std(dim=(0, 1))[:2].min() > 0.05, "boxes that are all alike would prove nothing"
    torch.testing.assert_close(given["logits"], wanted.logits, atol=PUBLISHED_DETECTOR_ABS, rtol=0)
    torch.testing.assert_close(given["boxes"], wanted.pred_boxes, atol=PUBLISHED_DETECTOR_ABS, rtol=0)


def test_batch_norms_are_gone(case: Case) -> None:
    assert not any("running_var" in key for key in case.network.state_dict())
    assert sum(parameter.numel() for parameter in case.network.parameters()) == case.config.parameters


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(case: Case) -> None:
    with torch.inference_mode():
        together, alone = case.network(pictures(4)), case.network(pictures(4)[2:3])
    for key, value in alone.items():
        torch.testing.assert_close(together[key][2:3], value, atol=PUBLISHED_DETECTOR_ABS, rtol=0)


def test_persons_are_those_of_the_librarys_post_processing(case: Case) -> None:
    from transformers import RTDetrImageProcessorPil

    with torch.inference_mode():
        raw, found = case.network(pictures(1)), case.reference(pixel_values=pictures(1))
    (wanted,) = RTDetrImageProcessorPil().post_process_object_detection(found, 0.3, torch.tensor([[300, 500]]))
    persons = wanted["labels"] == case.config.person
    assert persons.sum() >= 3
    image = torch.zeros(300, 500, 3, dtype=torch.uint8).numpy()
    task = DetectTask(input_hw=(128, 160), person=case.config.person)
    tensors = {key: value[0] for key, value in task.finish_tensors(raw).items()}
    provenance = Provenance(model="tiny", weights_sha256="", licence="")
    (ours,) = task.finish(tensors, whole_geometry(image, (128, 160)), provenance)
    assert isinstance(ours, Detections)
    count, edges = int(persons.sum()), torch.tensor([500.0, 300.0, 500.0, 300.0])
    boxes_P4 = wanted["boxes"][persons].clamp(min=torch.zeros(4), max=edges)
    torch.testing.assert_close(torch.from_numpy(ours.scores_P[:count]), wanted["scores"][persons], atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.from_numpy(ours.boxes_P4[:count]), boxes_P4, atol=0.5, rtol=0)


def test_weights_under_their_newer_names_and_the_other_of_a_tied_pair_belong_too(case: Case) -> None:
    named = dict(case.reference.state_dict())
    kept = {key: named[key].clone() for key in named if not key.startswith("model.decoder.class_embed")}
    with torch.inference_mode():
        again, first = case.load(kept)(pictures(1)), case.network(pictures(1))
    torch.testing.assert_close(again["logits"], first["logits"], atol=PUBLISHED_DETECTOR_ABS, rtol=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("model.enc_output.0.weight"), "1 missing: model.enc_output.0.weight"),
        (lambda tensors: tensors.update(stray=torch.zeros(1)), "1 unexpected: stray"),
        (
            lambda tensors: tensors.update({"model.enc_output.0.weight": torch.zeros(3, 3)}),
            "1 mismatched: model.enc_output.0.weight",
        ),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_weights_that_do_not_belong_are_refused(case: Case, change: Any, words: str) -> None:
    tensors = case.tensors
    change(tensors)
    with pytest.raises(RefusedError, match=f"do not belong to this detector.*{words}"):
        case.load(tensors)


def test_weights_arrive_in_the_types_of_a_precision(case: Case) -> None:
    precision = Precision(dtype="bfloat16", islands=PUBLISHED_FAMILY.islands)
    network = case.load(case.tensors, dtype_of=precision.dtype_of)
    assert {str(weight.dtype) for weight in network.parameters()} == {"torch.bfloat16", "torch.float32"}
    for key, weight in network.named_parameters():
        assert weight.dtype == precision.dtype_of(key), key
    before = {key: weight.dtype for key, weight in network.named_parameters()}
    apply_precision(network, precision)
    assert {key: weight.dtype for key, weight in network.named_parameters()} == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_boxes_keep_float32_positions_in_smaller_types(case: Case, dtype: Any) -> None:
    """Boxes are between the values that the smaller type has, and near those of float32 (weights are random)."""
    islands = Precision(dtype=dtype, islands=PUBLISHED_FAMILY.islands)
    with torch.inference_mode():
        whole = case.network(pictures(2))
        given = apply_precision(copy.deepcopy(case.network), islands)(pictures(2))
    assert given["boxes"].dtype == given["logits"].dtype == torch.float32
    rounded = given["boxes"].to(islands.torch_dtype).float()
    assert (rounded != given["boxes"]).float().mean() > 0.5
    off, foreign = (_nearest(whole["boxes"], boxes) for boxes in (given["boxes"], whole["boxes"].flip(0)))
    assert off < foreign / 2


def _nearest(boxes_BN4: Tensor, others_BN4: Tensor) -> float:
    return float(torch.cdist(boxes_BN4, others_BN4).min(dim=2).values.median())


def test_it_runs_without_memory_and_leaves_nothing_behind(case: Case) -> None:
    """Tables made while memory is predicted must not reach the next real run."""
    size = (96, 192)  # seen by no other test
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = case.network(torch.rand(2, 3, *size))
    assert fake["boxes"].shape == (2, 20, 4)
    on_meta = build_published(case.config)(torch.empty(2, 3, *size, device="meta"))
    assert on_meta["logits"].shape == (2, 20, 3)
    with torch.inference_mode():
        assert case.network(pictures(1, *size))["boxes"].isfinite().all()


@pytest.mark.slow
def test_it_exports_as_one_graph_for_any_batch(case: Case) -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(case.network, (pictures(2),), dynamic_shapes=({0: batch},), strict=True)
    graph = program.module()
    for count in (1, 5):
        with torch.inference_mode():
            wanted, given = case.network(pictures(count)), graph(pictures(count))
        for key, value in wanted.items():
            torch.testing.assert_close(given[key], value, atol=EXPORT_ABS, rtol=0)


def test_without_the_library_the_extra_is_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'vitruvian\[detect\]'"):
        build_published(case.config)


def test_the_network_on_meta_is_ready_to_run(case: Case) -> None:
    network = build_published(case.config)
    assert isinstance(network, PublishedDetector)
    assert not network.training
    assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"meta"}
    assert network.state_dict().keys() == case.network.state_dict().keys()
