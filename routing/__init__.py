"""Routing: pure functions from a step to the models that may run it, with reasons.

Names are imported at their first use. `decide` is not among them, since the module of that name would hide it:
``from pointsman.routing.decide import decide``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .decision import Decision as Decision
    from .decision import Rejection as Rejection
    from .decision import RuleHit as RuleHit
    from .evidence import Finding as Finding
    from .explain import decision_dict as decision_dict
    from .explain import replay as replay
    from .features.features import Features as Features
    from .features.features import extract as extract
    from .features.features import features_dict as features_dict
    from .features.features import from_dict as from_dict
    from .policy.policy import Policy as Policy
    from .policy.rules import floor as floor
    from .policy.rules import step_risk as step_risk
    from .request import RouteRequest as RouteRequest
    from .request import RoutingContext as RoutingContext
    from .scorers.complexity import Scorer as Scorer

_HOMES = {
    "RoutingContext": "request",
    "Decision": "decision",
    "Features": "features.features",
    "Finding": "evidence",
    "Policy": "policy.policy",
    "Rejection": "decision",
    "RouteRequest": "request",
    "RuleHit": "decision",
    "Scorer": "scorers.complexity",
    "decision_dict": "explain",
    "extract": "features.features",
    "features_dict": "features.features",
    "floor": "policy.rules",
    "from_dict": "features.features",
    "replay": "explain",
    "step_risk": "policy.rules",
}

__all__ = [
    "Decision",
    "Features",
    "Finding",
    "Policy",
    "Rejection",
    "RouteRequest",
    "RoutingContext",
    "RuleHit",
    "Scorer",
    "decision_dict",
    "extract",
    "features_dict",
    "floor",
    "from_dict",
    "replay",
    "step_risk",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
