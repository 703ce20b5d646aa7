"""Routing: pure functions from a step to the models that may run it, with reasons.

Names are imported on first use. `decide` is not among them, because the module of that name would hide it:
``from pointsman.routing.decide import decide``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .decision import Decision, Rejection, RuleHit
    from .evidence import Finding
    from .explain import decision_dict, replay
    from .features.features import Features, extract, features_dict, from_dict
    from .policy.policy import Policy
    from .policy.rules import floor, step_risk
    from .request import RouteRequest, RoutingContext
    from .scorers.complexity import Scorer

_NAMES = {
    "decision": ("Decision", "Rejection", "RuleHit"),
    "evidence": ("Finding",),
    "explain": ("decision_dict", "replay"),
    "features.features": ("Features", "extract", "features_dict", "from_dict"),
    "policy.policy": ("Policy",),
    "policy.rules": ("floor", "step_risk"),
    "request": ("RouteRequest", "RoutingContext"),
    "scorers.complexity": ("Scorer",),
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

__getattr__, __dir__ = lazily(__name__, _NAMES)
