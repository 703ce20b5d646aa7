"""The words every room shares, each with one meaning.

They are ordered or closed sets, so that a comparison such as ``risk >= Risk.HIGH`` reads as it sounds.
"""

from __future__ import annotations

from enum import StrEnum
from functools import total_ordering
from typing import Literal

__all__ = [
    "Effect",
    "EffectName",
    "FailureKind",
    "Risk",
    "RiskName",
    "StepKind",
    "StepKindName",
    "Tier",
    "TierName",
    "Trust",
    "TrustName",
]

TierName = Literal["ondevice", "economy", "standard", "advanced", "frontier"]
EffectName = Literal["read", "write", "external", "destructive"]
RiskName = Literal["low", "medium", "unknown", "high", "critical"]
StepKindName = Literal["gather", "transform", "decide", "act"]
TrustName = Literal["untrusted", "tool", "user"]


@total_ordering
class _Ordered(StrEnum):
    """A string enum whose members compare by the order they are written in."""

    rank: int
    """Position in the order, 0 for the least."""

    def __init__(self, *_: object) -> None:
        self.rank = len(type(self).__members__)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self.rank < other.rank

    # StrEnum inherits str's comparisons, so total_ordering alone would not replace them.
    def __le__(self, other: object) -> bool:
        return self == other or self < other

    def __gt__(self, other: object) -> bool:
        return not self <= other

    def __ge__(self, other: object) -> bool:
        return not self < other


class Tier(_Ordered):
    """An ordered capability class of models; which model fills it is data in ``models.yaml``."""

    ONDEVICE = "ondevice"
    ECONOMY = "economy"
    STANDARD = "standard"
    ADVANCED = "advanced"
    FRONTIER = "frontier"


class Effect(_Ordered):
    """What a tool does to the world; a tool that declares none, by `pointsman.tool` or `pointsman.declare`, counts as
    ``destructive``."""

    READ = "read"
    WRITE = "write"
    EXTERNAL = "external"
    DESTRUCTIVE = "destructive"


class Risk(_Ordered):
    """What a step or a call can break. ``UNKNOWN`` is handled as ``HIGH``."""

    LOW = "low"
    MEDIUM = "medium"
    UNKNOWN = "unknown"
    HIGH = "high"
    CRITICAL = "critical"

    handled_as: Risk
    """The risk whose rules apply: itself, but ``HIGH`` for ``UNKNOWN``."""


for _risk in Risk:
    _risk.handled_as = Risk.HIGH if _risk is Risk.UNKNOWN else _risk


class Trust(_Ordered):
    """How far a value may be believed; what a model writes inherits the lowest trust in its view."""

    UNTRUSTED = "untrusted"
    TOOL = "tool"
    USER = "user"


class StepKind(StrEnum):
    """What a step is for: gathering and transforming go cheap, deciding and acting pay for what they can break."""

    GATHER = "gather"
    TRANSFORM = "transform"
    DECIDE = "decide"
    ACT = "act"


class FailureKind(StrEnum):
    """Why a model call did not give a usable answer.

    The first group is raised by a provider; the second is read off a reply that came back; the third comes from this
    side of the wire: an error that no backend knows, a caller who did not wait for the end, and a process that was
    killed before the end.
    """

    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    AUTH = "auth"
    UNAVAILABLE = "unavailable"
    QUOTA = "quota"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"
    MALFORMED = "malformed"

    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    INVALID_OUTPUT = "invalid_output"
    DECLINED = "declined"
    WRONG_MODEL = "wrong_model"

    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    LOST = "lost"
