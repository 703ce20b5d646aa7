"""One simple command while it is judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .places import Place, holds_secrets, place_of, runs_later
from .scope import Scope
from .values import HOLES, REMOTE, UNKNOWN, known, merged

__all__ = ["Call", "Handler", "Handlers", "Judge", "Options", "finds", "handlers", "options_of", "with_options"]


class Judge(Protocol):
    """Judges the commands that a command runs."""

    scope: Scope

    def run(self, words: list[str], stdin: str | None = None) -> str:
        """Judge a command given as its words; return what it prints, as far as that can be known."""

    def read(self, text: str, *, parameters: list[str] | None = None, stdin: str | None = None) -> str:
        """Judge a shell text; return what it prints, as far as that can be known."""


_PRIVATE = (Place.SYSTEM, Place.DEVICE)
"""Places whose contents not everyone may read; for the root and a user's home only reading all of it counts."""


@dataclass(slots=True)
class Call:
    """A command with its arguments, and what was found about it.

    Attributes:
        name: The program, without its folder.
        args: Its arguments, expanded; unknown parts are holes.
        stdin: What is piped into it; None if nothing is.
        judge: Judges the commands that it runs.
        found: The rules that match, each with a detail.
    """

    name: str
    args: list[str]
    stdin: str | None
    judge: Judge
    found: list[tuple[str, str]] = field(default_factory=list)

    @property
    def scope(self) -> Scope:
        """What the shell knows at this point."""
        return self.judge.scope

    def find(self, code: str, detail: str = "") -> None:
        """Record that a rule matches."""
        if code in _RUNS_WORKSPACE and self.scope.brought:
            code = "remote-code"
        self.found.append((code, detail))

    def run(self, words: list[str], stdin: str | None = None) -> str:
        """Judge a command that this one runs."""
        return self.judge.run(words, self.stdin if stdin is None else stdin)

    def shell(self, text: str, parameters: list[str] | None = None) -> str:
        """Judge a shell text that this one runs."""
        return self.judge.read(text, parameters=parameters, stdin=self.stdin)

    def runs_by(self, option: str, *texts: str) -> None:
        """Judge shell texts that it runs because of an option or a similar setting."""
        for text in texts:
            self.find("option-runs", option)
            self.shell(text)

    def starts(self, *texts: str) -> None:
        """Judge shell texts given as option values, such as a pager."""
        self.runs_by(self.name, *(text for text in texts if not _SHOWS.match(text)))

    def path(self, text: str) -> str:
        """Return a path argument in tidy form."""
        return self.scope.path(text)

    def reads(self, *paths: str) -> None:
        """Record the rules for reading the contents of these paths."""
        for given in paths:
            path = self.path(given)
            if holds_secrets(path):
                self.find("credentials", given)
            elif place_of(path) in _PRIVATE or path in ("/", "/*", "~", "~/*") or path.startswith("~root"):
                self.find("system-read", given)

    def writes(self, *paths: str) -> None:
        """Record the rules for writing to these paths."""
        for given in paths:
            path = self.path(given)
            place = place_of(path)
            if place is Place.NOTHING:
                continue
            if runs_later(path) or (holds_secrets(path) and place is not Place.WORKSPACE):
                self.find("protected-write", given)
            elif place is Place.DEVICE:
                self.find("wipes", given)
            elif place is Place.NETWORK:
                self.find("sends", given)
            elif place is Place.UNKNOWN and path[:1] != UNKNOWN:
                self.find("unknown-target", given)
            elif place in (Place.SYSTEM, Place.DOCUMENTS, Place.ROOT):
                self.find("system-write", given)
            elif place is Place.TEMPORARY and re.search(r"/\.\w", path):
                self.find("hides", given)
            else:
                self.find("writes", given)

    def unpacks(self, folder: str) -> None:
        """Record the rules for unpacking an archive or patch into a folder; at home it may add start-up files."""
        if place_of(self.path(folder)) is Place.HOME:
            self.find("protected-write", folder)
        else:
            self.writes(folder)

    def brings(self, args: Sequence[str]) -> None:
        """Record that what is unpacked or applied comes from outside, if an argument or the input does."""
        self.scope.brought |= any(map(self.scope.fetched, args)) or REMOTE in (self.stdin or "")

    def deletes(self, *paths: str, whole: bool = False) -> None:
        """Record the rules for deleting these paths, recursively if ``whole``."""
        for given in paths:
            path = self.path(given)
            place = place_of(path)
            if holds_secrets(path) and place is not Place.WORKSPACE:
                self.find("hides", given)
            elif place in (Place.ROOT, Place.HOME):
                self.find("wipes" if whole else "outside-delete", given)
            elif place in (Place.SYSTEM, Place.DOCUMENTS):
                top = path.rstrip("/*").count("/") <= 1
                self.find("wipes" if whole and top else "system-write", given)
            elif place is Place.DEVICE:
                self.find("wipes", given)
            elif place is Place.UNKNOWN:
                self.find("unknown-target", given)
            elif place is Place.OUTSIDE:
                self.find("outside-delete", given)
            elif place is Place.WHOLE or path.split("/")[0] == ".git":
                self.find("mass-delete", given)
            elif place is not Place.NOTHING:
                self.find("deletes", given)

    def obeys(self, *given: str) -> None:
        """Record the rules for running or installing what these files contain; each may follow ``OPTION=``."""
        for one in given:
            if self.scope.fetched(one.partition("=")[2] or one):
                self.find("remote-code", one)

    def passed_on(self) -> str:
        """Return what it prints if it transforms what is piped into it."""
        return merged(self.stdin) if self.stdin is not None and not known(self.stdin) else UNKNOWN


