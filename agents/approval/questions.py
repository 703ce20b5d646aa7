"""What a person is asked about one call, and what has changed since."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from ...configs.errors import ConfigError
from ...configs.redact import redact
from ...configs.visible import unseen
from ...configs.words import Effect, Risk
from ...dispatch.context import current
from ...tools.base import Preview, declaration_of
from ...tools.facts import call_facts, json_schema
from ..journal.places import begun_before
from .acts import account_of
from .answers import OURS, answer_form
from .digests import hashed
from .kept import Allowed, Question

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langchain.agents.middleware.human_in_the_loop import DecisionType, HITLRequest
    from langchain_core.tools import BaseTool

__all__ = ["BEGUN_SINCE", "Asked", "stale"]

BEGUN_SINCE: Final = "it was begun since it was asked about"

_HASHED_BYTES: Final = 64 * 1024 * 1024
"""A larger file is identified by its size and modification time instead of its contents."""
_LEADS: Final = " by links to "
"""Separates a file's digest from where its symlinks lead, in what is recorded about the file."""
_DESCRIBED: Final = 8_000
"""Characters of a change that an inbox shows in the description."""
_NAMED: Final = 6
"""How many of the invisible characters in the arguments are named."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that waits for a person.

    Attributes:
        tool: Its tool.
        call: The call, with the arguments that are asked about.
        effect: What it does with exactly these arguments.
        risk: The risk of a call with that effect.
        origin: Where the call comes from: run, step, agent, and the model that wrote it.
        sources: Argument -> source of its value.
        doubts: Objections to it: what its tool says about these arguments, and where its target and what it sends out
            come from.
    """

    tool: BaseTool
    call: Any
    effect: Effect
    risk: Risk
    origin: Mapping[str, str]
    sources: Mapping[str, str]
    doubts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        request: ToolCallRequest,
        tool: BaseTool,
        effect: Effect,
        risk: Risk,
        sources: Mapping[str, str],
        doubts: tuple[str, ...] = (),
    ) -> Asked:
        """Return the call as the model made it."""
        step = current()
        written = {"run": step.run.id, "step": step.step, "agent": step.agent, "model": _author(request)}
        origin = {name: text for name, text in written.items() if text}
        return cls(tool, request.tool_call, effect, risk, origin, sources, doubts)

    def edited(self, arguments: Mapping[str, Any], risks: Mapping[Effect, Risk]) -> Asked:
        """Return the same call with a person's arguments.

        Raises:
            ConfigError: The tool does not take them.
        """
        schema = self.tool.tool_call_schema
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            try:
                schema.model_validate(dict(arguments))
            except ValidationError as error:
                said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
                raise ConfigError(f"{self.call['name']} does not take these arguments ({said})") from error
        facts = call_facts(self.tool, arguments)
        effect = facts.effect or Effect.DESTRUCTIVE
        call = {**self.call, "args": dict(arguments)}
        origin = {**self.origin, "edited": "by a person"}
        before = self.call["args"]
        sources = {
            name: self.sources.get(name, "") if name in before and before[name] == value else "a person"
            for name, value in arguments.items()
        }
        return Asked(self.tool, call, effect, risks[effect], origin, sources, facts.reasons)

    @property
    def allowable(self) -> bool:
        """Whether a person may allow it always."""
        return self.effect is not Effect.DESTRUCTIVE and not begun_before(self.tool)

    def always(self) -> Allowed:
        """Return the call as one that is always allowed: tool, what the tool says about itself, and arguments."""
        name, arguments = self.call["name"], self.call["args"]
        told = json.dumps(arguments, ensure_ascii=False, default=str)
        return Allowed(hashed("always", name, self._schema(), arguments), name, told)

    def question(self, preview: Preview | None) -> Question:
        """Return what an approval holds for; none of it may change before the call is made.

        Args:
            preview: What the call would change, as it is now.
        """
        name, arguments, said = self.call["name"], self.call["args"], begun_before(self.tool)
        files = _files(self.tool, arguments) if preview is None else preview.files
        parts = (self._schema(), hashed(arguments), dict(files), said)
        shown = {redact(file): digest for file, digest in files.items()}
        return Question(hashed("once", name, *parts), *parts[:2], shown, said, asked=time.time())

    def _schema(self) -> str:
        return hashed(self.tool.description, json_schema(self.tool))

    def request(self, problem: str, question: Question, preview: Preview | None, expires: float) -> HITLRequest:
        """Return the request in LangChain's form, with fields that the form does not have under `OURS`.

        Args:
            problem: Why the last answer did not settle it; empty at first.
            question: What an approval holds for.
            preview: What the call would change.
            expires: Seconds that an approval may take.
        """
        name = self.call["name"]
        allowed: list[DecisionType] = ["approve", "edit", "reject"]
        only_reads = self.effect is Effect.READ or ((said := declaration_of(self.tool)) is not None and said.only_reads)
        if only_reads or self.begun:
            allowed.append("respond")
        told = "; ".join((*self._reasons(), *([problem] if problem else ())))
        diff = preview.diff if preview is not None else ""
        form = answer_form(name, allowed) + ("; respond says that it was done, and its result" if self.begun else "")
        description = "\n".join(filter(None, (told, _middle(diff.rstrip("\n")), form)))
        ours = {
            "digest": question.digest,
            "reason": told,
            "effect": self.effect.value,
            "risk": self.risk.value,
            "preview": diff,
            "sandbox": _confinement(self.tool),
            "sources": dict(self.sources),
            "origin": dict(self.origin),
            "asked": question.asked,
            "expires": question.asked + expires,
            "always": self.allowable,
            "begun": bool(self.begun),
        }
        asked: Any = {
            "action_requests": [{"name": name, "args": self.call["args"], "description": description}],
            "review_configs": [
                {"action_name": name, "allowed_decisions": allowed, "args_schema": json_schema(self.tool)}
            ],
            OURS: ours,
        }
        made: HITLRequest = asked
        return made

    @property
    def begun(self) -> str:
        """What to say about an earlier attempt; empty if there was none."""
        said = begun_before(self.tool)
        return f"with the arguments from before the edit {said}" if said and "edited" in self.origin else said

    def _reasons(self) -> Sequence[str]:
        name = self.call["name"]
        declared = declaration_of(self.tool)
        judged = declared is not None and declared.risk_of is not None
        reason = f"{name} {'counts as' if judged else 'is'} {self.effect} with these arguments"
        if declared is None:
            reason = f"{name} declares no effect, so it counts as {self.effect} (pointsman.declare gives it one)"
        found = unseen(json.dumps([name, self.call["args"]], ensure_ascii=False, default=str))
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        shown = f"its arguments hold what is not seen, or looks like something else: {', '.join(found[:_NAMED])}{more}"
        return [reason, *filter(None, (self.begun,)), *self.doubts, *([shown] if found else [])]


