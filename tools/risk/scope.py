"""What a shell knows while its text is read: variables, files written before, aliases, functions, the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .places import tidy
from .values import REMOTE, UNKNOWN, known

__all__ = ["Scope", "Value"]

Value = str | list[str]
"""A variable's text, or the elements of an array."""

_SET = {"HOME": "~", "PWD": ".", "TMPDIR": "/tmp", "SHELL": "/bin/bash", "UID": "1000", "EUID": "1000", "PPID": "1"}  # noqa: S108
"""Variables every shell has, as far as what they hold matters here."""


_TAKEN_IN = re.compile(
    r"\.(?:sh|bash|py|pyx|pth|js|mjs|cjs|jsx|tsx?|rb|pl|pm|php|lua|go|rs|c|cc|cpp|h|hpp|java|kt|kts|scala|gradle|mk|cmake|so)$"
    r"|(?:^|/)(?:makefile|gnumakefile|dockerfile|package(?:-lock)?\.json|pyproject\.toml|setup\.cfg|tox\.ini|cargo\.toml|build\.rs"
    r"|go\.mod|gemfile|rakefile|pom\.xml|composer\.json|(?:docker-)?compose\.ya?ml|requirements[^/]*\.txt|\.npmrc)$",
    re.IGNORECASE,
)
"""Files that programs of a workspace load by themselves: sources, and what says how it is built."""


@dataclass(slots=True)
class Scope:
    """What is known at one place of a text.

    Attributes:
        variables: By name; what is missing is set elsewhere, or not at all.
        files: Tidy path -> what was written there before, in the same text.
        references: By name, the variable each stands for (``declare -n``); empty until it is given one.
        ahead: Folders of the workspace that stand in the PATH before the system's, tidy.
        outside: Those of the files that hold what came from another machine.
        aliases: By name, the text each stands for.
        functions: By name, the node of each one's body.
        parameters: ``$1`` and so on; None where they are not known.
        links: Tidy path -> where the symbolic link made there leads, tidy.
        encoded: What was printed in base64 or hexadecimal.
        decoded: What such texts became.
        brought: Whether code from outside lies in the workspace since: cloned, unpacked, or fetched under a name that
            is not known or that others load it by.
        redirected: Whether the text has changed where version control sends to, or fetches from.
        later: Texts that are run when the shell ends.
        folder: Where commands run, tidy; empty for the workspace.
        home: The user's home folder, for it to be told in absolute paths.
        branch: How many conditions and loops are around; what is assigned there may or may not hold afterwards.
        stack: The functions that are being run.
    """

    variables: dict[str, Value] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)
    outside: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Any] = field(default_factory=dict)
    parameters: list[str] | None = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    encoded: set[str] = field(default_factory=set)
    decoded: set[str] = field(default_factory=set)
    brought: bool = False
    redirected: bool = False
    later: list[str] = field(default_factory=list)
    folder: str = ""
    home: str = ""
    branch: int = 0
    stack: tuple[str, ...] = ()

    @classmethod
    def first(cls, variables: Mapping[str, str], home: str) -> Scope:
        """The scope of a whole text."""
        return cls(variables={**_SET, **variables}, home=home.rstrip("/"))

    def path(self, text: str) -> str:
        """A path as it stands in a command, tidy."""
        if self.home and (text == self.home or text.startswith(self.home + "/")):
            text = "~" + text[len(self.home) :]
        path = tidy(text, self.folder)
        for link, target in self.links.items():
            if path == link or path.startswith(link + "/"):
                return tidy(target + path[len(link) :])
        return path

    def meant(self, name: str) -> str:
        """The variable that a name stands for, which is another one for a reference."""
        for _ in self.references:  # no chain is longer, and a circle ends
            name = self.references.get(name) or name
        return name

    def value(self, name: str) -> str | None:
        """What a variable holds; None where nothing in the text sets it."""
        if name.isdecimal():
            number = int(name[:5])
            if self.parameters is None or number == 0:
                return UNKNOWN
            return self.parameters[number - 1] if number <= len(self.parameters) else ""
        held = self.variables.get(self.meant(name))
        return (held[0] if held else "") if isinstance(held, list) else held

    def elements(self, name: str) -> list[str] | None:
        """The elements of an array, or of the parameters for ``@`` and ``*``."""
        if name in ("@", "*"):
            return [UNKNOWN] if self.parameters is None else list(self.parameters)
        held = self.variables.get(self.meant(name))
        return None if held is None else [held] if isinstance(held, str) else held

    def forget(self, name: str) -> None:
        """Forget what a variable holds, or what a reference stands for, before it is set anew."""
        if name in self.references:
            self.references[name] = ""
        else:
            self.variables.pop(name, None)

    def assign(self, name: str, value: Value, *, adds: bool = False) -> None:
        """Set a variable; one that is set on some ways only is unknown, unless it holds the same on all."""
        if self.references.get(name) == "" and isinstance(value, str):
            self.references[name] = value
            return
        name = self.meant(name)
        held = self.variables.get(name)
        if adds:
            if isinstance(held, list) and isinstance(value, list):
                value = [*held, *value]
            elif isinstance(value, str):
                value = (self.value(name) or "") + value
        if self.branch and held is not None and held != value:
            value = UNKNOWN
        if isinstance(value, str) and len(value) > 100_000:
            value = UNKNOWN
        self.variables[name] = value

    def write(self, path: str, text: str, *, adds: bool = False) -> None:
        """Remember what is written to a file."""
        kept = (self.files.get(path, "") if adds else "") + text
        self.files[path] = kept if len(kept) <= 100_000 else UNKNOWN
        self.outside.discard(path)
        if REMOTE in kept:
            self.outside.add(path)
        if REMOTE in kept and not path.startswith(("/", "~")) and (_TAKEN_IN.search(path) or not known(path)):
            self.brought = True

    def fetched(self, given: str) -> bool:
        """Whether what lies at a path, in it or at what a pattern matches, was fetched from outside in this text."""
        if not self.outside:
            return False
        path = self.path(given)
        return any(file == path or file.startswith(path + "/") or fnmatchcase(file, path) for file in self.outside)
