"""What a routing decision is made from: the request as declared, and the circumstances at that moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..configs.words import Effect, Risk, StepKind, Tier
from .decision import Because
from .evidence import PREFIX, Finding, is_evidence
from .experience import TaskStats

__all__ = ["BudgetReserve", "RouteRequest", "RoutingContext"]


class RouteRequest(BaseModel):
    """One step that needs a model.

    Everything but ``messages`` is declared by the caller and can be relied upon; the words in ``messages`` may
    speak for complexity but never for risk.

    Attributes:
        messages: OpenAI chat format, oldest first: all that is visible before the call.
        kind: What the step is for; left out, its reach tells (`features.kind_of`).
        task: What is done, such as ``classify`` or ``code``, for the rules.
        effects: Effects of the tools the step can call; empty when none are bound. Where neither these, nor ``tools``,
            nor a kind are given, a tool called in ``messages`` counts as bound and without a declared effect.
        tools: Number of tools bound; at least the number of effects.
        only_reads: The tools among them whose effect is ``external`` declare that they change nothing there.
        called: Effects by name of tools that were called earlier in ``messages``, as far as they are known.
        reversible: Whether what the step does can be taken back.
        sensitivity: Of the data in view.
        dependents: Later steps that build on this one.
        risk: The caller's own opinion, which can only raise the risk.
        tier: The tier asked for, which can only raise the floor's.
        max_tier: No model of a higher tier may run the step; a floor above it leaves none.
        model: The model asked for, used while it qualifies.
        structured: The answer must fit a JSON schema.
        max_output: Tokens of output to leave room for; None where nobody says.
        latency: ``batch`` work can wait, ``critical`` work must not.
        deadline: Seconds the step may take, None where only the policy bounds it.
        user_class: For per-class limits.
        tags: Free labels for rules and reports.
        evidence: What has happened that speaks for a higher tier, besides what ``messages`` show by themselves: each
            with an ``id`` that begins with ``evidence.``, a ``reason`` and perhaps ``at_least``, a tier.
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
    """What is left of a budget that has to last, in USD.

    Attributes:
        left: Neither spent nor reserved.
        kept: Set aside of it for the steps of high risk that are still to come.
        steps: How many steps those are.
    """

    left: float
    kept: float
    steps: int


@dataclass(frozen=True, slots=True)
class RoutingContext:
    """What is true right now, handed in so that a decision can be replayed.

    Attributes:
        unavailable: Model or provider id -> why it cannot be used now (no key, breaker open, switched off, offline).
        tried: Models this step already asked, never asked again.
        needs_price: A budget has to be kept, so a model whose price is unknown cannot be used.
        budget_left: Share of the budget that is left, 0..1, or None where there is no budget.
        funds: What a step of lower risk may not use up, None where nothing is set aside.
        down: Models and providers that cannot be used now, for the rules that ask.
        experience: Model -> how it has done at this task.
        carried: The models that answered last in this conversation, one a tier at most.
        proven: The model that such evidence put first when this was first decided, for a replay, which has none.
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
