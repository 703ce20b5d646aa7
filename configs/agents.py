"""The schemas of ``agents.yaml``: agents, and workflows of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .words import Effect, StepKind, Tier

__all__ = ["AgentEntry", "Frozen", "StepEntry", "WorkflowEntry", "as_tuple"]


def as_tuple(value: Any) -> Any:
    """Let a user write one name where a list is meant."""
    return (value,) if isinstance(value, str | int | float | bool) else value


class Frozen(BaseModel):
    """A section of the configuration: nothing in it changes, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentEntry(Frozen):
    """How a built-in or user's agent is bound to its backend.

    Attributes:
        task: What it does, for the routing rules.
        kind: What its steps are for.
        tier: The tier it asks for; the risk floor may raise it.
        max_tier: The highest tier it may use.
        model: The model it prefers while it qualifies.
        instructions: Its system prompt.
        tools: Names in the tool registry.
    """

    task: str = "chat"
    kind: StepKind | None = None
    tier: Tier | None = None
    max_tier: Tier | None = None
    model: str | None = None
    instructions: str = ""
    tools: tuple[str, ...] = ()


class StepEntry(Frozen):
    """One step of a workflow, as somebody has written it down.

    Attributes:
        id: Unique within the workflow.
        agent: Who does it.
        instruction: What it is to do, beside the task.
        needs: The steps whose results it needs.
        kind: What it is for; it can only raise the risk that its agent declares.
        effects: What it will do beyond thinking; likewise.
    """

    id: str
    agent: str
    instruction: str = ""
    needs: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    kind: StepKind | None = None
    effects: Annotated[tuple[Effect, ...], BeforeValidator(as_tuple)] = ()


class WorkflowEntry(Frozen):
    """A workflow of agents that ``agents.yaml`` describes too.

    Attributes:
        agents: The agents it may use, by name.
        plan: How the supervisor plans where there are no ``steps``.
        steps: The steps themselves.
        retries: How often a step that a verifier doubts is done again by a stronger model.
    """

    agents: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    plan: Literal["model", "in_order"] = "model"
    steps: tuple[StepEntry, ...] = ()
    retries: int = Field(default=2, ge=0)
