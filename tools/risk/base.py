"""The port of command risk: what is said of a command's text."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.words import Effect, Risk

__all__ = ["CommandRisk", "Reason", "SimpleCommand"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that holds for a part of the text.

    Attributes:
        code: The rule's id, a key of `RULES`.
        text: The rule in one line, with what it holds for.
        span: First character and the one after the last, of the part in the text. What was read out of a string,
            such as the command in ``sh -c``, has the span of the command that carries it.
    """

    code: str
    text: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """One command of the text with its arguments, also where it stands in another's argument.

    Attributes:
        name: The program, as far as it could be read; empty where it could not.
        span: As in `Reason`.
        risk: Its own.
        effect: The worst it does.
    """

    name: str
    span: tuple[int, int]
    risk: Risk
    effect: Effect


@dataclass(frozen=True, slots=True)
class CommandRisk:
    """What a command's text would do; the worst part decides.

    Attributes:
        risk: ``unknown`` where a part cannot be read, and no other part is worse.
        effects: Everything its parts do; empty where it does nothing at all.
        reasons: Which rules hold, the worst first.
        commands: Its simple commands, in the order in which they were read.
    """

    risk: Risk
    effects: frozenset[Effect]
    reasons: tuple[Reason, ...]
    commands: tuple[SimpleCommand, ...]

    @property
    def asks(self) -> bool:
        """Whether a person is to be asked: its risk is ``high`` or worse, or ``unknown``."""
        return self.risk.handled_as >= Risk.HIGH

    @property
    def told(self) -> tuple[str, ...]:
        """Each reason in one line, the worst first."""
        return tuple(reason.text for reason in self.reasons)

    @property
    def effect(self) -> Effect:
        """The worst it does; ``destructive`` where a person is to be asked."""
        return Effect.DESTRUCTIVE if self.asks else max(self.effects, default=Effect.READ)
