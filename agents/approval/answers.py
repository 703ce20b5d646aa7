"""What waits for a person, and what they may answer: LangChain's human-in-the-loop decisions, and plain words for them.

An act is asked about as ``{"action_requests": [{name, args, description}], "review_configs": [{…}]}`` and answered by
``{"decisions": [decision]}`` or the bare decision (``langchain.agents.middleware.human_in_the_loop``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...configs.errors import ConfigError, PointsmanError
from ...configs.words import Risk
from ..result import Pending

if TYPE_CHECKING:
    from langchain.agents.middleware.human_in_the_loop import Decision, HITLRequest
    from langgraph.types import Interrupt

__all__ = ["ApprovalPending", "answer_form", "answers_by_id", "decided", "digest", "in_words", "pending_of"]

_WORDS: Mapping[object, str] = {"approve": "approve", "reject": "reject", True: "approve", False: "reject"}
_ALIASES: Mapping[str, str] = {"decision": "type", "reason": "message"}
"""Other names of a decision's fields, as people write them."""


class ApprovalPending(PointsmanError):
    """An agent that runs outside any workflow wants to make a call that waits for a person.

    Attributes:
        pending: What waits.
    """

    def __init__(self, agent: str, pending: Sequence[Pending]) -> None:
        tools = ", ".join(dict.fromkeys(act.tool for act in pending))
        super().__init__(
            f"agent {agent!r} wants to call {tools}, which waits for a person, and alone it cannot be taken up again: "
            f"run it as Workflow({agent!r}, [agent]), or in a graph with a checkpointer"
        )
        self.pending = tuple(pending)


