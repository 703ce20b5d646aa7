"""Variables that decide which code other programs load, and what is recorded."""

from __future__ import annotations

import re

from .calls import Judge
from .places import Place, place_of
from .programs.tables import LOADS
from .values import UNKNOWN, known

__all__ = ["set_by"]


def set_by(name: str, value: str, judge: Judge) -> list[str]:
    """The rules that hold because a variable is set, such as one that says which code others load.

    Args:
        name: The variable.
        value: What it is set to.
        judge: Judges commands that it names.
    """
    name = name.partition("[")[0]
    if name == "PATH":
        return _path_set(value, judge)
    code = LOADS.get(name)
    if code is None:
        return ["environment"] if name.startswith(("DYLD_", "GIT_CONFIG", "BASH_FUNC_", "npm_config_")) else []
    if code == "runs":
        if value and not value.isspace():
            judge.read(value, parameters=None)
        program = value.split()[:1]
        return (
            ["environment"]
            if program and "/" in program[0] and not re.match(r"/(?:usr/|usr/local/)?bin/", program[0])
            else []
        )
    if code == "prompt":
        return ["environment"] if "$(" in value or "`" in value else []
    if name == "NODE_OPTIONS":
        return ["environment"] if re.search(r"-r\b|--require|--import|--loader|--eval", value) else []
    return [code] if value or name.startswith("HIST") else []


def _path_set(value: str, judge: Judge) -> list[str]:
    """A folder put before the system's in the PATH, where others may write, decides which programs run."""
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
    return []
