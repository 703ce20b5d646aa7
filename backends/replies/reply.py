"""`Reply`: the metadata of a complete reply."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.catalog import Usage
from ...configs.words import FailureKind

__all__ = ["Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The metadata of a reply.

    Attributes:
        model: The name of the model that answered, as the provider gave it; None if it gave none.
        failure: None for a usable answer.
        usage: None if not reported or not plausible; the call is then charged the amount reserved for it.
        doubt: Why there is no usage, for the ledger; empty if there is one.
    """

    model: str | None
    finish: str | None
    failure: FailureKind | None
    usage: Usage | None
    doubt: str = ""
