"""What is kept about approvals in the state folder: what was asked and when, and which calls are always allowed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

from ...configs.errors import ConfigError
from ...configs.redact import redact
from ...dispatch.state.private import replace_private
from ...dispatch.state.sealing import user_seal

__all__ = ["Allowed", "Kept", "Question", "State"]

_LONG_SECONDS: Final = 90 * 86_400
"""A question untouched for this long is deleted; a person who answers it after that is asked again."""
_SHOWN: Final = 200
"""Characters of the arguments that the list of allowed calls shows."""

State = Literal["waiting", "again", "edited", "begun"]


@dataclass(frozen=True, slots=True)
class Question:
    """What a person was asked about a call, as digests, and what has happened since.

    Attributes:
        digest: Digest of the tool's name, `schema`, `arguments`, `files` and `before`.
        schema: Digest of what the tool says about itself.
        arguments: Digest of the arguments.
        files: File -> digest of its contents.
        before: What was known of an earlier attempt at the same act.
        asked: When, in seconds since the epoch.
        state: ``waiting`` for the answer; ``again`` or ``edited``, once an answer did not settle it and another
            question took its place; ``begun``, once it was allowed and the call itself waits for something.
        why: Why it was asked again.
    """

    digest: str
    schema: str
    arguments: str
    files: Mapping[str, str]
    before: str
    asked: float
    state: State = "waiting"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A call that a person allows always: this tool, as it describes itself now, with these arguments.

    Attributes:
        id: Names it in `Kept.revoke`; the digest of tool, schema and arguments.
        tool: The tool.
        arguments: The beginning of its arguments, without secrets.
        at: Since when, in seconds since the epoch.
    """

    id: str
    tool: str
    arguments: str
    at: float = field(default_factory=time.time)


class Kept:
    """The questions and the calls that are always allowed, each in a file of its own.

    A permission is encrypted under the user's key, so that nobody else can forge one.

    Args:
        state: The project's state folder.
    """

    def __init__(self, state: Path) -> None:
        self._asked = state / "approvals" / "asked"
        self._allowed = state / "approvals" / "always"

    def question(self, key: str) -> Question | None:
        """Return the question stored under a key; None if there is none or it cannot be read."""
        try:
            return Question(**json.loads((self._asked / f"{key}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def ask(self, key: str, question: Question) -> None:
        """Store what is being asked; if it cannot be stored, an approval of it does not hold.

        Raises:
            ConfigError: The state folder cannot be written.
        """
        _write(self._asked / f"{key}.json", json.dumps(asdict(question)).encode())
        self._forget_old()

    def forget(self, key: str) -> None:
        """Forget a question that has been settled."""
        with suppress(OSError):
            (self._asked / f"{key}.json").unlink()

    def allows(self, digest: str) -> bool:
        """Whether a call is always allowed.

        Raises:
            ConfigError: The user's key, or what was kept under it, cannot be read.
        """
        return self._read(digest) is not None

    def allow(self, call: Allowed) -> None:
        """Allow a call always.

        Raises:
            ConfigError: It cannot be stored.
        """
        shown = redact(call.arguments)
        cut = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(shown) - _SHOWN} characters more)"
        name, sealed = user_seal().encrypt(json.dumps({**asdict(call), "arguments": cut}).encode())
        _write(self._allowed / call.id, name.encode() + b"\n" + sealed)

    def allowed(self) -> tuple[Allowed, ...]:
        """The calls that are always allowed, the newest last.

        Raises:
            ConfigError: As `allows`.
        """
        try:
            names = [entry.name for entry in os.scandir(self._allowed) if not entry.name.endswith(".new")]
        except OSError:
            return ()
        return tuple(sorted((one for name in names if (one := self._read(name))), key=lambda one: one.at))

    def revoke(self, beginning: str) -> Allowed:
        """Ask about a call again from now on.

        Args:
            beginning: The beginning of its id.

        Raises:
            ConfigError: No call, or more than one, has an id that begins with it.
        """
        fitting = [one for one in self.allowed() if beginning and one.id.startswith(beginning)]
        if len(fitting) != 1:
            several = f"{len(fitting)} calls have an id that begins with {beginning!r}: write more of it"
            none = f"no call that is always allowed has the id {beginning!r}: pointsman approvals lists them"
            raise ConfigError(several if fitting else none)
        (self._allowed / fitting[0].id).unlink(missing_ok=True)
        return fitting[0]

    def _read(self, digest: str) -> Allowed | None:
        try:
            name, _, sealed = (self._allowed / digest).read_bytes().partition(b"\n")
        except OSError:
            return None
        found = Allowed(**json.loads(user_seal().decrypt(name.decode("ascii", "replace"), sealed)))
        # A file that was renamed to another call's id.
        return found if found.id == digest else None

    def _forget_old(self) -> None:
        before = time.time() - _LONG_SECONDS
        with suppress(OSError):
            for entry in os.scandir(self._asked):
                if entry.stat().st_mtime < before:
                    Path(entry.path).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically, accessible to its owner only."""
    try:
        replace_private(path, content)
    except OSError as error:
        raise ConfigError(
            f"what waits for a person cannot be saved ({error.strerror}): make room, or make the folder writable, and "
            "take the run up again",
            file=path,
        ) from error
