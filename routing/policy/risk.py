"""The risk of a step, by rules over declared facts, and the tier below which that risk may not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ...configs.features import RISK_FEATURES
from ...configs.schema import RiskRule
from ...configs.words import Risk, Tier
from ..decision import RuleHit
from ..features.features import Features
from .rules import Facts, Predicate, compile_when, declared, holds

__all__ = ["CompiledRiskRule", "compile_floors", "compile_risk_rule", "floor", "judge", "step_risk"]


@dataclass(frozen=True, slots=True)
class CompiledRiskRule:
    """A rule of ``risk.yaml``, ready to run."""

    predicates: tuple[Predicate, ...]
    risk: Risk
    rank: int
    hit: RuleHit


class RiskPolicy(Protocol):
    """What the risk of a step is judged by."""

    @property
    def risk_rules(self) -> tuple[CompiledRiskRule, ...]:
        """All rules; the highest that applies holds."""

    @property
    def floors(self) -> Mapping[Risk, Tier]:
        """The tier below which each risk may not run."""


def compile_risk_rule(rule: RiskRule) -> CompiledRiskRule:
    """Compile one rule.

    Raises:
        ConfigError: A condition uses anything but declared facts.
    """
    predicates = tuple(compile_when(rule.id, rule.when, RISK_FEATURES).values())
    return CompiledRiskRule(predicates, rule.risk, rule.risk.rank, RuleHit(rule.id, rule.reason))


def compile_floors(floors: Mapping[Risk, Tier]) -> Mapping[Risk, Tier]:
    """Give every risk a floor: the highest named for it or a lesser one, so that floors never fall as risk grows."""
    whole: dict[Risk, Tier] = {}
    for risk in Risk:
        named = [tier for other, tier in floors.items() if other <= risk.handled_as]
        whole[risk] = max(named, default=Tier.ONDEVICE)
    return whole


def step_risk(features: Features, policy: RiskPolicy) -> tuple[Risk, tuple[RuleHit, ...]]:
    """Say what a step can break.

    The highest of all rules that apply holds, `Risk.LOW` where none does; the caller's own opinion can only raise it.
    The rules see declared facts alone, so no wording of a message changes the outcome.

    Args:
        features: Of the step.
        policy: The rules.

    Returns:
        The risk, and the rules that applied.
    """
    return judge(declared(features), features.risk, policy)


def judge(facts: Facts, opinion: Risk | None, policy: RiskPolicy) -> tuple[Risk, tuple[RuleHit, ...]]:
    """`step_risk` over facts already gathered."""
    risk, rank = Risk.LOW, 0
    hits: list[RuleHit] = []
    for rule in policy.risk_rules:
        if holds(rule.predicates, facts):
            hits.append(rule.hit)
            if rule.rank > rank:
                risk, rank = rule.risk, rule.rank
    if opinion is not None and opinion.rank > rank:
        hits.append(RuleHit("caller.risk", f"the caller calls the risk {opinion.value}"))
        risk = opinion
    return risk, tuple(hits)


def floor(risk: Risk, policy: RiskPolicy) -> Tier:
    """The tier below which a step of this risk may not run; an unknown risk counts as a high one."""
    return policy.floors[risk]
