"""`Compiled`: an agent made ready for one runtime, as a model that routes and as LangChain's graph around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..dispatch.calls.structured_output import wrapped
from ..dispatch.context import current, entered
from ..dispatch.model import RoutedChatModel
from .approval.answers import ApprovalPending, pending_of
from .errors import TurnLimit

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from .runtime import Runtime
    from .spec import Specified

__all__ = ["MOST_STEPS", "Compiled", "invoked", "is_kept_around", "kept_around"]

_STEPS_A_TURN = 2
"""Supersteps of LangChain's agent: the model, then its tools."""
MOST_STEPS = 20 * _STEPS_A_TURN
"""Supersteps an agent may take where nobody says; LangGraph's own default allows ten thousand turns."""

_KEPT: ContextVar[bool] = ContextVar("pointsman_kept", default=False)


@contextmanager
def kept_around() -> Iterator[None]:
    """Say that agents inside the block are steps of a graph that keeps each answer as soon as it is there.

    One that takes a single turn then needs no graph of its own, whose checkpoints would hold the same again.
    """
    token = _KEPT.set(True)
    try:
        yield
    finally:
        _KEPT.reset(token)


def is_kept_around() -> bool:
    """Whether a graph around keeps each answer; see `kept_around`."""
    return _KEPT.get()


class Compiled:
    """An agent made ready for one runtime; model and graph are each made at their first use.

    Args:
        agent: The agent.
        runtime: What it runs on.
    """

    def __init__(self, agent: Specified, runtime: Runtime) -> None:
        self.agent = agent
        self.runtime = runtime

    @cached_property
    def model(self) -> RoutedChatModel:
        """The model that routes each of its turns.

        Raises:
            ConfigError: The model it prefers is not in the catalogue.
        """
        agent, known = self.agent, self.runtime.settings.models
        if agent.model is not None and agent.model not in known:
            raise ConfigError(f"agent {agent.name!r}: there is no model {agent.model!r}{suggest(agent.model, known)}")
        return RoutedChatModel(
            task=agent.task,
            kind=agent.kind,
            tier=agent.tier,
            prefer=agent.model,
            reversible=agent.reversible,
            max_output=agent.max_output,
            examples=agent.examples,
            latency=agent.latency,
            answer=agent.output,
            # LangGraph adds the chunks up, and the workflow tells whoever watches that words were withdrawn.
            on_cut="retract",
            dispatcher=self.runtime.dispatcher,
        )

    @cached_property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """LangChain's agent with what Pointsman puts around its tools.

        Raises:
            ConfigError: As `model`; or a tool that the registry does not have.
        """
        from langchain.agents import create_agent
        from langchain.agents.structured_output import ToolStrategy

        from .approval.intents import IntentMiddleware
        from .approval.interrupts import ApprovalMiddleware
        from .containment import ContainmentMiddleware
        from .together import TogetherMiddleware
        from .verification.checking import CheckMiddleware

        agent, runtime = self.agent, self.runtime
        tools = agent.bound_tools()
        return create_agent(
            self.model,
            tools,
            system_prompt=agent.instructions or None,
            # The first is the outermost: a person allows, a verifier judges, the ledger has it, the tool runs and
            # whatever it raises stays its own.
            middleware=[
                TogetherMiddleware(),
                ApprovalMiddleware(lambda: runtime.settings),
                CheckMiddleware(agent.name),
                IntentMiddleware(lambda: runtime.ledger),
                ContainmentMiddleware(),
            ]
            if tools
            else [],
            # The dispatcher has already checked the answer against the schema and asked a stronger model if need be.
            response_format=ToolStrategy(wrapped(agent.output), handle_errors=False) if agent.output else None,
            name=agent.name,
        )

    async def answer(self, asked: Sequence[BaseMessage]) -> AIMessage:
        """The only turn of an agent without tools and a typed output, as the graph of one node would take it.

        Args:
            asked: The conversation.
        """
        agent = self.agent
        told = [SystemMessage(agent.instructions)] if agent.instructions else []
        with entered(agent=agent.name, step=current().step or agent.name):
            answer = await self.model.ainvoke([*told, *asked], {"metadata": {"lc_agent_name": agent.name}})
        answer.name = agent.name
        return answer


async def invoked(agent: Specified, messages: Sequence[BaseMessage], config: RunnableConfig | None) -> dict[str, Any]:
    """Run an agent's graph, and give what it added, as `Agent.ainvoke` does.

    Args:
        agent: The agent; one of the user's own class may have a graph of its own.
        messages: The conversation.
        config: LangGraph's; its ``recursion_limit`` is `MOST_STEPS` where it has none.

    Raises:
        TurnLimit: It gave no answer within its turns.
        ApprovalPending: It wants to make a call that waits for a person, and nothing around it can ask one.
    """
    from langgraph.errors import GraphRecursionError

    from .together import one_invocation

    bounded: RunnableConfig = {**(config or {})}
    most = bounded.setdefault("recursion_limit", MOST_STEPS)
    with entered(agent=agent.name, step=current().step or agent.name), one_invocation():
        try:
            state = await agent.graph.ainvoke({"messages": messages}, bounded)
        except GraphRecursionError as error:
            raise TurnLimit(agent.name, -(-most // _STEPS_A_TURN)) from error
    if stops := state.get("__interrupt__"):
        raise ApprovalPending(agent.name, [pending_of(stop) for stop in stops])
    result: dict[str, Any] = {"messages": state["messages"][len(messages) :]}
    if agent.output is not None:
        made = state.get("structured_response")
        result["structured_response"] = made if made is None or isinstance(made, agent.output) else made.root
    return result
