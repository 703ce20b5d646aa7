"""Variables that decide which code other programs load, and what is recorded."""

from __future__ import annotations

import re
from typing import Any, Protocol

from .calls import Call, Judge
from .evaluation import subscripts
from .places import Place, place_of
from .programs.sources import is_elsewhere
from .programs.tables import LOADS
from .scope import Value
from .values import REMOTE, UNKNOWN, known

__all__ = ["Noting", "assign", "set_by", "set_in", "sets", "sums"]


class Noting(Judge, Protocol):
    """Reads a text and records the rules that match its parts."""

    def note(self, code: str, span: tuple[int, int], detail: str = "") -> None:
        """Record that a rule matches a part."""

    def here(self, node: Any = None) -> tuple[int, int]:
        """Return the span of a node in the whole text."""


_FAMILIES = ("DYLD_", "GIT_CONFIG", "BASH_FUNC_", "npm_config_", "NPM_CONFIG_")
_OPTIONS = {
    "LESS": r"\+\S*!",
    "GOFLAGS": r"-toolexec",
    "RUSTFLAGS": r"linker=\S*/",
    "NODE_OPTIONS": r"-r\b|--require|--import|--loader|--eval",
}
"""Variables that hold options, and a pattern of the options that run a program."""
_SUMS = re.compile(
    r"\b([A-Z]\w*)(?:\[[^]]{0,40}\])?\s*(?:[-+*/%&|^]|<<|>>)?=(?!=)|\b([A-Z]\w*)(?:\+\+|--)|(?:\+\+|--)([A-Z]\w*)"
)
"""A variable that an arithmetic expression sets."""


_BUILDS = ("builds", "compiles", "makes", "makefiles")
"""Kinds of variables that say what a build tool runs."""


def assign(call: Call, name: str, value: Value) -> None:
    """Set a variable for a command that sets one, such as ``read``, and record the rules that match."""
    subscripts(call.judge, name)
    for code in _given(name, value, call.judge):
        call.find(code, name)
    call.scope.assign(name.partition("[")[0], value)


def sets(
    shell: Noting, name: str, value: Value, *, node: Any = None, adds: bool = False, plainly: bool = False
) -> None:
    """Set a variable that the shell itself sets, and record the rules that match.

    Args:
        shell: Reads the text.
        name: The variable.
        value: Its new value.
        node: Where it is set.
        adds: Append to the variable's current value.
        plainly: An assignment sets it.
    """
    if isinstance(value, str):
        subscripts(shell, value)
    rules = set_by(name, value, shell) if plainly and isinstance(value, str) else _given(name, value, shell)
    for code in rules:
        outside = code == "workspace-code" and shell.scope.brought
        shell.note("remote-code" if outside else code, shell.here(node), shell.scope.meant(name))
    shell.scope.assign(name, value, adds=adds)


def sums(shell: Noting, sum_: str, node: Any) -> None:
    """Set the variables that an arithmetic expression sets, if they decide which code is loaded."""
    for name in set_in(sum_):
        sets(shell, name, UNKNOWN, node=node)


def set_in(sum_: str) -> list[str]:
    """Return the variables that an arithmetic expression sets, if `set_by` knows them."""
    return [name for found in _SUMS.findall(sum_) for name in found if name and _decides(name)]


def _decides(name: str) -> bool:
    return name == "PATH" or name in LOADS or name.startswith(_FAMILIES)


def _given(name: str, value: Value, judge: Judge) -> list[str]:
    """Return the rules that match when something other than an assignment sets a variable.

    Setting a variable that decides which code is loaded in such a way is meant to hide it.
    """
    name = judge.scope.meant(name.partition("[")[0])
    text = value if isinstance(value, str) else (value[0] if value else "")
    if known(text) or not _decides(name) or LOADS.get(name) in (*_BUILDS, "reaches"):
        return set_by(name, text, judge)
    return ["hides" if LOADS.get(name) == "hides" else "environment"]


def set_by(name: str, value: str, judge: Judge) -> list[str]:
    """Return the rules that match when a variable is set, such as one that says which code other programs load.

    Args:
        name: The variable.
        value: Its new value.
        judge: Judges the commands that the value names.
    """
    name = judge.scope.meant(name.partition("[")[0])
    if REMOTE in value and _decides(name):
        return ["environment"]
    if name == "PATH":
        return _path_set(value, judge)
    code = LOADS.get(name)
    if code is None:
        return ["environment"] if name.startswith(_FAMILIES) else []
    if code == "runs":
        if value and not value.isspace():
            judge.read(value, parameters=None)
        program = "".join(value.split()[:1])
        is_other = "/" in program and not re.match(r"/(?:usr/|usr/local/)?bin/", program)
        return ["environment"] if is_other else []
    if code in _BUILDS:
        _build_set(code, value, judge)
        return []
    if code == "reaches":
        return ["other-machine"] if is_elsewhere(value) else []
    if code == "prompt":
        return ["environment"] if "$(" in value or "`" in value else []
    if name in _OPTIONS:
        return ["environment"] if re.search(_OPTIONS[name], value) else []
    if name in ("PYTHONBREAKPOINT", "NODE_TLS_REJECT_UNAUTHORIZED") and value in ("", "0", "1"):
        return ["environment"] if (name, value) == ("NODE_TLS_REJECT_UNAUTHORIZED", "0") else []
    return [code] if value or name.startswith("HIST") else []


def _build_set(code: str, value: str, judge: Judge) -> None:
    """Judge what a build tool would run because of a variable, if its program is known."""
    words = value.split()
    if code == "makefiles":
        for file in words:
            judge.run(["make", "-f", file])
    elif code == "makes":
        _, evaluates, text = value.replace("\\ ", " ").partition("--eval")
        judge.run(["make", *(["--eval", text.lstrip("= ")] if evaluates else words)])
    elif code == "compiles":
        judge.run(["cc", *words])
    elif words and known(words[0]):
        judge.read(value, parameters=None)


def _path_set(value: str, judge: Judge) -> list[str]:
    """Return the rules for setting PATH: a folder others may write, before the system's, decides which programs run."""
    for part in value.split(":"):
        if part in ("", UNKNOWN) or not known(part):
            if part[:1] in (UNKNOWN, ""):
                break
            continue
        place = place_of(judge.scope.path(part))
        if place is Place.TEMPORARY or place is Place.WHOLE or part == ".":
            return ["environment"]
        if place is Place.SYSTEM or place is Place.DOCUMENTS:
            break
        if place is Place.WORKSPACE:
            judge.scope.ahead.append(judge.scope.path(part))
    return ["workspace-code"] if judge.scope.ahead else []
