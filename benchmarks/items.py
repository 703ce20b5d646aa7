"""The items that the memory benchmarks write."""

from __future__ import annotations

import os
import random
from pathlib import Path

from langgraph.store.base import PutOp

__all__ = ["BATCH", "TEAM", "op", "resident_mb", "size_mb", "texts_of"]

BATCH = 1000
TEAM = ("team",)


def texts_of(count: int, rng: random.Random) -> list[str]:
    """Make texts of twenty words with the word frequencies of a language (Zipf)."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(30_000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=20)) for _ in range(count)]


def op(number: int, text: str) -> PutOp:
    """Make the write operation of an item: in one of ten namespaces, with a common field and a rare one."""
    value = {"text": text, "kind": ("common", "other")[number % 2], "rare": number % 10_000 == 7, "n": number}
    return PutOp((*TEAM, str(number % 10)), str(number), value)


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def size_mb(folder: Path) -> float:
    """Return the size of a folder in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
