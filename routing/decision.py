"""What a routing decision says, frozen, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ..configs.words import Risk, Tier

__all__ = ["Because", "Decision", "Rejection", "RejectionCode", "RuleHit"]


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that applied, and its one-line reason."""

    id: str
    reason: str


class RejectionCode(StrEnum):
    """Why a model may not run a step. The first group is lasting, the second is about one step, the third about now."""

    BELOW_FLOOR = "below_floor"
    """Its tier is below what the risk or evidence demands."""
    ABOVE_CEILING = "above_ceiling"
    """Its tier is above the highest that was allowed."""
    NOT_APPROVED = "not_approved"
    USER_CLASS = "user_class"
    """The user's class may not use its tier."""
    RULE = "rule"
    """A rule avoids it."""
    CANNOT = "cannot"
    """It does not meet what the step needs: a task, modality, tools, schema, length or score."""

    BELOW_CHOSEN = "below_chosen"
    """Its tier is below the one that was chosen."""
    FUNDS = "funds"
    """It would use up money that is reserved for riskier steps."""
    NO_PRICE = "no_price"
    """Its price is unknown, and there is a budget to keep to."""
    TRIED = "tried"
    BARRED = "barred"
    """This step must not use it, for example because it wrote what the step checks."""
    CONVERSATION = "conversation"
    """It cannot take the conversation as it stands."""

    NO_KEY = "no_key"
    KEY_REFUSED = "key_refused"
    SWITCHED_OFF = "switched_off"
    UNREACHABLE = "unreachable"
    """Nothing listens at its address, or it cannot be simulated offline."""


class Because(NamedTuple):
    """Why a model, or a whole provider, may not be used.

    Attributes:
        code: The kind of reason.
        reason: One line that says what would change it.
        needs: The environment variable that would make it usable; empty if none would.
    """

    code: RejectionCode
    reason: str
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A model that may not run this step, and why; the fields are those of `Because`."""

    model: str
    reason: str
    code: RejectionCode
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which models may run a step, best first.

    Attributes:
        request: Id of the request.
        risk: Risk of the step.
        floor: Tier the risk demands.
        tier: Tier chosen, never below the floor.
        candidates: Model ids in the order to try; tiers never go down along it. Empty if none qualifies.
        rejected: Every other model of the catalogue with its reason.
        rules: Rules that applied, risk rules first.
        complexity: 0 (trivial) .. 1 (hard).
        confidence: How sure the choice of tier is, 0..1.
        features: The features it was made from, so that it can be replayed without the messages.
        policy_hash: Hash of policy, risk rules, catalogue and scorer together.
        price_version: Version of the price table that the order is based on.
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
