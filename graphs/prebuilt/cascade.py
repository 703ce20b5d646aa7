"""A cascade: the cheapest model first, and a stronger one for as long as a check is not content with what came out."""

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
"""Says what is wrong with an output, or None where it will do."""
Model = TypeVar("Model", bound=BaseModel)

_AGAIN = "An earlier attempt at this did not pass a check. Do it anew, so that this no longer holds: "
_EXTRACT = "Fill in the fields from the text alone. What the text does not say is left empty, never guessed."


class CascadeState(WorkState, total=False):
    """State of a cascade."""

    made: dict[str, Any]


@checked
def cascade(name: str, agent: Agent[Output], *, check: Check, attempts: int = 3) -> Workflow[Output | None]:
    """Make a workflow that has an agent's task done by a stronger model until its output passes a check.

    The first attempt runs where the agent's own tier and risk lead. Each further one runs at least one tier higher and
    is told what was wrong. When no attempt is left, or no stronger model, the last output goes to a person.

    Args:
        name: Name of the workflow.
        agent: Who does it. Its tools must only read: an attempt is made anew from its beginning.
        check: Says what is wrong with an output, as a line that the next attempt is told; None where it will do. A
            plain function runs in a thread of its own.
        attempts: The most there are, the first included.

    Raises:
        ConfigError: There is no attempt, or a tool of the agent's does more than read.
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
    """Make a workflow that fills a schema from a text, validates it, and has it done again by a stronger model.

    What does not fit the schema is asked anew within an attempt already, by the dispatcher; ``check`` is for what a
    schema cannot say, such as that the lines add up to the total.

    Args:
        name: Name of the workflow, and of its agent.
        output: What is to be filled in.
        check: As in `cascade`, given an ``output``.
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
        agent: Who does it.
        runtime: What it runs on.
        check: Says what is wrong with an output.
        attempts: The most there are.
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
            ConfigError: A tool of the agent's does more than read.
        """
        tools = self._agent.bound_tools()
        reading = {Effect.READ, None} | ({Effect.EXTERNAL} if only_reads(tools) else set())
        if acting := next((tool.name for tool in tools if effect_of(tool) not in reading), None):
            raise ConfigError(
                f"agent {self._agent.name!r} cannot be tried again in a cascade: {acting!r} does more than read"
            )
        builder = StateGraph(self.state)
        # LangGraph takes what a node is given off its annotation, which knows no fields of a subclass.
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
                record = await self._agent.step(await self.asked(state, parts))
        except (NoCandidate, AllFailed, NoAnswer) as error:
            if not earlier:
                raise
            said = f"no stronger model could do it again: {one_line(error)}"
            return {"made": replace(earlier[-1], id=name, status=Status.HANDED_OVER).noted(said).plain()}
        return {"made": replace(record, id=name).plain()}

    async def check(self, state: CascadeState) -> dict[str, Any]:
        """Accept what was made, or say why it is done again, or give it to a person."""
        record = StepRecord.restored(state["made"])
        if record.status is Status.DONE:
            wrong, output = await self.judged(state, record.output)
            if wrong is None:
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
        """What an attempt is given.

        Args:
            state: The state.
            again: What was wrong with the attempt before; empty for the first.
        """
        return "\n\n".join([literal(state["task"]), *again])

    async def judged(self, state: CascadeState, output: Any) -> tuple[str | None, Any]:
        """What is wrong with an output, None where nothing is, and what the workflow gives then.

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
        output: What it is given.
        name: Whose it is, for the message.

    Raises:
        ConfigError: It gave neither a reason nor None.
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
