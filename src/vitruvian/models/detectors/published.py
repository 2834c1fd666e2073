"""RT-DETR v2 and D-FINE as the transformers library builds them, with our input and output.

In: RGB canvas (B,3,640,640) in 0..1. Out: logits of all classes and one box for each of some 300 queries, which answer
once for each person. Batch norms are folded into convolutions. Time: the convolutions, more than half of it; memory: 50
(D-FINE nano) or 100 MB (RT-DETR v2 r18) of float32 activations a picture.
"""

# Shape suffixes: B pictures, C classes, N queries, H W canvas, 4 = cx cy w h.

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32
from vitruvian.models.detectors.published_config import MOST_PARAMETERS, PublishedConfig

FROZEN_NORM_EPS = 1e-5
"""Fixed inside the library's batch norms without statistics of their own."""


class PublishedDetector(nn.Module):
    """In: float (B,3,H,W), RGB in 0..1. Out: `logits` (B,N,C) and `boxes` (B,N,4).

    Boxes are cx, cy, w, h as shares of the canvas between its outer edges.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        found = self.network(pixel_values=x_B3HW.contiguous(memory_format=torch.channels_last))
        return {"logits": found.logits, "boxes": found.pred_boxes}


def build_published(config: PublishedConfig) -> PublishedDetector:
    """A detector on meta: no memory, no initial values.

    Raises:
        UsageError: the library is missing.
        RefusedError: the numbers of the configuration do not go together.
    """
    network_type, library_config = _library(config)
    with _consistent(), torch.device("meta"):
        network = network_type(library_config)
    return _prepared(network)


def with_parameters(config: PublishedConfig) -> PublishedConfig:
    """A configuration from elsewhere with its number of weights counted, tried on shapes alone.

    Raises:
        UsageError: the library is missing.
        RefusedError: far more weights than any published network has, or numbers that do not go together.
    """
    network = build_published(config)
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > MOST_PARAMETERS:
        raise RefusedError(
            f"got a detector of {count / 1e6:.0f} million weights; expected at most {MOST_PARAMETERS / 1e6:.0f}; take "
            "the config.json that was published with the weights"
        )
    with _consistent():
        network(torch.empty(1, 3, *config.input_hw, device="meta"))
    return replace(config, parameters=count)


def load_published(
    config: PublishedConfig,
    tensors: Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype_of: DtypeOf = all_float32,
) -> Loaded:
    """A detector with published weights, strictly; the library knows older names of its weights.

    Holds the weights twice for a moment: batch norms are folded in float32.

    Raises:
        UsageError: the library is missing.
        RefusedError: a weight is missing, unexpected or misshapen.
    """
    network_type, library_config = _library(config)
    with _quiet():
        network, report = network_type.from_pretrained(
            None,
            config=library_config,
            state_dict=dict(tensors),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused below, with the others
            output_loading_info=True,
        )
    _refuse_what_does_not_belong(report)
    detector = _prepared(network)
    for name, parameter in detector.named_parameters():
        parameter.data = parameter.data.to(device=device, dtype=dtype_of(name))
    for name, buffer in list(detector.named_buffers()):
        owner, _, key = name.rpartition(".")
        dtype = dtype_of(name) if buffer.is_floating_point() else buffer.dtype
        setattr(detector.get_submodule(owner), key, buffer.to(device=device, dtype=dtype))
    return Loaded(network=detector, notes=())


@contextmanager
def _consistent() -> Iterator[None]:
    """Says what the library means where numbers that are each in range do not make a network together."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (
        ValueError,
        TypeError,
        RuntimeError,
        LookupError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        StrictDataclassError,
    ) as error:
        raise RefusedError(
            f"got a detector configuration whose numbers do not go together ({type(error).__name__}: "
            f"{str(error)[:120]}); expected those of a published network; take the config.json that was published with "
            "the weights"
        ) from error


def _library(config: PublishedConfig) -> tuple[Any, Any]:
    """The library's class for a network, and its configuration object; made of checked fields, nothing is looked up."""
    # Its check of feature sizes reads a tensor's value, which has none while memory is predicted or a graph exported.
    os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
    try:
        if config.model_type == "d_fine":
            from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

            kinds: tuple[Any, Any, Any] = (DFineForObjectDetection, DFineConfig, HGNetV2Config)
        else:
            from transformers import RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

            kinds = (RTDetrV2ForObjectDetection, RTDetrV2Config, RTDetrResNetConfig)
    except ImportError as error:
        raise UsageError(
            "got no transformers library (5 or newer) that works with this torch; expected one for the published "
            "detectors; run `pip install 'vitruvian[detect]'`, or take `--detector detector-nano`"
        ) from error
    network_type, config_type, backbone_type = kinds
    fields = config.fields
    backbone = fields.pop("backbone_config")
    with _consistent():
        return network_type, config_type(**fields, backbone_config=backbone_type(**backbone), num_labels=config.classes)


def _refuse_what_does_not_belong(report: Mapping[str, Any]) -> None:
    lines = []
    for kind in ("missing", "unexpected", "mismatched"):
        keys = sorted(key if isinstance(key, str) else str(key[0]) for key in report.get(f"{kind}_keys", ()))
        if keys:
            lines.append(f"{len(keys)} {kind}: {', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''}")
    if lines or report.get("error_msgs"):
        raise RefusedError(
            f"weights do not belong to this detector; {'; '.join(lines) or report['error_msgs']}. Take weights and "
            "config.json from one place, or fetch them again."
        )


def _prepared(network: nn.Module) -> PublishedDetector:
    """Ready to run: evaluation mode, folded batch norms, the memory layout that convolutions are fastest in."""
    detector = PublishedDetector(network).eval().requires_grad_(False)
    _fold_batch_norms(network)
    _without_shared_tables(network)
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def _fold_batch_norms(network: nn.Module) -> None:
    """Multiply every batch norm into the convolution before it.

    With the memory layout a fifth of the time of a float32 picture; and bfloat16 rounds one product, not four factors.
    """
    for part in list(network.modules()):
        before: nn.Module | None = None
        for name, child in list(part.named_children()):
            if isinstance(before, nn.Conv2d) and _is_batch_norm(child):
                _fold(before, child)
                setattr(part, name, nn.Identity())
            before = child


def _is_batch_norm(part: nn.Module) -> bool:
    return {"weight", "bias", "running_mean", "running_var"} <= {
        key for key, _ in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    }


def _fold(convolution: nn.Conv2d, norm: Any) -> None:
    scale = norm.weight * (norm.running_var + getattr(norm, "eps", FROZEN_NORM_EPS)).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    weight = convolution.weight * scale[:, None, None, None]
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(shift, requires_grad=False)


def _without_shared_tables(network: nn.Module) -> None:
    """Anchors and positions are made anew in each call.

    The library keeps them for all networks of the process by size and device: a table without values, made while memory
    is predicted, would be handed to the next real run.
    """
    for part in network.modules():
        for name in dir(type(part)):
            made: Callable[..., Any] | None = getattr(getattr(type(part), name, None), "__wrapped__", None)
            if name.startswith("_cached_") and made is not None:
                setattr(part, name, made)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bar and its report of keys, which we give ourselves."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
