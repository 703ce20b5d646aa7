"""The diff that a run leaves, and which of the files in it are tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ...configs.errors import PointsmanError
from ...dispatch.request import one_line
from .edits import any_edits

if TYPE_CHECKING:
    from ..runtime import Runtime

__all__ = ["Changes", "changes_of", "is_test"]

_FOLDER: Final = re.compile(
    r"(.*[._-])?(tests?|testing|specs?|e2e)|__(tests|snapshots)__|testdata|fixtures", re.IGNORECASE
)
_NAME: Final = re.compile(
    r"(tests?|spec|conftest)\.[^.]+|(test|spec)[_-].*|.*[._-](tests?|spec|cy)\.[^.]+|.*(Tests?|Spec)\.[^.]+"
    r"|.*\.(bats|feature|snap|t)"
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run changed in files.

    Attributes:
        diff: All of it as one unified diff.
        tests: The files in it that are tests.
        notes: What a reader should know.
    """

    diff: str = ""
    tests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_test(path: str) -> bool:
    """Return whether a file is a test, by its name or that of an enclosing folder.

    Args:
        path: Relative to the workspace.
    """
    *folders, name = path.split("/")
    return any(map(_FOLDER.fullmatch, folders)) or _NAME.fullmatch(name) is not None


def changes_of(runtime: Runtime, run: str) -> Changes:
    """Return what a run and its nested runs have changed in files so far; this waits for files and the ledger.

    Args:
        runtime: What it runs on.
        run: Its id.
    """
    if not any_edits(runtime):
        return Changes()
    from .undo import changed

    try:
        found = changed(runtime, run)
    except PointsmanError as error:
        return Changes(notes=(f"what the run changed in files cannot be told: {one_line(error)}",))
    tests = tuple(one.path for one in found if is_test(one.path))
    notes = (f"tests were changed: {', '.join(tests)}",) if tests else ()
    return Changes("".join(one.diff for one in found), tests, notes)
