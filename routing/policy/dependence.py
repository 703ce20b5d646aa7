"""Whether a decision depends on complexity at all, checked before paying a model to judge it."""

from __future__ import annotations

from typing import Final

from ...configs.words import Tier
from ..features.features import Features
from ..request import RoutingContext
from .policy import Policy
from .rules import declared, holds, judge, measured

__all__ = ["depends_on_complexity"]

_NO_CIRCUMSTANCES: Final = RoutingContext()


def depends_on_complexity(
    features: Features, policy: Policy, circumstances: RoutingContext = _NO_CIRCUMSTANCES
) -> bool:
    """Whether another complexity could change what `decide` decides.

    It could not if nothing would judge the complexity, if the risk alone demands the highest tier, if no rule that
    applies asks about complexity, or if each that does only names a tier after an earlier rule has named one.

    Args:
        features: Features of the step.
        policy: The rules.
        circumstances: What else the rules may ask about, as it is before the complexity is judged (`decide` gets what
            is true after).
    """
    if policy.scorer is None or policy.unjudged(features.task) or "complexity" not in policy.asks:
        return False
    facts = declared(features)
    risk, _ = judge(facts, features.risk, policy)
    if policy.floors[risk] is Tier.FRONTIER:
        return False
    facts.update(measured(features, risk, 0.0, circumstances))
    named = False
    for rule in policy.rules:
        if not holds(rule.predicates, facts):
            continue
        if rule.complexity is None:
            named = named or rule.tier is not None
        elif (rule.tier is not None and not named) or rule.prefer or rule.avoid or rule.require:
            return True
    return False
