"""`Workflow`: a named graph of agents that can be run, watched, stopped for approval and resumed."""

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
from ..agents.approval.taint import in_view
from ..agents.attachments import Attached, Task, asked, attached
from ..agents.bounds import Bounds
from ..agents.conversations import check_thread
from ..agents.result import Output, Pending, RunResult
from ..agents.runs import UNTRUSTED
from ..agents.runtime import Runtime
from ..configs.arguments import checked
from ..configs.words import Trust
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
"""Id of what waits -> answer, or the answer itself if only one thing waits; see `pointsman.agents.approval.answers`."""


class Workflow(Composed, Generic[Output]):
    """Agents under a supervisor, or a graph of your own, made into something to run.

    With ``output=Invoice`` it is a ``Workflow[Invoice | None]``: while a run waits for a person it has no output.

    Args:
        name: Its name in ledger and progress.
        agents: The agents it may use.
        graph: Builds the StateGraph to run on a given runtime; defaults to the supervisor over ``agents``. Its state
            needs ``task`` or ``messages`` for the input, and has ``output`` for the result; otherwise its last message
            is the result. If it has ``files``, it can be given some.
        plan: How the supervisor plans: by a ``model``, each agent once ``in_order``, or exactly these steps, each
            ``{"id": …, "agent": …, "instruction": …, "needs": [ids]}``.
        output: Pydantic model of the output of ``graph``.
        retries: How often the supervisor retries a step that a verifier doubts, each time with a stronger model.
        memory: Whether the supervisor's steps write their results into the shared memory and recall from it what other
            steps wrote; without it each sees only the steps it needs, and a run takes a few milliseconds less per step.
        store: LangGraph store of its graph; defaults to the memory that all agents share.

    Raises:
        ConfigError: There is neither an agent nor a graph, two agents share a name, or an argument is not valid.
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
            files: What goes with it: paths, bytes, or content blocks; see `attach`. Steps whose agent's model
                accepts them are given them, others know only their names.
            thread: Conversation to continue, stored from run to run under this name, for this workflow only. A run that
                fails leaves it unchanged.
            max_cost: USD the run may spend, including its sub-agents.
            max_tokens: Tokens of input and output that it may use, likewise.
            max_steps: Supersteps of the graph it may take; 50 by default.
            timeout: Seconds it may take.
            user: Who it is for, in the ledger.
            user_class: Class of users whose limits in ``routing.yaml`` apply.
            tags: Free labels, in the ledger.
            runtime: What to run on; defaults to the working directory's project.
            emit: Called with each event as it happens.

        Returns:
            How it ended, with what was done. If it failed, the status says so and `RunResult.error` says why: every
            model failed, a bound was reached, a node of yours raised, or another cause.

        Raises:
            ConfigError: The input is empty, or no model may run it; nothing was called or done in that case.
            ThreadBusy: Another run is using the thread.
            RunOwned: Somebody else has taken the run over, and it continues there.
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
            if in_view([*said.earlier, *messages], {}).trust is Trust.UNTRUSTED:
                bounds = replace(bounds, tags=(*bounds.tags, UNTRUSTED))
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
        """Resume a run where it stopped; arguments left out here stay as they were when the run was started.

        Args:
            run: Its id.
            answers: Answers to what it waits for; None after a crash, which loses no answer given before it.
                Each is a decision of LangChain's human-in-the-loop protocol: ``{"type": "approve"}``, ``{"type":
                "reject", "message": …}``, ``{"type": "edit", "edited_action": {"name": …, "args": …}}`` or, for tools
                that only read, ``{"type": "respond", "message": …}``; also as ``{"decisions": [decision]}``,
                ``"approve"``, ``"always"``, ``"reject"``, True or False, or as LangChain's agent inbox sends it.
            max_cost: USD the run may spend in total, including what it has already spent.
            max_tokens: Tokens that it may use, likewise.
            max_steps: Supersteps this part may take.
            timeout: Seconds this part may take.
            user: Who it is for.
            user_class: Class of users whose limits apply.
            tags: Further labels.
            runtime: The runtime it ran on.
            emit: Called with each event as it happens.

        Returns:
            The outcome of the whole run, as `arun`: its cost, calls and steps are those of all its parts.

        Raises:
            ConfigError: There is no such run, it belongs to another workflow, an answer is not understood, or no model
                may run it; nothing was done in that case.
            ThreadBusy: Another run is using its thread.
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
        """Return what a run waits for, without resuming it.

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
        """Run and yield each event as it happens: tokens, calls, steps, and finally the result; otherwise as `arun`."""
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
        """Predict what a run would do, on which models and at what maximum cost; nothing is called or recorded.

        Args:
            task: What would be asked; only its size matters.
            files: What would go with it.
            runtime: What it would run on; defaults to the working directory's project.
        """
        from .foresight.dry_run import foreseen

        return foreseen(self, runtime or Runtime.default(), told(asked(task)) if task else "", attached(files))

    @checked
    def validate(self, runtime: Runtime | None = None) -> tuple[Problem, ...]:
        """Return what would go wrong, errors first; nothing is called.

        Args:
            runtime: What it would run on; defaults to the working directory's project.
        """
        from .foresight.validation import problems

        return problems(self, runtime or Runtime.default())

    def _execution(self, runtime: Runtime, emit: Emit | None, ended: Ended) -> Execution:
        outputs = Outputs.of(self.output, self.agents)
        return Execution(self.name, lambda token: self.compiled(runtime, token), outputs, runtime, emit, ended)
