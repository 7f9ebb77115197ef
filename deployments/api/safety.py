"""Headers of every answer."""

from __future__ import annotations

SAFETY = (
    (b"cache-control", b"no-store"),  # what one user is told is for nobody's cache
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
