"""The parts of a network that memory measures work on: its repeated blocks and its head, by name."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from vitruvian.fit.workload import Workload


def blocks_of(module: nn.Module, workload: Workload) -> tuple[str, ...]:
    """Names of the repeated blocks in order: by the workload's patterns, or else found by looking.

    Found are the children of every `nn.ModuleList` of two or more modules of one class that have parameters and parts
    of their own; lists inside a found block are part of it.
    """
    if workload.blocks:
        return outermost(module, workload.blocks)
    found: list[str] = []
    for name, part in module.named_modules():
        if not isinstance(part, nn.ModuleList) or _is_inside(name, found):
            continue
        children = dict(part.named_children())
        alike = len(children) > 1 and len({type(child) for child in children.values()}) == 1
        if alike and all(_is_block(child) for child in children.values()):
            found += [f"{name}.{key}" if name else key for key in children]
    return tuple(found)


def outermost(module: nn.Module, patterns: Iterable[str]) -> tuple[str, ...]:
    """Names of the modules that match a pattern and lie inside no other match; `*` would reach into their parts."""
    patterns, found = tuple(patterns), list[str]()
    for name, _ in module.named_modules():
        if name and not _is_inside(name, found) and any(fnmatchcase(name, pattern) for pattern in patterns):
            found.append(name)
    return tuple(found)


def _is_inside(name: str, names: list[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in names)


def _is_block(module: nn.Module) -> bool:
    return any(True for _ in module.children()) and any(True for _ in module.parameters())
