"""From a picture and a video to a video: the whole road of `vitruvian animate`.

In: a job. Out: an MP4 with the driving video's times and sound, and `NAME.run.json` beside it. Poses first, for fitting
them needs all; then a plan; then the networks one after the other. After every step the latents are on disk: a run that
was killed goes on from them. The denoising network dominates.
"""

# Shape suffixes: F frames, N frames of a chunk, H W frame, h w latents, 3 = RGB, 4 = latent channels.

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vitruvian.animating.document import animation_document
from vitruvian.animating.making import Making
from vitruvian.animating.plan import shortfall
from vitruvian.animating.planned import planner_of
from vitruvian.animating.poses import PosedClip, posed_clip
from vitruvian.animating.preview import write_preview
from vitruvian.animating.session import OnProgress, Session
from vitruvian.animating.state import stored_state
from vitruvian.animating.type_audit import ClipTypes, audited_types
from vitruvian.animating.wish import AnimateJob
from vitruvian.errors import CheckFailedError, DoesNotFitError, UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.verdicts import VerdictStore
from vitruvian.generation.weights import Access, FoundAnimation, find_weights
from vitruvian.hardware import PeakWatch, free_caches, open_meter, probe
from vitruvian.media.documents import write_json_atomic
from vitruvian.media.video.joining import joined
from vitruvian.media.video.writing import SegmentWriter
from vitruvian.videos.workplace import Workplace


@dataclass(frozen=True, kw_only=True, slots=True)
class Animated:
    """What became of a clip."""

    out: Path
    frames: int
    seconds: float
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


def animate(job: AnimateJob, access: Access | None = None, on_progress: OnProgress = lambda *_: None) -> Animated:
    """Make the video.

    Args:
        job: files and wishes.
        access: how weights are fetched; None: no licence is accepted.
        on_progress: hears how it goes.

    Raises:
        InputError: a picture or video that cannot be used.
        UsageError: wishes that do not go together, an output that is there already.
        RefusedError: weights that are not to be used, a licence that was not accepted.
        DoesNotFitError: the machine is too small; says what would fit.
        CheckFailedError: no type gives numbers.
    """
    _check_out(job)
    access = access or Access()
    found = find_weights(job.model, base=job.base, access=access)
    return _Run(replace(job, wish=job.wish.of_model(found.spec)), found, access, on_progress).carry_out()


