"""Licences of weights: what they mean in one line, and who has agreed to them on this machine.

A licence that restricts use is shown, asked for once at a terminal, and remembered in a small file; a run without a
terminal names it on the command line instead. Input: a licence id; output: nothing, or a refusal.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vitruvian.cache import cache_dir
from vitruvian.errors import RefusedError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """A licence that weights are published under."""

    id: str
    """Short name, as on the command line and in results."""
    name: str
    """Full name."""
    meaning: str
    """What it means for a user, in one line."""
    url: str
    """Where its text stands."""
    must_be_accepted: bool
    """Whether a user has to agree before the weights are used."""


LICENCES = {
    licence.id: licence
    for licence in (
        Licence(
            id="cc-by-nc-4.0",
            name="Creative Commons Attribution-NonCommercial 4.0 International",
            meaning="non-commercial use only, and the authors must be named",
            url="https://creativecommons.org/licenses/by-nc/4.0/",
            must_be_accepted=True,
        ),
        Licence(
            id="apache-2.0",
            name="Apache License 2.0",
            meaning="any use, with the licence text and notices kept",
            url="https://www.apache.org/licenses/LICENSE-2.0",
            must_be_accepted=False,
        ),
        Licence(
            id="bsd-2-clause",
            name="BSD 2-Clause License",
            meaning="any use, with the copyright notice kept; it is that of the code, nothing separate is said of the "
            "weights",
            url="https://opensource.org/license/bsd-2-clause",
            must_be_accepted=False,
        ),
        Licence(
            id="stability-community",
            name="Stability AI's licence of Stable Video Diffusion 1.1",
            meaning="research and non-commercial use, commercial use only within limits of revenue; weights trained "
            "from it are under it, too; nobody here could confirm the text in force: read it on the page",
            url="https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt-1-1",
            must_be_accepted=True,
        ),
    )
}


def require(
    licence_id: str,
    *,
    model: str,
    accepted: Collection[str],
    ask: Callable[[str], bool] | None,
    store: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Make sure that the user has agreed to the licence of a model's weights.

    Args:
        licence_id: A key of `LICENCES`.
        model: Name of the model, for messages.
        accepted: Licence ids named on the command line; they count for this run and are not remembered.
        ask: Puts a yes-or-no question to the person at the terminal; None when there is none.
        store: File that remembers consents; by default `licences.json` in `cache_dir()`.
        report: Receives the lines to show; standard error by default.

    Raises:
        RefusedError: the person said no, or nobody could be asked.
        UsageError: the id is not in the catalogue.
    """
    licence = LICENCES.get(licence_id)
    if licence is None:
        raise UsageError(f"got the licence {licence_id!r}; expected one of {', '.join(LICENCES)}; check its spelling")
    if not licence.must_be_accepted:
        return
    say = report or _to_standard_error
    store = cache_dir() / "licences.json" if store is None else store
    consents = {} if licence_id in accepted else _read(store, say)
    if licence_id in consents:
        return
    say(f"The weights of {model} are under {licence.name} ({licence.id}): {licence.meaning}. {licence.url}")
    if licence_id in accepted:
        return
    if ask is None:
        raise RefusedError(
            f"got no consent to the licence {licence.id} of {model} ({licence.meaning}) and no terminal to ask at; "
            f"expected agreement before its weights are used; add `--accept-licence {licence.id}`"
        )
    if not ask(f"Do you accept {licence.id} ({licence.meaning})?"):
        raise RefusedError(
            f"got no to the licence {licence.id} of {model}; expected agreement before its weights are used; choose "
            "another model (`vitruvian models` lists their licences)"
        )
    _remember(store, {**consents, licence_id: datetime.now(UTC).date().isoformat()}, say)


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr)


def _read(store: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Licence id -> day of consent."""
    try:
        document = json.loads(store.read_text(encoding="utf-8"))
        consents = document["accepted"]
        if not isinstance(consents, dict):
            raise TypeError("no table of consents")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        say(f"The record of accepted licences cannot be read ({type(error).__name__}), so the question comes again.")
        return {}
    return consents


def _remember(store: Path, consents: dict[str, str], say: Callable[[str], None]) -> None:
    """Replace the record in one step, so that an interruption leaves the old one or the new one."""
    temporary: str | None = None
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=store.parent, prefix=store.name, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"accepted": consents}, file, indent=1)
        os.replace(temporary, store)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        say(f"The consent could not be remembered ({error.strerror}); the question will come again next time.")
