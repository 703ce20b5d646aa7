"""Risk rules and routing rules, compiled into predicates over the facts of a step, and applied to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

from ...configs.errors import ConfigError
from ...configs.features import NUMBERS, RISK_FEATURES, ROUTING_FEATURES
from ...configs.schema import Condition, RiskRule, RoutingRule
from ...configs.words import Risk, Tier
from ..decision import RuleHit
from ..features.features import Features
from ..request import RoutingContext

__all__ = [
    "CompiledRiskRule",
    "CompiledRule",
    "Facts",
    "Predicate",
    "Said",
    "applied",
    "compile_floors",
    "compile_risk_rule",
    "compile_when",
    "declared",
    "floor",
    "holds",
    "judge",
    "measured",
    "step_risk",
]

Facts = dict[str, Any]
"""Name of a feature, as used in rules -> its value; a collection if it can have several."""
Predicate = Callable[[Facts], bool]

_SEVERAL: Final = frozenset({"down", "effect", "tag", "modality", "risk"})
_TRUTHS: Final = frozenset({"only_reads", "reversible", "structured"})


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule of ``routing.yaml``, ready to run; its condition on complexity is kept apart from the others."""

    predicates: tuple[Predicate, ...]
    complexity: Predicate | None
    hit: RuleHit
    tier: Tier | None
    prefer: tuple[str, ...]
    avoid: tuple[str, ...]
    require: tuple[tuple[str, float], ...]

    @classmethod
    def compile(cls, rule: RoutingRule) -> Self:
        """Compile one rule.

        Raises:
            ConfigError: A condition uses an unknown feature or is of the wrong type for it.
        """
        predicates = dict(compile_when(rule.id, rule.when, ROUTING_FEATURES))
        complexity = predicates.pop("complexity", None)
        return cls(
            predicates=tuple(predicates.values()),
            complexity=complexity,
            hit=RuleHit(rule.id, rule.reason),
            tier=rule.tier,
            prefer=rule.prefer,
            avoid=rule.avoid,
            require=tuple(rule.require.items()),
        )


@dataclass(slots=True)
class Said:
    """What the routing rules said together."""

    tier: Tier | None = None
    # The tier could have been another had the complexity been judged otherwise.
    by_complexity: bool = False
    prefer: dict[str, int] = field(default_factory=dict)
    avoid: dict[str, str] = field(default_factory=dict)
    require: dict[str, float] = field(default_factory=dict)
    hits: list[RuleHit] = field(default_factory=list)


def declared(features: Features) -> Facts:
    """Return the facts that a risk rule may use: declared, or derived from which tools were called, never from text."""
    return {
        "kind": features.kind,
        "effect": features.effects,
        "only_reads": features.only_reads,
        "done": features.done,
        "reversible": features.reversible,
        "sensitivity": features.sensitivity,
        "recalled": features.recalled,
        "dependents": features.dependents,
        "task": features.task,
        "tag": features.tags,
        "user_class": features.user_class,
    }


def measured(features: Features, risk: Risk, complexity: float | None, now: RoutingContext) -> Facts:
    """Return the further facts that a routing rule may use.

    A fact that does not exist (a complexity that was not judged, a budget, a deadline) satisfies no condition.
    """
    return {
        # A rule for high risk also covers unknown risk, which is handled as high.
        "risk": (risk.value,) if risk is risk.handled_as else (risk.value, risk.handled_as.value),
        "tools": features.tools,
        "modality": features.modalities,
        "tokens": features.tokens,
        "complexity": complexity,
        "structured": features.structured,
        "latency": features.latency,
        "deadline": features.deadline,
        "down": now.down,
        "messages": features.messages,
        "language": features.language,
        "budget_left": now.budget_left,
    }


def holds(predicates: tuple[Predicate, ...], facts: Facts) -> bool:
    """Whether every predicate holds."""
    for predicate in predicates:  # noqa: SIM110 - all() over a generator takes twice as long, on the hot path
        if not predicate(facts):
            return False
    return True


def compile_when(rule: str, when: Mapping[str, Condition], known: Mapping[str, str]) -> Mapping[str, Predicate]:
    """Compile conditions into one predicate per feature.

    A condition on a feature with several values (effects, tags, modalities) holds if any of them matches.

    Args:
        rule: Id of the rule, for errors.
        when: Feature -> values or ``min``/``max``, both included.
        known: The features that rules of this kind may use.

    Raises:
        ConfigError: A feature is unknown here, or the condition is of the wrong type for it.
    """
    compiled: dict[str, Predicate] = {}
    for name, condition in when.items():
        if name not in known:
            why = "cannot be used here" if name in ROUTING_FEATURES else "is unknown"
            raise ConfigError(f"rule {rule}: feature '{name}' {why}; use {', '.join(sorted(known))}")
        if isinstance(condition, Mapping):
            compiled[name] = _between(rule, name, condition)
        else:
            compiled[name] = _among(rule, name, condition)
    return compiled


