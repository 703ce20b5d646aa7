"""What waits for a person, and what they may answer: LangChain's human-in-the-loop decisions, and plain words for them.

An act is asked about as ``{"action_requests": [{name, args, description}], "review_configs": [{…}]}`` and answered by
``{"decisions": [decision]}`` or the bare decision (``langchain.agents.middleware.human_in_the_loop``). What LangChain's
agent inbox sends is understood, too: ``[{"type": "accept" | "edit" | "response" | "ignore", "args": …}]``
(``langgraph.prebuilt.interrupt.HumanResponse``), or the same in ``decisions`` under LangChain's types. Questions of
LangChain's own middleware in a user's graph are answered in the form that it takes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import ConfigError, PointsmanError
from ...configs.words import Risk
from ..result import Pending
from .digests import digest

if TYPE_CHECKING:
    from langchain.agents.middleware.human_in_the_loop import Decision, DecisionType, HITLRequest
    from langgraph.types import Interrupt

__all__ = [
    "GIVEN",
    "OURS",
    "ApprovalPending",
    "NoDecision",
    "answer_form",
    "answers_by_id",
    "decided",
    "digest",
    "in_words",
    "is_dated",
    "pending_of",
]

OURS = "pointsman"
"""Key in a request for what LangChain's form has no field for: digest, effect, risk, preview, origin, dates."""
GIVEN: Final = "given"
"""Key in an answer that identifies the occasion on which it was given."""

_WORDS: Mapping[object, Mapping[str, str]] = {
    "approve": {"type": "approve"},
    "always": {"type": "approve", "scope": "always"},
    "reject": {"type": "reject"},
    True: {"type": "approve"},
    False: {"type": "reject"},
}
_ALIASES: Mapping[str, str] = {"decision": "type", "reason": "message"}
"""Other names of a decision's fields, as people write them."""
_INBOX: Mapping[object, str] = {"accept": "approve", "ignore": "reject"}
"""The agent inbox's words for decisions; a ``response`` is the tool's answer if that is allowed, else a rejection."""
_MORE: Final = ("effect", "preview", "sandbox", "sources", "origin", "asked", "expires", "always")
"""Fields of Pointsman's requests that have the same names in `Pending`."""
_DECISIONS: Final[tuple[DecisionType, ...]] = ("approve", "edit", "reject", "respond")


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


class NoDecision(ConfigError):
    """An answer is not a decision on what was asked.

    Args:
        why: Why it is not.
        form: How to answer.

    Attributes:
        why: The same without the form, for the next question.
    """

    def __init__(self, why: str, form: str) -> None:
        super().__init__(f"{why}: {form}")
        self.why = why


def pending_of(stop: Interrupt, run: str = "") -> Pending:
    """Return what an interrupt waits for; one raised by a user's graph names no tool and holds the interrupt's value.

    Args:
        stop: The interrupt.
        run: The run it stopped.
    """
    asked = stop.value
    if _is_per_call(asked):
        said = json.dumps(stop.response_schema or {})
        allowed = tuple(name for name in _DECISIONS if f'"{name}"' in said) or _DECISIONS[:3]
        named = digest(asked["name"], asked["args"])
        reason = str(asked.get("description", ""))
        return Pending(stop.id, asked["name"], asked["args"], Risk.CRITICAL.value, reason, named, allowed, run=run)
    if not _is_one_action(asked):
        return Pending(stop.id, "", {"value": asked}, "", str(asked), "", (), run=run)
    (action,), (review,) = asked["action_requests"], asked["review_configs"]
    ours = asked.get(OURS) or {}
    return Pending(
        stop.id,
        action["name"],
        action["args"],
        ours.get("risk", Risk.CRITICAL.value),
        ours.get("reason") or str(action.get("description", "")).partition("\n")[0],
        ours.get("digest") or digest(action["name"], action["args"]),
        tuple(review["allowed_decisions"]),
        run=run,
        **{name: ours[name] for name in _MORE if name in ours},
    )


def _is_one_action(asked: object) -> bool:
    """Return whether it is LangChain's request for one action, from Pointsman or from LangChain's own middleware."""
    if not isinstance(asked, Mapping) or not {"action_requests", "review_configs"} <= set(asked):
        return False
    return len(asked["action_requests"]) == len(asked["review_configs"]) == 1


