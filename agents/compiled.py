"""`Compiled`: an agent prepared for one runtime, as a model that routes and as LangChain's graph around it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import replace
from functools import cached_property
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from ..configs.arguments import UnknownArgument
from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.process.ids import new_id
from ..configs.process.variables import set_to
from ..dispatch.calls.structured_output import wrapped
from ..dispatch.context import current, entered
from ..dispatch.journal import inside_node
from ..dispatch.model import RoutedChatModel
from .approval.answers import ApprovalPending, pending_of
from .approval.taint import FROM_MIDDLEWARE, viewed
from .attachments import messages_of
from .bounds import BoundsFields
from .errors import TurnLimit
from .loops.nesting import inside

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    from .runtime import Runtime
    from .spec.described import Described

__all__ = [
    "STEPS_A_TURN",
    "Compiled",
    "check_invoked",
    "invoked",
    "is_kept_around",
    "kept_around",
    "over",
    "said_before",
]

STEPS_A_TURN = 2
"""Supersteps of LangChain's agent: the model, then its tools."""

_KEPT: ContextVar[bool] = ContextVar("pointsman_kept", default=False)


def kept_around() -> AbstractContextManager[None]:
    """Mark agents inside the block as steps of a graph that stores each answer as soon as it is there.

    An agent that takes a single turn then needs no graph of its own, whose checkpoints would only duplicate it.
    """
    return set_to(_KEPT, True)


def is_kept_around() -> bool:
    """Return whether an enclosing graph stores each answer; see `kept_around`."""
    return _KEPT.get()


class Compiled:
    """An agent prepared for one runtime; model and graph are each built on first use.

    Args:
        agent: The agent.
        runtime: What it runs on.
    """

    def __init__(self, agent: Described, runtime: Runtime) -> None:
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
            max_tier=agent.max_tier,
            prefer=agent.model,
            reversible=agent.reversible,
            max_output=agent.max_output,
            examples=agent.examples,
            latency=agent.latency,
            answer=agent.output,
            # LangGraph concatenates the chunks, and the workflow tells listeners that words were withdrawn.
            on_cut="retract",
            dispatcher=self.runtime.dispatcher,
        )

    @cached_property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """LangChain's agent with Pointsman's middleware around its tools.

        Raises:
            ConfigError: As `model`; or a tool is not in the registry, or two tools share a name.
        """
        from langchain.agents import create_agent
        from langchain.agents.structured_output import ToolStrategy

        agent = self.agent
        agent.bound_tools()
        return create_agent(
            self.model,
            agent.own_tools(),
            system_prompt=agent.instructions or None,
            middleware=self.middleware,
            # The dispatcher has already checked the answer against the schema and asked a stronger model if need be.
            response_format=ToolStrategy(wrapped(agent.output), handle_errors=False) if agent.output else None,
            state_schema=agent.state_schema,
            context_schema=agent.context_schema,
            checkpointer=agent.checkpointer,
            store=agent.store,
            name=agent.name,
        )

    @cached_property
    def middleware(self) -> list[AgentMiddleware[Any, Any]]:
        """The middleware of its graph, outermost first; that around calls only if it has tools or middleware."""
        agent = self.agent
        around = self._around if agent.tools or agent.middleware else []
        guided, bounded = [], []
        if agent.guidance:
            from .coding.guidance import GuidanceMiddleware

            guided.append(GuidanceMiddleware(self.runtime, agent.guidance))
        if agent.context is not None:
            from .coding.context import ContextMiddleware

            # All others see the whole conversation.
            bounded.append(ContextMiddleware(agent.context))
        return [*guided, *around, *bounded]

    @property
    def _around(self) -> list[AgentMiddleware[Any, Any]]:
        """The middleware around its calls of models and tools."""
        agent, runtime = self.agent, self.runtime
        from .approval.interrupts import ApprovalMiddleware
        from .containment.tools import ContainmentMiddleware
        from .journal.intents import IntentMiddleware, RecallMiddleware
        from .loops.repeats import LoopMiddleware
        from .middleware import KeepMiddleware, OnceMiddleware, RoutedMiddleware, hooks
        from .together import TogetherMiddleware
        from .verification.checking import CheckMiddleware

        given = agent.middleware
        return [
            TogetherMiddleware(),
            LoopMiddleware(agent.name),
            *([KeepMiddleware()] if hooks(given) else []),
            *given,
            *([RoutedMiddleware(agent.name), OnceMiddleware()] if given else []),
            # After the user's middleware: a call that was already made is not repeated; a person allows it, a verifier
            # judges it, and the ledger records it; then the tool runs and whatever it raises is contained.
            RecallMiddleware(),
            ApprovalMiddleware(lambda: runtime.settings, agent.bound_tools()),
            CheckMiddleware(agent.name),
            IntentMiddleware(lambda: runtime.ledger),
            ContainmentMiddleware(agent.view),
        ]

    @cached_property
    def turn(self) -> int:
        """Supersteps that one of its turns takes."""
        if not self.agent.middleware:
            return STEPS_A_TURN
        from .middleware import hooks

        return STEPS_A_TURN + hooks(self.middleware)

    async def answer(self, asked: Sequence[BaseMessage]) -> BaseMessage:
        """Take the only turn of an agent without tools or typed output, as a graph of one node would take it.

        Args:
            asked: The conversation.
        """
        agent = self.agent
        said = agent.instructions
        told = [SystemMessage(said) if isinstance(said, str) else said] if said else []
        with entered(agent=agent.name, step=current().step or agent.name):
            answer = await self.model.ainvoke([*told, *asked], {"metadata": {"lc_agent_name": agent.name}})
        answer.name = agent.name
        return _with_view(agent, asked, [answer])[0]


