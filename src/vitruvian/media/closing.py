"""Things that must be closed: what they have in common."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Closing:
    """For a `with`: closed at its end, however that comes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held; may be called again."""
        raise NotImplementedError


class ClosingIterator(Closing, Iterator[T]):
    """An iterator over what a generator gives; closing it ends the generator, and with that closes its files."""

    _elements: Generator[T, None, None]

    def __next__(self) -> T:
        return next(self._elements)

    def close(self) -> None:
        """End the reading; may be called again."""
        self._elements.close()