def _is_per_call(asked: object) -> bool:
    """Return whether LangChain's own middleware asks about a single call, which takes a bare decision."""
    return isinstance(asked, Mapping) and asked.get("type") == "tool_approval" and {"name", "args"} <= set(asked)


def _as_request(asked: Any) -> HITLRequest:
    """Return what is asked as a ``HITLRequest``."""
    if not _is_per_call(asked):
        request: HITLRequest = asked
        return request
    action: Any = {"name": asked["name"], "args": asked["args"]}
    return {
        "action_requests": [action],
        "review_configs": [{"action_name": asked["name"], "allowed_decisions": list(_DECISIONS)}],
    }


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


def decided(answer: object, request: HITLRequest, earlier: Collection[str] = ()) -> Decision:
    """Return the decision that an answer to a request stands for.

    Args:
        answer: ``{"decisions": [decision]}``, a decision, ``"approve"``, ``"always"``, ``"reject"``, True or False, or
            what LangChain's agent inbox sends. It may name the ``digest`` of the act it is meant for.
        request: What was asked, with one action.
        earlier: Digests under which the same call was asked about before: a rejection that names one of them holds.

    Raises:
        NoDecision: It is not one of them, not allowed here, or for another act; the message shows the right form.
    """
    action, review = request["action_requests"][0], request["review_configs"][0]
    tool, allowed = action["name"], review["allowed_decisions"]

    def refused(why: str) -> NoDecision:
        return NoDecision(why, answer_form(tool, allowed))

    given = _fields(answer)
    if given is None:
        raise refused(f"{_shown(answer)} is not an answer")
    given = _from_inbox(given, request)
    kind = given.get("type")
    if kind not in allowed:
        raise refused(
            f"{kind!r} is not allowed for {tool}" if isinstance(kind, str) else f"{_shown(answer)} says nothing"
        )
    ours: Any = request.get(OURS)
    if ours and given.get("digest") not in (None, ours["digest"], *(earlier if kind == "reject" else ())):
        raise refused(f"the answer was to another question about {tool} than this one")
    message = given.get("message")
    if kind == "approve":
        if _edits(given, action["args"]):
            raise refused("an approval keeps the arguments as they are, and an edit changes them")
        return _approved(given.get("scope", "once"), ours, refused)
    if kind == "edit":
        return {"type": "edit", "edited_action": {"name": tool, "args": _edited(given, request, refused)}}
    if kind == "respond":
        if not isinstance(message, str):
            raise refused('"respond" needs a "message"')
        return {"type": "respond", "message": message}
    return {"type": "reject", "message": str(message)} if message else {"type": "reject"}


def _approved(scope: object, ours: Any, refused: Any) -> Decision:
    """Return an approval for this once, or for always if that is possible."""
    if scope not in ("once", "always"):
        raise refused('the "scope" of an approval is "once" or "always"')
    if scope == "once":
        return {"type": "approve"}
    if not ours or not ours["always"]:
        raise refused("this may be approved once, and not always: it destroys, or may have been done already")
    decision: Any = {"type": "approve", "scope": "always"}
    approved: Decision = decision
    return approved


def _from_inbox(given: dict[str, Any], request: HITLRequest) -> dict[str, Any]:
    """Translate fields of LangChain's agent inbox to the names that LangChain's middleware uses.

    The inbox gives the arguments as ``{"action": name, "args": {…}}``, with edited values as strings.
    """
    action, review = request["action_requests"][0], request["review_configs"][0]
    kind, args = given.get("type"), given.get("args")
    if kind == "response":
        # If an act may have been done, free text is not taken as a statement that it was.
        ours: Any = request.get(OURS) or {}
        kind = "respond" if "respond" in review["allowed_decisions"] and not ours.get("begun") else "reject"
    kind = _INBOX.get(kind, kind) if isinstance(kind, str) else kind
    made = {**given, "type": kind}
    if isinstance(args, str) and kind in ("reject", "respond"):
        return {**made, "message": args, "args": None}
    if args is None or not isinstance(args, Mapping) or set(args) != {"action", "args"}:
        return made
    known = review.get("args_schema", {}).get("properties", {})
    if {"action", "args"} <= set(known) or args["action"] != action["name"] or not isinstance(args["args"], Mapping):
        return made
    typed = {name: _typed(value, action["args"].get(name), known.get(name, {})) for name, value in args["args"].items()}
    return {**made, "args": typed}


