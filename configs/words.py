"""The vocabulary shared by all packages, each word with one meaning.

They are ordered or closed sets, so that a comparison such as ``risk >= Risk.HIGH`` works as expected.
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
    """A string enum whose members compare by their order of definition."""

    rank: int
    """Position in the order, 0 for the lowest."""

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
    """An ordered capability class of models; ``models.yaml`` assigns each model to one."""

    ONDEVICE = "ondevice"
    ECONOMY = "economy"
    STANDARD = "standard"
    ADVANCED = "advanced"
    FRONTIER = "frontier"


class Effect(_Ordered):
    """How a tool affects the world; a tool without a declared effect (`pointsman.tool`, `pointsman.declare`) counts as
    ``destructive``."""

    READ = "read"
    WRITE = "write"
    EXTERNAL = "external"
    DESTRUCTIVE = "destructive"


class Risk(_Ordered):
    """How much harm a step or a call can do. ``UNKNOWN`` is handled as ``HIGH``."""

    LOW = "low"
    MEDIUM = "medium"
    UNKNOWN = "unknown"
    HIGH = "high"
    CRITICAL = "critical"

    handled_as: Risk
    """The risk whose rules apply: the risk itself, except ``HIGH`` for ``UNKNOWN``."""


for _risk in Risk:
    _risk.handled_as = Risk.HIGH if _risk is Risk.UNKNOWN else _risk


class Trust(_Ordered):
    """How far a value can be trusted; a model's output inherits the lowest trust among its inputs."""

    UNTRUSTED = "untrusted"
    TOOL = "tool"
    USER = "user"


class StepKind(StrEnum):
    """The purpose of a step: gathering and transforming use cheap models, deciding and acting stronger ones."""

    GATHER = "gather"
    TRANSFORM = "transform"
    DECIDE = "decide"
    ACT = "act"


class FailureKind(StrEnum):
    """Why a model call returned no usable answer.

    The first group comes from a provider's error; the second is detected in a reply; the third arises on our side: an
    error that no backend recognizes, a caller that cancelled the call, and a process that was killed during it.
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
