"""Inputs of a routing decision: the request as declared, and the current circumstances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..configs.words import Effect, Risk, StepKind, Tier, Trust
from .decision import Because
from .evidence import PREFIX, Finding, is_evidence
from .experience import TaskStats

__all__ = ["BudgetReserve", "RouteRequest", "RoutingContext"]


class RouteRequest(BaseModel):
    """One step that needs a model.

    Everything but ``messages`` is declared by the caller and can be relied upon; the words in ``messages`` may
    affect complexity but never risk.

    Attributes:
        messages: OpenAI chat format, oldest first: all that is visible before the call.
        kind: What the step is for; if omitted, it is derived from the tools and effects (`features.kind_of`).
        task: What is done, such as ``classify`` or ``code``, for the rules.
        effects: Effects of the tools the step can call; empty if none are bound. If neither these, ``tools`` nor a kind
            is given, a tool called in ``messages`` counts as bound and without a declared effect.
        tools: Number of tools bound; at least the number of effects.
        only_reads: Those bound tools whose effect is ``external`` declare that they only read.
        called: Effects by name of tools that were called earlier in ``messages``, as far as they are known.
        reversible: Whether what the step does can be undone.
        sensitivity: Sensitivity of the data in view.
        recalled: The lowest trust of the notes that were recalled from the memory before the step; None if none were.
        dependents: Later steps that build on this one.
        risk: The caller's own opinion, which can only raise the risk.
        tier: The requested tier, which can only raise the tier above the floor.
        max_tier: No model of a higher tier may run the step; a floor above it leaves no model.
        model: The requested model, used as long as it qualifies.
        structured: The answer must match a JSON schema.
        max_output: Tokens of output to leave room for; None if unspecified.
        latency: ``batch`` work can wait, ``critical`` work must not.
        deadline: Seconds the step may take, None if only the policy limits it.
        user_class: For per-class limits.
        tags: Free labels for rules and reports.
        evidence: What has happened that calls for a higher tier, besides what can be seen in ``messages``: each has an
            ``id`` that begins with ``evidence.``, a ``reason`` and optionally ``at_least``, a tier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    kind: StepKind | None = None
    task: str = "chat"
    effects: tuple[Effect, ...] = ()
    tools: int = Field(default=0, ge=0)
    only_reads: bool = False
    called: Mapping[str, Effect] = Field(default_factory=dict)
    reversible: bool = True
    sensitivity: Literal["public", "internal", "personal", "secret"] = "internal"
    recalled: Trust | None = None
    dependents: int = Field(default=0, ge=0)
    risk: Risk | None = None
    tier: Tier | None = None
    max_tier: Tier | None = None
    model: str | None = None
    structured: bool = False
    max_output: int | None = Field(default=None, gt=0)
    latency: Literal["batch", "interactive", "critical"] = "interactive"
    deadline: float | None = Field(default=None, gt=0)
    user_class: str = "default"
    tags: tuple[str, ...] = ()
    evidence: tuple[Finding, ...] = ()

    @field_validator("evidence")
    @classmethod
    def _told_apart(cls, evidence: tuple[Finding, ...]) -> tuple[Finding, ...]:
        if strange := next((finding.id for finding in evidence if not is_evidence(finding.id)), None):
            raise ValueError(f"the id {strange!r} must begin with '{PREFIX}'")
        return evidence


@dataclass(frozen=True, slots=True)
class BudgetReserve:
    """What remains of a budget that has to last, in USD.

    Attributes:
        left: Amount neither spent nor reserved.
        kept: Part of it set aside for high-risk steps that are still to come.
        steps: Number of those steps.
    """

    left: float
    kept: float
    steps: int


@dataclass(frozen=True, slots=True)
class RoutingContext:
    """What is true right now, passed in so that a decision can be replayed.

    Attributes:
        unavailable: Model or provider id -> why it cannot be used now (no key, breaker open, switched off, offline).
        tried: Models this step has already called; they are not called again.
        needs_price: There is a budget to keep to, so a model whose price is unknown cannot be used.
        budget_left: Share of the budget that is left, 0..1, or None if there is no budget.
        funds: Money that a step of lower risk may not use up, None if nothing is set aside.
        down: Models and providers that cannot be used now, for rules that ask about this.
        experience: Model -> how it has performed at this task.
        carried: The models that answered last in this conversation, at most one per tier.
        proven: For a replay, which has neither experience nor carried models: the model that these put first in the
            original decision.
    """

    unavailable: Mapping[str, Because] = field(default_factory=lambda: MappingProxyType({}))
    tried: frozenset[str] = frozenset()
    needs_price: bool = False
    budget_left: float | None = None
    funds: BudgetReserve | None = None
    down: frozenset[str] = frozenset()
    experience: Mapping[str, TaskStats] = field(default_factory=lambda: MappingProxyType({}))
    carried: frozenset[str] = frozenset()
    proven: str | None = None
