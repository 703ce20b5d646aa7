"""A plan: which agent does what, and which steps must come before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ...agents.result import Status, StepRecord
from ...configs.words import Effect, StepKind

__all__ = ["MAX_STEPS", "Dependents", "Plan", "PlanStep", "in_order", "problem", "said", "skipped"]

MAX_STEPS = 12


class PlanStep(BaseModel):
    """One step of a plan. What it says of its kind and effects can raise the risk that its agent declares, only."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="short unique id, such as s1")
    agent: str = Field(description="name of the agent that does it")
    instruction: str = Field(default="", description="what that agent is to do, in one or two sentences")
    needs: Annotated[list[str], AfterValidator(lambda names: list(dict.fromkeys(names)))] = Field(
        default_factory=list, description="ids of the steps whose results it needs"
    )
    kind: StepKind | None = Field(
        default=None, description="what it is for, where that is plain: gather, transform, decide or act"
    )
    effects: list[Effect] = Field(
        default_factory=list, description="what it will do beyond thinking: read, write, external, destructive"
    )


class Plan(BaseModel):
    """Steps towards the task; steps that do not need each other run at the same time."""

    model_config = ConfigDict(extra="forbid")

    steps: list[PlanStep] = Field(min_length=1, max_length=MAX_STEPS)


def in_order(agents: Sequence[str]) -> Plan:
    """Plan without a model: each agent once, in the order given, each seeing what came before."""
    # The maximum number of steps limits a model, not a user who names that many agents.
    return Plan.model_construct(
        steps=[
            PlanStep(id=f"s{n}", agent=agent, needs=[f"s{n - 1}"] if n > 1 else [])
            for n, agent in enumerate(agents, start=1)
        ]
    )


def problem(plan: Plan, agents: Iterable[str]) -> str | None:
    """Return what makes a plan impossible to carry out, or None.

    Args:
        plan: The plan.
        agents: The names of the agents that exist.
    """
    names = set(agents)
    ids = [step.id for step in plan.steps]
    if not all(step.strip() for step in ids):
        return "a step has no id"
    if len(set(ids)) < len(ids):
        return "two steps have the same id"
    for step in plan.steps:
        if step.agent not in names:
            return f"step {step.id} names an agent that does not exist: {step.agent!r}"
        unknown = [need for need in step.needs if need not in ids]
        if unknown:
            return f"step {step.id} needs {unknown[0]!r}, which is not in the plan"
    done: set[str] = set()
    while len(done) < len(ids):
        now = [step.id for step in plan.steps if step.id not in done and done.issuperset(step.needs)]
        if not now:
            return "steps need each other in a circle"
        done.update(now)
    return None


def skipped(steps: Sequence[Mapping[str, Any]], ended: Mapping[str, Status]) -> list[StepRecord]:
    """Return the records of the steps that cannot run because a step they need did not end as done, in any order.

    Args:
        steps: The plan, as dumped.
        ended: The steps that have ended, and how.
    """
    status = dict(ended)
    found: list[StepRecord] = []
    grew = any(how is not Status.DONE for how in status.values())
    while grew:
        grew = False
        for step in steps:
            missing = [need for need in step["needs"] if status.get(need, Status.DONE) is not Status.DONE]
            if missing and step["id"] not in status:
                because = ", ".join(f"step {need}, which was {said(status[need])}" for need in missing)
                found.append(
                    StepRecord(step["id"], step["agent"], None, "", None, Status.SKIPPED, f"it needs {because}")
                )
                status[step["id"]] = Status.SKIPPED
                grew = True
    return found


def said(status: Status) -> str:
    """Return a status in words."""
    return status.value.replace("_", " ")


class Dependents:
    """How many later steps build on each step of a plan, directly or through others.

    Args:
        steps: The plan, as dumped.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]]) -> None:
        self._place = {step["id"]: place for place, step in enumerate(steps)}
        self._direct: dict[str, list[str]] = {}
        for step in steps:
            for need in step["needs"]:
                self._direct.setdefault(need, []).append(step["id"])
        # Step -> itself and all steps that build on it, as a bit set of their places.
        self._built: dict[str, int] = {}

    def __getitem__(self, step: str) -> int:
        return (self._built.get(step) or self._counted(step)).bit_count() - 1

    def _counted(self, step: str) -> int:
        built, left = self._built, [step]
        while left:
            one = left[-1]
            direct = self._direct.get(one, ())
            if one not in built:
                built[one] = 1 << self._place[one]
                left += [later for later in direct if later not in built]
            else:
                for later in direct:
                    built[one] |= built[later]
                left.pop()
        return built[step]
