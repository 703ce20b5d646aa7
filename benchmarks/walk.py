"""How many files one warm call passes: the package's files and functions it enters, and how often the file changes.

    python benchmarks/walk.py [--files] [--json]

A profile hook counts calls of Python functions, in the order in which they begin. A change of file is a call in
another file of the package than the previous call in the same thread. The first line of a subject counts the calling
thread, which is what a reader follows; the second adds the threads that it hands work to: rows of the ledger,
checkpoints, memory. A resumed coroutine or generator is not a new call, and lambdas and comprehensions belong to the
function that contains them. The provider is the simulator in a process of its own, so it is not counted. Each subject
runs three times before it is counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from itertools import pairwise
from types import FrameType
from typing import Any

import pointsman
from pointsman.agents.runtime import Runtime
from stage import options, provider, simulated

_ROOT = os.path.dirname(os.path.realpath(pointsman.__file__)) + os.sep
_HERE = os.path.realpath(__file__)
_WARM = 3
_PROMPT = "Say hello."

Calls = list[tuple[str, str]]
"""File and function of each call, in order."""
Subject = Callable[[], Awaitable[Any]]


class Walk:
    """Records calls of the package's functions by thread while counting; create it before the threads start."""

    def __init__(self) -> None:
        self.calls: defaultdict[int, Calls] = defaultdict(list)
        self._counting = False
        self._places: dict[str, str | None] = {}
        threading.setprofile(self._hook)

    def _place(self, file: str) -> str | None:
        if file not in self._places:
            real = os.path.realpath(file)
            inside = real.startswith(_ROOT) and real != _HERE
            self._places[file] = real.removeprefix(_ROOT) if inside else None
        return self._places[file]

    def _hook(self, frame: FrameType, event: str, _: Any) -> None:
        if not self._counting or event != "call":
            return
        code = frame.f_code
        if code.co_name.startswith("<") or (place := self._place(code.co_filename)) is None:
            return
        # The argument of RESUME is 0 at the start of a function; otherwise its two lowest bits say why it is resumed.
        if not code.co_code[frame.f_lasti + 1] & 3:
            self.calls[threading.get_ident()].append((place, code.co_qualname))

    async def over(self, work: Subject, settle: Callable[[], None]) -> tuple[Calls, list[Calls]]:
        """Count one run of ``work``; return the calls of this thread, and those of each thread.

        Args:
            work: The call to count.
            settle: Waits until other threads have finished deferred work; not counted in this thread.
        """
        settle()
        self.calls.clear()
        self._counting = True
        sys.setprofile(self._hook)
        try:
            await work()
        finally:
            sys.setprofile(None)
            settle()
            self._counting = False
        return self.calls[threading.get_ident()], list(self.calls.values())


def _counts(threads: list[Calls]) -> dict[str, int]:
    every = [call for calls in threads for call in calls]
    return {
        "files": len({place for place, _ in every}),
        "functions": len(set(every)),
        "changes": sum(a[0] != b[0] for calls in threads for a, b in pairwise(calls)),
        "calls": len(every),
    }


def _subjects() -> dict[str, Subject]:
    model = pointsman.RoutedChatModel(kind="gather", tier="standard")
    agent = pointsman.Agent("reader", tier="standard")
    pair = [agent, pointsman.Agent("writer", tier="standard")]
    flow = pointsman.Workflow("pair", pair, plan="in_order")

    async def streamed() -> None:
        async for _ in model.astream(_PROMPT):
            pass

    return {
        "RoutedChatModel.ainvoke": lambda: model.ainvoke(_PROMPT),
        "RoutedChatModel.astream": streamed,
        "Agent.arun": lambda: agent.arun(_PROMPT),
        "Workflow.arun, two steps": lambda: flow.arun(_PROMPT),
    }


async def _count(walk: Walk) -> dict[str, dict[str, Any]]:
    found = {}
    for name, work in _subjects().items():
        for _ in range(_WARM):
            await work()
        calling, every = await walk.over(work, Runtime.default().ledger.flush)
        by_file = Counter(place for calls in every for place, _ in calls)
        found[name] = {**_counts([calling]), "all_threads": _counts(every), "by_file": dict(by_file.most_common())}
    return found


def _print(found: dict[str, dict[str, Any]], *, files: bool) -> None:
    for name, counted in found.items():
        for what, counts in ((name, counted), ("  with other threads", counted["all_threads"])):
            print(f"{what:<26}{counts['files']:>4} files, {counts['functions']:>4} functions, ", end="")
            print(f"{counts['changes']:>4} changes of file, {counts['calls']:>5} calls")
        if files:
            for place, number in counted["by_file"].items():
                print(f"    {number:>5}  {place}")


def main() -> None:
    """Count and print."""
    files, as_json = "name each file, with its calls in all threads", "as JSON, each file with its calls included"
    given = options(__doc__, files=(False, files), json=(False, as_json))
    walk = Walk()
    with provider() as served, tempfile.TemporaryDirectory() as folder:
        os.environ.update(simulated(served.url, "anthropic", "openai", "google"), POINTSMAN_STATE=f"{folder}/state")
        os.chdir(folder)
        try:
            found = asyncio.run(_count(walk))
        finally:
            Runtime.default().close()
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found, files=given.files)


if __name__ == "__main__":
    main()
