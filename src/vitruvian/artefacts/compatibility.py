"""Whether an artefact's files belong to this machine, seen in its manifest before any of them is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vitruvian.artefacts.rung import Bond, Rung
from vitruvian.errors import RefusedError
from vitruvian.hardware import Target
from vitruvian.media.names import printable

Difference = Callable[[Target, Target], str]


class MismatchError(RefusedError):
    """An artefact for another kind of machine; its weights can be used here all the same."""


def _torch(made: Target, here: Target) -> str:
    if (made.torch, made.toolkit) == (here.torch, here.toolkit):
        return ""
    return f"torch {_build(made)}, here is {_build(here)}"


def _build(target: Target) -> str:
    return f"{target.torch} ({target.toolkit})" if target.toolkit else target.torch


def _device(made: Target, here: Target) -> str:
    return "" if made.device == here.device else f"{made.device}, this would run on {here.device}"


def _architecture(made: Target, here: Target) -> str:
    if made.architecture == here.architecture and made.machine == here.machine:
        return ""
    return f"{made.machine} {made.architecture}".strip() + f", here is {here.machine} {here.architecture}".rstrip()


def _instructions(made: Target, here: Target) -> str:
    lacking = sorted(set(made.instructions) - set(here.instructions))
    return f"a processor with {', '.join(lacking)}, which {here.device_name} has not" if lacking else ""


def _system(made: Target, here: Target) -> str:
    return "" if made.system == here.system else f"{made.system}, here is {here.system}"


_DIFFERENCES: Mapping[Bond, Difference] = {
    "system": _system,
    "device": _device,
    "architecture": _architecture,
    "torch": _torch,
    "instructions": _instructions,
}
"""In the order they are said: another torch may name the same processor's instructions differently."""


def differences(rung: Rung, made: Target, here: Target) -> tuple[str, ...]:
    """What an artefact was made for and this machine is not; empty where its files can be opened here."""
    found = (_DIFFERENCES[bond](made, here) for bond in _DIFFERENCES if bond in rung.bonds)
    return tuple(sentence for sentence in found if sentence)


def require_match(rung: Rung, made: Target, here: Target, name: str, source: str) -> None:
    """Let pass what belongs here.

    Raises:
        MismatchError: it does not; says why and what to do.
    """
    found = differences(rung, made, here)
    if found:
        made_for = printable("; for ".join(found))
        raise MismatchError(
            f"got the artefact {printable(name)}, made for {made_for}; expected one made here; leave --rebuild at "
            f"auto, or: vitruvian export {printable(source) or 'MODEL'} -o DIR"
        )
