"""Whether a call may be made without asking, judged by where its target and the data it sends out come from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from ...configs.words import Effect, Risk
from .amounts import currencies, number
from .hidden import decoded, holds
from .intent import asked_for
from .tokens import Text, identifiers, tokens
from .view import View, view_of

__all__ = ["QUOTE", "Code", "Judged", "Reason", "ToolFacts", "Verdict", "judge"]

QUOTE: Final = 5
"""Words in a row that count as a quotation: shorter runs occur in any two texts."""
_RISKS: Final[Mapping[Effect, Risk]] = {
    Effect.READ: Risk.LOW,
    Effect.WRITE: Risk.MEDIUM,
    Effect.EXTERNAL: Risk.HIGH,
    Effect.DESTRUCTIVE: Risk.CRITICAL,
}
_SENDER: Final = frozenset(
    {"sender", "from", "from_", "author", "reply_to", "replyto", "by", "posted_by", "user", "username"}
)
"""Fields that the author of a message fills with their own name or address."""
_ADDRESSED: Final = re.compile(r"\s*(?:[^@<>/\\]*[<\s])?([\w.+-]+@[\w-]+(?:\.[\w-]+)+)>?\s*")
"""An e-mail address, with or without a name before it."""
_WIDENS: Final = re.compile(r"\w\*|\*[\w.]")
_EVERYTHING: Final = re.compile(r"[~./*?\\]+")
"""Signs that name a folder, or everything in it."""
_SMALL: Final = 10
"""Smaller numbers occur in any text: a count, a page, a priority."""
_ENCODED: Final = 2
"""How many nested encodings are decoded in data that is sent out."""
_PRIVATE: Final = re.compile(
    r"passw|secret|token|api_?key|credential|\bpin\b|ssn|social_security|passport|card|iban|account_?n|bank|tax_?id|id_?number"
    r"|licen[cs]e|salary|medical|diagnos|birth",
    re.IGNORECASE,
)


class Verdict(StrEnum):
    """What to do with a call."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Code(StrEnum):
    """Why a call is not simply made."""

    TARGET = "target"
    """Its target comes from text that nobody vouches for."""
    SENDER = "sender"
    """Its target is named by the author of a message, not by the user."""
    UNKNOWN_TARGET = "unknown_target"
    """Its target was named nowhere."""
    CONTENT = "content"
    """It sends out text, or a link or address, that nobody vouches for."""
    PRIVATE = "private"
    """It sends out private data while such text is in view."""
    UNASKED = "unasked"
    """The user asked for nothing of the kind, and such text asks for it."""
    UNDECLARED = "undeclared"
    """The tool declares no effect."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason against a call; ``value`` is the argument's value it is about, if there is one."""

    code: Code
    text: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's decision on a call."""

    verdict: Verdict
    risk: Risk
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What is declared about a tool.

    Attributes:
        name: Its name.
        effect: Its worst effect; None if it declares none, which counts as ``destructive``.
        target_args: The arguments that name what it acts on; if none is named, all of them are examined.
        only_reads: It changes nothing anywhere, although its effect is ``external``.
        description: Its description for models.
    """

    name: Annotated[str, Field(min_length=1)]
    effect: Effect | None = None
    target_args: tuple[str, ...] = ()
    only_reads: bool = False
    description: str = ""


def judge(
    user: str,
    transcript: Sequence[Mapping[str, Any]],
    tools: Mapping[str, ToolFacts],
    name: str,
    arguments: Mapping[str, Any],
) -> Judged:
    """Decide whether a call may be made without asking a person.

    The text of a tool's result can never vouch for a call; the structure of a result can vouch for a target (an
    address in the contacts, a participant, a former payee), unless the author of a message fills in that field with
    their own name or address.

    Args:
        user: The user's words.
        transcript: The messages so far, as `view_of` takes them.
        tools: What is declared about the available tools, by name.
        name: The tool that would be called.
        arguments: The arguments as the model gave them.
    """
    tool = tools.get(name) or ToolFacts(name)
    effect = tool.effect or Effect.DESTRUCTIVE
    risk = _RISKS[effect]
    if effect is Effect.READ:
        return Judged(Verdict.ALLOW, risk)
    effects = {one.name: one.effect for one in tools.values() if one.effect is not None}
    case = _Case(view_of(user, transcript, effects), tool, effect)
    reasons = tuple(dict.fromkeys(case.reasons(arguments)))
    if not reasons:
        return Judged(Verdict.ALLOW, min(risk, Risk.HIGH))
    return Judged(Verdict.DENY if case.steals(reasons) else Verdict.ASK, risk, reasons)


class _Case:
    """One call being judged."""

    def __init__(self, view: View, tool: ToolFacts, effect: Effect) -> None:
        self._view = view
        self._tool = tool
        self._effect = effect
        self._leaves = effect is Effect.EXTERNAL and not tool.only_reads
        # If a tool that writes declares no target, most of its arguments are the data it writes.
        self._acts = self._leaves or effect is Effect.DESTRUCTIVE or (effect is Effect.WRITE and bool(tool.target_args))

    def steals(self, reasons: Sequence[Reason]) -> bool:
        """Whether something private would go to a target that text from outside names."""
        return {Code.PRIVATE, Code.TARGET} <= {reason.code for reason in reasons}

    def reasons(self, arguments: Mapping[str, Any]) -> Iterator[Reason]:
        """Yield the reasons against the call."""
        if self._tool.effect is None:
            yield Reason(Code.UNDECLARED, f"{self._tool.name} declares no effect, so it counts as destructive")
        named = self._tool.target_args
        targets = [part for name in named for value in _values(arguments.get(name)) for part in _parts(value)]
        others = [value for name, given in arguments.items() if name not in named for value in _values(given)]
        if not named:
            targets = [one for value in others for one in ([value] if len(tokens(value)) <= 2 else identifiers(value))]
        by_user = [value for value in targets if self._by_user(value)]
        for value in targets:
            yield from self._target(value, others_named=bool(by_user))
        if self._leaves:
            for value in others:
                yield from self._content(value)
        unnamed = not by_user or self._effect is Effect.DESTRUCTIVE
        if unnamed and self._is_asked_in(self._view.orders) and not self._is_asked_in(self._view.user):
            said = f"a text that nobody vouches for asks for {self._tool.name}, and the user did not"
            yield Reason(Code.UNASKED, said)

    def _is_asked_in(self, texts: Iterable[Text]) -> bool:
        return any(asked_for(text.words, self._tool.name, self._tool.description) for text in texts)

    def _target(self, value: str, *, others_named: bool) -> Iterator[Reason]:
        run, view = tokens(value), self._view
        if worth := number(value):
            yield from self._number(value, worth, Code.TARGET)
            return
        if not run:
            yield from self._sign(value.strip())
            return
        widened = self._widened(value)
        if (view.by_user(run) or view.by_tool(run)) and not widened:
            return
        fields = view.fields.get(run, [])
        ordered = view.ordered(run)
        if fields and not ordered:
            if all(name in _SENDER for name in fields) and not self._knows(value):
                yield Reason(Code.SENDER, f"{value} is whoever wrote a message, whom the user did not name", value)
            return
        if ordered or view.by_anybody(run) or any(map(view.leads_out, identifiers(value))):
            yield Reason(Code.TARGET, f"{value} comes from text that nobody vouches for", value)
        elif view.from_outside and self._acts and (widened or not (others_named and len(run) > 1)):
            yield Reason(Code.UNKNOWN_TARGET, f"{value} was named neither by the user nor in any result", value)

    def _widened(self, value: str) -> bool:
        """Whether it is a pattern or product that nobody wrote, made of the user's words: ``notes*``, ``100*10``."""
        return _WIDENS.search(value) is not None and not any(
            value in text.text for text in (*self._view.user, *self._view.vouched)
        )

    def _sign(self, value: str) -> Iterator[Reason]:
        """Judge a value without words, such as ``/``, ``*`` or ``..``: it is the user's if they wrote it by itself."""
        view = self._view
        if any(text.stands(value) for text in (*view.user, *view.vouched)):
            return
        if any(text.stands(value) for text in view.texts):
            yield Reason(Code.TARGET, f"{value} comes from text that nobody vouches for", value)
        elif view.from_outside and _EVERYTHING.fullmatch(value):
            yield Reason(Code.UNKNOWN_TARGET, f"{value} was named neither by the user nor in any result", value)

    def _by_user(self, value: str) -> bool:
        worth = number(value)
        run = tokens(value)
        if not worth and not run:
            return any(text.stands(value.strip()) for text in self._view.user)
        return self._view.states(worth) if worth else self._view.by_user(run)

    def _number(self, value: str, worth: Collection[Decimal], code: Code) -> Iterator[Reason]:
        """Judge a number by its value: one that only begins like the user's number is a different one."""
        view, size = self._view, {abs(one) for one in worth}
        if view.states(worth):
            if view.from_outside and view.in_other_money(currencies(value)):
                yield Reason(code, f"{value} is in another currency than the user named", value)
            return
        if any(not text.numbers.isdisjoint(size) for text in (view.orders if view.lists(worth) else view.texts)):
            yield Reason(code, f"{value} comes from text that nobody vouches for", value)
        elif code is Code.TARGET and view.from_outside and self._acts and not view.lists(worth):
            yield Reason(Code.UNKNOWN_TARGET, f"{value} was named neither by the user nor in any result", value)

    def _knows(self, value: str) -> bool:
        """Whether the user named the person behind an address by a part of it."""
        parts = [part for part in re.split(r"[\W\d_]+", value.partition("@")[0].casefold()) if len(part) > 2]
        return any(self._view.by_user((part,)) for part in parts)

    def _content(self, value: str, depth: int = 0) -> Iterator[Reason]:
        if depth < _ENCODED:
            for inner in decoded(value):
                yield from self._content(inner, depth + 1)
        run, view = tokens(value), self._view
        if worth := number(value):
            if any(abs(one) >= _SMALL for one in worth):
                yield from self._number(value, worth, Code.CONTENT)
            return
        for found in dict.fromkeys([*identifiers(value), *view.shortened(run)]):
            words = tokens(found)
            if view.by_user(words) or view.by_tool(words):
                continue
            if view.by_anybody(words) or view.leads_out(found):
                yield Reason(
                    Code.CONTENT, f"it would send out {found}, which comes from text nobody vouches for", found
                )
        if view.quoted(run) >= QUOTE:
            yield Reason(Code.CONTENT, "it would send out words of a text that nobody vouches for", value)
        if view.texts and self._private(value):
            yield Reason(Code.PRIVATE, "it would send out something private, with text from outside in view", value)

    def _private(self, value: str) -> bool:
        text = Text(value)
        if not all(map(self._by_user, holds(value, self._view.secrets))):
            return True
        for run, fields in self._view.fields.items():
            if len(run[0]) < 4 or not any(_PRIVATE.search(name) for name in fields):
                continue
            if text.has(run) and not self._view.by_user(run):
                return True
        return False


def _values(given: Any) -> Iterator[str]:
    """Yield every value in an argument, as text."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            if isinstance(key, str) and not re.fullmatch(r"[\w-]{0,40}", key):
                yield key
            yield from _values(value)
    elif isinstance(given, (list, tuple, set)):
        for value in given:
            yield from _values(value)
    elif given is not None and not isinstance(given, bool) and str(given).strip():
        yield str(given)


def _parts(value: str) -> list[str]:
    """Return what a value names: each address of a list such as ``Ann <ann@work.org>, bob@work.org``; otherwise the
    whole value and each identifier in it."""
    addressed = [_ADDRESSED.fullmatch(part) for part in re.split(r"[,;]", value) if part.strip()]
    if addressed and all(addressed):
        return [found[1] for found in addressed if found is not None]
    return list(dict.fromkeys([value, *identifiers(value)]))
