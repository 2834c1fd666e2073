"""The child process that traces: reads pickled calls from its standard input, answers on its standard output."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from typing import Any, Literal

Answer = tuple[Literal["done", "failed", "unreadable"], Any]
"""done: the result. failed: the error as it was raised, or its class, message and last lines. unreadable: why the call
could not be unpickled here."""


def serve() -> None:
    """Answer calls until the parent closes the pipe."""
    # Whatever a network prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            call = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(pickle.dumps(_answer(call)), answers)
        answers.flush()


def _answer(call: bytes) -> Answer:
    try:
        function, args = pickle.loads(call)
    except (pickle.PickleError, AttributeError, ImportError) as error:
        return "unreadable", str(error)
    from vitruvian.errors import VitruvianError

    try:
        return "done", function(*args)
    except VitruvianError as error:
        return "failed", error
    except Exception as error:  # the network is anyone's code; the parent explains
        frames = "".join(traceback.format_exception(error, limit=-3))
        return "failed", f"{type(error).__name__}: {error}\n{frames}"
