"""The compute types of a clip are measured: small calls in a type and in float32, compared, network by network.

In: files of the networks, candidates. Out: the first candidate that keeps the limits of a quality, with the reason.
Verdicts are remembered. Seconds for the published networks, and the weights of one in float32 at a time: on the device
where they fit, else on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vitruvian import __version__
from vitruvian.animating.type_calls import CODEC, DENOISER, SIZE_HW, Subject, answers
from vitruvian.animating.wish import AnimateWish
from vitruvian.audit import NO_REFERENCE
from vitruvian.fit.decisions import Decision
from vitruvian.fit.precision import check_dtype, compute_types
from vitruvian.fit.quality import AuditReport, margins, mean, worst
from vitruvian.fit.verdicts import VerdictKey, VerdictStore
from vitruvian.generation.weights import FoundAnimation
from vitruvian.hardware import Device, Dtype, free_caches, free_memory_now, out_of_memory

ROOM = 1.5
"""Times the weights in float32 that must be free for them to be looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTypes:
    """The types to compute in."""

    dtype: Dtype
    codec: Dtype
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = ()


def candidates_of(wish: AnimateWish, device: Device, subject: Subject = DENOISER) -> tuple[Dtype, ...]:
    """Types to try, best first: the user's, float32 for exact results, else those that the device has instructions for.

    The codec follows `--dtype` where the device has instructions for that type, and a knob of its own everywhere.
    """
    if insisted := insisted_on(wish, subject):
        return (insisted,)
    if wish.quality == "exact":
        return ("float32",)
    fast = compute_types(device)
    return tuple(dtype for dtype in fast if wish.dtype is None or dtype in (check_dtype(wish.dtype), "float32"))


def insisted_on(wish: AnimateWish, subject: Subject) -> Dtype | None:
    """The type that a network must have, whatever is measured."""
    said = wish.dtype if subject is DENOISER else wish.knobs.get(subject.knob)
    return None if said is None else check_dtype(said)


def audited_types(
    found: FoundAnimation,
    wish: AnimateWish,
    device: Device,
    *,
    torch_version: str,
    store: VerdictStore,
    report: Callable[[str], None],
) -> ClipTypes:
    """For each network the first candidate within the limits of the wish's quality; float32 where none is.

    A type that the user insists on is taken all the same, with a warning.
    """
    audit = _Audit(found=found, wish=wish, device=device, torch_version=torch_version, store=store, report=report)
    return ClipTypes(
        dtype=audit.chosen(DENOISER),
        codec=audit.chosen(CODEC),
        decisions=tuple(audit.decisions),
        notes=tuple(dict.fromkeys(audit.notes)),
    )


@dataclass(frozen=True, kw_only=True)
class _Audit:
    """Both networks on one device, and what there is to tell."""

    found: FoundAnimation
    wish: AnimateWish
    device: Device
    torch_version: str
    store: VerdictStore
    report: Callable[[str], None]
    decisions: list[Decision] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def chosen(self, subject: Subject) -> Dtype:
        """The network's type."""
        insisted = insisted_on(self.wish, subject)
        turned_down = False
        for dtype in candidates_of(self.wish, self.device, subject):
            if dtype == "float32":
                break
            seen = self._seen(subject, dtype)
            if seen is None:
                self._decide(subject.knob, dtype, f"not held against float32: {NO_REFERENCE}", measured=False)
                return dtype
            misses = "; ".join(seen.misses(self.wish.quality))
            if not misses:
                self._decide(subject.knob, dtype, margins(seen.discrepancies, self.wish.quality))
                return dtype
            if insisted:
                self._decide(subject.knob, dtype, f"asked for, although {misses}")
                said = f"{subject.knob} {dtype} was asked for, but it does not keep --quality {self.wish.quality}"
                self.notes.append(f"warning: {said}: {misses}")
                return dtype
            self._decide(f"{subject.knob}_turned_down", dtype, misses)
            turned_down = True
        because = "asked for" if insisted else "what is left" if turned_down else "what the device computes best in"
        self._decide(subject.knob, "float32", because, measured=turned_down)
        return "float32"

    def _decide(self, what: str, value: Dtype, because: str, *, measured: bool = True) -> None:
        self.decisions.append(Decision(what=what, value=value, because=because, measured=measured))

    def _seen(self, subject: Subject, dtype: Dtype) -> AuditReport | None:
        """What was seen, now or in an earlier run; None: float32 has no room anywhere."""
        provenance = self.found.provenance
        key = VerdictKey(
            model=provenance.model if subject is DENOISER else f"{provenance.model}, {subject.knob}",
            weights_sha256=provenance.weights_sha256,
            device=self.device.name,
            torch_version=self.torch_version,
            version=__version__,
            canvas_hw=SIZE_HW,
            precision=subject.precision(dtype),
        )
        seen = self.store.get(key)
        if seen is None and (seen := self._measured(subject, dtype)) and (note := self.store.put(key, seen)):
            self.notes.append(note)
        return seen

    def _measured(self, subject: Subject, dtype: Dtype) -> AuditReport | None:
        """Against float32 on the device, else on the host."""
        device = self.device.device
        needed_bytes = ROOM * 4 * subject.weights(self.found.spec.config)
        for place in dict.fromkeys((device, "cpu")):
            if free_memory_now(place)[1] <= needed_bytes:
                continue
            self.report(f"audit of the {subject.part} in {dtype} against float32")
            try:
                return _compared(self.found, subject, dtype, device, place)
            except Exception as error:
                if not out_of_memory(error):
                    raise
            free_caches(device)  # outside the handler, whose traceback holds the activations
        return None


def _compared(found: FoundAnimation, subject: Subject, dtype: Dtype, device: str, reference: str) -> AuditReport:
    """Float32 first, so that one network is in memory at a time."""
    true, reference_s = answers(found, subject, "float32", reference)
    try:
        candidate, candidate_s = answers(found, subject, dtype, device)
    except (RuntimeError, TypeError, ValueError) as error:  # what operators raise for types they do not take
        if out_of_memory(error):
            raise
        return AuditReport(error=str(error).strip().splitlines()[0][:200])
    rows = [subject.apart(one, two) for one, two in zip(candidate, true, strict=True)]
    return AuditReport(
        discrepancies=worst(rows),
        mean=mean(rows),
        non_finite=sum(int((~one.isfinite()).sum()) for one in candidate),
        crops=len(true),
        reference_s=reference_s,
        candidate_s=candidate_s,
    )
