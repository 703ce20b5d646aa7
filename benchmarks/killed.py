"""The workflow that `kills.py` runs in separate processes; its acts are counted in a file outside its state."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from pointsman import Agent, Workflow, tool
from pointsman.agents.lease.lease import Lease
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import PointsmanError
from pointsman.configs.loading.loader import load
from pointsman.configs.process.forks import Lock, lock_of
from pointsman.ledger import points
from stage import simulated

_BOUND_SECONDS = 120.0


def work(order: dict[str, Any]) -> None:
    """Run or resume the workflow as ordered, and append how it ended to a file, as one line.

    Args:
        order: ``folder`` of the project, file of the ``marks``, ``url`` of the provider and file ``told`` for the
            outcome; the ``run`` to resume, and the ``answer`` to everything that waits, or the ``answers`` for each
            step; the ``effect`` of the tool; the ``point`` at which to raise the ``signal`` when it is reached for
            the ``nth`` time; the ``gate``, a file that must exist before an act ends; how many seconds the clock of
            leases is ``ahead``.
    """
    if order.get("point"):
        state = Path(order["folder"]) / ".pointsman"
        locks = [lock_of(state / name) for name in ("ledger.db", "checkpoints.db")]
        points.watcher = _Watcher(order["point"], order.get("nth", 1), order.get("signal", signal.SIGKILL), locks)
    if order.get("ahead"):
        Lease.take = partial(Lease.take, clock=lambda: time.time() + order["ahead"])  # type: ignore[method-assign,assignment]
    environ = simulated(order["url"], "anthropic", "openai", "google")
    home = Runtime(load(Path(order["folder"]), environ=environ))
    try:
        _tell(order, **_ran(order, home))
    except PointsmanError as error:
        _tell(order, status=type(error).__name__, said=str(error))
    finally:
        home.close()


class _Watcher:
    def __init__(self, point: str, nth: int, number: int, locks: Sequence[Lock]) -> None:
        self._left = nth
        self._point = point
        self._number = number
        self._locks = locks if number == signal.SIGSTOP else ()
        self._guard = threading.Lock()

    def __call__(self, point: points.Point) -> None:
        with self._guard:
            self._left -= point == self._point
            if self._left == 0:
                self._left = -1
                with ExitStack() as held:
                    for lock in self._locks:
                        held.enter_context(lock)
                    os.kill(os.getpid(), self._number)


def _ran(order: dict[str, Any], home: Runtime) -> dict[str, Any]:
    flow = _flow(order)
    run, answers = order.get("run"), None
    if run is None:
        result = flow.run("Go", runtime=home).raise_for_status()
    else:
        if order.get("answer"):
            answers = {act.id: order["answer"] for act in flow.pending(run, home)}
        if order.get("answers"):
            answers = {act.id: order["answers"][act.arguments["step"]] for act in flow.pending(run, home)}
        result = flow.resume(run, answers, runtime=home).raise_for_status()
    pending = [[act.arguments["step"], act.reason] for act in result.pending]
    return {"status": str(result.status), "run": result.run, "pending": pending, "calls": len(result.calls)}


def _flow(order: dict[str, Any]) -> Workflow:
    @tool(effect=order.get("effect", "write"))
    def mark(step: str) -> str:
        """Mark a step."""
        with Path(order["marks"]).open("a") as file:
            file.write(step + "\n")
        until = time.monotonic() + _BOUND_SECONDS
        while order.get("gate") and not Path(order["gate"]).exists() and time.monotonic() < until:
            time.sleep(0.005)
        return "it is marked"

    return Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("thinker", tier="economy")])


def _tell(order: dict[str, Any], **said: Any) -> None:
    with Path(order["told"]).open("a") as file:
        file.write(json.dumps({"process": os.getpid(), **said}) + "\n")


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
