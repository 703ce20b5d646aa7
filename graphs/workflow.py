"""`Workflow`: a named graph of agents that can be run, watched, stopped for approval and taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from pydantic import BaseModel

from ..agents.agent import Agent
from ..agents.approval.answers import pending_of
from ..agents.attachments import Attached, Task, asked, attached
from ..agents.bounds import Bounds
from ..agents.conversations import check_thread
from ..agents.result import Output, Pending, RunResult
from ..agents.runtime import Runtime
from ..configs.arguments import checked
from ..dispatch import sync
from ..dispatch.context import current
from .answering import answered
from .composed import Composed, WorkflowSpec
from .conversing import THREAD_TAG, conversed
from .events import Emit, Event, events_of
from .execution import Ended, Execution, NothingKept
from .execution import thread as place
from .given import kept, told
from .inside import begun_inside, gone_on, tag_inside
from .outputs import Outputs
from .takeover import own_row, taken

if TYPE_CHECKING:
    from langgraph.types import Interrupt

    from .foresight.dry_run import DryRun
    from .foresight.validation import Problem

__all__ = ["Answers", "Workflow"]

Model = TypeVar("Model", bound=BaseModel)

Answers = Mapping[str, Any] | Sequence[Any] | str | bool
"""Id of what waits -> answer, or the answer itself where one thing waits; see `pointsman.agents.approval.answers`."""


class Workflow(Composed, Generic[Output]):
    """Agents under a supervisor, or a graph of your own, made into something to run.

    With ``output=Invoice`` it is a ``Workflow[Invoice | None]``: while a run waits for a person it has no output.

    Args:
        name: Its name in ledger and progress.
        agents: The agents it may use.
        graph: Builds the StateGraph to run on a given runtime; the supervisor over ``agents`` when absent. Its state
            needs ``task`` or ``messages`` for the input, and has ``output`` for the result, else its last message is.
            Where it has ``files``, it can be given some.
        plan: How the supervisor plans: by a ``model``, each agent once ``in_order``, or these very steps, each
            ``{"id": …, "agent": …, "instruction": …, "needs": [ids]}``.
        output: Pydantic model of the output of ``graph``.
        retries: How often the supervisor has a step that a verifier doubts done again by a stronger model.
        memory: Whether the supervisor's steps write their results into the shared memory and recall from it what other
            steps wrote; without it each sees the steps it needs, and a run costs a few milliseconds a step less.
        store: LangGraph store of its graph; the memory that all agents share when absent.

    Raises:
        ConfigError: When there is neither an agent nor a graph, two agents share a name, or an argument is not what it
            should be.
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: Workflow[Any],
            name: str,
            agents: Sequence[Agent] = (),
            *,
            output: None = None,
            **spec: Unpack[WorkflowSpec],
        ) -> None: ...

        @overload
        def __init__(
            self: Workflow[Model | None],
            name: str,
            agents: Sequence[Agent] = (),
            *,
            output: type[Model],
            **spec: Unpack[WorkflowSpec],
        ) -> None: ...

        def __init__(self, name: str, agents: Sequence[Agent] = (), **spec: Any) -> None: ...

    @checked
    async def arun(
        self,
        task: Task,
        *,
        files: Sequence[Attached] = (),
        thread: str | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
        emit: Emit | None = None,
    ) -> RunResult[Output]:
        """Run to the end, or to where a person is needed.

        Args:
            task: What is asked: a text, a message, or a conversation whose last message asks.
            files: What goes with it: paths, bytes, or content blocks; see `attach`. Steps whose agent's model takes
                them are handed them, others know their names.
            thread: Conversation to go on with, kept from run to run under this name, this workflow's alone. A run
                that fails leaves it as it was.
            max_cost: USD the run may spend, sub-agents included.
            max_tokens: Tokens of input and output that it may use, likewise.
            max_steps: Supersteps of the graph it may take, 50 when absent.
            timeout: Seconds it may take.
            user: Who it is for, in the ledger.
            user_class: Class of users whose limits in ``routing.yaml`` hold.
            tags: Free labels, in the ledger.
            runtime: What to run on; the working directory's project when absent.
            emit: Called with each event as it happens.

        Returns:
            How it ended, with what was done. Where it failed the status says so, and `RunResult.error` why: every model
            failed, a bound was reached, a node of yours raised, or whatever else.

        Raises:
            ConfigError: On empty input, or when no model may run it; nothing was called or done then.
            ThreadBusy: Another run works on the thread.
            RunOwned: Somebody else has taken the run over, and it goes on there.
        """
        messages = asked(task, files)
        check_thread(thread)
        runtime = runtime or Runtime.default()
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tags, max_tokens)
        inside = tag_inside(self.name, messages, thread)
        bounds = replace(bounds, tags=(*tags, *inside, *(() if thread is None else (THREAD_TAG + thread,))))
        begun = await asyncio.to_thread(begun_inside, runtime.ledger, current().run.id, inside) if inside else None
        async with conversed(runtime, self.name, thread) as said:
            execution = self._execution(runtime, emit, partial(said.kept, messages[-1:]))
            if begun is not None:
                with suppress(NothingKept):
                    return await gone_on(begun, execution, bounds, partial(self._stops, begun, runtime))
            return await execution.begin([*said.earlier, *messages], bounds)

    run = sync.blocking(arun)

    @checked
    async def aresume(
        self,
        run: str,
        answers: Answers | None = None,
        *,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
        emit: Emit | None = None,
    ) -> RunResult[Output]:
        """Take a run up where it stopped. What is left out here stays as it was when the run was started.

        Args:
            run: Its id.
            answers: Answers to what it waits for; None after a crash, which loses no answer that was given before it.
                Each is a decision of LangChain's human-in-the-loop protocol: ``{"type": "approve"}``, ``{"type":
                "reject", "message": …}``, ``{"type": "edit", "edited_action": {"name": …, "args": …}}`` or, for tools
                that only read, ``{"type": "respond", "message": …}``; also as ``{"decisions": [decision]}``,
                ``"approve"``, ``"always"``, ``"reject"``, True or False, or as LangChain's agent inbox sends it.
            max_cost: USD the run may spend, what it has spent already included.
            max_tokens: Tokens that it may use, likewise.
            max_steps: Supersteps this part may take.
            timeout: Seconds this part may take.
            user: Who it is for.
            user_class: Class of users whose limits hold.
            tags: Further labels.
            runtime: The runtime it ran on.
            emit: Called with each event as it happens.

        Returns:
            The outcome of the whole run, as `arun`: its cost, calls and steps are those of all its parts.

        Raises:
            ConfigError: There is no such run, it belongs to another workflow, an answer is not understood, or no model
                may run it; nothing was done then.
            ThreadBusy: Another run works on its thread.
            RunOwned: Somebody works on it right now, or has taken it over.
        """
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tags, max_tokens)
        runtime = runtime or Runtime.default()
        async with taken(runtime, run, self.name) as found:
            thread = next((t.removeprefix(THREAD_TAG) for t in found.row.tags if t.startswith(THREAD_TAG)), None)
            asked = await kept(found.journal) if thread else None
            async with conversed(runtime, self.name, thread) as said:
                work = await answered(found, answers, partial(self._stops, run, runtime), runtime)
                execution = self._execution(runtime, emit, partial(said.kept, asked and asked[-1:]))
                result = await execution.run(work, found, bounds)
        return await execution.told(result)

    resume = sync.blocking(aresume)

    async def apending(self, run: str, runtime: Runtime | None = None) -> tuple[Pending, ...]:
        """What a run waits for, without taking it up.

        Args:
            run: Its id.
            runtime: The runtime it ran on.

        Raises:
            ConfigError: There is no such run, or it belongs to another workflow.
        """
        runtime = runtime or Runtime.default()
        await asyncio.to_thread(own_row, runtime, run, self.name)
        return tuple(pending_of(stop, run) for stop in await self._stops(run, runtime))

    pending = sync.blocking(apending)

    async def _stops(self, run: str, runtime: Runtime) -> list[Interrupt]:
        async with self.compiled(runtime) as graph:
            snapshot = await graph.aget_state(place(run))
        return [stop for task in snapshot.tasks for stop in task.interrupts]

    @checked
    def astream(
        self,
        task: Task,
        *,
        files: Sequence[Attached] = (),
        thread: str | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
    ) -> AsyncIterator[Event[Output]]:
        """Run and yield each event as it happens: tokens, calls, steps, and last the result; all else as `arun`."""
        return events_of(
            lambda emit: self.arun(
                task,
                files=files,
                thread=thread,
                max_cost=max_cost,
                max_tokens=max_tokens,
                max_steps=max_steps,
                timeout=timeout,
                user=user,
                user_class=user_class,
                tags=tags,
                runtime=runtime,
                emit=emit,
            )
        )

    stream = sync.iterating(astream)

    @checked
    def dry_run(self, task: Task = "", *, files: Sequence[Attached] = (), runtime: Runtime | None = None) -> DryRun:
        """Say what a run would do, on which models and at what cost at most; nothing is called or recorded.

        Args:
            task: What would be asked; it counts for its size alone.
            files: What would go with it.
            runtime: What it would run on; the working directory's project when absent.
        """
        from .foresight.dry_run import foreseen

        return foreseen(self, runtime or Runtime.default(), told(asked(task)) if task else "", attached(files))

    @checked
    def validate(self, runtime: Runtime | None = None) -> tuple[Problem, ...]:
        """Say what would go wrong, errors first; nothing is called.

        Args:
            runtime: What it would run on; the working directory's project when absent.
        """
        from .foresight.validation import problems

        return problems(self, runtime or Runtime.default())

    def _execution(self, runtime: Runtime, emit: Emit | None, ended: Ended) -> Execution:
        outputs = Outputs.of(self.output, self.agents)
        return Execution(self.name, lambda token: self.compiled(runtime, token), outputs, runtime, emit, ended)
