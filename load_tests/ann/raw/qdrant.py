"""qdrant-edge: Qdrant's engine in this process."""

from __future__ import annotations

_TOGETHER = 1000


class Driver:
    efforts = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