class _Run:
    """One clip on its way."""

    def __init__(self, job: AnimateJob, found: FoundAnimation, access: Access, on_progress: OnProgress) -> None:
        self._found, self._access = found, access
        hardware = probe()
        device = hardware.device(job.wish.device or hardware.default_device).device
        watch = PeakWatch(open_meter(device))
        self._session = Session(job=job, device=device, watch=watch, on_progress=on_progress)

    def carry_out(self) -> Animated:
        """All stages."""
        session, job, found = self._session, self._session.job, self._found
        began = time.perf_counter()
        with session.watch:
            with session.stage("poses"):
                posed = posed_clip(job, found.spec, self._access, device=session.device)
            session.decisions.extend(posed.decisions)
            session.notes.extend([*found.notes, *posed.notes])
            session.made_of.update(_identity(job, found, posed))
            if job.wish.preview:
                out = write_preview(posed, found.spec.config, job)
            elif job.wish.mode == "resume" and _is_done(job, session.made_of):
                return self._told(posed, job.out, "it was done already", time.perf_counter() - began)
            else:
                self._generate(posed)
                out = job.out
        session.seconds["all"] = time.perf_counter() - began
        write_json_atomic(out.with_suffix(".run.json"), animation_document(session, found, posed))
        return self._told(posed, out, "", session.seconds["all"])

    def _told(self, posed: PosedClip, out: Path, note: str, seconds: float) -> Animated:
        session = self._session
        return Animated(
            out=out,
            frames=len(posed.times_s),
            seconds=seconds,
            decisions=tuple(session.decisions),
            notes=tuple(dict.fromkeys([*session.notes, *([note] if note else [])])),
        )

    def _generate(self, posed: PosedClip) -> None:
        session, job, found = self._session, self._session.job, self._found
        work = Workplace(job.out.absolute().parent, job.out.name, session.made_of)
        if job.wish.mode != "resume":
            work.forget()
        earlier = stored_state(work)
        if job.wish.mode == "resume" and earlier is None:
            session.notes.append("--resume found no step of this video to go on with: it began with the first")
        kept: Mapping[str, Any] = {} if earlier is None else earlier.way
        types = None if kept else self._audited()
        planner = planner_of(job.wish, found.spec, posed, session.device, types, kept)
        plan = planner.plan()
        session.decisions.extend(plan.decisions)
        session.planned.update(plan.to_json())
        if not plan.fits:
            raise DoesNotFitError(shortfall(plan))
        making = Making(
            session=session, found=found, posed=posed, planner=planner, plan=plan, work=work, started=earlier
        )
        latents_F4hw = making.latents()
        self._decode(making, latents_F4hw, work)
        work.remove()

    def _audited(self) -> ClipTypes:
        session, hardware = self._session, probe()
        with session.stage("audit"):
            types = audited_types(
                self._found,
                session.wish,
                hardware.device(session.device),
                torch_version=hardware.torch_version,
                store=VerdictStore.of_user(),
                report=self._access.report,
            )
        session.decisions.extend(types.decisions)
        session.notes.extend(types.notes)
        return types

    def _decode(self, making: Making, latents_F4hw: Tensor, work: Workplace) -> None:
        """Frames to the file, fewer at once where memory gives out."""
        session = self._session
        while True:
            try:
                with session.stage("decoding"):
                    return self._write(making, latents_F4hw, work)
            except DoesNotFitError as error:
                said = str(error)
                if not making.can_decode_fewer:
                    raise
            free_caches(session.device)  # outside the handler, whose traceback holds the activations
            making.decode_fewer(said)

    def _write(self, making: Making, latents_F4hw: Tensor, work: Workplace) -> None:
        """In the codec's types, one after the other; the reference's own frame is left out."""
        session, posed = self._session, making.posed
        for precision in making.codec_types():
            with SegmentWriter(work.folder / "frames", frames_per_segment=1 << 30) as writer:
                writer.keep(0)
                try:
                    for number, image_HW3 in enumerate(making.frames(latents_F4hw, precision)):
                        if number:
                            writer.write(image_HW3, posed.times_s[number - 1])
                        session.on_progress("decoding", number, len(posed.times_s))
                except CheckFailedError as error:
                    session.notes.append(str(error))
                    continue
                source, span = session.job.driving, posed.driving.span(posed.times_s)
                written = joined(writer.finish(), session.job.out, audio_from=source, span=span)
                session.notes.extend([*writer.notes, *written.notes])
                return
        raise CheckFailedError("got frames that are no numbers from the image codec in every type; expected numbers")


def _check_out(job: AnimateJob) -> None:
    if job.out.suffix.lower() != ".mp4":
        raise UsageError(f"got --out {job.out.name}; expected a file that ends in .mp4")
    for path in (job.person, job.driving):
        if not path.is_file():
            raise UsageError(
                f"got {path.name}, which is no file; expected a picture and a driving video; check the path"
            )
    if job.out.exists() and job.wish.mode == "new" and not job.wish.preview:
        raise UsageError(
            f"got {job.out.name}, which is there already; expected a new name; --overwrite replaces it, --resume goes "
            "on with what was not finished"
        )


def _is_done(job: AnimateJob, made_of: Mapping[str, Any]) -> bool:
    """Whether the video is there, made of the same."""
    try:
        said = json.loads(job.out.with_suffix(".run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return job.out.is_file() and isinstance(said, dict) and said.get("made_of") == made_of


def _identity(job: AnimateJob, found: FoundAnimation, posed: PosedClip) -> dict[str, Any]:
    """What decides the video, but for the way it is made."""
    wish = job.wish
    return {
        "weights": found.provenance.weights_sha256,
        "poses": posed.identity,
        "picture": posed.picture_sha256,
        "driving": posed.driving.key,
        "size_hw": list(posed.size_hw),
        "guidance_scale": list(wish.scales),
        "interval": [wish.guided.begin, wish.guided.end],
        "pose_strength": wish.pose_strength,
        "parts": [wish.hands, wish.face],
        "steps": wish.steps_taken,
        "seed": wish.seed,
        "who": str(wish.who),
        "missing": wish.missing,
        "alignment": wish.alignment,
    }
