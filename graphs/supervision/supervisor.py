"""The supervisor: plan, give every step its risk, route it, run it, verify what is risky, put the parts together.

Steps run in waves. LangGraph would schedule what follows once for each step of a wave, so a wave meets in ``verify``,
where the next steps are decided once. A step that ran alone and needs no verifier continues directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, cast

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from ...agents.agent import Agent
from ...agents.errors import NoAnswer
from ...agents.handoffs import hand_over
from ...agents.result import Status, StepRecord
from ...agents.runtime import Runtime
from ...agents.shared.notes import least, with_recalled
from ...agents.together import Together
from ...agents.verification.checking import Check, checked
from ...agents.verification.verifier import Verifier, as_evidence, as_text, needs_check
from ...configs.errors import ConfigError
from ...configs.evidence import literal, render_evidence
from ...configs.words import StepKind, Tier, Trust
from ...dispatch.context import current, entered
from ...dispatch.errors import AllFailed, NoCandidate
from ...dispatch.request import one_line
from ...memory.base import Recalled
from ...routing.evidence import DOUBTED, Finding, of_failure
from ..checkpoints.growing import grown
from ..given import handed
from ..watching import INNER
from .answer import incomplete, last_of
from .memory import recalled, remember
from .plan import Dependents, Plan, skipped
from .planner import Planner, planned_risk
from .standing import Standing

__all__ = ["RETRIES", "SupervisorState", "supervisor"]

_AGAIN = "A verifier does not rely on an earlier attempt at this. Do it anew, so that this no longer holds: "
RETRIES = 2
"""How often a doubted step that has done nothing yet is retried, each time by a stronger model."""
REPLANS = 2
"""How often a run is planned again after a failed step that had done nothing yet."""


class SupervisorState(TypedDict, total=False):
    """State of a supervised run; everything in it is plain JSON, so that any checkpointer can keep it.

    Attributes:
        tried: Attempts at steps, each to be verified once: it ends the step, or is doubted.
        doubts: The doubted attempts, after which the step is retried.
        done: The record of each step that has ended, with any status.
        replans: How often it was planned again.
        files: The files that the run was given with its task; their bytes are stored elsewhere.
    """

    task: str
    plan: list[dict[str, Any]]
    tried: Annotated[list[_Tried], grown]
    doubts: Annotated[list[_Doubt], grown]
    done: Annotated[list[dict[str, Any]], grown]
    notes: Annotated[list[str], grown]
    replans: int
    files: list[dict[str, Any]]
    output: Any


class _Given(TypedDict, total=False):
    task: str
    files: list[dict[str, Any]]


class _Tried(TypedDict):
    attempt: int
    record: dict[str, Any]


class _Doubt(_Tried):
    reason: str


class _Work(TypedDict):
    """A step to be done, without the plan, which each checkpoint would otherwise hold again.

    Attributes:
        built_on: How many later steps of the plan build on it.
        alone: Whether it is the only step of the plan.
    """

    task: str
    step: dict[str, Any]
    built_on: int
    alone: bool
    given: list[dict[str, Any]]
    ahead: list[int]
    attempt: int
    doubt: _Doubt | None
    replans: int
    files: list[dict[str, Any]]


def supervisor(
    agents: Sequence[Agent],
    runtime: Runtime,
    *,
    plan: Plan | Literal["model", "in_order"] = "model",
    retries: int = RETRIES,
    memory: bool = True,
) -> StateGraph[Any, Any, Any, Any]:
    """Build the supervisor's graph over ``agents``.

    Args:
        agents: The workers.
        runtime: What planner, verifier and memory run on.
        plan: ``model`` lets a model plan if one is available; ``in_order`` runs each agent once, in order; a given plan
            is carried out unchanged, until a step fails.
        retries: How often a step that a verifier doubts is retried by a stronger model, if it did nothing that cannot
            be repeated.
        memory: Whether steps write their results into the shared memory and recall what others wrote.
    """
    rooms = _Supervisor(agents, runtime, plan, retries, memory=memory)
    builder = StateGraph(SupervisorState, input_schema=_Given)
    builder.add_node("plan", rooms.plan, metadata=INNER)
    builder.add_node("work", rooms.work, input_schema=_Work)
    builder.add_node("verify", rooms.verify, metadata=INNER)
    builder.add_node("replan", rooms.replan, metadata=INNER)
    builder.add_node("aggregate", rooms.aggregate, metadata=INNER)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", rooms.schedule, ["work", "aggregate"])
    builder.add_conditional_edges("work", rooms.after, ["work", "verify", "aggregate"])
    builder.add_conditional_edges("verify", rooms.schedule, ["work", "replan", "aggregate"])
    builder.add_conditional_edges("replan", rooms.schedule, ["work", "aggregate"])
    builder.add_edge("aggregate", END)
    return builder


class _Supervisor:
    def __init__(
        self, agents: Sequence[Agent], runtime: Runtime, plan: Plan | str, retries: int, *, memory: bool
    ) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._runtime = runtime
        self._verifier = Verifier(runtime)
        fixed = plan if isinstance(plan, Plan) else None
        self._planner = Planner(self._agents, runtime, by_model=plan == "model" and len(agents) > 1, fixed=fixed)
        self._retries = retries
        self._memory = memory

    async def plan(self, state: SupervisorState) -> dict[str, Any]:
        """Decide the steps."""
        steps, notes = await self._planner.plan(state["task"])
        return {"plan": steps, "notes": notes}

    async def replan(self, state: SupervisorState) -> dict[str, Any]:
        """Decide again what is left to do, after a step has failed."""
        records = [StepRecord.restored(record) for record in state["done"]]
        steps = await self._planner.again(state["task"], state["plan"], records)
        failed = ", ".join(record["id"] for record in _standing(state).failed)
        ended = self._ended(skipped(steps, {record.id: record.status for record in records}))
        return {
            "plan": steps,
            "replans": state.get("replans", 0) + 1,
            "done": ended["done"],
            "notes": [f"planned again, as step {failed} failed", *ended["notes"]],
        }

    async def schedule(self, state: SupervisorState) -> list[Send] | str:
        """Send every step that can run now to work, at the same time; put the parts together when all have ended."""
        return self._scheduled(state, _standing(state))

    def _scheduled(self, state: SupervisorState, standing: Standing) -> list[Send] | str:
        if standing.failed:
            return "replan"
        if not standing.ready:
            return "aggregate"
        doubts = {doubt["record"]["id"]: doubt for doubt in state.get("doubts", [])}
        ahead = self._ahead(standing)
        orders = [
            _Work(
                task=state["task"],
                step=dict(step),
                built_on=standing.dependents[step["id"]],
                alone=len(standing.plan) < 2,
                given=[standing.ended[need] for need in step["needs"]],
                ahead=ahead,
                attempt=doubts[step["id"]]["attempt"] + 1 if step["id"] in doubts else 0,
                doubt=doubts.get(step["id"]),
                replans=state.get("replans", 0),
                files=state.get("files", []),
            )
            for step in standing.ready
        ]
        return [Send("work", order) for order in orders]

    async def after(self, state: SupervisorState) -> list[Send] | str:
        """Continue from a step that ran alone and has ended well; every other wave meets in ``verify``."""
        standing, done = _standing(state), state.get("done", [])
        if _fresh(state, standing) or done[-1]["status"] != Status.DONE:
            return "verify"
        # A step that can run now and does not need this one could have run in parallel.
        alone = all(done[-1]["id"] in step["needs"] for step in standing.ready)
        return self._scheduled(state, standing) if alone else "verify"

    def _ahead(self, standing: Standing) -> list[int]:
        """Return the picodollars that each high-risk step that has not begun may cost, if the run has a cap."""
        if not current().run.caps:
            return []
        begun = {step["id"] for step in standing.ready}
        later = [step for step in standing.left if step["id"] not in begun]
        asked = [(self._doer(step), standing.dependents[step["id"]]) for step in later]
        dispatcher = self._runtime.dispatcher
        return [most for agent, on in asked if (most := dispatcher.set_aside(agent.request(on), agent.max_output))]

    async def work(self, state: _Work) -> dict[str, Any]:
        """Run one step."""
        state = _as_now(state)
        async with Together.of_superstep().task():
            try:
                record = await self._worked(state)
            except (NoCandidate, AllFailed, NoAnswer) as error:
                if state["doubt"] is not None and not isinstance(error, NoAnswer):
                    return self._ended([await self._left_doubted(state["doubt"], error)])
                if not await self._another_way(state, error):
                    raise
                step, why = state["step"], one_line(error)
                return self._ended([StepRecord(step["id"], step["agent"], None, "", None, Status.FAILED, why)])
        if record.status is not Status.DONE or record.doubt or self._to_verify(state["built_on"], record):
            return {"tried": [_Tried(attempt=state["attempt"], record=record.plain())]}
        return self._ended([await self._kept(state["step"], record, alone=state["alone"])])

    async def _another_way(self, order: _Work, error: Exception) -> bool:
        """Return whether a failed step may be planned again: its models did not do it, and it has changed nothing.

        A failure because of a provider, a budget or a key ends this part of the run, which continues at that step when
        it is resumed.
        """
        of_work = isinstance(error, NoAnswer) or (
            isinstance(error, AllFailed) and any(of_failure(failure.kind) for failure in error.failures[-1:])
        )
        if not of_work or not self._planner.by_model or order["replans"] >= REPLANS:
            return False
        return not await self._has_acted(order["step"]["id"])

    async def _has_acted(self, step: str) -> bool:
        """Return whether a step has begun an act, with any outcome."""
        run = current().run.id
        effects = await asyncio.to_thread(self._runtime.ledger.effects, run, inner=True)
        # For an act of a nested run it is unknown which step it was for.
        return any(effect.run != run or effect.step == step for effect in effects)

    def _doer(self, step: Mapping[str, Any]) -> Agent:
        """Return the agent of a step."""
        name = step["agent"]
        if name not in self._agents:
            raise ConfigError(
                f"step {step['id']} of the run's plan is for agent {name!r}, which this workflow lacks: resume it with "
                "the workflow that it began with"
            )
        return self._agents[name]

    async def _worked(self, order: _Work) -> StepRecord:
        step, doubt = order["step"], order["doubt"]
        agent = self._doer(step)
        evidence = [as_evidence(StepRecord.restored(record)) for record in order["given"]]
        asked = step["instruction"] or order["task"]
        found: list[Recalled] = []
        if self._memory:
            found = await recalled(self._runtime, agent, step, asked, known={e.id for e in evidence})
            evidence += found
        parts = [_asked(order["task"], step), render_evidence(evidence)]
        doubts: tuple[Finding, ...] = ()
        if doubt is not None:
            earlier = StepRecord.restored(doubt["record"])
            above = earlier.tier_above or Tier.FRONTIER
            doubts = (Finding(DOUBTED, f"a verifier doubted {earlier.model}: {doubt['reason']}", above),)
            parts += [_AGAIN + literal(doubt["reason"]), render_evidence([replace(as_evidence(earlier), id="earlier")])]
        text = "\n\n".join(part for part in parts if part)
        check = Check(agent.name, self._verifier, text, step["id"])
        facts = {
            "dependents": order["built_on"],
            "ahead": tuple(order["ahead"]),
            "evidence": doubts,
            "recalled": least([one for one in found if one.namespace[0] != "runs"]),
            "risk": planned_risk(step, agent.request(order["built_on"]), self._runtime),
        }
        with entered(step=step["id"], **facts), checked(check):
            agents, files = list(self._agents.values()), order.get("files", [])
            given = handed(text, files, agent, agents, self._runtime)
            record = await agent.step(given, recall=False, remember=False)
        # What was passed to it was in view, too.
        trust = min(Trust(record.trust), *(one.trust for one in evidence), Trust.TOOL)
        record = with_recalled(replace(record, trust=trust.value), found)
        if doubt is not None:
            record = record.noted(f"done again, as a verifier doubted {doubt['record']['model']}: {doubt['reason']}")
        return record

    async def _left_doubted(self, doubt: _Doubt, error: Exception) -> StepRecord:
        record = replace(StepRecord.restored(doubt["record"]), doubt=doubt["reason"])
        return await self._handed_over(record.noted(f"no stronger model could do it again: {one_line(error)}"))

    async def verify(self, state: SupervisorState) -> dict[str, Any]:
        """Verify the results of a wave, and record the steps that cannot run because of what is missing."""
        standing = _standing(state)
        fresh = _fresh(state, standing)
        settled = await asyncio.gather(*(self._settled(state["task"], standing, tried) for tried in fresh))
        records = [one for one in settled if isinstance(one, StepRecord)]
        if not standing.failed:
            ended = {key: Status(record["status"]) for key, record in standing.ended.items()}
            records += skipped(standing.plan, {**ended, **{record.id: record.status for record in records}})
        return {**self._ended(records), "doubts": [one for one in settled if not isinstance(one, StepRecord)]}

    async def _settled(self, task: str, standing: Standing, tried: _Tried) -> StepRecord | _Doubt:
        """Return the record of a step that has ended, or the doubt after which it is retried."""
        record = StepRecord.restored(tried["record"])
        if record.doubt:
            return await self._handed_over(record)
        if record.status is not Status.DONE:
            return record
        step = standing.steps[record.id]
        if self._to_verify(standing.dependents[record.id], record):
            given = [StepRecord.restored(standing.ended[need]) for need in step["needs"]]
            asked = "\n\n".join([_asked(task, step), render_evidence(as_evidence(one) for one in given)])
            said = await self._verifier.result(asked.strip(), record)
            if said.ok is False:
                again = tried["attempt"] < self._retries and record.tier_above
                # What a step did would be repeated with it.
                if again and not await self._has_acted(record.id):
                    return _Doubt(**tried, reason=said.reason)
                return await self._handed_over(replace(record, doubt=said.reason))
            if said.ok is None:
                reason = one_line(said.reason)
                record = replace(record, unverified=reason).noted(f"not verified: {reason}")
        return await self._kept(step, record, alone=len(standing.plan) < 2)

    async def _kept(self, step: Mapping[str, Any], record: StepRecord, *, alone: bool) -> StepRecord:
        """Keep the result of a step in the memory, unless the workflow is without one."""
        if not self._memory:
            return record
        return await remember(self._runtime, self._doer(step), step, record, alone=alone)

    def _to_verify(self, built_on: int, record: StepRecord) -> bool:
        """Return whether a verifier must check the result of a step.

        Each call of a step that acted was judged before it was made; its result is checked as well if other steps build
        on it, or if it decides.
        """
        relied_upon = built_on > 0 or self._agents[record.agent].kind is StepKind.DECIDE
        return needs_check(record.risk) and (not record.acted or relied_upon)

    async def _handed_over(self, record: StepRecord) -> StepRecord:
        await hand_over(
            self._runtime,
            risk=record.risk,
            reason=f"a verifier doubts step {record.id}: {record.doubt}",
            summary=as_text(record.output),
            step=record.id,
        )
        said = f"a verifier doubts it, so it was handed to a person: {record.doubt}"
        return replace(record, status=Status.HANDED_OVER).noted(said)

    def _ended(self, records: Sequence[StepRecord]) -> dict[str, Any]:
        """Return steps that have ended, with what a reader of the whole run should know about them."""
        notes = []
        for record in records:
            if record.status is Status.HANDED_OVER:
                notes.append(f"step {record.id} is doubted and was handed to a person: {record.doubt}")
            elif record.status is not Status.DONE:
                notes.append(f"step {record.id} was {record.status}: {record.note}")
            elif record.unverified:
                notes.append(f"step {record.id} ({record.risk} risk) was not verified: {record.unverified}")
        return {"done": [record.plain() for record in records], "notes": notes}

    async def aggregate(self, state: SupervisorState) -> dict[str, Any]:
        """Return the last step's output, those of several last steps side by side, or what is missing."""
        planned = {step["id"] for step in state["plan"]}
        records = [StepRecord.restored(record) for record in state["done"] if record["id"] in planned]
        if any(record.status is not Status.DONE for record in records):
            return {"output": incomplete(state["plan"], records)}
        last = last_of(state["plan"], records)
        if len(last) == 1:
            return {"output": last[0].output}
        texts = [record.output for record in last]
        if all(isinstance(text, str) for text in texts):
            # Unchanged: merging them could leave something out.
            return {"output": "\n\n".join(texts)}
        return {"output": {record.id: record.output for record in last}}


def _as_now(order: Any) -> _Work:
    """Convert an order to its current form; version 0.1 put the plan into each, at first without doubts."""
    if "plan" in order:
        plan, step = order["plan"], order["step"]
        first = {"attempt": 0, "doubt": None, "replans": 0}
        order = {**first, "built_on": Dependents(plan)[step["id"]], "alone": len(plan) < 2, **order}
    return cast(_Work, order)


def _standing(state: SupervisorState) -> Standing:
    return Standing(state["plan"], state.get("done", []))


def _fresh(state: SupervisorState, standing: Standing) -> list[_Tried]:
    """Return the attempts that have not been verified yet."""
    doubted = {(doubt["record"]["id"], doubt["attempt"]) for doubt in state.get("doubts", [])}
    return [
        tried
        for tried in state.get("tried", [])
        if tried["record"]["id"] not in standing.ended and (tried["record"]["id"], tried["attempt"]) not in doubted
    ]


def _asked(task: str, step: Mapping[str, Any]) -> str:
    return "\n\n".join(literal(part) for part in (step["instruction"], task) if part)
