"""Serialise a decision, and make it again from the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .decide import decide
from .decision import Decision
from .features.features import Features, features_dict, from_dict
from .policy.policy import Policy
from .request import RoutingContext

__all__ = ["decision_dict", "replay"]


def decision_dict(decision: Decision) -> dict[str, Any]:
    """Write a decision as plain JSON values, with the features it was made from."""
    features = decision.features
    return {
        "id": decision.request,
        "risk": decision.risk.value,
        "floor": decision.floor.value,
        "tier": decision.tier.value,
        "model": decision.model,
        "candidates": list(decision.candidates),
        "rejected": [asdict(rejection) for rejection in decision.rejected],
        "rules": [{"id": hit.id, "reason": hit.reason} for hit in decision.rules],
        "complexity": decision.complexity,
        "confidence": decision.confidence,
        "policy_hash": decision.policy_hash,
        "price_version": decision.price_version,
        "features": features_dict(features) if isinstance(features, Features) else features,
    }


def replay(
    recorded: Mapping[str, Any],
    policy: Policy,
    circumstances: RoutingContext = RoutingContext(),  # noqa: B008 - frozen
) -> Decision:
    """Make a recorded decision again, under the same policy or another.

    Args:
        recorded: The ``features`` of a `decision_dict`.
        policy: The policy to decide by.
        circumstances: What was true then.

    Raises:
        ConfigError: The record does not hold features.
    """
    return decide(from_dict(recorded), policy, circumstances)
