"""What each kind of failure implies for the model's health, its record at a task, and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from ..configs.words import FailureKind

__all__ = ["FAILURES", "Told", "Verdict"]

Verdict = Literal["ill", "down", "well", "neutral"]


class Told(NamedTuple):
    """What a kind of failure implies.

    Attributes:
        health: ``ill`` counts against the provider. ``down``: a second call would fail too, so one failure is enough.
            ``well``: the provider answered, and the fault in the answer is the model's or the caller's. ``neutral``
            says nothing either way.
        cure: What the user can do about it; empty if only the reasons can tell.
        excused: It does not count against the model's record at a task: no model could have answered the request, or
            the account is at fault; then a breaker excludes the model, and once the account is fixed nothing remains.
        passing: It reflects the provider's state at that time, not how the model handles this request.
        refused: The provider rejected a batch, so the batch does not exist; after any other failure it may.
        perhaps_billed: The provider may have done the work and billed it, although no complete answer arrived.
    """

    health: Verdict
    cure: str = ""
    excused: bool = False
    passing: bool = False
    refused: bool = False
    perhaps_billed: bool = False


_LATER: Final = "try again in a while or allow more models"
_WORDS: Final = "put it in other words"
_LARGER: Final = "shorten the input or allow a model with a larger context"
_FORM: Final = "ask for a simpler form or allow stronger models"
_NAMES: Final = "name what answers under answers_as: of the model in models.yaml"
_MONEY: Final = "pay for more or raise the account's limit"
_KEY: Final = "check the provider's key"

FAILURES: Final[Mapping[FailureKind, Told]] = {
    FailureKind.RATE_LIMIT: Told("ill", _LATER, passing=True, refused=True),
    FailureKind.OVERLOADED: Told("ill", _LATER, passing=True),
    FailureKind.TIMEOUT: Told("ill", _LATER, passing=True, perhaps_billed=True),
    FailureKind.CONNECTION: Told("ill", _LATER, passing=True, perhaps_billed=True),
    FailureKind.AUTH: Told("down", _KEY, excused=True, passing=True, refused=True),
    FailureKind.UNAVAILABLE: Told("down", "allow other models", excused=True, passing=True, refused=True),
    FailureKind.QUOTA: Told("down", _MONEY, excused=True, passing=True, refused=True),
    FailureKind.CONTEXT_LENGTH: Told("neutral", _LARGER, excused=True, refused=True),
    FailureKind.CONTENT_FILTER: Told("neutral", _WORDS, refused=True),
    FailureKind.BAD_REQUEST: Told("neutral", "change what the reasons name", excused=True, refused=True),
    FailureKind.MALFORMED: Told("ill", _LATER, perhaps_billed=True),
    FailureKind.REFUSAL: Told("well", _WORDS),
    FailureKind.TRUNCATED: Told("well", "allow a longer answer"),
    FailureKind.EMPTY: Told("ill", _LATER),
    FailureKind.INVALID_OUTPUT: Told("well", _FORM),
    FailureKind.DECLINED: Told("well"),
    FailureKind.WRONG_MODEL: Told("ill", _NAMES),
    FailureKind.UNKNOWN: Told("neutral", excused=True, perhaps_billed=True),
    FailureKind.CANCELLED: Told("neutral", excused=True, perhaps_billed=True),
    FailureKind.LOST: Told("neutral", excused=True),
}
"""What every kind of failure implies."""
