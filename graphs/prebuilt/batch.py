"""A batch: one agent over many inputs, each once, with the outcome of each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, TypedDict
from weakref import WeakKeyDictionary

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from ...agents.agent import Agent
from ...agents.errors import NoAnswer
from ...agents.result import Status, StepRecord
from ...agents.runtime import Runtime
from ...agents.spec.spec import check_count
from ...configs.arguments import checked
from ...configs.errors import ConfigError
from ...configs.evidence import literal
from ...dispatch.context import entered
from ...dispatch.errors import AllFailed, NoCandidate
from ...dispatch.request import one_line
from ...ledger.budgets.budgets import BudgetExceeded
from ..workflow import Workflow
from .state import WorkState

__all__ = ["batch", "inputs_of"]


class _State(WorkState, total=False):
    status: str


class _Item(TypedDict):
    place: int
    text: str


@checked
def batch(name: str, agent: Agent, *, jobs: int = 8) -> Workflow:
    """Make a workflow that runs an agent over each of many inputs.

    The task is a JSON array, each item of which is one input (an item that is not a text is passed on as JSON), or else
    one input per line. The output is the list of results, in order, with None for inputs that failed; in that case the
    run is ``failed`` and its notes say why, while all other inputs are done. A run that was cut off continues with the
    inputs that had not ended.

    Args:
        name: Name of the workflow.
        agent: The agent that does it.
        jobs: Number of inputs processed at the same time.

    Raises:
        ConfigError: ``jobs`` is not a whole number of 1 or more.
    """
    check_count(f"batch {name!r}", "jobs", jobs)
    return Workflow(name, [agent], graph=lambda runtime: _Batch(agent.on(runtime), runtime, jobs).graph())


def inputs_of(task: str) -> list[str]:
    """Return the inputs that a task names: the items of a JSON array, otherwise its non-blank lines.

    Raises:
        ConfigError: It names none.
    """
    found: Any = None
    if task.lstrip().startswith("["):
        try:
            found = json.loads(task)
        except ValueError as error:
            raise ConfigError(f"the inputs begin as a JSON array and are none: {error}") from error
    texts = (
        [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in found]
        if isinstance(found, list)
        else [line.strip() for line in task.splitlines()]
    )
    inputs = [text for text in texts if text.strip()]
    if not inputs:
        raise ConfigError("there is nothing to do: the inputs are all empty")
    return inputs


class _Batch:
    def __init__(self, agent: Agent, runtime: Runtime, jobs: int) -> None:
        self._agent = agent
        self._runtime = runtime
        self._jobs = jobs
        # Several runs in one event loop share the limit of concurrent inputs.
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_node("work", self.work, input_schema=_Item)
        builder.add_node("collect", self.collect)
        builder.add_conditional_edges(START, self.split, ["work"])
        builder.add_edge("work", "collect")
        builder.add_edge("collect", END)
        return builder

    def split(self, state: _State) -> list[Send]:
        """Send every input to work."""
        return [Send("work", _Item(place=place, text=text)) for place, text in enumerate(inputs_of(state["task"]), 1)]

    async def work(self, state: _Item) -> dict[str, Any]:
        """Process one input."""
        turns = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._jobs))
        step = f"{self._agent.name}-{state['place']}"
        async with turns:
            try:
                with entered(step=step):
                    record = await self._agent.step(literal(state["text"]))
            except (NoCandidate, AllFailed, NoAnswer, BudgetExceeded) as error:
                record = StepRecord(step, self._agent.name, None, "", None, Status.FAILED, one_line(error))
        return {"done": [record.plain()]}

    async def collect(self, state: _State) -> dict[str, Any]:
        """Put the outputs in the order of the inputs."""
        records = {record["id"]: StepRecord.restored(record) for record in state["done"]}
        ordered = [records[f"{self._agent.name}-{place}"] for place in range(1, len(records) + 1)]
        failed = [record for record in ordered if record.status is Status.FAILED]
        said: dict[str, Any] = {
            "output": [record.output if record.status is Status.DONE else None for record in ordered],
            "notes": _notes(failed, len(ordered)),
        }
        return {**said, "status": Status.FAILED.value} if failed else said


def _notes(failed: Sequence[StepRecord], of: int) -> list[str]:
    if not failed:
        return []
    return [f"{len(failed)} of {of} inputs failed", *(f"step {record.id} failed: {record.note}" for record in failed)]
