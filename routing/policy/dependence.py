"""Whether a decision hangs on complexity at all, asked before somebody is paid to judge it."""

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
    """Say whether `decide` could decide otherwise were the complexity judged otherwise.

    Not where nobody would judge it, where the risk alone demands the highest tier, nor where no rule that applies asks
    about complexity, or each that does only names a tier that an earlier one has named already.

    Args:
        features: Of the step.
        policy: The rules.
        circumstances: What the rules may ask about besides; unlike `decide`'s they are those before the judgement.
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
