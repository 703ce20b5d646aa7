"""`Agent`: instructions, a backend policy and tools, made into something that can be run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import BaseModel

from ..configs.arguments import checked
from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.schema import AgentEntry
from ..dispatch import sync
from ..dispatch.context import current, entered
from ..dispatch.state.files import brought
from .attachments import Attached, Task, asked, messages_of
from .bounds import Bounds
from .compiled import Compiled, check_invoked, invoked, is_kept_around, over, said_before
from .conversations import check_thread, occupied, place_of, restored
from .errors import RunTimeout
from .journal.asked import only_one
from .records import record_of
from .result import Output, RunResult, Status, StepRecord
from .runs import Run, carried_out
from .runtime import Runtime
from .shared.notes import keep, keep_or_tell, least, notes_for, preceded, unsaid, with_notes, with_recalled
from .spec.declared import declared_by
from .spec.described import Described
from .spec.spec import AgentSpec

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware
    from langgraph.graph.state import CompiledStateGraph

    from ..memory.base import Recalled


__all__ = ["Agent"]

Model = TypeVar("Model", bound=BaseModel)


def _described(entry: AgentEntry) -> AgentSpec:
    """Return the arguments of `Agent` that an entry of ``agents.yaml`` describes."""
    middleware: Sequence[AgentMiddleware[Any, Any]] = ()
    if entry.todos:
        from langchain.agents.middleware import TodoListMiddleware

        middleware = (TodoListMiddleware(),)
    # The other fields have the same names in both.
    described: Any = {**entry.model_dump(exclude={"todos"}), "middleware": middleware}
    spec: AgentSpec = described
    return spec


class Agent(Described, Runnable[Any, dict[str, Any]], Generic[Output]):
    """One worker: what it is told, which models it may run on, what it can reach, what it returns.

    Use it alone (`run`), as a node of your own graph (``builder.add_node("decide", agent)``: it reads ``messages`` and
    adds to them), or in a `Workflow`. An ``Agent[Invoice]`` is one whose runs give an Invoice: it was made with
    ``output=Invoice``. One without an output class is an ``Agent[str]``.

    Args:
        name: Its name in plans, ledger and progress.
        instructions: Its system prompt, a text or a SystemMessage.
        tier: The lowest tier it asks for; the risk of a step may raise it.
        max_tier: The highest tier it may use. It does not lower floors: if the risk of a step requires a higher tier,
            the step is refused.
        model: The model it prefers, if that model qualifies, as ``provider/name``.
        task: What it does, for the routing rules (``classify``, ``code``, ``vision``, …).
        kind: What its steps are for. By default it follows from the tools: ``transform`` without tools (``decide`` if
            it asks for the frontier tier), ``gather`` if all tools only read, ``act`` otherwise.
        tools: Functions made with `pointsman.tool`, LangChain tools, or names in the tool registry. A plain LangChain
            tool counts as ``destructive`` until `pointsman.declare` says what it does.
        output: Pydantic model that its answer must match.
        examples: Field of the output -> CSV (``text,label``) with labelled examples.
        reversible: Whether what its tools do can be undone.
        max_output: Tokens of output to leave room for.
        latency: How urgent its answers are: ``batch``, ``interactive`` or ``critical``, as `RoutedChatModel` takes it.
        turns: Maximum number of model turns in one of its steps.
        context: Maximum input tokens of a turn. In a longer conversation, the oldest turns are abridged. Defaults to
            what the model accepts.
        guidance: Files of the workspace, such as AGENTS.md, that say how to work in it. The agent is given
            their contents as outside text, which lowers no risk and permits nothing.
        middleware: LangChain middleware, outermost first; a tool call that it changes is still judged, approved and
            recorded. The tools it adds count as ``destructive`` until `pointsman.declare` says what they do.
        state_schema: TypedDict of its state, derived from ``langchain.agents.AgentState``; fields that an enclosing
            graph's state also has are passed in, and passed back out if they changed.
        context_schema: Class of ``runtime.context``.
        store: LangGraph store for its tools; defaults to the store of the enclosing graph.
        checkpointer: Its own LangGraph checkpointer, which stores the conversations of ``thread=``; by default they are
            stored in the project's state, encrypted.
        memory: Namespace of the shared memory, such as ``team/desk``, whose notes are put before each step of a
            workflow and each task of `run` as evidence; as a node of your own graph, it recalls by its tools only. The
            tools ``remember``, ``recall`` and ``forget`` work on it.
        remember: Whether the results of such steps are kept there.

    Raises:
        ConfigError: If a name, tier, kind, bound or tool is invalid, two tools share a name, or the output cannot be
            used as the type of an answer.
    """

    name: str
    _compiled: Compiled | None = None

    if TYPE_CHECKING:

        @overload
        def __init__(self: Agent[str], name: str, *, output: None = None, **spec: Unpack[AgentSpec]) -> None: ...

        @overload
        def __init__(self: Agent[Model], name: str, *, output: type[Model], **spec: Unpack[AgentSpec]) -> None: ...

        def __init__(self, name: str, **spec: Any) -> None: ...

    @classmethod
    def named(cls, name: str, runtime: Runtime | None = None, **changes: Unpack[AgentSpec]) -> Agent[str]:
        """Return an agent described in ``agents.yaml``, including built-in ones: ``coding``, ``terminal`` and others.

        Args:
            name: Its name there.
            runtime: Runtime whose configuration is read; defaults to the working directory's project.
            changes: Arguments of `Agent` that override the entry.

        Raises:
            ConfigError: There is no agent of that name.
        """
        known = (runtime or Runtime.default()).settings.agents
        if name not in known:
            raise ConfigError(f"agents.yaml describes no agent {name!r}{suggest(name, known)}")
        return cls.from_entry(name, known[name], **changes)

    @classmethod
    def from_entry(cls, name: str, entry: AgentEntry, **changes: Unpack[AgentSpec]) -> Agent[str]:
        """Make the agent that an entry of ``agents.yaml`` describes.

        Args:
            name: Its name.
            entry: Its entry.
            changes: Arguments of `Agent` that override the entry.
        """
        described = _described(entry)
        described.update(changes)
        return cls(name, **described)

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, task={self.task!r}, tier={self.tier and self.tier.value!r})"

    @property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The LangChain agent underneath, rebuilt if the default runtime has changed.

        Raises:
            ConfigError: The model it prefers is not in the catalogue.
        """
        return self._ready().graph

    def _ready(self, runtime: Runtime | None = None) -> Compiled:
        runtime = runtime or self.runtime
        if self._compiled is None or self._compiled.runtime is not runtime:
            self._compiled = Compiled(self, runtime)
        return self._compiled

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Run once on a text, a message list, or a graph's state with ``messages``.

        Args:
            input: The text, messages or state; from a state, the fields of its own ``state_schema`` are read too. A
                ``Command`` answers what is pending in an agent with its own checkpointer.
            config: LangGraph's: callbacks, tags, ``configurable``, ``recursion_limit`` (its ``turns`` when absent).
            kwargs: Further arguments of LangGraph's ``ainvoke``, such as ``context``.

        Returns:
            ``messages``: what it added; ``structured_response``: its typed output, if it declares one; and the
            fields of its state that it changed.

        Raises:
            ConfigError: It has no such argument; the caps of a run, such as ``max_cost``, are for `arun`.
            NoAnswer: It gave no answer within its turns, repeated the same call, or is nested too deep in other agents.
            ApprovalPending: It wants to make a call that waits for a person, and runs outside any workflow or graph
                with a checkpointer.
        """
        if kwargs:
            check_invoked(kwargs)
        if self.tools:
            await self.runtime.reach(self.tools)
        # A user's subclass may build its graph differently.
        given = (self.tools, self.output, self.middleware, self.checkpointer, self.context, self.guidance)
        plain = type(self) is Agent and not any(given)
        if plain and is_kept_around() and isinstance(input, str | list) and config is None:
            return {"messages": [await self._ready().answer(messages_of(input))]}
        return await self._invoked(input, config, **kwargs)

    async def _invoked(self, input: Any, config: RunnableConfig | None, saver: Any = None, **kw: Any) -> dict[str, Any]:
        return await invoked(self, self.graph, self._ready().turn, input, config, saver, **kw)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Do the same as `ainvoke`, from synchronous code."""
        return sync.run(self.ainvoke(input, config, **kwargs))

    @checked
    async def arun(
        self,
        task: Task,
        *,
        files: Sequence[Attached] = (),
        thread: str | None = None,
        context: Any = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
    ) -> RunResult[Output]:
        """Do one task alone, as a run of its own in the ledger.

        It cannot be resumed: put an agent that may need a person's approval, or that runs for long, into a
        `Workflow`.

        Args:
            task: What is asked: a text, a message, or a conversation whose last message asks.
            files: What goes with it: paths, bytes, or content blocks; see `attach`.
            thread: Conversation to continue, stored from run to run under this name, for this agent only. A run that
                fails or waits for a person leaves it unchanged.
            context: What tools and middleware read as ``runtime.context``.
            max_cost: USD it may spend.
            max_tokens: Tokens of input and output that it may use, including those of the agents it calls.
            max_steps: Supersteps it may take: each model turn is one, and so are the tool calls after it. Defaults to
                what its ``turns`` need.
            timeout: Seconds it may take.
            user: Who it is for, in the ledger.
            user_class: Class of users whose limits in ``routing.yaml`` apply.
            tags: Free labels, in the ledger.
            runtime: What to run on; the agent's own when absent.

        Returns:
            The output, typed if the agent declares one, with the run's cost, calls and decisions. If it failed, the
            status says so and `RunResult.error` says why.

        Raises:
            ConfigError: If an input or bound is invalid, or no model may run it; nothing was called in that case.
            ThreadBusy: Another run is using the thread.
        """
        messages = asked(task, files)
        check_thread(thread)
        own = self.runtime
        runtime = runtime or own
        worker = self if runtime is own else self.on(runtime)
        most = self.turns * worker._ready(runtime).turn if max_steps is None else max_steps
        bounds = Bounds(max_cost, most, timeout, user, user_class, tags, max_tokens)
        return await worker._alone(runtime, messages, bounds, thread, {} if context is None else {"context": context})

    run = sync.blocking(arun)

    async def _alone(
        self, runtime: Runtime, messages: list[BaseMessage], bounds: Bounds, thread: str | None, more: Mapping[str, Any]
    ) -> RunResult[Output]:
        """Run as a run of its own, within its bounds."""
        # LangGraph takes one superstep more to see that nothing is left to do.
        config: RunnableConfig = {"recursion_limit": (bounds.max_steps or 0) + 1}

        async def work(running: Run) -> RunResult[Output]:
            started = time.monotonic()
            try:
                async with asyncio.timeout(bounds.timeout) as clock:
                    found = await notes_for(self, str(messages[-1].text))
                    with entered(recalled=least(found)):
                        added = await _conversed(self, messages, found, config, thread, more)
            except TimeoutError as error:
                if not clock.expired():
                    raise
                raise RunTimeout(running.id, bounds.timeout or 0, kept=False) from error
            record = with_recalled(record_of(self, added, time.monotonic() - started), found)
            record, notes = await keep_or_tell(self, record)
            status = Status.of_run((record,), pending=False)
            result: RunResult[Output] = await running.result(record.output, status=status, steps=(record,), notes=notes)
            return replace(result, messages=tuple(added["messages"]))

        return await carried_out(work, runtime, self.name, bounds=bounds, kept=False)

    async def step(
        self, input: Any, config: RunnableConfig | None = None, *, recall: bool = True, remember: bool = True
    ) -> StepRecord:
        """Run once and return a record: the model that actually ran, its risk, the output, the time.

        Args:
            input: As `ainvoke` takes it.
            config: LangGraph's.
            recall: Whether it is shown the notes in its memory that bear on it.
            remember: Whether its result is kept there, if it has ``remember=True``; `keep` does that later.
        """
        started = time.monotonic()
        input, found = await with_notes(self, input) if recall else (input, ())
        # A Pointsman node that names its step asks only this agent, with whatever is remembered by then.
        alone = only_one(self) if current().step and not current().agent else nullcontext()
        with alone, entered(recalled=least(found)) if found else nullcontext():
            added = await self.ainvoke(input, config)
        record = with_recalled(record_of(self, added, time.monotonic() - started), found)
        return await keep(self, record) if remember else record


async def _conversed(
    agent: Agent[Any],
    messages: list[BaseMessage],
    found: Sequence[Recalled],
    config: RunnableConfig,
    thread: str | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Run once with what was recalled, within a conversation if a thread is named."""
    if thread is None:
        return await agent.ainvoke(preceded(messages, found), config, **more)
    # The thread outlives the enclosing run, if any, and that run's files.
    messages = [*await asyncio.to_thread(brought, agent.runtime.settings.state, messages)]
    config = {**config, **place_of(agent.name, thread)}
    with occupied(agent.runtime.settings.state, agent.name, thread) as kept:
        types = declared_by([agent.graph.builder.state_schema, agent.output])
        async with nullcontext() if agent.checkpointer else restored(kept, config, types) as saver:
            # What the conversation has had in view already is not repeated at every turn.
            left = unsaid(found, await said_before(over(agent.graph, saver), config)) if found else found
            return await agent._invoked(preceded(messages, left), config, saver, **more)
