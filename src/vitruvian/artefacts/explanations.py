"""Why a backend could not take a network: an error of torch, a compiler or an exporter -> cause, place, rewrite.

In: the error as it was caught, with its traceback. Out: words for whoever wrote the network. The cause comes from
`explanations_table`. The place is a line of the user's code, found in the message, in the traceback, or in what torch's
own frames still hold: graph nodes know the line they come from, conditions on lengths where they were met. Takes
milliseconds; call it where the error was caught, since tracebacks do not survive a pickle.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from vitruvian.artefacts.explanations_table import ELSEWHERE, IN_CODE, Row
from vitruvian.errors import VitruvianError

MAX_SAID = 240
"""Characters kept of a message that nobody here knows, and of a line of code."""
MAX_READ = 50_000
"""Characters read at each end of a message: some hold a whole graph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Why something failed. `str` is the whole sentence."""

    sentence: str
    """The cause, and the line of code where it is known."""
    place: str
    """`file:line` of the user's code; empty where nobody knows it."""
    rewrite: str
    """What to write or do instead."""
    known: bool
    """Whether the error was recognised; else `sentence` holds what it said."""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return f"{self.sentence}{place}" + (f"; {self.rewrite}" if self.rewrite else "")


@dataclass(frozen=True, slots=True)
class _Line:
    path: str
    number: int

    def __str__(self) -> str:
        return f"{_shown(self.path)}:{self.number}"

    @property
    def code(self) -> str:
        text = linecache.getline(self.path, self.number).strip()
        return text if len(text) <= MAX_SAID else ""


def explain(error: BaseException, *, backend: str) -> Cause:
    """What an error means.

    Args:
        error: As caught; its causes are looked at, too.
        backend: Name of the backend that raised it, which is also that of its log.
    """
    for row in (*ELSEWHERE, *IN_CODE):
        for one in _causes(error):
            values = _fits(row, one)
            if values is not None:
                values["backend"] = backend
                means, rewrite = row.means.format_map(values), row.rewrite.format_map(values)
                line = None if row in ELSEWHERE else _line((one, *_family(error)), _lines, _forwards)
                return _cause(means, line, rewrite, known=True)
    if isinstance(error, VitruvianError):
        sentence, _, rewrite = str(error).rpartition("; ")
        return _cause(sentence or rewrite, None, rewrite if sentence else "", known=True)
    said = _first_line(error)
    sentence = f"{backend} stopped with {type(error).__name__}" + (f": {said}" if said else "")
    rewrite = f"read logs/{backend}.log beside the artefact, or take another --backend"
    return _cause(sentence, _line(_family(error), _lines), rewrite, known=False)


def _cause(sentence: str, line: _Line | None, rewrite: str, *, known: bool) -> Cause:
    code = f": `{line.code}`" if line is not None and line.code else ""
    return Cause(sentence=f"{sentence}{code}", place="" if line is None else str(line), rewrite=rewrite, known=known)


def _line(errors: Sequence[BaseException], *ways: Callable[[BaseException], Iterator[_Line]]) -> _Line | None:
    """The first line that any way finds, the best way first."""
    return next(chain.from_iterable(find(one) for find in ways for one in errors), None)


def _fits(row: Row, error: BaseException) -> dict[str, str] | None:
    """The values for a row's texts; None where it does not fit."""
    found = re.search(row.says, _said(error))
    if found is None:
        return defaultdict(str) if row.when is not None and row.when(error) else None
    return defaultdict(str, {name: value for name, value in found.groupdict().items() if value})


def _said(error: BaseException) -> str:
    """Class and message; without the user's own lines, which may hold any words, without colours and whole paths."""
    text = str(error)
    text = text if len(text) <= 2 * MAX_READ else f"{text[:MAX_READ]}\n{text[-MAX_READ:]}"
    text = re.sub(r"\x1b\[\d+m", "", text).partition("from user code:")[0]
    text = re.sub(r"(?<![\w.:/])(?:[A-Za-z]:[\\/]|/)(?:[^\s/\\'\"]+[\\/])+", "", text)
    text = re.sub(r"L\['(\w+)'\]((?:\[\d+\])*)\.size\(\)\[(\d+)\]", r"\1\2.shape[\3]", text)
    return f"{type(error).__name__}: {text}"


