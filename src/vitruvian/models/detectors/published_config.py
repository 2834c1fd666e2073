"""What a published detector's `config.json` says about its network: read, bounded, and nothing else believed.

In: the parsed document. Out: a `PublishedConfig` that holds only numbers and words from the table below; code, other
network types, downloads of backbones and absurd sizes are refused. Takes no time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from vitruvian.errors import RefusedError

ModelType = Literal["rt_detr_v2", "d_fine"]
INPUT_HW = (640, 640)
"""Canvas of every published network of both families."""
MOST_PARAMETERS = 500_000_000
"""The largest published network has 63 million."""

Rule = Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedConfig:
    """One network of the RT-DETR v2 or D-FINE family."""

    model_type: ModelType
    architecture: str
    """JSON of the fields that shape the network, under their published names; what is left out has its default."""
    classes: int
    person: int
    """Index of persons among the classes."""
    parameters: int
    """Number of weights, batch norms folded into convolutions."""
    input_hw: tuple[int, int] = INPUT_HW
    """Canvas height and width."""

    @property
    def fields(self) -> dict[str, Any]:
        """The architecture as plain containers."""
        return cast(dict[str, Any], json.loads(self.architecture))

    def to_json(self) -> dict[str, Any]:
        """Plain containers; equal for networks of the same structure and no others."""
        return {
            "model_type": self.model_type,
            "architecture": self.fields,
            "classes": self.classes,
            "input_hw": list(self.input_hw),
        }


def config_of(document: Mapping[str, Any], *, classes: int, person: int, parameters: int = 0) -> PublishedConfig:
    """The architecture in a document of the published form.

    Args:
        document: parsed `config.json`; fields that do not shape the network are passed over.
        classes: number of classes.
        person: index of persons among them.
        parameters: number of weights, 0 where it is not known yet.

    Raises:
        RefusedError: another kind of network, code or backbones from elsewhere, or a value out of its range.
    """
    model_type = document.get("model_type")
    if not isinstance(model_type, str) or model_type not in _RULES:
        raise _refused("model_type", model_type, " or ".join(_RULES))
    _refuse_the_foreign(document)
    rules, backbone_type = _RULES[model_type]
    backbone = document.get("backbone_config")
    if not isinstance(backbone, dict) or backbone.get("model_type") != backbone_type:
        raise _refused("backbone_config", backbone, f"a {backbone_type} backbone")
    _refuse_the_foreign(backbone)
    fields = _checked(document, rules) | {"backbone_config": _checked(backbone, _BACKBONE_RULES[backbone_type])}
    return PublishedConfig(
        model_type=cast(ModelType, model_type),
        architecture=json.dumps(fields, sort_keys=True),
        classes=classes,
        person=person,
        parameters=parameters,
    )


def labels_of(document: Mapping[str, Any]) -> tuple[int, int]:
    """Number of classes and index of persons by a document's `id2label`.

    Raises:
        RefusedError: no class is called person.
    """
    labels = document.get("id2label")
    if not isinstance(labels, dict) or not 1 <= len(labels) <= 2000:
        raise _refused("id2label", labels, "a table of 1 to 2000 classes")
    for index, label in labels.items():
        numbered = index.isascii() and index.isdigit() and int(index) < len(labels)
        if numbered and isinstance(label, str) and label.lower() == "person":
            return len(labels), int(index)
    raise _refused("id2label", list(labels.values())[:5], "a class called person")


def _refuse_the_foreign(document: Mapping[str, Any]) -> None:
    """Fields that would bring code or other weights in, or switch on what the library does not carry out."""
    for field in _FOREIGN:
        if document.get(field):
            raise _refused(field, document[field], "nothing of this kind")


def _checked(document: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    found = {field: document[field] for field in rules if document.get(field) is not None}
    for field, value in found.items():
        if not rules[field](value):
            raise _refused(field, value, "a value in the range of published networks")
    return found


def _refused(field: str, value: object, expected: str) -> RefusedError:
    return RefusedError(
        f"got {field} = {str(value)[:60]} in a detector's config.json; expected {expected}; take the config.json that "
        "was published with the weights, of an RT-DETR v2 or D-FINE detector"
    )


def _whole(low: int, high: int) -> Rule:
    return lambda value: type(value) is int and low <= value <= high


def _real(low: float, high: float) -> Rule:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _word(*words: str) -> Rule:
    return lambda value: value in words


def _some(rule: Rule, most: int = 4) -> Rule:
    return lambda value: isinstance(value, list) and 1 <= len(value) <= most and all(map(rule, value))


def _either(one: Rule, other: Rule) -> Rule:
    return lambda value: one(value) or other(value)


def _flag(value: object) -> bool:
    return type(value) is bool


_FOREIGN = (
    "auto_map",
    "trust_remote_code",
    "quantization_config",
    "backbone",
    "use_timm_backbone",
    "use_pretrained_backbone",
    "backbone_kwargs",
    "eval_size",
    "learn_initial_query",
)
_WIDTH, _COUNT, _ACTIVATION = _whole(1, 4096), _whole(1, 64), _word("relu", "silu", "gelu")

_COMMON: Mapping[str, Rule] = {
    "activation_function": _ACTIVATION,
    "batch_norm_eps": _real(1e-9, 0.1),
    "d_model": _WIDTH,
    "decoder_activation_function": _ACTIVATION,
    "decoder_attention_heads": _COUNT,
    "decoder_ffn_dim": _whole(1, 16384),
    "decoder_in_channels": _some(_WIDTH),
    "decoder_layers": _whole(1, 16),
    "decoder_method": _word("default", "discrete"),
    "decoder_offset_scale": _real(0.01, 10),
    "encode_proj_layers": _some(_whole(0, 3)),
    "encoder_activation_function": _ACTIVATION,
    "encoder_attention_heads": _COUNT,
    "encoder_ffn_dim": _whole(1, 16384),
    "encoder_hidden_dim": _WIDTH,
    "encoder_in_channels": _some(_WIDTH),
    "encoder_layers": _whole(0, 16),
    "feat_strides": _some(_whole(2, 128)),
    "freeze_backbone_batch_norms": _flag,
    "hidden_expansion": _real(0.01, 8),
    "layer_norm_eps": _real(1e-9, 0.1),
    "normalize_before": _flag,
    "num_denoising": _whole(0, 10_000),
    "num_feature_levels": _whole(1, 4),
    "num_queries": _whole(1, 3000),
    "positional_encoding_temperature": _whole(1, 10**6),
}
_POINTS = _whole(1, 32)
_RULES: Mapping[str, tuple[Mapping[str, Rule], str]] = {
    "rt_detr_v2": ({**_COMMON, "decoder_n_points": _POINTS, "decoder_n_levels": _whole(1, 4)}, "rt_detr_resnet"),
    "d_fine": (
        {
            **_COMMON,
            "decoder_n_points": _either(_POINTS, _some(_POINTS)),
            "depth_mult": _real(0.05, 8),
            "eval_idx": _whole(-1, 15),
            "layer_scale": _real(0.1, 8),
            "lqe_hidden_dim": _WIDTH,
            "lqe_layers": _whole(1, 16),
            "max_num_bins": _whole(2, 256),
            "reg_scale": _real(0.01, 100),
            "top_prob_values": _whole(1, 64),
            "up": _real(0.001, 10),
        },
        "hgnet_v2",
    ),
}
"""Model type -> fields of its network, type of its backbone."""

_BACKBONE: Mapping[str, Rule] = {
    "depths": _some(_COUNT),
    "embedding_size": _WIDTH,
    "hidden_act": _ACTIVATION,
    "hidden_sizes": _some(_WIDTH),
    "num_channels": _whole(3, 3),
    "out_features": _some(_word("stage1", "stage2", "stage3", "stage4")),
    "out_indices": _some(_whole(1, 4)),
}
_STRIDE = _whole(1, 4)
_BACKBONE_RULES: Mapping[str, Mapping[str, Rule]] = {
    "rt_detr_resnet": {
        **_BACKBONE,
        "downsample_in_bottleneck": _flag,
        "downsample_in_first_stage": _flag,
        "layer_type": _word("basic", "bottleneck"),
    },
    "hgnet_v2": {
        **_BACKBONE,
        "stage_downsample": _some(_flag),
        "stage_downsample_strides": _some(_STRIDE),
        "stage_in_channels": _some(_WIDTH),
        "stage_kernel_size": _some(_whole(1, 15)),
        "stage_light_block": _some(_flag),
        "stage_mid_channels": _some(_WIDTH),
        "stage_num_blocks": _some(_COUNT),
        "stage_numb_of_layers": _some(_COUNT),
        "stage_out_channels": _some(_WIDTH),
        "stem_channels": _some(_WIDTH),
        "stem_strides": _some(_STRIDE, most=5),
        "use_learnable_affine_block": _flag,
    },
}
