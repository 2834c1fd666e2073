"""The `config.json` of a published detector: what shapes the network is kept, what could do harm is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vitruvian.errors import RefusedError
from vitruvian.models.detectors.published import with_parameters
from vitruvian.models.detectors.published_config import config_of, labels_of

DOCUMENT: dict[str, Any] = {
    "model_type": "d_fine",
    "architectures": ["DFineForObjectDetection"],
    "backbone": None,
    "use_timm_backbone": False,
    "eval_size": None,
    "decoder_layers": 3,
    "decoder_n_points": [3, 6, 3],
    "matcher_alpha": 0.25,
    "backbone_config": {"model_type": "hgnet_v2", "stem_channels": [3, 16, 16], "initializer_range": 0.02},
}


def read(document: dict[str, Any]) -> Any:
    return config_of(document, classes=80, person=0)


def test_what_shapes_the_network_is_kept_and_the_rest_is_not() -> None:
    assert read(DOCUMENT).fields == {
        "decoder_layers": 3,
        "decoder_n_points": [3, 6, 3],
        "backbone_config": {"stem_channels": [3, 16, 16]},
    }


def test_equal_structures_have_equal_json_and_others_not() -> None:
    plain = read(DOCUMENT).to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert read({**DOCUMENT, "matcher_alpha": 1.0}).to_json() == plain
    assert read({**DOCUMENT, "decoder_layers": 4}).to_json() != plain
    assert config_of(DOCUMENT, classes=81, person=0).to_json() != plain


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "detr"},
        {"model_type": None},
        {"model_type": ["d_fine"]},
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"trust_remote_code": True},
        {"backbone": "resnet50"},
        {"use_timm_backbone": True},
        {"use_pretrained_backbone": True},
        {"backbone_kwargs": {"path": "x"}},
        {"quantization_config": {"load_in_4bit": True}},
        {"learn_initial_query": True},
        {"eval_size": [640, 640]},
        {"backbone_config": None},
        {"backbone_config": "hgnet_v2"},
        {"backbone_config": {"model_type": "timm_backbone"}},
        {"backbone_config": {"model_type": "rt_detr_resnet"}},
        {"backbone_config": {"model_type": "hgnet_v2", "auto_map": {"AutoBackbone": "evil.Model"}}},
        {"backbone_config": {"model_type": "hgnet_v2", "stem_channels": [3, 10**9, 16]}},
        {"backbone_config": {"model_type": "hgnet_v2", "stage_num_blocks": [1] * 1000}},
        {"backbone_config": {"model_type": "hgnet_v2", "num_channels": 4}},
        {"backbone_config": {"model_type": "hgnet_v2", "use_learnable_affine_block": "yes"}},
        {"decoder_layers": 10**6},
        {"decoder_layers": -1},
        {"decoder_layers": 3.0},
        {"decoder_layers": True},
        {"d_model": "256"},
        {"layer_norm_eps": float("nan")},
        {"hidden_expansion": float("inf")},
        {"num_queries": 10**7},
        {"feat_strides": []},
        {"feat_strides": {"8": 16}},
        {"activation_function": "os.system"},
        {"activation_function": ["relu"]},
        {"decoder_n_points": [[1]]},
    ],
    ids=str,
)
def test_hostile_documents_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"in a detector's config\.json; expected .*; take the config\.json"):
        read({**DOCUMENT, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": 255},
        {"encoder_in_channels": [1, 2]},
        {"decoder_in_channels": [256]},
        {"backbone_config": {"model_type": "hgnet_v2", "out_indices": [4, 3]}},
        {"backbone_config": {"model_type": "hgnet_v2", "stage_num_blocks": [1]}},
    ],
    ids=str,
)
def test_numbers_that_do_not_go_together_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="numbers do not go together"):
        with_parameters(read({**DOCUMENT, **change}))


def test_a_network_beyond_all_measure_is_refused() -> None:
    wide = {"d_model": 4096, "encoder_hidden_dim": 4096, "decoder_in_channels": [4096] * 3}
    backbone = {"model_type": "hgnet_v2", "out_indices": [2, 3, 4]}
    with pytest.raises(RefusedError, match="million weights; expected at most 500"):
        with_parameters(read({**DOCUMENT, **wide, "backbone_config": backbone}))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0": "person", "1": "bicycle"}, (2, 0)),
        ({"0": "N/A", "1": "Person"}, (2, 1)),
    ],
)
def test_persons_are_found_among_the_classes(labels: dict[str, str], expected: tuple[int, int]) -> None:
    assert labels_of({"id2label": labels}) == expected


@pytest.mark.parametrize(
    "labels",
    [None, {}, [], {"0": "dog"}, {"9": "person"}, {"-1": "person", "0": "dog"}, {"²": "person"}, {"0": 5}],
    ids=str,
)
def test_classes_without_persons_are_refused(labels: Any) -> None:
    with pytest.raises(RefusedError, match="got id2label"):
        labels_of({"id2label": labels})
