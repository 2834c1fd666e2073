"""The training itself: steps, validations, saved states, and what to do when memory or numbers give out.

In: a rig, samples, a recipe, a folder. Out: an `Outcome` and the folder's files. A state is everything that decides
what comes next (weights, moments, averages, random generators, the guards' memories; samples and rates are functions of
the step), so that a training that was killed and resumed on a CPU ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vitruvian.errors import CheckFailedError, DoesNotFitError, InterruptedRunError
from vitruvian.finetuning.folder import BEST, LAST, RunFolder
from vitruvian.finetuning.interrupts import Interrupts
from vitruvian.finetuning.loader import Loader
from vitruvian.finetuning.progress import Pace, TrainingProgress
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.rig import Moment, Rig
from vitruvian.finetuning.score import Score
from vitruvian.finetuning.sharding import reshard
from vitruvian.finetuning.shortage import changes
from vitruvian.finetuning.state import (
    FORMAT,
    dealt_out,
    learnt_weights,
    optimizer_state,
    put_weights,
    random_states,
    read_document,
    set_random_states,
    share_of,
    whole,
    write_document,
)
from vitruvian.finetuning.tensorboard import TensorBoard
from vitruvian.finetuning.trouble import Trouble
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knobs import Knobs
from vitruvian.hardware import PeakWatch, free_caches, out_of_memory
from vitruvian.training.merging import plain_state_dict
from vitruvian.training.optimizers import load_optimizer_state
from vitruvian.training.schedules import Schedule
from vitruvian.training.step import StepResult

Result = TypeVar("Result")
ROLLBACK_RATE = 0.5
"""What the learning rate is multiplied with when a training goes back to its last state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a training came to."""

    steps: int
    first: Score | None
    """Before the first step."""
    last: Score | None
    best_step: int | None
    best_value: float | None
    images_per_s: float
    waited_share: float
    peak_bytes: int
    corrupt: dict[str, str]
    skipped: int
    """Steps that could not be taken."""


@dataclass(kw_only=True)
class Training:
    """One training, from the state in its folder or from the start."""

    rig: Rig
    recipe: Recipe
    steps: int
    schedule: Schedule
    loader: Loader[Any, Any]
    score: Callable[[Rig, Path | None], Score]
    """Measures the network; draws a picture at that path. Without samples to measure on, a score without numbers."""
    folder: RunFolder
    write_weights: Callable[[str, dict[str, Tensor]], None]
    """Writes a weight file of this name into the folder."""
    watch: PeakWatch
    predicted_bytes: Callable[[Knobs], int]
    smaller: Callable[[Knobs], Knobs]
    """Knobs that need less memory and learn the same; `DoesNotFitError` where there are none."""
    ease: Callable[[], None] = lambda: None
    """Called where memory gave out and was freed."""
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None
    report: Callable[[str], None] = lambda line: None
    clock_s: Callable[[], float] = time.perf_counter
    done: int = field(default=0, init=False)
    """Steps taken."""
    steps_here: int = field(default=0, init=False)
    """Of these, by this process."""
    decisions: list[Decision] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._rate = 1.0
        self._rollbacks = 0
        self._best: tuple[int, float] | None = None
        self._first: Score | None = None
        self._score: Score | None = None
        self._trouble = Trouble(scaled=self.rig.knobs.dtype == "float16", from_zero=self.rig.objective.from_zero)
        self._recent: list[float] = []
        self._pace = Pace()
        self._saved_s = self.clock_s()
        self._saved_step: int | None = None
        self._board: TensorBoard | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rig.ranks.leads

    def run(self) -> Outcome:
        """Train to the end.

        Raises:
            CheckFailedError: the training diverged twice, or too many samples are no use.
            DoesNotFitError: memory gave out and nothing smaller learns the same.
            InterruptedRunError: the user stopped it; it goes on with `resume`.
        """
        resumed = self._restore()
        if resumed and self.done >= self.steps and self.folder.is_whole:
            self.report(f"all {self.steps} steps were taken already")
            return self._outcome()
        if self.leads:
            self.folder.rewind_log(self.done if resumed else -1)
            self._board = TensorBoard(self.folder.tensorboard, from_step=self.done)
            if self._board.note:
                self.report(f"note: {self._board.note}")
        try:
            with Interrupts(self.report) as interrupts:
                if not resumed:
                    self._first = self._validate()
                    self._save()  # something to go back to, and a disk that is too small is known now
                while self.done < self.steps:
                    self._advance()
                    if self.rig.ranks.any(interrupts.asked):
                        self._save()
                        raise KeyboardInterrupt
                self._finish()
        except KeyboardInterrupt:
            saved = "nothing is saved" if self._saved_step is None else f"step {self._saved_step} is saved"
            raise InterruptedRunError(
                f"stopped at step {self.done} of {self.steps}; {saved}; go on with --resume"
            ) from None
        finally:
            if self._board is not None:
                self._board.close()
        return self._outcome()

    def _advance(self) -> None:
        """One step, and what is due after it."""
        result = self._step()
        trouble = self._trouble.seen(result)
        if trouble is not None:
            self._go_back(trouble)
            return
        if self.rig.average is not None and result.skipped is None:
            self.rig.average.update(self.done)
        self.done += 1
        if result.skipped is not None:
            self.report(f"step {self.done}: weights left alone for {result.skipped}")
        self._note(result)
        if self.done % self.recipe.validation_interval(self.steps) == 0 and self.done < self.steps:
            self._validate()
        self._save_if_due()

    def _step(self) -> StepResult:
        """Take a step."""
        started = self.clock_s()
        result = self._surviving(self._take)
        self._pace.images += result.items * self.rig.ranks.count
        self._pace.seconds += self.clock_s() - started
        self._pace.waited_s += self.loader.waited_s
        self.steps_here += 1
        return result

    def _take(self) -> StepResult:
        samples = self.loader(self.done)
        self.rig.set_rate(self._lr())
        return self.rig.step(self.rig.micro_batches(samples))

    def _surviving(self, act: Callable[[], Result]) -> Result:
        """What an action gives; where memory gives out it is tried again under knobs that need less."""
        while True:
            before = Moment.of(self.rig) if self.rig.ranks.count == 1 else None
            try:
                return act()
            except Exception as error:
                if not out_of_memory(error):
                    raise
                shortage = (str(error) or type(error).__name__).splitlines()[0]
            self._make_do(shortage, before)  # outside the handler, whose traceback keeps the batch alive

    def _make_do(self, shortage: str, before: Moment | None) -> None:
        """Go on under knobs that need less."""
        free_caches(self.rig.device)
        self.ease()
        if before is None:
            raise DoesNotFitError(
                f"memory gave out in step {self.done + 1} ({shortage}), and {self.rig.ranks.count} processes cannot "
                f"change course together; expected less to hold; go on with --resume micro_batch="
                f"{max(1, self.rig.knobs.micro_batch // 2)}, or checkpointing=blocks"
            )
        old, halfway = self.rig.knobs, self.rig.step.updating
        new = self.smaller(old)
        self.rig.change(new)
        because = f"memory gave out in step {self.done + 1}: {shortage}"
        before.restore(self.rig)
        if halfway:
            self._reload(f"memory gave out while weights were updated, in step {self.done + 1}")
        self._decide(Decision(what="knobs", value=changes(old, new), because=because, measured=True))

    def _go_back(self, trouble: str) -> None:
        """To the last state, with a lower rate; twice is once too often."""
        if self._rollbacks or not self.folder.state.exists():
            raise CheckFailedError(
                f"the training went wrong at step {self.done + 1}: {trouble}; expected numbers that settle; "
                f"{'the best weights so far are kept; ' if self._best else ''}begin anew with a lower lr than "
                f"{self.recipe.lr:g}, or look at the samples with `vitruvian data check`"
            )
        at = self.done + 1
        self._reload(f"{trouble} (step {at})")
        self._rollbacks += 1
        self._rate *= ROLLBACK_RATE
        value = f"back to step {self.done}, {self._rate:g} of the learning rate"
        self._decide(Decision(what="rollback", value=value, because=f"{trouble} (step {at})", measured=True))
        self._save()

    def _reload(self, because: str) -> None:
        if not self.folder.state.exists():
            raise DoesNotFitError(f"{because}, before a state was saved; expected one; begin anew with --overwrite")
        self._restore()
        if self.leads:
            self.folder.rewind_log(self.done)

    def _lr(self) -> float:
        return self.recipe.lr * self._rate * self.schedule(self.done)

    def _note(self, result: StepResult) -> None:
        """Log and show, every few steps."""
        if result.skipped is None:
            self._recent.append(result.loss)
        if self.done % self.recipe.log_every and self.done != self.steps:
            return
        loss = sum(self._recent) / len(self._recent) if self._recent else math.nan
        self._recent.clear()
        progress = self._progress(loss)
        row = {
            "step": self.done,
            "loss": loss,
            "lr": self._lr(),
            "grad_norm": result.grad_norm,
            "images_per_s": progress.images_per_s,
            "waited_share": progress.waited_share,
            "memory_bytes": progress.memory_bytes,
            "peak_bytes": progress.peak_bytes,
        }
        self._log(row, "train")
        self.on_progress(progress)

    def _log(self, row: dict[str, Any], part: str) -> None:
        if self.leads:
            self.folder.log(row)
        if self._board is not None:
            self._board.numbers(self.done, row, part)

    def _progress(self, loss: float) -> TrainingProgress:
        score = f"{self._score.leading} {self._score.value:.4g}" if self._score and self._score.numbers else ""
        step_s = self.recipe.batch_size / max(1e-9, self._pace.images_per_s)
        return TrainingProgress(
            step=self.done,
            steps=self.steps,
            loss=loss,
            score=score,
            images_per_s=self._pace.images_per_s,
            waited_share=self._pace.waited_share,
            memory_bytes=self.watch.last.device_bytes,
            peak_bytes=self.watch.peak_bytes,
            predicted_bytes=self.predicted_bytes(self.rig.knobs),
            left_s=step_s * (self.steps - self.done),
        )

    def _validate(self) -> Score | None:
        """Measure, and keep the weights if they are the best so far."""
        picture = self.folder.picture(self.done) if self.leads else None
        reshard(self.rig.network)
        with self._averaged():
            score = self._surviving(lambda: self.score(self.rig, picture))
            reshard(self.rig.network)
            if not score.numbers:
                return None
            self._score = score
            self._log({"step": self.done, "validation_loss": score.loss, **score.numbers}, "validation")
            if self._board is not None and picture is not None and picture.exists():
                self._board.picture(self.done, picture)
            best = self._best[1] if self._best else None
            if self.done and score.is_better_than(best):
                self._best = (self.done, score.value)
                self._write_weights(BEST)
        self.report(f"step {self.done}: validation loss {score.loss:.4g}, {score.leading} {score.value:.4g}")
        return score

    def _write_weights(self, name: str) -> None:
        weights = self._weights()
        if self.leads:
            self.write_weights(name, weights)

    def _weights(self) -> dict[str, Tensor]:
        """The network's weights as a plain network has them, whole."""
        reshard(self.rig.network)
        return {key: whole(value, keep=self.leads) for key, value in plain_state_dict(self.rig.network).items()}

    def _averaged(self) -> AbstractContextManager[None]:
        """The average in the weights' place, where there is one."""
        return nullcontext() if self.rig.average is None else self.rig.average.swapped()

    def _finish(self) -> None:
        self._validate()
        with self._averaged():
            if self._best is None:
                self._write_weights(BEST)
            self._write_weights(LAST)  # the last file of all: a training that has it is whole
        self._save()

    def _save_if_due(self) -> None:
        every = self.recipe.checkpoint_every
        due = every is not None and self.done % every == 0
        late = self.clock_s() - self._saved_s > 60 * self.recipe.checkpoint_minutes
        if self.rig.ranks.any(due or late):
            self._save()

    def _save(self) -> None:
        document = self._document()
        if self.leads:
            self.folder.write_state(partial(write_document, document))
        self._saved_s, self._saved_step = self.clock_s(), self.done

    def _document(self) -> dict[str, Any]:
        average, keep = self.rig.average, self.leads
        averaged = None if average is None else average.weights.items()
        self._pace.peak_bytes = max(self._pace.peak_bytes, self.watch.peak_bytes)
        return {
            "format": FORMAT,
            "step": self.done,
            "knobs": self.rig.knobs.to_json(),
            "weights": learnt_weights(self.rig.network, keep=keep),
            "optimizer": optimizer_state(self.rig.optimizer, keep=keep),
            "step_state": self.rig.step.state_dict(),
            "average": None if averaged is None else {name: whole(one, keep=keep) for name, one in averaged},
            "random": random_states(self.rig.ranks, self.rig.device),
            "trouble": self._trouble.state_dict(),
            "recent": list(self._recent),
            "rate": self._rate,
            "rollbacks": self._rollbacks,
            "best": self._best,
            "corrupt": dict(self.loader.corrupt),
            "corrupt_elsewhere": dict(self.loader.corrupt_elsewhere),
            "pace": self._pace.to_json(),
            "decisions": [decision.to_json() for decision in self.decisions],
            "first": self._first and asdict(self._first),
            "score": self._score and asdict(self._score),
        }

    def _restore(self) -> bool:
        """Take up the state in the folder; False where there is none."""
        if not self.folder.state.exists():
            return False
        document = read_document(self.folder.state)
        put_weights(self.rig.network, document["weights"])
        load_optimizer_state(self.rig.optimizer, dealt_out(document["optimizer"], self.rig.optimizer))
        self.rig.step.load_state_dict(document["step_state"])
        if self.rig.average is not None and document["average"] is not None:
            own = self.rig.average.weights
            self.rig.average.load({name: share_of(one, own[name]) for name, one in document["average"].items()})
        if not set_random_states(document["random"], self.rig.ranks, self.rig.device):
            torch.manual_seed(self.recipe.seed + self.rig.ranks.rank + document["step"])
        self._trouble.load_state_dict(document["trouble"])
        self._recent = list(document["recent"])
        self._rate, self._rollbacks = document["rate"], document["rollbacks"]
        self._best = None if document["best"] is None else tuple(document["best"])
        self.loader.corrupt |= document["corrupt"]
        self.loader.corrupt_elsewhere |= document["corrupt_elsewhere"]
        self._pace = Pace(**document["pace"])
        self.decisions = [Decision(**decision) for decision in document["decisions"]]
        self._first, self._score = (document[key] and Score(**document[key]) for key in ("first", "score"))
        self.done = self._saved_step = document["step"]
        return True

    def _decide(self, decision: Decision) -> None:
        self.decisions.append(decision)
        self.report(str(decision))

    def _outcome(self) -> Outcome:
        best_step, best_value = self._best or (None, None)
        return Outcome(
            steps=self.done,
            first=self._first,
            last=self._score,
            best_step=best_step,
            best_value=best_value,
            images_per_s=self._pace.images_per_s,
            waited_share=self._pace.waited_share,
            peak_bytes=max(self._pace.peak_bytes, self.watch.peak_bytes if self.steps_here else 0),
            corrupt=self.rig.ranks.together({**self.loader.corrupt, **self.loader.corrupt_elsewhere}),
            skipped=self._trouble.skipped_in_all,
        )
