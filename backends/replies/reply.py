"""`Reply`: what a complete reply says of its own making."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.catalog import Usage
from ...configs.words import FailureKind

__all__ = ["Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a message says of its own making.

    Attributes:
        model: The name the provider gave of the model that answered; None where it gave none.
        failure: None for a usable answer.
        usage: None where it is not told, or not believable: whoever pays then charges what was set aside.
        doubt: Why there is no usage, for the ledger; empty where there is one.
    """

    model: str | None
    finish: str | None
    failure: FailureKind | None
    usage: Usage | None
    doubt: str = ""
