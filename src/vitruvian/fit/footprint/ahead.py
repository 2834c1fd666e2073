"""Traces ways to run that will be asked for later, in a second child process beside the first.

In: a workload and knobs, in the order in which they will be wanted. Out: recordings in the store. On two cores it
halves the time of the first plan for a large network; what is remembered already starts nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from vitruvian.errors import VitruvianError
from vitruvian.fit.footprint import store
from vitruvian.fit.footprint.isolate import Child, UnreadableError
from vitruvian.fit.footprint.record import record, resized, traced
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.workload import Workload


class Ahead:
    """Traces under way; `wait` before asking for one of them, and `close` when no more are wanted."""

    def __init__(self, workload: Workload, ways: Iterable[Knobs], backend: str) -> None:
        self._workload, self._backend = workload, backend
        keys = dict.fromkeys(map(traced, ways)) if workload.key else {}
        digests = {key: store.digest_of(workload, resized(workload, key).build(), key, backend) for key in keys}
        self._digests = {key: digest for key, digest in digests.items() if store.load(digest) is None}
        self._done = {key: threading.Event() for key in self._digests}
        self._child = Child()
        self._wanted = True
        if self._digests:
            threading.Thread(target=self._run, daemon=True).start()

    def wait(self, knobs: Knobs) -> None:
        """Until these knobs are traced, or never will be."""
        done = self._done.get(traced(knobs))
        if done is not None:
            done.wait()

    def close(self) -> None:
        """Start no more; the child ends after what it is at."""
        self._wanted = False

    def _run(self) -> None:
        try:
            for key, digest in self._digests.items():
                if not self._wanted:
                    break
                what = f"{self._workload.name} (ahead)"
                store.save(digest, self._child.call(what, record, self._workload, key, self._backend), key)
                self._done[key].set()
        except (VitruvianError, UnreadableError, OSError):
            pass  # whoever asks for it traces it again and meets the same error where it can be explained
        finally:
            for done in self._done.values():
                done.set()
            self._child.close()
