"""`View`: what a model had in view when it proposed a call, sorted by who wrote it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import yaml

from ...configs.words import Effect, Trust
from .amounts import currencies, number, stated
from .hidden import armed, secrets_in
from .intent import orders_in, without_prohibitions
from .tokens import Text, host_of, identifiers, tokens, without_names

__all__ = ["View", "view_of"]

_LONGEST: Final = 120
"""Characters of the longest value: a name, an address, a title. A longer one is a text."""
_MOST_WORDS: Final = 8
_FEWEST_WORDS: Final = 3
"""The fewest words that can say what somebody should do."""
_DEEPEST: Final = 12
_MOST_VALUES: Final = 50_000
"""Values of a result that are examined one by one: YAML aliases can turn a few lines into billions of values."""
_PROSE: Final = re.compile(
    r"(?:\w*_)?(?:body|subject|text|content|contents|message|description|notes?|comments?|summary|snippet|title|caption"
    r"|abstract|excerpt|remarks?|memo|details|reviews?|feedback|bio|about|html|markdown|instructions?|transcript|quote)"
)
"""Fields that hold free text, however short it is."""
_FILES: Final = re.compile(
    r"(?:read|open|load|cat|print)_?(?:\w*_)?(?:file|document|attachment|page|pdf|text)|shell|bash|terminal|command",
    re.IGNORECASE,
)
"""Tools that return the contents of a file: whoever wrote the file also chose its structure."""
_LARGEST: Final = 2_000_000
"""Characters of the longest result that is parsed for its structure."""


@dataclass
class View:
    """What was in view.

    Attributes:
        user: User, system and developer messages, without prohibitions, and results marked as the user's.
        named: Words of each file name with blanks that the user wrote in quotes; no part of it counts as named.
        vouched: Results that were marked as a tool's own, which hold no words from outside.
        texts: Prose from results that nobody vouches for.
        orders: Sentences of that prose that tell somebody to do something.
        fields: Words of each value that stands alone in the structure of such results -> the fields that contain it;
            for an item of a list, the list's field; empty if there is none.
    """

    user: list[Text] = field(default_factory=list)
    named: set[tuple[str, ...]] = field(default_factory=set)
    vouched: list[Text] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    orders: list[Text] = field(default_factory=list)
    fields: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @property
    def from_outside(self) -> bool:
        """Whether there was any result that nobody vouches for, even of one word."""
        return bool(self.texts or self.fields)

    def by_user(self, run: Sequence[str]) -> bool:
        """Whether the user said these words."""
        return tuple(run) in self.named or any(text.has(run) for text in self.user)

    def by_tool(self, run: Sequence[str]) -> bool:
        """Whether a vouched result contains these words."""
        return any(text.has(run) for text in self.vouched)

    def by_anybody(self, run: Sequence[str]) -> bool:
        """Whether prose that nobody vouches for contains these words."""
        return any(text.has(run) for text in self.texts)

    def ordered(self, run: Sequence[str]) -> bool:
        """Whether a sentence of such prose that tells somebody to do something contains these words."""
        return any(order.has(run) for order in self.orders)

    def quoted(self, run: Sequence[str]) -> int:
        """Return the length in words of the longest part of ``run`` that such a sentence contains in a row."""
        return max((order.longest(run) for order in self.orders), default=0)

    def states(self, worth: Collection[Decimal]) -> bool:
        """Whether the user, or a vouched result, states one of these numbers."""
        return any(not stated(text.text).isdisjoint(worth) for text in (*self.user, *self.vouched))

    def lists(self, worth: Collection[Decimal]) -> bool:
        """Whether one of these numbers stands alone in the structure of a result from the user's own data."""
        return any(len(run) == 1 and not number(run[0]).isdisjoint(worth) for run in self.fields)

    def in_other_money(self, money: Collection[str]) -> bool:
        """Whether the user, or a vouched result, names currencies, and none of these."""
        named = {one for text in (*self.user, *self.vouched) for one in currencies(text.text)}
        return bool(money and named) and named.isdisjoint(money)

    @cached_property
    def secrets(self) -> frozenset[str]:
        """Passwords, codes and keys that such prose states."""
        return frozenset(secret for text in self.texts for secret in secrets_in(text.text))

    def leads_out(self, identifier: str) -> bool:
        """Whether a link leads to a host that only such prose names, whatever is added to the link."""
        return self._only_there(host_of(identifier), [one for text in self.texts for one in text.hosts])

    def shortened(self, run: Sequence[str]) -> list[str]:
        """Return the words that name the host of a link in such prose without the link's scheme: ``evil.shop/x``."""
        linked = [one for text in self.texts for one in text.linked]
        return [word for word in run if self._only_there(host_of(word), linked)]

    def _only_there(self, host: str, hosts: Collection[str]) -> bool:
        if not host or any(host in text.hosts or text.has((host,)) for text in (*self.user, *self.vouched)):
            return False
        return any(host == one or host.endswith(f".{one}") for one in hosts)

    def prose(self, text: str) -> None:
        """Add prose that nobody vouches for."""
        if (used := armed(text)) != text:
            self.texts.append(Text(used))
        read, plain = Text(text), Text(text.replace("*", " "))
        # An asterisk may be part of a pattern or mark emphasis.
        for form in (read,) if plain.words == read.words else (read, plain):
            self.texts.append(form)
            self.orders += map(Text, orders_in(form.text))

    def said(self, text: str) -> None:
        """Add what the user said."""
        rest, names = without_names(without_prohibitions(text))
        self.user.append(Text(rest))
        self.named.update(map(tokens, names))


