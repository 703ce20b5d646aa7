"""What a running workflow tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..agents.result import RunResult, StepRecord
from ..ledger.rows import CallRow

__all__ = ["Called", "Emit", "Event", "Finished", "Retracted", "Stepped", "Token"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text as a model writes it."""

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class Retracted:
    """The tokens of this agent so far are withdrawn: their stream broke, and another model answers anew."""

    agent: str


@dataclass(frozen=True, slots=True)
class Called:
    """A model call ended, well or not."""

    row: CallRow


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step ended."""

    record: StepRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """The run ended; always the last event."""

    result: RunResult


Event = Token | Retracted | Called | Stepped | Finished
Emit = Callable[[Event], None]
