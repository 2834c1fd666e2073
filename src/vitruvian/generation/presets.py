"""What a video is generated with where nobody says otherwise: numbers of the published task."""

from __future__ import annotations

FRAME_RATE_ID, MOTION = 7, 127
"""What the base network is told about frame rate and motion, whatever the clip's are (published)."""