def view_of(user: str, transcript: Sequence[Mapping[str, Any]], effects: Mapping[str, Effect]) -> View:
    """Sort the contents of a conversation by who wrote them.

    An assistant's messages count for nobody: everything in them came from the others. The structure of a result
    counts if the tool reads on this side, from the user's own data; what comes from outside is prose in any form, and
    so are a file's contents, a field that holds free text, and a result that is a single value.

    Args:
        user: The user's words.
        transcript: Messages in OpenAI's form so far; a tool's result may be marked ``"trust": "user"`` or ``"tool"``.
        effects: Tool -> effect, for tools that declare one.
    """
    view = View()
    view.said(user)
    called: dict[str, str] = {}
    for message in transcript:
        role, text = message.get("role"), _text_of(message.get("content"))
        called.update(_called(message))
        if role in ("user", "system", "developer"):
            view.said(text)
        elif role in ("tool", "function"):
            trust = message.get("trust", Trust.UNTRUSTED.value)
            if trust == Trust.USER.value:
                view.user.append(Text(text))
            elif trust == Trust.TOOL.value:
                view.vouched.append(Text(text))
            else:
                name = message.get("name") or called.get(str(message.get("tool_call_id")), "")
                inside = effects.get(str(name), Effect.EXTERNAL) is not Effect.EXTERNAL
                _read(text, view, own=inside and not _FILES.search(str(name)))
    return view


def _called(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the id and the tool of each call that a message makes."""
    for call in message.get("tool_calls") or ():
        function = call.get("function")
        name = function.get("name") if isinstance(function, Mapping) else function or call.get("name")
        yield str(call.get("id")), str(name or "")


def _text_of(content: Any) -> str:
    """Return all words of a message's content, whatever its parts are called."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return "\n".join(_text_of(value) for key, value in content.items() if key != "type")
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return "\n".join(_text_of(part) for part in content)
    return "" if content is None else str(content)


def _read(text: str, view: View, *, own: bool) -> None:
    if not own:
        view.prose(text)
        return
    data = _structure(text)
    if isinstance(data, (Mapping, list)):
        found: list[tuple[str, str]] = []
        try:
            found.extend(_leaves(data, "", 0, iter(range(_MOST_VALUES))))
        except RecursionError:
            view.prose(text)
            return
        except _TooMany:
            view.prose(text)
        for one in found:
            _sort(one, view)
        return
    # Nothing tells who wrote a result that is a single value.
    view.prose(text)


def _structure(text: str) -> Any:
    """Parse a result as JSON, YAML or a Python literal; return the text itself if it is prose."""
    start = text.lstrip()[:1]
    if len(text) > _LARGEST or not start:
        return text
    if start in "{[":
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if start == "-" or ":" in text.split("\n", 1)[0]:
        try:
            data = yaml.load(text, _Words)  # noqa: S506 - derived from the safe loader
            # Prose may contain lines such as "amount: 500".
            flat = isinstance(data, Mapping) and not any(isinstance(value, Mapping | list) for value in data.values())
            return text if flat else data
        except (yaml.YAMLError, RecursionError, ValueError):
            return text
    return text


class _Words(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Loads YAML with every scalar as its original text: a call would repeat a date or ``on`` as written."""

    yaml_implicit_resolvers: Mapping[str, Any] = {}


class _TooMany(Exception):
    """There are more values than the limit."""


def _leaves(data: Any, name: str, depth: int, left: Iterator[int]) -> Iterator[tuple[str, str]]:
    """Yield each value of the data with its field; anything deeper than `_DEEPEST` is prose.

    Args:
        data: The data.
        name: The field that contains it.
        depth: Its depth.
        left: Yields once for each value that may still be examined, including empty lists.
    """
    if next(left, None) is None:
        raise _TooMany
    name = name if depth <= _DEEPEST else "text"
    if isinstance(data, Mapping):
        for key, value in data.items():
            if isinstance(key, str) and not _is_name(key):
                yield name, key
            yield from _leaves(value, str(key), depth + 1, left)
    elif isinstance(data, (list, tuple, set)):
        for value in data:
            yield from _leaves(value, name, depth + 1, left)
    elif data is not None:
        yield name, str(data)


def _is_name(key: str) -> bool:
    return key.isidentifier() and key == key.lower()


def _sort(found: tuple[str, str], view: View) -> None:
    name, text = found
    if not _is_value(text) or _PROSE.fullmatch(name.casefold()):
        view.prose(text)
        return
    words = tokens(text)
    if len(words) >= _FEWEST_WORDS or any(tokens(found) != words for found in identifiers(text)):
        # It may be the whole of a message.
        view.prose(text)
    if words:
        view.fields.setdefault(words, []).append(name.casefold())


def _is_value(text: str) -> bool:
    text = text.strip()
    return len(text) <= _LONGEST and "\n" not in text and len(text.split()) <= _MOST_WORDS
