"""What `NAME.run.json` says of a clip: versions, licences, every choice, what was planned and what was measured."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from vitruvian import __version__
from vitruvian.animating.poses import PosedClip
from vitruvian.animating.session import Session
from vitruvian.generation.weights import FoundAnimation
from vitruvian.hardware import probe


def animation_document(session: Session, found: FoundAnimation, posed: PosedClip) -> dict[str, Any]:
    """The document; without absolute paths."""
    job, wish, provenance = session.job, session.wish, found.provenance
    return {
        "vitruvian": __version__,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": "animate",
        "model": provenance.model,
        "weights_sha256": provenance.weights_sha256,
        "licence": provenance.licence,
        "files": [{"parts": list(file.parts), "licence": file.licence} for file in found.spec.files],
        "poses": posed.identity,
        "machine": probe().line(),
        "device": session.device,
        "person": job.person.name,
        "driving": job.driving.name,
        "made_of": session.made_of or None,
        "frames": len(posed.times_s),
        "size_hw": list(posed.size_hw),
        "options": {name: value for name, value in asdict(wish).items() if name != "mode"},
        "decisions": [decision.to_json() for decision in session.decisions],
        "plan": session.planned or None,
        "memory": {
            "baseline_bytes": session.watch.baseline_bytes,
            "peak_bytes": session.watch.peak_bytes,
            "stages": session.watch.peaks,
        },
        "notes": list(dict.fromkeys(session.notes)),
        "timings_s": {name: round(value, 3) for name, value in session.seconds.items()},
    }
