"""A thread that waits for a queue for a limited time waits no longer."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

import pointsman
import pytest
from pointsman.configs.process.queues import next_within

WAITS = 100_000


def waits_ended(wait: Callable[[SimpleQueue[int]], int], seconds: float) -> int:
    """How many waits for an empty queue end within ``seconds``, or the bound is not reached."""
    ended = 0

    def work() -> None:
        nonlocal ended
        for _ in range(WAITS):
            try:
                wait(SimpleQueue())
            except Empty:
                ended += 1

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(seconds)
    return ended


@pytest.mark.slow
def test_every_wait_ends() -> None:
    assert waits_ended(lambda queue: next_within(queue, 1e-6), 200) == WAITS


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the fault shows most often with Python 3.11")
def test_pythons_own_wait_comes_to_no_end() -> None:
    assert waits_ended(lambda queue: queue.get(timeout=1e-6), 2) < WAITS


def test_an_item_comes_at_once_or_while_one_waits() -> None:
    queue: SimpleQueue[int] = SimpleQueue()
    queue.put(1)
    assert next_within(queue, 0.0) == 1
    threading.Timer(0.01, queue.put, [2]).start()
    assert next_within(queue, 100) == 2
    with pytest.raises(Empty):
        next_within(queue, 0.001)


def test_nothing_here_waits_by_pythons_own() -> None:
    house = Path(pointsman.__file__).parent
    found = [
        file.name
        for file in house.rglob("*.py")
        if "tests" not in file.relative_to(house).parts and re.search(r"\.get\(timeout=", file.read_text("utf-8"))
    ]
    assert found == ["queues.py"]