def _first_line(error: BaseException) -> str:
    """The first line of a message that says something; exporters to ONNX put advice before it."""
    text = _said(error).partition(": ")[2]
    lines = text.rpartition("## Exception summary")[2].splitlines()
    said = next((line.strip() for line in lines if re.search(r"\w", line)), "")
    return said if len(said) <= MAX_SAID else f"{said[:MAX_SAID]} ..."


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it was explicitly raised from."""
    found = [error]
    while found[-1].__cause__ is not None and found[-1].__cause__ not in found:
        found.append(found[-1].__cause__)
    return found


def _family(error: BaseException) -> list[BaseException]:
    """The same, and whatever was being handled when one of them was raised."""
    found = _causes(error)
    for one in found:
        context = one.__context__
        if context is not None and context not in found:
            found += [later for later in _causes(context) if later not in found]
    return found


def _lines(error: BaseException) -> Iterator[_Line]:
    """Lines of the user's code that an error leads to, the likeliest first."""
    text = str(error)
    yield from _theirs(re.findall(r"^\s*[-+] .*# (\S+):(\d+):\d+", text, re.M))  # where two traces differ
    yield from _innermost(text)
    yield from _theirs(re.findall(r"^(\S+\.py)\((\d+)\): ", text, re.M))  # TorchScript: innermost first
    frames = _inside_torch(error)
    yield from reversed(list(_theirs([(frame.f_code.co_filename, str(number)) for frame, number in frames])))
    names = set(re.findall(r"%(\w+)", text))
    for frame, _ in reversed(frames):
        yield from _held(frame, names)


def _inside_torch(error: BaseException) -> list[tuple[FrameType, int]]:
    """Frames of a traceback from the first one of torch on; those before it belong to whoever asked for the export."""
    frames = list(traceback.walk_tb(error.__traceback__))
    while frames and not frames[0][0].f_code.co_filename.startswith(_TORCH):
        del frames[0]
    return frames


def _innermost(trace: str) -> Iterator[_Line]:
    """The user's lines of a traceback in a text."""
    yield from reversed(list(_theirs(re.findall(r'File "([^"\n]+)", line (\d+)', trace))))


def _held(frame: FrameType, names: set[str]) -> Iterator[_Line]:
    """Lines that a frame of torch knows of: of the graph's node at hand or in question, of conditions on lengths."""
    for value in list(frame.f_locals.values()):
        if isinstance(value, torch.fx.Node):
            yield from _innermost(value.meta.get("stack_trace") or "")
        elif isinstance(value, torch.fx.Graph):
            for node in value.nodes:
                if node.name in names:
                    yield from _innermost(node.meta.get("stack_trace") or "")
        elif type(value).__name__ == "ShapeEnv":
            for guard in getattr(value, "guards", ()):
                places = re.findall(r"([^\s(]+\.py):(\d+) in ", str(getattr(guard, "sloc", "")))
                whole = [(_loaded(end), number) for end, number in places]
                yield from _theirs([(path, number) for path, number in whole if path])


def _forwards(error: BaseException) -> Iterator[_Line]:
    """Where the network that was being exported begins: for errors that lead nowhere else."""
    for frame, _ in _inside_torch(error):
        for value in list(frame.f_locals.values()):
            for part in value.modules() if isinstance(value, nn.Module) else ():
                code = getattr(type(part).forward, "__code__", None)
                if code is not None:
                    yield from _theirs([(code.co_filename, str(code.co_firstlineno))])


def _loaded(end: str) -> str:
    """The file of a loaded module by the end of its path, which is all that torch keeps of it; empty: not just one."""
    files = {str(getattr(module, "__file__", "") or "") for module in list(sys.modules.values())}
    found = [path for path in files if path.endswith(end)]
    return found[0] if len(found) == 1 else ""


_TORCH = str(Path(torch.__file__).parent) + os.sep
_HERE = str(Path(__file__).parent) + os.sep
_STANDARD = str(Path(sysconfig.get_path("stdlib"))) + os.sep
_TOOLS = re.compile(
    r"(?:site|dist)-packages[/\\](?:torch|functorch|torchgen|torchao|onnx|onnx_ir|onnxscript|onnxruntime|numpy|sympy"
    r"|einops|triton)[/\\]|torchinductor"
)
"""Not the user's: these packages, and code that torch generated."""


def _theirs(found: list[tuple[str, str]]) -> Iterator[_Line]:
    """Of (path, line), those in the user's own code, or in a package that holds networks."""
    for path, number in found:
        library = path.startswith(_STANDARD) and not re.search(r"(?:site|dist)-packages", path)
        ours = path.startswith((_TORCH, _HERE)) or _TOOLS.search(path) is not None
        if not (path.startswith("<") or library or ours):
            yield _Line(path, int(number))


def _shown(path: str) -> str:
    """A path as one would name it: from the working directory or the import path on, never a home directory."""
    roots = sorted({str(Path(root or ".").absolute()) for root in ["", *sys.path]}, key=len, reverse=True)
    inside = next((root for root in roots if Path(path).is_relative_to(root) and root != os.sep), None)
    return Path(path).relative_to(inside).as_posix() if inside else Path(path).name