def _typed(value: Any, asked: Any, schema: Mapping[str, Any]) -> Any:
    """Parse a text from the inbox as JSON if the value asked about was of another type."""
    kinds = [one.get("type") for one in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    if not isinstance(value, str) or isinstance(asked, str) or "string" in kinds:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _fields(answer: object) -> dict[str, Any] | None:
    """Return the fields of the one decision in an answer; None if there is none."""
    if isinstance(answer, str):
        answer = answer.strip().casefold()
    if isinstance(answer, str | bool):
        return dict(_WORDS[answer]) if answer in _WORDS else None
    if isinstance(answer, list | tuple) and len(answer) == 1 and isinstance(answer[0], Mapping):
        answer = answer[0]
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
    """Return whether an answer gives arguments other than those asked about."""
    edited = given.get("edited_action") or {}
    named = [given.get("args"), given.get("arguments"), edited.get("args") if isinstance(edited, Mapping) else edited]
    return any(arguments is not None and arguments != asked for arguments in named)


def _edited(given: Mapping[str, Any], request: HITLRequest, refused: Any) -> dict[str, Any]:
    """Return the arguments of an edit."""
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
    """Return the answers to what a run waits for, each checked and bound to what was asked.

    Args:
        given: Id of what waits -> answer; or the answer itself if only one thing waits.
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
    if isinstance(given, Mapping) and _is_act(value) and not set(given) & {"decisions", "type", "decision"}:
        unknown = next((key for key in given if key not in asked), "")
        raise ConfigError(f"nothing waits under the id {unknown!r}; these do: {', '.join(asked)}; {form}")
    if others:
        raise ConfigError(
            f"{len(asked)} acts wait, so say which is meant: {{{', '.join(f'{key!r}: d' for key in asked)}}}; {form}"
        )
    return {first: _bound(given, value)}


def in_words(act: Pending, answer: Any) -> str:
    """Return what a person decided, for the record of the run.

    Args:
        act: What waited.
        answer: The answer as `answers_by_id` returns it.
    """
    if not act.tool:
        return f"answered: {_shown(answer)}"
    if answer.get("digest", act.digest) != act.digest:
        return "an answer to another question, so it was asked again"
    decision = answer["decisions"][0] if "decisions" in answer else answer
    match decision["type"]:
        case "edit":
            return f"edited: {json.dumps(decision['edited_action']['args'], ensure_ascii=False, default=str)}"
        case "reject":
            return f"rejected: {decision.get('message') or 'no reason given'}"
        case "respond":
            return f"answered in the tool's place: {decision['message']}"
    return "approved, and always from now on" if decision.get("scope") == "always" else "approved"


def _bound(answer: object, asked: Any) -> Any:
    """Return the answer in LangChain's form with the digest of what it answers; unchanged for a user's own graph."""
    if not _is_act(asked):
        return answer
    fields = _fields(answer) or {}
    # If possible, an answer for another act is passed on: the person is then asked again and sees what waits now.
    meant = fields.pop("digest", None) if is_dated(asked) else None
    decision = decided(fields if fields else answer, _as_request(asked))
    if _is_per_call(asked):
        return decision
    ours = asked.get(OURS) or {}
    named = meant or ours.get("digest")
    return {"decisions": [decision], **({"digest": named} if named else {})}


def is_dated(asked: object) -> bool:
    """Return whether a question has a date, as do those that are repeated until an answer settles them."""
    return isinstance(asked, Mapping) and "asked" in (asked.get(OURS) or ())


def _is_act(asked: object) -> bool:
    return _is_one_action(asked) or _is_per_call(asked)


def _form(asked: Any) -> str:
    if not _is_act(asked):
        return "give the answer that the graph asks for"
    request = _as_request(asked)
    return answer_form(request["action_requests"][0]["name"], request["review_configs"][0]["allowed_decisions"])


def _shown(answer: object) -> str:
    text = repr(answer)
    return text if len(text) <= 80 else f"{text[:79]}…"
