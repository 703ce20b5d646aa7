"""Routing: pure functions from a step to the models that may run it, with reasons.

Names are imported at their first use. `decide` is not among them, since the module of that name would hide it:
``from pointsman.routing.decide import decide``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.lazy import lazily

if TYPE_CHECKING:
    from .complexity import Scorer as Scorer
    from .decision import Decision as Decision
    from .decision import Rejection as Rejection
    from .decision import RuleHit as RuleHit
    from .evidence import Finding as Finding
    from .explain import decision_dict as decision_dict
    from .explain import replay as replay
    from .features import Features as Features
    from .features import extract as extract
    from .features import features_dict as features_dict
    from .features import from_dict as from_dict
    from .policy import Policy as Policy
    from .request import Circumstances as Circumstances
    from .request import RouteRequest as RouteRequest
    from .risk import floor as floor
    from .risk import step_risk as step_risk

_HOMES = {
    "Circumstances": "request",
    "Decision": "decision",
    "Features": "features",
    "Finding": "evidence",
    "Policy": "policy",
    "Rejection": "decision",
    "RouteRequest": "request",
    "RuleHit": "decision",
    "Scorer": "complexity",
    "decision_dict": "explain",
    "extract": "features",
    "features_dict": "features",
    "floor": "risk",
    "from_dict": "features",
    "replay": "explain",
    "step_risk": "risk",
}

__all__ = [
    "Circumstances",
    "Decision",
    "Features",
    "Finding",
    "Policy",
    "Rejection",
    "RouteRequest",
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
