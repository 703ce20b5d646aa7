"""Globs as models write them: for names or paths, with alternatives in braces, and with a leading ``./``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Final

from ..base import ToolFailed
from .workspace import shown

__all__ = ["matching"]

_BRACES: Final = re.compile(r"(?<!\[)\{([^{}]*,[^{}]*)\}")
"""Matches the innermost braces; as in a shell, braces without a comma are ordinary characters."""
_BEGINNING: Final = re.compile(r"^(\./+)+")
_NEVER: Final = r"(?!)"
_MOST: Final = 100
"""The most patterns that one glob may expand to."""


def matching(glob: str) -> Callable[[str], bool]:
    """Return a function that tests whether a path matches a glob.

    A glob without a slash is matched against names, one with a slash against paths; ``*`` also matches slashes.

    Args:
        glob: The glob; ``{a,b}`` matches either, and a leading ``./`` is ignored.

    Raises:
        ToolFailed: If its braces expand to too many patterns.
    """
    globs = _alternatives(glob)
    about_names = _compiled(one for one in globs if "/" not in one)
    about_paths = _compiled(_BEGINNING.sub("", one).replace("**/", "*") for one in globs if "/" in one)

    def matches(path: str) -> bool:
        return bool(about_names.match(path.rpartition("/")[2]) or about_paths.match(path))

    return matches


def _alternatives(glob: str) -> list[str]:
    done: dict[str, None] = {}
    waiting = [glob]
    while waiting:
        one = waiting.pop()
        if found := _BRACES.search(one):
            waiting += (one[: found.start()] + choice + one[found.end() :] for choice in found[1].split(","))
        else:
            done[one] = None
        if len(waiting) + len(done) > _MOST:
            raise ToolFailed(f"the glob {shown(glob)} stands for more than {_MOST} patterns: use fewer braces")
    return list(done)


def _compiled(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)) or _NEVER)
