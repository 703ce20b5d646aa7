"""A cascade: the cheapest model first, then stronger ones as long as the output does not pass a check."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from ...agents.agent import Agent
from ...agents.errors import NoAnswer
from ...agents.handoffs import hand_over
from ...agents.result import Output, Status, StepRecord
from ...agents.runtime import Runtime
from ...agents.shared.notes import keep
from ...agents.spec.spec import check_count
from ...agents.verification.verifier import as_evidence, as_text
from ...configs.arguments import checked
from ...configs.errors import ConfigError
from ...configs.evidence import literal, render_evidence
from ...configs.words import Effect, Tier, TierName
from ...dispatch.context import entered
from ...dispatch.errors import AllFailed, NoCandidate
from ...dispatch.request import one_line
from ...routing.evidence import FAILED_CHECK, Finding
from ...tools.base import effect_of, only_reads
from ..workflow import Workflow
from .state import WorkState

__all__ = ["Cascade", "CascadeState", "Check", "cascade", "extraction", "wrong_with"]

Check = Callable[[Any], str | Awaitable[str | None] | None]
"""Returns what is wrong with an output, or None if it is acceptable."""
Model = TypeVar("Model", bound=BaseModel)

_AGAIN = "An earlier attempt at this did not pass a check. Do it anew, so that this no longer holds: "
_EXTRACT = "Fill in the fields from the text alone. What the text does not say is left empty, never guessed."


class CascadeState(WorkState, total=False):
    """State of a cascade."""

    made: dict[str, Any]


@checked
def cascade(name: str, agent: Agent[Output], *, check: Check, attempts: int = 3) -> Workflow[Output | None]:
    """Make a workflow that has an agent's task done by a stronger model until its output passes a check.

    The first attempt runs on the model that the agent's own tier and risk select. Each further one runs at least one
    tier higher and is told what was wrong. When no attempt or no stronger model is left, the last output goes to a
    person.

    Args:
        name: Name of the workflow.
        agent: The agent that does it. Its tools must only read: each attempt starts from the beginning.
        check: Returns what is wrong with an output, as a line that the next attempt is told; None if it is acceptable.
            A plain function runs in a thread.
        attempts: Maximum number of attempts, including the first.

    Raises:
        ConfigError: ``attempts`` is not a whole number of 1 or more, or a tool of the agent does more than read.
    """
    check_count(f"cascade {name!r}", "attempts", attempts)
    return Workflow(name, [agent], graph=lambda runtime: Cascade(agent.on(runtime), runtime, check, attempts).graph())


@checked
def extraction(
    name: str,
    output: type[Model],
    *,
    check: Check | None = None,
    instructions: str = _EXTRACT,
    tier: Tier | TierName = Tier.ECONOMY,
    attempts: int = 3,
) -> Workflow[Model | None]:
    """Make a workflow that fills a schema from a text, validates it, and retries it with a stronger model.

    An answer that does not match the schema is already retried within an attempt, by the dispatcher; ``check`` is for
    what a schema cannot express, such as that the lines add up to the total.

    Args:
        name: Name of the workflow, and of its agent.
        output: The schema to fill in.
        check: As in `cascade`, called with an ``output``.
        instructions: What the agent is told.
        tier: The tier of the first attempt.
        attempts: As in `cascade`.
    """
    agent = Agent(name, task="extract", instructions=instructions, tier=tier, output=output)
    made = cascade(name, agent, check=check or (lambda _: None), attempts=attempts)
    made.output = output
    return made


class Cascade:
    """The nodes of a cascade on one runtime.

    Args:
        agent: The agent that does it.
        runtime: What it runs on.
        check: Returns what is wrong with an output.
        attempts: Maximum number of attempts.
    """

    state: ClassVar[type[Any]] = CascadeState

    def __init__(self, agent: Agent, runtime: Runtime, check: Check, attempts: int) -> None:
        self._agent = agent
        self._runtime = runtime
        self._check = check
        self._attempts = attempts

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        """Build the graph.

        Raises:
            ConfigError: A tool of the agent does more than read.
        """
        tools = self._agent.bound_tools()
        reading = {Effect.READ, None} | ({Effect.EXTERNAL} if only_reads(tools) else set())
        if acting := next((tool.name for tool in tools if effect_of(tool) not in reading), None):
            raise ConfigError(
                f"agent {self._agent.name!r} cannot be tried again in a cascade: {acting!r} does more than read"
            )
        builder = StateGraph(self.state)
        # LangGraph reads a node's input from its annotation, which does not have the fields of a subclass.
        builder.add_node("attempt", self.attempt, input_schema=self.state)
        builder.add_node("check", self.check, input_schema=self.state)
        builder.add_edge(START, "attempt")
        builder.add_edge("attempt", "check")
        builder.add_conditional_edges("check", self.after, ["attempt", END])
        return builder

    async def attempt(self, state: CascadeState) -> dict[str, Any]:
        """Do it, knowing what was wrong before."""
        earlier = [StepRecord.restored(record) for record in state.get("done", [])]
        parts: list[str] = []
        findings: tuple[Finding, ...] = ()
        if earlier:
            last = earlier[-1]
            findings = (Finding(FAILED_CHECK, f"{last.model} did not pass: {last.note}", last.tier_above),)
            parts += [_AGAIN + literal(last.note), render_evidence([replace(as_evidence(last), id="earlier")])]
        name = f"{self._agent.name}-{len(earlier) + 1}"
        try:
            with entered(step=name, evidence=findings):
                record = await self._agent.step(await self.asked(state, parts), remember=False)
        except (NoCandidate, AllFailed, NoAnswer) as error:
            if not earlier:
                raise
            said = f"no stronger model could do it again: {one_line(error)}"
            return {"made": replace(earlier[-1], id=name, status=Status.HANDED_OVER).noted(said).plain()}
        return {"made": replace(record, id=name).plain()}

    async def check(self, state: CascadeState) -> dict[str, Any]:
        """Accept the output, or say why it is done again, or hand it over to a person."""
        record = StepRecord.restored(state["made"])
        if record.status is Status.DONE:
            wrong, output = await self.judged(state, record.output)
            if wrong is None:
                record = await keep(self._agent, record)
                return {"done": [record.plain()], "output": output}
            record = replace(record, status=Status.FAILED, note=one_line(wrong))
            if len(state.get("done", [])) + 1 < self._attempts and record.tier_above is not None:
                return {"done": [record.plain()]}
        record = replace(record, status=Status.HANDED_OVER)
        await hand_over(
            self._runtime,
            risk=record.risk,
            reason=f"step {record.id} does not pass its check: {record.note}",
            summary=as_text(record.output),
            step=record.id,
        )
        return {
            "done": [record.plain()],
            "notes": [f"step {record.id} did not pass its check and was handed to a person: {record.note}"],
        }

    def after(self, state: CascadeState) -> str:
        """Try again after an attempt that failed."""
        return "attempt" if state["done"][-1]["status"] == Status.FAILED else END

    async def asked(self, state: CascadeState, again: list[str]) -> Any:
        """Return the input of an attempt.

        Args:
            state: The state.
            again: What was wrong with the previous attempt; empty for the first.
        """
        return "\n\n".join([literal(state["task"]), *again])

    async def judged(self, state: CascadeState, output: Any) -> tuple[str | None, Any]:
        """Return what is wrong with an output (None if nothing is), and what the workflow then returns.

        Args:
            state: The state.
            output: The output.
        """
        kind = self._agent.output
        given = output if kind is None else kind.model_validate(output)
        return await wrong_with(self._check, given, self._agent.name), output


async def wrong_with(check: Check, output: Any, name: str) -> str | None:
    """Ask a check what is wrong with an output.

    Args:
        check: The check; a plain function runs in a thread.
        output: The output to check.
        name: Name of the agent, for the message.

    Raises:
        ConfigError: It returned neither a reason nor None.
    """
    if inspect.iscoroutinefunction(check):
        said = await check(output)
    else:
        said = await asyncio.to_thread(check, output)
        if inspect.isawaitable(said):
            said = await said
    if said is None or (isinstance(said, str) and said.strip()):
        return said
    raise ConfigError(f"the check of {name!r} gave {said!r}: return what is wrong as a text, or None")
