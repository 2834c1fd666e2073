"""What a user wants of the canvas that pictures are laid on: the published one, their own aspect, or another size.

Words -> a spec that runs on that canvas. Only networks that say so can change theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitruvian.errors import UsageError
from vitruvian.zoo.metric3d import with_tokens
from vitruvian.zoo.spec import ModelSpec

FIXED, FIT = "fixed", "fit"
_SIZE = re.compile(r"(\d{1,5})[xX](\d{1,5})")


@dataclass(frozen=True, kw_only=True, slots=True)
class CanvasWish:
    """How pictures are to be laid out; nothing: as published."""

    canvas: str | None = None
    """fixed, fit, or WIDTHxHEIGHT."""
    tokens: int | None = None
    """About so many tokens, in the picture's own aspect where the network can."""

    def __post_init__(self) -> None:
        if self.tokens is not None and self.canvas not in (None, FIT):
            raise UsageError(
                f"got --canvas {self.canvas} and --tokens {self.tokens}; expected one of them; a size says both"
            )
        if self.canvas not in (None, FIXED, FIT) and _SIZE.fullmatch(self.canvas) is None:
            raise UsageError(
                f"got --canvas {self.canvas}; expected {FIXED}, {FIT}, or a width and height such as 532x308"
            )

    def applied(self, spec: ModelSpec) -> ModelSpec:
        """The spec on that canvas.

        Raises:
            UsageError: a network that cannot, or a size that it cannot take.
        """
        if self.tokens is not None:
            return with_tokens(spec, self.tokens)
        if self.canvas in (None, FIXED):
            return spec
        if self.canvas == FIT:
            return spec.fitted()
        size = _SIZE.fullmatch(self.canvas or "")
        assert size is not None
        return spec.at_size((int(size[2]), int(size[1])))
