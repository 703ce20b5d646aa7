"""Foresight: what a workflow would do, on which models, and what that may cost, with nothing called or recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...agents.agent import Agent
from ...agents.runtime import Runtime
from ...agents.spec.spec import TURNS
from ...agents.verification.verifier import needs_check
from ...configs.words import Risk, StepKind, Tier
from ...dispatch.context import StepContext
from ...dispatch.errors import NoCandidate
from ...dispatch.guards.budget import DEFAULT_OUTPUT, STEP_INPUT
from ...routing.request import RouteRequest
from ...tools.base import declaration_of, effect_of
from ..composed import Composed
from ..given import handed
from ..supervision.plan import Dependents, in_order
from ..supervision.planner import planned_risk

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

    from ...routing.decision import Decision

__all__ = ["DryRun", "Foreseen", "agents_of", "foreseen"]

_PICO: Final = 10**12


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One step as it would run now.

    Attributes:
        id: Its id in the plan.
        agent: Who does it.
        needs: The steps whose results it needs.
        kind: What it is for.
        risk: Its risk, by what is declared.
        floor: The tier that the risk demands.
        tier: The tier that was chosen.
        model: The model that would run; None if none may or can.
        next: The models that would be asked after it, in order.
        cost: Maximum USD of one call on that model, None if its price is unknown.
        most_cost: Maximum USD of the whole step: every turn it may take, each failing as often as the policy allows, on
            the most expensive model, repeated as often as a verifier may doubt it; None if a price is unknown.
        calls: Number of model calls that ``most_cost`` counts, including the verifier's.
        approvals: Bound tools whose calls wait for a person; those that only may wait have a question mark.
        missing: Environment variables without which models that may run it cannot be used.
        problem: Why it could not run; empty if it could.
    """

    id: str
    agent: str
    needs: tuple[str, ...]
    kind: str
    risk: str
    floor: str
    tier: str
    model: str | None
    next: tuple[str, ...]
    cost: float | None
    most_cost: float | None
    calls: int
    approvals: tuple[str, ...]
    missing: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would be.

    Attributes:
        workflow: Its name.
        plan: ``in_order``, ``written`` if the user wrote its steps, ``model`` if a model would plan, ``graph`` if it is
            a graph of your own.
        steps: The steps; if a model would plan, each agent once.
        most_cost: Maximum USD of all of them; None if a price is unknown.
        notes: What these figures are based on.
    """

    workflow: str
    plan: str
    steps: tuple[Foreseen, ...]
    most_cost: float | None
    notes: tuple[str, ...]

    @property
    def runnable(self) -> bool:
        """Whether every step has a model that would run it."""
        return not any(step.problem for step in self.steps)


def foreseen(workflow: Composed, runtime: Runtime, task: str, files: Sequence[Mapping[str, Any]]) -> DryRun:
    """Say what a workflow would do, without calling anything.

    Args:
        workflow: The workflow.
        runtime: What it would run on.
        task: What would be asked.
        files: The content blocks of its files.
    """
    agents = [agent.on(runtime) for agent in agents_of(workflow, runtime)]
    known = {agent.name: agent for agent in agents}
    steps: list[dict[str, Any]] = (workflow.fixed or in_order(list(known))).model_dump(mode="json")["steps"]
    if not workflow.supervised:
        # Only the graph knows the order.
        steps = [{**step, "needs": []} for step in steps]
    found, dependents = [], Dependents(steps)
    for step in steps:
        agent = known[step["agent"]]
        text = "\n\n".join(part for part in (step["instruction"], task) if part)
        request = agent.request(dependents[step["id"]])
        # What the plan says of the step can only raise its risk.
        request = request.model_copy(update={"risk": planned_risk(step, request, runtime)})
        given = handed(text, files, agent, agents, runtime)
        content = given if isinstance(given, str) else given[0].content
        request = request.model_copy(update={"messages": ({"role": "user", "content": content},)} if content else {})
        found.append(_step(step, agent, request, runtime, workflow.retries if workflow.supervised else 0))
    notes = list(_notes(workflow, agents))
    costs = [step.most_cost for step in found]
    if workflow.supervised and workflow.plan == "model" and len(agents) > 1:
        planner = RouteRequest(task="plan", kind=StepKind.DECIDE, structured=True, max_output=DEFAULT_OUTPUT)
        costs.append(_most(runtime, runtime.dispatcher.decide(planner), DEFAULT_OUTPUT, 1)[1])
    whole = None if None in costs else sum(cost or 0.0 for cost in costs)
    plan = "graph" if not workflow.supervised else workflow.plan if isinstance(workflow.plan, str) else "written"
    return DryRun(workflow.name, plan, tuple(found), whole, tuple(notes))


def agents_of(workflow: Composed, runtime: Runtime) -> list[Agent]:
    """Return the agents of a workflow; for a user's graph, those that are nodes of it or of its subgraphs.

    Args:
        workflow: The workflow.
        runtime: What its graph is built on.
    """
    found = {agent.name: agent for agent in workflow.agents}
    if not workflow.supervised:
        found.update((agent.name, agent) for agent in _nodes(workflow.builder(runtime)))
    return list(found.values())


def _nodes(builder: StateGraph[Any, Any, Any, Any]) -> Iterator[Agent]:
    for spec in builder.nodes.values():
        node = spec.runnable
        if isinstance(node, Agent):
            yield node
        elif (inner := getattr(node, "builder", None)) is not None:
            yield from _nodes(inner)


def _step(step: Mapping[str, Any], agent: Agent, request: RouteRequest, runtime: Runtime, retries: int) -> Foreseen:
    decision = runtime.dispatcher.decide(request)
    attempts = runtime.dispatcher.policy.limits_of("default").attempts
    checked = needs_check(decision.risk.value)
    rounds = retries + 1 if checked else 1
    calls = rounds * (agent.turns if agent.bound_tools() else 1) * attempts
    cost, most = _most(runtime, decision, agent.max_output or DEFAULT_OUTPUT, calls)
    if checked:
        tier = Tier.STANDARD if decision.risk is Risk.MEDIUM else Tier.ADVANCED
        ask = RouteRequest(
            task="verify", kind=StepKind.TRANSFORM, tier=tier, structured=True, max_output=DEFAULT_OUTPUT
        )
        verifier = _most(runtime, runtime.dispatcher.decide(ask), DEFAULT_OUTPUT, rounds * attempts)[1]
        calls += rounds * attempts
        most = None if most is None or verifier is None else most + verifier
    problem = ""
    if decision.model is None:
        problem = str(NoCandidate(decision, StepContext(agent=agent.name)))
    return Foreseen(
        id=step["id"],
        agent=agent.name,
        needs=tuple(step["needs"]),
        kind=request.kind.value if request.kind else "",
        risk=decision.risk.value,
        floor=decision.floor.value,
        tier=decision.tier.value,
        model=decision.model,
        next=decision.candidates[1:],
        cost=cost,
        most_cost=most,
        calls=calls,
        approvals=tuple(_approvals(agent, runtime)),
        missing=tuple(dict.fromkeys(rejection.needs for rejection in decision.rejected if rejection.needs)),
        problem=problem,
    )


def _most(runtime: Runtime, decision: Decision, output: int, calls: int) -> tuple[float | None, float | None]:
    """Return the USD of one call on the first model, and of all calls on the dearest; 0 if there is no model to pay."""
    into, at = STEP_INPUT + decision.features.tokens, datetime.now(UTC)
    each = [runtime.dispatcher.prices.worst_case(name, into, output, at) for name in decision.candidates]
    if not each:
        return None, 0.0
    first = None if each[0] is None else each[0] / _PICO
    return first, None if None in each else max(cost or 0 for cost in each) * calls / _PICO


def _approvals(agent: Agent, runtime: Runtime) -> Iterator[str]:
    risks = runtime.settings.risk.call
    for tool in agent.bound_tools():
        effect, declared = effect_of(tool), declaration_of(tool)
        if declared is not None and declared.risk_of is not None:
            # It judges each call, so that only some of them wait.
            if max(risks.values()) >= Risk.CRITICAL:
                yield f"{tool.name}?"
        elif effect is not None and risks[effect] >= Risk.CRITICAL:
            yield tool.name


def _notes(workflow: Composed, agents: Sequence[Agent]) -> Iterator[str]:
    if not workflow.supervised:
        yield "it is a graph of its own: only its agents are foreseen, not what its other nodes do or in which order"
    elif workflow.plan == "model" and len(agents) > 1:
        yield "a model would plan: its plan is not made, so each agent is shown once, in the order given"
    yield (
        f"a call is reckoned with {STEP_INPUT:,} tokens of input beside the task, and all the output it may have; the "
        f"most with {_turns(agents)} turns for agents with tools, and every attempt that the policy allows on the "
        "dearest model"
    )


def _turns(agents: Sequence[Agent]) -> str:
    """Return how many turns agents with tools may take, from the fewest to the most."""
    found = sorted({agent.turns for agent in agents if agent.bound_tools()}) or [TURNS]
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
