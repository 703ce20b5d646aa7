"""Validation: what would go wrong with a workflow, found before anything runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ...agents.agent import Agent
from ...agents.runtime import Runtime
from ...routing.decision import RejectionCode
from ..composed import Composed
from .dry_run import agents_of, foreseen

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

__all__ = ["Problem", "problems"]

_PREFERS: Final[Mapping[RejectionCode, str]] = {
    RejectionCode.BELOW_FLOOR: "tier.floor",
    RejectionCode.NO_KEY: "model.key",
}
_START: Final = "__start__"
_END: Final = "__end__"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a workflow.

    Attributes:
        severity: ``error`` if it cannot run, or cannot end, as it is; ``warning`` if it may disappoint.
        code: The kind of problem.
        subject: What it is about, such as an agent or a node.
        message: What is wrong, and what to do.
    """

    severity: Literal["error", "warning"]
    code: str
    subject: str
    message: str


def problems(workflow: Composed, runtime: Runtime) -> tuple[Problem, ...]:
    """Look for what would go wrong, errors first; nothing is called.

    Args:
        workflow: The workflow.
        runtime: What it would run on.
    """
    found = [*_of_models(workflow, runtime), *_of_plan(workflow)]
    if not workflow.supervised:
        found += _of_graph(workflow.builder(runtime), "")
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: problem.severity))


def _of_models(workflow: Composed, runtime: Runtime) -> Iterator[Problem]:
    agents = {agent.name: agent for agent in agents_of(workflow, runtime)}
    for step in foreseen(workflow, runtime, "", ()).steps:
        agent = agents[step.agent]
        decision = runtime.dispatcher.decide(agent.on(runtime).request())
        if agent.max_tier is not None and agent.max_tier < decision.floor:
            yield Problem("error", "tier.ceiling", agent.name, step.problem)
        elif step.model is None:
            yield Problem("error", "model.key" if step.missing else "model.none", agent.name, step.problem)
        elif not step.next:
            said = f"only {step.model} may run {agent.name}: where it fails nothing takes its place"
            yield Problem("warning", "model.no_fallback", agent.name, f"{said}; {_more(step.missing)}")
        why = next((one for one in decision.rejected if one.model == agent.model), None)
        if why is not None and step.model is not None:
            kind = _PREFERS.get(why.code, "model.prefers")
            said = f"{agent.name} prefers {agent.model}, which cannot run it ({why.reason})"
            yield Problem("warning", kind, agent.name, f"{said}: {step.model} runs in its place")


def _more(missing: Sequence[str]) -> str:
    return f"set {' or '.join(missing[:3])}" if missing else "allow more models or providers"


def _of_plan(workflow: Composed) -> Iterator[Problem]:
    if workflow.fixed is None:
        return
    used = {step.agent for step in workflow.fixed.steps}
    for agent in workflow.agents:
        if agent.name not in used:
            said = f"no step of the plan is done by {agent.name}: give it a step, or leave it out"
            yield Problem("warning", "agent.unreachable", agent.name, said)


def _of_graph(builder: StateGraph[Any, Any, Any, Any], inside: str) -> Iterator[Problem]:
    leads = _edges(builder)
    reached = _reached(leads, [_START])
    for name, spec in builder.nodes.items():
        shown = f"{inside}{name}"
        if name not in reached:
            kind = "agent.unreachable" if isinstance(spec.runnable, Agent) else "node.unreachable"
            yield Problem("warning", kind, shown, f"nothing leads to {shown}: add an edge to it, or leave it out")
        elif _END not in _reached(leads, [name]) and name in _reached(leads, leads.get(name, ())):
            said = f"{shown} stands in a circle that nothing leaves, so it runs until max_steps ends it: lead to END"
            yield Problem("error", "cycle.unbounded", shown, said)
        inner = getattr(spec.runnable, "builder", None)
        if inner is not None and not isinstance(spec.runnable, Agent):
            yield from _of_graph(inner, f"{shown}/")
    yield from _writes(builder, inside)


def _edges(builder: StateGraph[Any, Any, Any, Any]) -> dict[str, set[str]]:
    """Return node -> where it may lead, as edges and `Command` declare; a branch without targets may lead anywhere."""
    leads: dict[str, set[str]] = {}
    everywhere = {*builder.nodes, _END}
    for source, target in builder.edges:
        leads.setdefault(source, set()).add(target)
    for sources, target in builder.waiting_edges:
        for source in sources:
            leads.setdefault(source, set()).add(target)
    for source, branches in builder.branches.items():
        for branch in branches.values():
            leads.setdefault(source, set()).update(branch.ends.values() if branch.ends else everywhere)
    for name, spec in builder.nodes.items():
        ends = spec.ends
        leads.setdefault(name, set()).update(ends.values() if isinstance(ends, Mapping) else ends or ())
        # A node that leads nowhere ends its branch.
        if not leads[name]:
            leads[name].add(_END)
    return leads


def _reached(leads: Mapping[str, set[str]], begin: Any) -> set[str]:
    found: set[str] = set()
    left = list(begin)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += leads.get(name, ())
    return found


def _writes(builder: StateGraph[Any, Any, Any, Any], inside: str) -> Iterator[Problem]:
    """Yield problems of parallel nodes that write the same field, which has no reducer to join what they write."""
    from langgraph.channels import LastValue

    single = {name for name, channel in builder.channels.items() if type(channel) is LastValue}
    together: dict[str, list[str]] = {}
    for source, target in sorted(builder.edges):
        together.setdefault(source, []).append(target)
    for nodes in together.values():
        fields: dict[str, list[str]] = {}
        for name in nodes:
            spec = builder.nodes.get(name)
            for field in _written(spec.runnable) & single if spec is not None else ():
                fields.setdefault(field, []).append(name)
        for field, writers in sorted(fields.items()):
            if len(writers) > 1:
                said = (
                    f"{' and '.join(writers)} run at the same time and both write {field!r}, which has no reducer: "
                    f"annotate it, such as Annotated[list, operator.add], or let one follow the other"
                )
                yield Problem("error", "write.parallel", f"{inside}{field}", said)


def _written(node: Any) -> set[str]:
    """Return the fields that a node writes, as far as its code shows: those of the dicts that it returns."""
    if isinstance(node, Agent):
        return {"messages"}
    function = getattr(node, "afunc", None) or getattr(node, "func", None)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError):
        return set()
    returned = [one.value for one in ast.walk(tree) if isinstance(one, ast.Return) and isinstance(one.value, ast.Dict)]
    returned += [one.body for one in ast.walk(tree) if isinstance(one, ast.Lambda) and isinstance(one.body, ast.Dict)]
    keys = [key for value in returned for key in value.keys]
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