def _confinement(tool: BaseTool) -> str:
    """Return where a call of this tool runs, and what confines it."""
    declared = declaration_of(tool)
    if declared is not None and declared.sandbox:
        return declared.sandbox
    if declared is not None and declared.confined:
        return "no command: it runs in this process, and writes in the workspace alone"
    return "no command: it runs in this process or its server, outside the sandbox"


def stale(then: Question, now: Question, expires: float) -> str:
    """Return why an approval of what was asked then does not hold now; empty if it does.

    Args:
        then: What the person was asked.
        now: What they would be asked now.
        expires: Seconds that an approval may take.
    """
    if then.digest != now.digest:
        return "; ".join(_changes(then, now)) or "it has changed since it was asked about"
    if now.asked - then.asked > expires:
        at = datetime.fromtimestamp(then.asked, UTC).strftime("%Y-%m-%d %H:%M")
        return f"the approval has expired: it was asked for at {at} UTC"
    return ""


def _changes(then: Question, now: Question) -> Sequence[str]:
    said = []
    if then.before != now.before:
        said.append(BEGUN_SINCE if now.before else "nothing is known of an earlier attempt any more")
    if then.arguments != now.arguments:
        said.append("its arguments are not those that were asked about")
    if then.schema != now.schema:
        said.append("what the tool says about itself has changed since it was asked about")
    for file in dict.fromkeys((*then.files, *now.files)):
        old, new = then.files.get(file, ""), now.files.get(file, "")
        if old != new:
            said.append(f"{file} {_how(old, new)} since it was asked about")
    return said


def _how(old: str, new: str) -> str:
    """Say what happened to a file, from what was recorded about it."""
    if old.partition(_LEADS)[2] != new.partition(_LEADS)[2]:
        return "has come to lead to another file"
    return "was made" if not old else "was deleted" if not new else "has changed"


def _middle(text: str) -> str:
    """Return a text, without its middle if it is long."""
    half = _DESCRIBED // 2
    if len(text) <= 2 * half:
        return text
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def _author(request: ToolCallRequest) -> str:
    """Return the model that wrote the call, as ``provider/name``; empty if unknown."""
    state = request.state
    messages = state.get("messages", ()) if isinstance(state, Mapping) else getattr(state, "messages", ())
    for message in reversed(messages):
        if any(call["id"] == request.tool_call["id"] for call in getattr(message, "tool_calls", ())):
            return str(account_of(message).get("model") or "")
    return ""


def _files(tool: BaseTool, arguments: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the file that a call's target names, if any, with a digest of its contents and of where symlinks lead."""
    target = call_facts(tool, arguments).target
    return {target: _sum_of(target) + _led(target)} if target and "\0" not in target else {}


def _led(path: str) -> str:
    """Return where symlinks in a path lead, as a suffix for its digest; empty if there are none."""
    try:
        real = os.path.realpath(path)
        if real == os.path.abspath(path):
            return ""
    except (OSError, ValueError) as error:
        real = f"cannot be told: {type(error).__name__}"
    # The question is stored, and must not reveal names of files that nobody asked about.
    return _LEADS + hashed(real)


def _sum_of(path: str) -> str:
    try:
        # Checked before it is opened: opening a device can itself have an effect.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "is no regular file"
        if status.st_size > _HASHED_BYTES:
            return f"{status.st_size} bytes of {status.st_mtime_ns}"
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}"
