"""Compile the ``when`` of a rule into predicates over the facts of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ...configs.errors import ConfigError
from ...configs.features import NUMBERS, ROUTING_FEATURES
from ...configs.schema import Condition
from ...configs.words import Risk
from ..features.features import Features
from ..request import RoutingContext

__all__ = ["Facts", "Predicate", "compile_when", "declared", "holds", "measured"]

Facts = dict[str, Any]
"""Name of a feature, as rules call it, -> its value; a set where it can have several."""
Predicate = Callable[[Facts], bool]

_SEVERAL: Final = frozenset({"down", "effect", "tag", "modality", "risk"})
_TRUTHS: Final = frozenset({"only_reads", "reversible", "structured"})


def declared(features: Features) -> Facts:
    """The facts a rule about risk may use: all declared by the caller, none of them read from a message."""
    return {
        "kind": features.kind,
        "effect": features.effects,
        "only_reads": features.only_reads,
        "done": features.done,
        "reversible": features.reversible,
        "sensitivity": features.sensitivity,
        "dependents": features.dependents,
        "task": features.task,
        "tag": features.tags,
        "user_class": features.user_class,
    }


def measured(features: Features, risk: Risk, complexity: float | None, now: RoutingContext) -> Facts:
    """The further facts a routing rule may use; what does not exist (a complexity that nobody judged, a budget, a
    deadline) satisfies no condition."""
    return {
        # A rule for high risk means unknown risk as well, since that is how it is handled.
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
    """Compile conditions into one predicate a feature.

    A condition on a feature with several values (effects, tags, modalities) holds when any of them fits.

    Args:
        rule: Id of the rule, for errors.
        when: Feature -> values or ``min``/``max``, both included.
        known: The features that rules of this kind may use.

    Raises:
        ConfigError: A feature is unknown here, or the condition does not suit it.
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
