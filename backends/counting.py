"""`StreamUsage`: provisional."""

from __future__ import annotations

from typing import Any

from .replies import read_reply


class StreamUsage:
    """Provisional."""

    def __init__(self, finishes: Any) -> None:
        self._finishes = finishes
        self._chunks: list[Any] = []
        self.seen_output = 0

    def add(self, chunk: Any) -> None:
        """Count a chunk."""
        self._chunks.append(chunk)
        self.seen_output += (len(str(chunk.text).encode()) + 2) // 3

    @property
    def told(self) -> Any:
        """What was told."""
        if not self._chunks:
            return None
        first, *rest = self._chunks
        return read_reply(first + rest if rest else first, self._finishes).usage