def digest(tool: str, arguments: Mapping[str, Any]) -> str:
    """Name an act: the first 16 hex digits of the SHA-256 of its tool and canonical arguments."""
    text = json.dumps([tool, arguments], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pending_of(stop: Interrupt) -> Pending:
    """What an interrupt waits for; one that a graph of the user's own raised names no tool, and holds its value.

    Args:
        stop: The interrupt.
    """
    asked = stop.value
    if not _is_ours(asked):
        return Pending(stop.id, "", {"value": asked}, "", str(asked), "", ())
    (action,), (review,) = asked["action_requests"], asked["review_configs"]
    reason = str(action.get("description", "")).partition("\n")[0]
    named = digest(action["name"], action["args"])
    allowed = tuple(review["allowed_decisions"])
    return Pending(stop.id, action["name"], action["args"], Risk.CRITICAL.value, reason, named, allowed)


def _is_ours(asked: object) -> bool:
    if not isinstance(asked, Mapping) or not {"action_requests", "review_configs"} <= set(asked):
        return False
    return len(asked["action_requests"]) == len(asked["review_configs"]) == 1


def answer_form(tool: str, allowed: Sequence[str]) -> str:
    """Say how to answer a request.

    Args:
        tool: The tool that would be called.
        allowed: The decisions that are allowed.
    """
    forms = {
        "approve": '{"type": "approve"}',
        "edit": f'{{"type": "edit", "edited_action": {{"name": "{tool}", "args": {{…}}}}}}',
        "reject": '{"type": "reject", "message": "why"}',
        "respond": '{"type": "respond", "message": "the answer in the tool\'s place"}',
    }
    return 'answer with {"decisions": [d]}, or d alone, where d is ' + " or ".join(forms[name] for name in allowed)


def decided(answer: object, request: HITLRequest) -> Decision:
    """The decision that an answer to a request means.

    Args:
        answer: ``{"decisions": [decision]}``, a decision, ``"approve"``, ``"reject"``, True or False. It may name the
            ``digest`` of the act it is meant for.
        request: What was asked, with one action.

    Raises:
        ConfigError: It is not one of them, not allowed here, or for another act; the message shows the right form.
    """
    action, review = request["action_requests"][0], request["review_configs"][0]
    tool, allowed = action["name"], review["allowed_decisions"]

    def refused(why: str) -> ConfigError:
        return ConfigError(f"{why}: {answer_form(tool, allowed)}")

    given = _fields(answer)
    if given is None:
        raise refused(f"{_shown(answer)} is not an answer")
    kind = given.get("type")
    if kind not in allowed:
        raise refused(
            f"{kind!r} is not allowed for {tool}" if isinstance(kind, str) else f"{_shown(answer)} says nothing"
        )
    if given.get("digest") not in (None, digest(tool, action["args"])):
        raise refused(f"the answer was for other arguments of {tool} than these")
    message = given.get("message")
    if kind == "approve":
        if _edits(given, action["args"]):
            raise refused("an approval keeps the arguments as they are, and an edit changes them")
        return {"type": "approve"}
    if kind == "edit":
        return {"type": "edit", "edited_action": {"name": tool, "args": _edited(given, request, refused)}}
    if kind == "respond":
        if not isinstance(message, str):
            raise refused('"respond" needs a "message"')
        return {"type": "respond", "message": message}
    return {"type": "reject", "message": str(message)} if message else {"type": "reject"}


def _fields(answer: object) -> dict[str, Any] | None:
    """The fields of the one decision in an answer; None where there is no such thing."""
    if isinstance(answer, str):
        answer = answer.strip().casefold()
    if isinstance(answer, str | bool):
        return {"type": _WORDS[answer]} if answer in _WORDS else None
    if not isinstance(answer, Mapping):
        return None
    if "decisions" not in answer:
        return {_ALIASES.get(key, key): value for key, value in answer.items()}
    decisions = answer["decisions"]
    if not isinstance(decisions, list | tuple) or len(decisions) != 1:
        return None
    inner = _fields(decisions[0])
    return inner and {"digest": answer.get("digest"), **inner}


def _edits(given: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether an answer gives other arguments than were asked about."""
    edited = given.get("edited_action") or {}
    named = [given.get("args"), given.get("arguments"), edited.get("args") if isinstance(edited, Mapping) else edited]
    return any(arguments is not None and arguments != asked for arguments in named)


def _edited(given: Mapping[str, Any], request: HITLRequest, refused: Any) -> dict[str, Any]:
    """The arguments of an edit."""
    action, review = request["action_requests"][0], request["review_configs"][0]
    edited = given.get("edited_action", {"args": given.get("args", given.get("arguments"))})
    if not isinstance(edited, Mapping) or not isinstance(edited.get("args"), Mapping):
        raise refused('"edit" needs an "edited_action" with "args"')
    if edited.get("name", action["name"]) != action["name"]:
        raise refused(f"an edit keeps the tool {action['name']}")
    known: Mapping[str, Any] = review.get("args_schema", {}).get("properties") or edited["args"]
    wrong = [name for name in edited["args"] if name not in known]
    if wrong:
        raise refused(f"{action['name']} has no argument {wrong[0]!r}, it has {', '.join(known) or 'none'}")
    return dict(edited["args"])


def answers_by_id(given: object, waiting: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The answers to what a run waits for, each checked and bound to what was asked.

    Args:
        given: Id of what waits -> answer; or the answer itself, where one thing waits.
        waiting: Id and value of each interrupt.

    Raises:
        ConfigError: Nothing waits, an id is unknown, several wait and none is named, or an answer is not understood.
    """
    asked = dict(waiting)
    if not asked:
        raise ConfigError("the run waits for no answer, which may have been given already: nothing was done")
    named = isinstance(given, Mapping) and bool(given) and set(given) <= set(asked)
    if named:
        return {key: _bound(answer, asked[key]) for key, answer in dict(given).items()}  # type: ignore[call-overload]
    (first, value), *others = asked.items()
    form = _form(value)
    if isinstance(given, Mapping) and _is_ours(value) and not set(given) & {"decisions", "type", "decision"}:
        unknown = next((key for key in given if key not in asked), "")
        raise ConfigError(f"nothing waits under the id {unknown!r}; these do: {', '.join(asked)}; {form}")
    if others:
        raise ConfigError(
            f"{len(asked)} acts wait, so say which is meant: {{{', '.join(f'{key!r}: d' for key in asked)}}}; {form}"
        )
    return {first: _bound(given, value)}


def in_words(act: Pending, answer: Any) -> str:
    """What a person decided, for the record of the run.

    Args:
        act: What waited.
        answer: The answer as `answers_by_id` gives it.
    """
    if not act.tool:
        return f"answered: {_shown(answer)}"
    if answer["digest"] != act.digest:
        return "an answer for other arguments, so it was asked again"
    decision = answer["decisions"][0]
    match decision["type"]:
        case "edit":
            return f"edited: {json.dumps(decision['edited_action']['args'], ensure_ascii=False, default=str)}"
        case "reject":
            return f"rejected: {decision.get('message') or 'no reason given'}"
        case "respond":
            return f"answered in the tool's place: {decision['message']}"
    return "approved"


def _bound(answer: object, asked: Any) -> Any:
    """The answer in LangChain's form with the digest of what it answers; to a graph of the user's own as it is."""
    if not _is_ours(asked):
        return answer
    action = asked["action_requests"][0]
    fields = _fields(answer) or {}
    # One that names another act is left to be asked again, which shows what waits now.
    meant = fields.pop("digest", None) or digest(action["name"], action["args"])
    decision = decided(fields if fields else answer, asked)
    return {"decisions": [decision], "digest": meant}


def _form(asked: Any) -> str:
    if not _is_ours(asked):
        return "give the answer that the graph asks for"
    return answer_form(asked["action_requests"][0]["name"], asked["review_configs"][0]["allowed_decisions"])


def _shown(answer: object) -> str:
    text = repr(answer)
    return text if len(text) <= 80 else f"{text[:79]}…"
