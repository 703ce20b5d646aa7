"""What a shell knows while its text is read: variables, files written earlier, aliases, functions, the folder."""

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
"""Variables that every shell has, with the values that matter here."""


_TAKEN_IN = re.compile(
    r"\.(?:sh|bash|py|pyx|pth|js|mjs|cjs|jsx|tsx?|rb|pl|pm|php|lua|go|rs|c|cc|cpp|h|hpp|java|kt|kts|scala|gradle|mk|cmake|so)$"
    r"|(?:^|/)(?:makefile|gnumakefile|dockerfile|package(?:-lock)?\.json|pyproject\.toml|setup\.cfg|tox\.ini|cargo\.toml|build\.rs"
    r"|go\.mod|gemfile|rakefile|pom\.xml|composer\.json|(?:docker-)?compose\.ya?ml|requirements[^/]*\.txt|\.npmrc)$",
    re.IGNORECASE,
)
"""Files that programs of a workspace load by themselves: sources and build files."""


@dataclass(slots=True)
class Scope:
    """What is known at one point of a text.

    Attributes:
        variables: Name -> value; a missing one is set elsewhere, or not at all.
        files: Tidy path -> what the same text wrote there earlier.
        references: Name -> the variable it refers to (``declare -n``); empty until one is assigned.
        ahead: Folders of the workspace that precede the system's in PATH, tidy.
        outside: The files among ``files`` whose contents came from another machine.
        aliases: Name -> the text it expands to.
        functions: Name -> the node of its body.
        parameters: ``$1`` and so on; None if they are not known.
        links: Tidy path of a symbolic link made here -> its target, tidy.
        encoded: What was printed in base64 or hexadecimal.
        decoded: What such texts were decoded to.
        brought: Whether the text has put code from outside into the workspace: cloned, unpacked, or downloaded under
            an unknown name or one that other programs load.
        redirected: Whether the text has changed where version control pushes to or fetches from.
        later: Texts that are run when the shell exits.
        folder: Where commands run, tidy; empty for the workspace.
        home: The user's home folder, to recognize it in absolute paths.
        branch: How many conditions and loops enclose this point; an assignment there may or may not hold afterwards.
        stack: The functions that are running.
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
        """Return the initial scope of a whole text."""
        return cls(variables={**_SET, **variables}, home=home.rstrip("/"))

    def path(self, text: str) -> str:
        """Return the tidy form of a path written in a command."""
        if self.home and (text == self.home or text.startswith(self.home + "/")):
            text = "~" + text[len(self.home) :]
        path = tidy(text, self.folder)
        for link, target in self.links.items():
            if path == link or path.startswith(link + "/"):
                return tidy(target + path[len(link) :])
        return path

    def meant(self, name: str) -> str:
        """Return the variable that a name stands for: the target of a reference, else the name itself."""
        for _ in self.references:  # no chain is longer, and a cycle ends
            name = self.references.get(name) or name
        return name

    def value(self, name: str) -> str | None:
        """Return the value of a variable; None if nothing in the text sets it."""
        if name.isdecimal():
            number = int(name[:5])
            if self.parameters is None or number == 0:
                return UNKNOWN
            return self.parameters[number - 1] if number <= len(self.parameters) else ""
        held = self.variables.get(self.meant(name))
        return (held[0] if held else "") if isinstance(held, list) else held

    def elements(self, name: str) -> list[str] | None:
        """Return the elements of an array, or the parameters for ``@`` and ``*``; None if the array is not set."""
        if name in ("@", "*"):
            return [UNKNOWN] if self.parameters is None else list(self.parameters)
        held = self.variables.get(self.meant(name))
        return None if held is None else [held] if isinstance(held, str) else held

    def forget(self, name: str) -> None:
        """Clear a variable's value, or a reference's target, before it is set again."""
        if name in self.references:
            self.references[name] = ""
        else:
            self.variables.pop(name, None)

    def assign(self, name: str, value: Value, *, adds: bool = False) -> None:
        """Set a variable; in a branch it becomes unknown unless it already holds the same value."""
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
        """Whether a file at a path, below it, or matching it as a pattern was fetched from outside in this text."""
        if not self.outside:
            return False
        path = self.path(given)
        return any(file == path or file.startswith(path + "/") or fnmatchcase(file, path) for file in self.outside)
