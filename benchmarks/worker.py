"""One contender in a process of its own: reads one order per line from stdin, writes each result as a line of JSON.

Started by the benchmarks, not by hand. It needs only the contender's own library, so that a contender whose
dependencies conflict with Pointsman's can be measured in an environment of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from contenders import CONTENDERS, Contender
from workflows import WORKFLOWS

__all__: list[str] = []

# Long enough to detect half an answer, and different for each call so that answers cannot be confused.
_PROMPT = (
    "Call {number}: repeat these words one by one, and nothing else: amber birch cedar delta ember flint grove heron iris"
    " jade kelp linen maple north ochre pearl quill raven"
)


async def _serve(name: str, out: Any) -> None:
    contender: Any = None
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        match order.pop("do"):
            case "build":
                await _close(contender)
                contender = {**CONTENDERS, **WORKFLOWS}[name](order)
                if hasattr(contender, "open"):
                    await contender.open()
                result: dict[str, Any] = {"built": name}
            case "block":
                result = await _block(contender, **order)
            case "judge":
                result = await _judge(contender, **order)
        out.write(json.dumps(result) + "\n")
        out.flush()
    await _close(contender)


async def _close(contender: Any) -> None:
    if hasattr(contender, "close") and (closing := contender.close()) is not None:
        await closing


async def _block(contender: Contender, mode: str, calls: int, at_once: int, prompt: str) -> dict[str, Any]:
    """Return the CPU time of this process per call, all threads and deferred work included, and the median latency."""
    answer: Callable[[str], Awaitable[str]] = getattr(contender, mode)
    seconds: list[float] = []

    async def one(_: int) -> None:
        began = time.perf_counter()
        await answer(prompt)
        seconds.append(time.perf_counter() - began)

    contender.settle()
    gc.collect()
    before = time.process_time()
    await _spread(one, calls, at_once)
    contender.settle()
    cpu = time.process_time() - before
    return {"cpu_ms": cpu / calls * 1000, "p50_ms": _quantile(seconds, 0.5) * 1000}


async def _judge(contender: Contender, mode: str, calls: int, at_once: int, expected: str | None) -> dict[str, Any]:
    """Return how many answers were right, how many failures were reported, and how many answers were silently wrong."""
    answer: Callable[[str], Awaitable[str]] = getattr(contender, mode)
    seconds: list[float] = []
    counts = {"right": 0, "reported": 0, "wrong": 0}
    examples: dict[str, str] = {}

    async def one(number: int) -> None:
        prompt = _PROMPT.format(number=number)
        began = time.perf_counter()
        try:
            text = await answer(prompt)
        except Exception as error:  # noqa: BLE001 - any exception of a contender counts as a reported failure
            outcome = "reported"
            examples.setdefault(outcome, f"{type(error).__name__}: {error}"[:300])
        else:
            outcome = "right" if text == (expected or f"You said: {prompt}") else "wrong"
            if outcome == "wrong":
                examples.setdefault(outcome, text[:300])
        seconds.append(time.perf_counter() - began)
        counts[outcome] += 1

    await _spread(one, calls, at_once)
    contender.settle()
    return {**counts, "p95_ms": _quantile(seconds, 0.95) * 1000, "examples": examples}


async def _spread(one: Callable[[int], Awaitable[None]], calls: int, at_once: int) -> None:
    numbers = iter(range(calls))

    async def lane() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(lane() for _ in range(min(at_once, calls))))


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Serve until stdin ends; output of libraries goes to stderr, so that it does not mix with the results."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        asyncio.run(_serve(sys.argv[1], out))


if __name__ == "__main__":
    main()