def _between(rule: str, name: str, bounds: Mapping[Any, float]) -> Predicate:
    if name not in NUMBERS:
        raise ConfigError(f"rule {rule}: feature '{name}' is no number, so it takes values and not min or max")
    low, high = bounds.get("min", float("-inf")), bounds.get("max", float("inf"))

    def between(facts: Facts) -> bool:
        value = facts[name]
        return value is not None and low <= value <= high

    return between


def _among(rule: str, name: str, values: tuple[Any, ...]) -> Predicate:
    if name in NUMBERS:
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise ConfigError(f"rule {rule}: feature '{name}' is a number; give numbers or min and max")
    elif name in _TRUTHS:
        if not all(isinstance(value, bool) for value in values):
            raise ConfigError(f"rule {rule}: feature '{name}' is true or false")
    else:
        # YAML reads a label such as 2026 as a number; labels are text.
        values = tuple(str(value) for value in values)
    allowed = frozenset(values)
    if name in _SEVERAL:
        return lambda facts: not allowed.isdisjoint(facts[name])
    return lambda facts: facts[name] in allowed


@dataclass(frozen=True, slots=True)
class CompiledRiskRule:
    """A rule of ``risk.yaml``, ready to run."""

    predicates: tuple[Predicate, ...]
    risk: Risk
    rank: int
    hit: RuleHit


class RiskPolicy(Protocol):
    """What is needed to judge the risk of a step."""

    @property
    def risk_rules(self) -> tuple[CompiledRiskRule, ...]:
        """All rules; of those that apply, the one with the highest risk wins."""

    @property
    def floors(self) -> Mapping[Risk, Tier]:
        """Risk -> the tier below which a step of that risk may not run."""


def compile_risk_rule(rule: RiskRule) -> CompiledRiskRule:
    """Compile one rule.

    Raises:
        ConfigError: A condition uses anything but declared facts.
    """
    predicates = tuple(compile_when(rule.id, rule.when, RISK_FEATURES).values())
    return CompiledRiskRule(predicates, rule.risk, rule.risk.rank, RuleHit(rule.id, rule.reason))


def compile_floors(floors: Mapping[Risk, Tier]) -> Mapping[Risk, Tier]:
    """Give every risk a floor: the highest named for it or a lower risk, so that floors never fall as risk grows."""
    whole: dict[Risk, Tier] = {}
    for risk in Risk:
        named = [tier for other, tier in floors.items() if other <= risk.handled_as]
        whole[risk] = max(named, default=Tier.ONDEVICE)
    return whole


def step_risk(features: Features, policy: RiskPolicy) -> tuple[Risk, tuple[RuleHit, ...]]:
    """Judge the risk of a step: what it can break.

    Of all rules that apply, the highest risk wins; it is `Risk.LOW` if none applies. The caller's own opinion can only
    raise it. The rules see only declared facts and which tools were called, so no wording of a message changes the
    outcome.

    Args:
        features: Features of the step.
        policy: The rules.

    Returns:
        The risk, and the rules that applied.
    """
    return judge(declared(features), features.risk, policy)


def judge(facts: Facts, opinion: Risk | None, policy: RiskPolicy) -> tuple[Risk, tuple[RuleHit, ...]]:
    """Do what `step_risk` does, on facts already gathered."""
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
    """Return the tier below which a step of this risk may not run; an unknown risk counts as high."""
    return policy.floors[risk]


def applied(rules: Sequence[CompiledRule], facts: Facts) -> Said:
    """Return what the routing rules together say about a step; the first that names a tier decides it."""
    said = Said()
    for rule in rules:
        if not holds(rule.predicates, facts):
            continue
        names_tier = rule.tier is not None and said.tier is None
        if rule.complexity is not None:
            if facts["complexity"] is None:
                continue
            said.by_complexity = said.by_complexity or names_tier
            if not rule.complexity(facts):
                continue
        if names_tier:
            said.tier = rule.tier
        for name in rule.prefer:
            said.prefer.setdefault(name, len(said.prefer))
        for name in rule.avoid:
            said.avoid.setdefault(name, rule.hit.id)
        for score, least in rule.require:
            said.require[score] = max(least, said.require.get(score, 0.0))
        # A rule that says nothing but a tier, after another rule named one, did not apply.
        if names_tier or rule.prefer or rule.avoid or rule.require:
            said.hits.append(rule.hit)
    return said
