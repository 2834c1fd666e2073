"""One way to generate a clip: everything about it that a machine's memory decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

from vitruvian.errors import UsageError
from vitruvian.fit.settings import parse_pairs
from vitruvian.generation.measures import Measures
from vitruvian.hardware import Dtype

Features = Literal["device", "host", "recomputed"]
"""Where pose features of all frames lie; recomputed: made anew for every tile, from points."""
Freed = Literal["kept", "returned"]
"""Host memory that a layer frees: kept for the next ones, or returned to the system, which clears it every time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Types, tiles, measures, chunks."""

    dtype: Dtype = "float32"
    """Compute type of the denoising network."""
    codec: Dtype = "float32"
    """Compute type of the image codec."""
    encoder: Dtype = "float32"
    """Compute type of the image encoder."""
    tile: int
    """Frames that go through the denoising network together, the reference among them."""
    overlap: int
    """Frames that neighbouring tiles share beside the reference."""
    measures: Measures = field(default_factory=Measures)
    features: Features = "host"
    decode_chunk: int = 8
    """Frames decoded together."""
    decode_overlap: int = 0
    """Frames that neighbouring chunks share and blend."""
    freed: Freed = "returned"

    def __post_init__(self) -> None:
        if self.decode_chunk < 1 or not 0 <= self.decode_overlap < self.decode_chunk:
            raise UsageError(
                f"got decode_chunk={self.decode_chunk} and decode_overlap={self.decode_overlap}; expected one frame "
                "or more, and an overlap below that"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain containers, measures flattened in."""
        document = asdict(self)
        return document | document.pop("measures")


_OWN = ("tile", "overlap", "codec", "encoder", "features", "decode_chunk", "decode_overlap", "freed")
_MEASURES = tuple(field.name for field in fields(Measures))


def way_kinds() -> dict[str, Any]:
    """Every knob that may be typed as `key=value`, and the type of its value."""
    own, measures = get_type_hints(Way), get_type_hints(Measures)
    return {name: own[name] for name in _OWN} | {name: measures[name] for name in _MEASURES}


def parse_way(pairs: Sequence[str]) -> dict[str, Any]:
    """Knobs as people type them: `tile=16 streamed=true decode_chunk=2`.

    Raises:
        UsageError: no such knob, or a value that it cannot take.
    """
    return parse_pairs(pairs, way_kinds())


def with_knobs(way: Way, knobs: Mapping[str, Any]) -> Way:
    """The way with these knobs."""
    measures = replace(way.measures, **{key: value for key, value in knobs.items() if key in _MEASURES})
    own = {key: value for key, value in knobs.items() if key not in _MEASURES}
    if "decode_chunk" in own:
        own.setdefault("decode_overlap", min(way.decode_overlap, own["decode_chunk"] - 1))
    return replace(way, measures=measures, **own)