def check_invoked(kwargs: Mapping[str, Any]) -> None:
    """Refuse further arguments of `Agent.ainvoke` that LangGraph's does not have, since it ignores them.

    Args:
        kwargs: The arguments.

    Raises:
        ConfigError: One is unknown.
    """
    from langgraph.pregel import Pregel

    known = [p.name for p in signature(Pregel.ainvoke).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    unknown = next((name for name in kwargs if name not in known), None)
    if unknown in BoundsFields.__annotations__:
        raise ConfigError(f"Agent.invoke starts no run that {unknown} could hold for: use run(…, {unknown}=…)")
    if unknown is not None:
        raise UnknownArgument("Agent.invoke", unknown, known)


async def invoked(
    agent: Described,
    graph: CompiledStateGraph[Any, Any, Any, Any],
    turn: int,
    input: Any,
    config: RunnableConfig | None,
    saver: BaseCheckpointSaver[Any] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Run an agent's graph and return what it added, as `Agent.ainvoke` does.

    Args:
        agent: The agent.
        graph: Its graph; an agent of a user's class may have its own.
        turn: Supersteps that one of its turns takes.
        input: As `Agent.ainvoke` takes it.
        config: LangGraph's; its ``recursion_limit`` defaults to that of the turns the agent may take.
        saver: Checkpointer with the conversation so far, if it is stored for the agent.
        kwargs: Further arguments of LangGraph's, such as ``context``.

    Raises:
        NoAnswer: It gave no answer within its turns, repeated the same call, or is nested too deep in other agents.
        ApprovalPending: It wants to make a call that waits for a person, and nothing around it can ask one.
    """
    from langgraph.errors import GraphRecursionError

    from .journal.asked import in_its_place
    from .loops.repeats import one_loop
    from .together import one_invocation

    graph = over(graph, saver)
    given, known = await _given(graph, input, config)
    bounded, place, kept = in_its_place(agent, graph, (given, kwargs), config)
    if isinstance(given, Mapping):
        given = {**given, "messages": _named(given["messages"], place if kept else None)}
        known.update(message.id for message in given["messages"])
    most = bounded.setdefault("recursion_limit", agent.turns * turn)
    if agent.guidance:
        bounded["recursion_limit"] = most + 1  # which puts it in front of the task
    here = {"agent": agent.name, "step": current().step or agent.name, "chain": inside(agent.name)}
    with entered(**here), one_invocation(), one_loop(), inside_node(None if kept else place):
        try:
            state = await graph.ainvoke(given, bounded, **kwargs)
        except GraphRecursionError as error:
            # What middleware does before the model's turn is a superstep, too.
            first = 1 if turn == STEPS_A_TURN else 2
            raise TurnLimit(agent.name, (most - first) // turn + 1) from error
    if stops := state.get("__interrupt__"):
        raise ApprovalPending(agent.name, [pending_of(stop) for stop in stops])
    return _added(agent, given, known, state)


def over(
    graph: CompiledStateGraph[Any, Any, Any, Any], saver: BaseCheckpointSaver[Any] | None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return an agent's graph over another checkpointer, if one is given."""
    if saver is not None:
        graph = copy.copy(graph)
        graph.checkpointer = saver
    return graph


async def said_before(graph: CompiledStateGraph[Any, Any, Any, Any], config: Any) -> Sequence[BaseMessage]:
    """Return the conversation that an agent's graph has stored already.

    Args:
        graph: The graph.
        config: LangGraph's, which says where.
    """
    from langgraph.checkpoint.base import BaseCheckpointSaver

    if not isinstance(graph.checkpointer, BaseCheckpointSaver):
        return ()
    found: Sequence[BaseMessage] = (await graph.aget_state(config)).values.get("messages", ())
    return found


async def _given(graph: CompiledStateGraph[Any, Any, Any, Any], input: Any, config: Any) -> tuple[Any, set[str | None]]:
    """Return what the graph is given, and the ids of the messages that it has already."""
    from langgraph.types import Command

    known = {message.id for message in await said_before(graph, config)}
    if isinstance(input, Command):
        return input, known
    given: dict[str, Any] = {}
    if not isinstance(input, str | BaseMessage | Sequence):
        fields = graph.builder.schemas[graph.builder.input_schema]
        found = {name: _field(input, name) for name in fields if name != "messages"}
        given = {name: value for name, value in found.items() if value is not _ABSENT}
    return {**given, "messages": messages_of(input)}, known


def _named(messages: Sequence[BaseMessage], place: str | None) -> list[BaseMessage]:
    """Return the messages, each with an id that is the same again at the same place.

    The ids distinguish added messages from given ones, whatever is removed in between.
    """
    ids = [new_id() if place is None else _hash(f"{place} {number}") for number in range(len(messages))]
    return [m if m.id else m.model_copy(update={"id": key}) for m, key in zip(messages, ids, strict=True)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_ABSENT: Final = object()


def _field(state: Any, name: str) -> Any:
    return state.get(name, _ABSENT) if isinstance(state, Mapping) else getattr(state, name, _ABSENT)


def _added(agent: Described, given: Any, known: set[str | None], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run of an agent's graph adds to the enclosing state."""
    from .middleware import KEPT

    before = given if isinstance(given, Mapping) else {}
    said = {message.id: message for message in (*state.get(KEPT, ()), *state["messages"])}
    result = {
        name: value
        for name, value in state.items()
        if name not in (KEPT, "messages", "structured_response") and not _same(value, before.get(name, _ABSENT))
    }
    added = [
        message
        for key, message in said.items()
        if key not in known and not message.additional_kwargs.get(FROM_MIDDLEWARE)
    ]
    result["messages"] = _with_view(agent, list(said.values()), added)
    if agent.output is not None:
        made: Any = state.get("structured_response")
        if isinstance(made, Mapping):
            # It was read from a checkpoint, and its class cannot be imported.
            made = wrapped(agent.output).model_validate(made)
        result["structured_response"] = made if made is None or isinstance(made, agent.output) else made.root
    return result


def _with_view(agent: Described, said: Sequence[BaseMessage], added: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return what an agent added to a conversation; its own messages say what it had in view."""
    view = agent.view(said)
    view = replace(view, trust=min(view.trust, current().trust))
    return [viewed(message, view) for message in added]


def _same(new: Any, old: Any) -> bool:
    try:
        return new is old or bool(new == old)
    except (TypeError, ValueError):  # such as of arrays
        return False