_SHOWS = re.compile(r"(?:cat|less|more|most|bat|delta|never|always|auto|none|false|)(?:\s+-[\w=]+)*$")
"""Pagers that only show their input, and words that mean a default pager or none."""

_RUNS_WORKSPACE = ("workspace-code", "installs-listed")
"""Rules for running code of the workspace, which may have come from outside earlier in the text."""

Handler = Callable[[Call], "str | None"]
"""Judges a call; returns what it prints if that matters, or None if that is plain data of this machine."""


Handlers = dict[str, Handler]
"""Program names, separated by blanks -> their handler."""


def handlers(*tables: Handlers) -> Handlers:
    """Merge tables into one with one name per row; if several tables have a name, the last one wins."""
    return {name: handler for rows in tables for names, handler in rows.items() for name in names.split()}


def finds(
    rule: str, *, where: str = "", otherwise: str = "", first: bool = False, shown: int = 0, prints: str | None = None
) -> Handler:
    """Return a handler that records one rule, either always or depending on an argument.

    Args:
        rule: The rule, with its detail after a colon; empty for none.
        where: Regular expression that the start of an argument must match for the rule to apply; empty for always.
        otherwise: The rule to record if no argument matches.
        first: Test only the first argument.
        shown: How many arguments to give as the detail if the rule has none.
        prints: What the program prints, as `Handler` returns it.
    """

    def noted(call: Call) -> str | None:
        args = call.args[:1] if first else call.args
        holds = not where or any(re.match(where, arg) for arg in args)
        code, _, detail = (rule if holds else otherwise).partition(": ")
        if code:
            call.find(code, detail or " ".join(call.args[:shown]))
        return prints

    return noted


@dataclass(slots=True)
class Options:
    """A command's options with their values ("" for none), and its operands, each in order."""

    given: list[tuple[str, str]]
    operands: list[str]
    end: int
    """Index of the first operand among the arguments."""

    def __contains__(self, names: str) -> bool:
        return any(True for _ in self.each(names))

    def each(self, names: str) -> Iterator[str]:
        """Yield the values of the options named, separated by blanks; a long name may be abbreviated."""
        wanted = names.split()
        for name, value in self.given:
            if name in wanted or (len(name) > 5 and name[:2] == "--" and any(w.startswith(name) for w in wanted)):
                yield value

    def value(self, names: str) -> str | None:
        """Return the last value of an option, or None if it is not given."""
        return next(iter(list(self.each(names))[::-1]), None)


def options_of(args: Iterable[str], takes: str = "", *, first: bool = False, single: bool = False) -> Options:
    """Separate options from operands.

    Args:
        args: The arguments.
        takes: The options that take a value, separated by blanks.
        first: Stop at the first operand, as wrappers do.
        single: Long options begin with a single dash.
    """
    words = list(args)
    values = takes.split()
    given: list[tuple[str, str]] = []
    operands: list[str] = []
    end = len(words)
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word == "--":
            end = min(end, place)
            operands += words[place:]
            break
        if word[:1] not in ("-",) or len(word) < 2:
            end = min(end, place - 1)
            operands.append(word)
            if first:
                operands += words[place:]
                break
            continue
        read = _long if word[:2] == "--" or single else _short
        place += read(word, words[place:], values, given)
    return Options(given, operands, end)


def with_options(judge: Callable[[Call, Options], str | None], takes: str = "", *, first: bool = False) -> Handler:
    """Return a handler that receives the command's options and operands, as `options_of` parses them."""
    return lambda call: judge(call, options_of(call.args, takes, first=first))


def _long(word: str, rest: list[str], values: list[str], given: list[tuple[str, str]]) -> int:
    name, equals, value = word.partition("=")
    takes = name in values or (len(name) > 5 and any(known.startswith(name) for known in values if known[:2] == "--"))
    if equals or not takes:
        given.append((name, value))
        return 0
    given.append((name, rest[0] if rest else ""))
    return 1


def _short(word: str, rest: list[str], values: list[str], given: list[tuple[str, str]]) -> int:
    letters = word[1:]
    for place, letter in enumerate(letters):
        name = "-" + letter
        if name in values:
            tail = letters[place + 1 :]
            given.append((name, tail or (rest[0] if rest else "")))
            return 0 if tail else 1
        given.append((name, "" if letter not in HOLES else letter))
    return 0
