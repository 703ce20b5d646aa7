"""The port of command risk: what the text of a shell command would do."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.words import Effect, Risk

__all__ = ["CommandRisk", "Reason", "SimpleCommand"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that matches a part of the text.

    Attributes:
        code: The rule's id, a key of `RULES`.
        text: The rule in one line, with the detail it matched.
        span: Start (inclusive) and end (exclusive) of the part, as character offsets in the text. A command read from
            a string, as in ``sh -c``, has the span of the command that contains the string.
    """

    code: str
    text: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """One command of the text with its arguments, including one that is an argument of another command.

    Attributes:
        name: The program, as far as it could be read; empty if it could not.
        span: As in `Reason`.
        risk: The risk of this command alone.
        effect: The worst effect it has.
    """

    name: str
    span: tuple[int, int]
    risk: Risk
    effect: Effect


@dataclass(frozen=True, slots=True)
class CommandRisk:
    """What a command's text would do; the worst part decides.

    Attributes:
        risk: ``unknown`` if a part cannot be read and no other part is worse.
        effects: Every effect of its parts; empty if it does nothing at all.
        reasons: The rules that match, worst first.
        commands: Its simple commands, in the order in which they were read.
    """

    risk: Risk
    effects: frozenset[Effect]
    reasons: tuple[Reason, ...]
    commands: tuple[SimpleCommand, ...]

    @property
    def asks(self) -> bool:
        """Whether a person must be asked: the risk is ``high`` or worse, or ``unknown``."""
        return self.risk.handled_as >= Risk.HIGH

    @property
    def told(self) -> tuple[str, ...]:
        """Each reason in one line, worst first."""
        return tuple(reason.text for reason in self.reasons)

    @property
    def effect(self) -> Effect:
        """The worst effect; ``destructive`` if a person must be asked."""
        return Effect.DESTRUCTIVE if self.asks else max(self.effects, default=Effect.READ)
