"""What compilers and exporters say goes into a text instead of onto the terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MAX_CHARACTERS = 2_000_000
_LOGGERS = ("torch", "torch._inductor", "torch._dynamo", "torch.export", "torch._export", "torch.onnx", "onnxscript")


@dataclass(slots=True)
class Log:
    """Lines heard so far."""

    lines: list[str] = field(default_factory=list)
    size: int = 0

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)

    def add(self, line: str) -> None:
        """One more, unless there are far too many."""
        if self.size < MAX_CHARACTERS:
            self.lines.append(line)
            self.size += len(line)


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(level=logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.add(f"{record.levelname} {record.name}: {record.getMessage()}")


@contextmanager
def quiet() -> Iterator[Log]:
    """Hear warnings and log messages of torch and its exporters; none of them reaches the terminal meanwhile."""
    log = Log()
    handler = _Handler(log)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(list(logger.handlers), logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            yield log
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        for warning in heard:
            log.add(f"{warning.category.__name__}: {warning.message} ({warning.filename}:{warning.lineno})")
