"""What a routing decision says, frozen, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..configs.words import Risk, Tier

__all__ = ["Decision", "Rejection", "RuleHit"]


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that applied, and its one-line reason."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A model that may not run this step, and why."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Which models may run a step, best first.

    Attributes:
        request: Id of the request.
        risk: Risk of the step.
        floor: Tier the risk demands.
        tier: Tier chosen, never below the floor.
        candidates: Model ids in the order to try; tiers never fall along it. Empty when none qualifies.
        rejected: Every other model of the catalogue with its reason.
        rules: Rules that applied, risk rules first.
        complexity: 0 (trivial) .. 1 (hard).
        confidence: How sure the choice of tier is, 0..1.
        features: The features it was made from, so that it can be replayed without the messages.
        policy_hash: Of policy, risk rules and catalogue together.
        price_version: Of the price table the order was made with.
    """

    request: str
    risk: Risk
    floor: Tier
    tier: Tier
    candidates: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    rules: tuple[RuleHit, ...]
    complexity: float
    confidence: float
    features: Any
    policy_hash: str
    price_version: str

    @property
    def model(self) -> str | None:
        """The first candidate, or None when none qualifies."""
        return self.candidates[0] if self.candidates else None
