"""What each kind of failure tells: of the model's health, of its record at a task, and of money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from ..configs.words import FailureKind

__all__ = ["FAILURES", "Told", "Verdict"]

Verdict = Literal["ill", "down", "well", "neutral"]


class Told(NamedTuple):
    """What a failure tells.

    Attributes:
        health: ``ill`` counts against the provider. ``down``: no second call would fare better, so one is enough.
            ``well``: it answered, and what is wrong with the answer is the model's or the asker's doing. ``neutral``
            says nothing either way.
        cure: What somebody can do about it; empty where only the reasons tell.
        excused: It does not speak against the model for a task: the caller asked what no model could answer, or the
            account is at fault, where a breaker keeps the model out, and once that is mended it was never ill.
        passing: It tells of the provider at that hour, not of what the model makes of this very request.
        refused: The provider said no to a batch, so the batch is not there; whatever else went wrong, it may be.
        perhaps_billed: The provider may have worked, and billed, although no complete answer came.
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
"""Of every kind."""
