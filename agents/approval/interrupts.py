"""Approval: an act whose risk is critical waits for a person, who sees exactly what would happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt

from ...configs.errors import ConfigError
from ...configs.process.variables import set_to
from ...configs.words import Effect, Risk
from ...ledger.points import Point, reached
from ...tools.base import declaration_of, effect_of
from ...tools.facts import call_facts, preview_of
from ...tools.taint.gate import Code
from ..around import AsyncToolHandler, ToolAnswer, ToolHandler
from ..journal.places import begun_before, said_done
from ..result import Outcome
from .acts import marked, not_done
from .answers import GIVEN, NoDecision, decided
from .digests import hashed
from .kept import Kept, Question, State
from .questions import BEGUN_SINCE, Asked, stale

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langchain.agents.middleware.human_in_the_loop import Decision, HITLRequest
    from langchain_core.tools import BaseTool

    from ...configs.schema import Settings

__all__ = ["ApprovalMiddleware", "person_allowed"]

_ALLOWED: ContextVar[str | None] = ContextVar("pointsman_allowed_call", default=None)
_UNKNOWN = "what was asked before is not known here any more"


def person_allowed(call: Mapping[str, Any]) -> bool:
    """Return whether a person has just approved or edited this call, or always allows it."""
    return call["id"] is not None and _ALLOWED.get() == call["id"]


class ApprovalMiddleware(AgentMiddleware[Any, Any]):
    """Stop before a critical call and continue as the person decides.

    Each call is an interrupt of its own, whose value is LangChain's ``HITLRequest`` with that one action, so that
    inboxes for LangChain's agents show and answer it. `pointsman.agents.approval.answers.decided` says which
    answers are understood; for any other the call is not made, and the person is asked again and told why.

    An approval holds for what was asked: the tool and what it says about itself, the arguments, and the files that
    the call would change, as they were. If any of these has changed, or the approval has expired, the person is
    asked again and told what changed; an answer that names a digest holds for that act only. An approval given for
    always holds for the tool, what it says about itself, and the arguments, unless the call is destructive. A person
    may answer in place of a tool that only reads. Arguments that they edit are judged again, and they are asked once
    more if the edited call does more than the one they were asked about. If the step already began an act in a part of
    the run that was cut off, a person is asked whatever its risk, because it may have happened. They may say that it
    did, and with what result, which the model is given. They are also asked, whatever the risk, if the target of a
    call, or what it sends out, comes from text that nobody vouches for (`pointsman.tools.taint.gate`).

    Args:
        settings: Returns the settings at the time of a call: the risk of a call with each effect, how long an
            approval may take, and where the state is.
        tools: Those of the agent, which declare how far their results may be trusted.
    """

    def __init__(self, settings: Callable[[], Settings], tools: Sequence[BaseTool]) -> None:
        super().__init__()
        self._settings = settings
        self._tools = {tool.name: tool for tool in tools}

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Ask before a critical call; pass any other call straight on."""
        asked = self._asked(request)
        if asked is None:
            return handler(request)
        verdict = self._verdict(request, asked)
        answer: ToolAnswer | None = verdict.answer
        if answer is None:
            try:
                with set_to(_ALLOWED, verdict.call.tool_call["id"]):
                    answer = _noticed(handler(verdict.call), request, verdict.call)
            except GraphInterrupt:
                verdict.begun()
                raise
        verdict.settled()
        return answer

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Ask before a critical call; pass any other call straight on.

        Files are accessed, and conversations are read, in a thread.
        """
        harmless = request.tool is not None and effect_of(request.tool) in (None, Effect.READ)
        if harmless and not _bare_answer():
            asked = self._asked(request)
        else:
            asked = await asyncio.to_thread(self._asked, request)
        if asked is None:
            return await handler(request)
        verdict = await asyncio.to_thread(self._verdict, request, asked)
        answer: ToolAnswer | None = verdict.answer
        if answer is None:
            try:
                with set_to(_ALLOWED, verdict.call.tool_call["id"]):
                    answer = _noticed(await handler(verdict.call), request, verdict.call)
            except GraphInterrupt:
                await asyncio.to_thread(verdict.begun)
                raise
        await asyncio.to_thread(verdict.settled)
        return answer

    def _asked(self, request: ToolCallRequest) -> Asked | None:
        """Return what a person is asked, or None if the call needs no approval.

        Raises:
            ConfigError: They were asked about a tool that no longer exists.
        """
        tool = request.tool
        if tool is None:
            call = request.tool_call
            if getattr(_pad(), "resume", None) or Kept(self._settings().state).question(hashed(_place(call), 0)):
                raise ConfigError(
                    f"a person was asked about {call['name']}, which its agent does not have any more, so it was not "
                    "called: resume the run with the workflow that has it"
                )
            return None
        facts = call_facts(tool, request.tool_call["args"])
        effect = facts.effect
        if effect is None:
            return None
        settings = self._settings()
        risk = settings.risk.call[effect]
        call = request.tool_call
        doubts = self._doubts(request, tool, effect)
        if risk < Risk.CRITICAL and not doubts and not _was_asked(call, settings.state) and not begun_before(tool):
            return None
        from .taint import sources_of

        sources = sources_of(request.state["messages"], self._tools, call["args"])
        return Asked.of(request, tool, effect, risk, sources, (*facts.reasons, *doubts))

    def _doubts(self, request: ToolCallRequest, tool: BaseTool, effect: Effect) -> tuple[str, ...]:
        """Return the objections to a call that follow from where its values come from."""
        declared = declaration_of(tool)
        if effect is Effect.READ or (effect is Effect.WRITE and declared is not None and declared.confined):
            return ()
        from .taint import judged

        tools = {**self._tools, tool.name: tool}
        said = judged(request.state["messages"], tools, tool, request.tool_call["args"])
        return tuple(reason.text for reason in said.reasons if reason.code is not Code.UNDECLARED)

    def _verdict(self, request: ToolCallRequest, asked: Asked) -> _Verdict:
        """Decide what happens to a call; this stops the graph until a person has answered."""
        settings = self._settings()
        asking = _Asking(request, asked, Kept(settings.state), settings)
        return asking.allowed_always() or asking.verdict()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The call to make, or the answer to give instead.

    Attributes:
        begun: Records that the call itself waits for something, and restarts once it has that.
        settled: Forgets what was asked.
    """

    call: ToolCallRequest
    answer: ToolMessage | None = None
    begun: Callable[[], None] = lambda: None
    settled: Callable[[], None] = lambda: None


class _Asking:
    """Ask a person about one call, once or until an answer settles it.

    A resumed graph starts the call again and replays the answers in order: the outcome of each is stored, so that an
    answer that did not settle the call then does not settle it later.
    """

    def __init__(self, request: ToolCallRequest, asked: Asked, kept: Kept, settings: Settings) -> None:
        self._request = request
        self._asked = asked
        self._kept = kept
        self._risks: Mapping[Effect, Risk] = settings.risk.call
        self._expires = settings.approval.expires
        self._place = _place(request.tool_call)
        self._number = 0
        self._given: set[str] = set()
        self._earlier: set[str] = set()

    def allowed_always(self) -> _Verdict | None:
        """Return a verdict if the call is always allowed; None if it is not, or if a person was asked before it was."""
        if not self._asked.allowable or self._kept.question(self._key) is not None:
            return None
        try:
            return _Verdict(self._request) if self._kept.allows(self._asked.always().id) else None
        except ConfigError:
            # What cannot be read allows nothing.
            return None

    def verdict(self) -> _Verdict:
        """Ask until it is settled."""
        problem = ""
        while True:
            then, now, shown, answer = self._answer(problem)
            try:
                decision = decided(answer, shown, self._earlier)
                edited = self._edited(decision)
            except ConfigError as error:
                problem = self._again(then or now, error.why if isinstance(error, NoDecision) else str(error))
                continue
            if decision["type"] == "respond" and self._asked.begun:
                if (problem := self._unasked(then)) == "":
                    answered = _in_its_place(self._asked, decision)
                    said_done(answered)
                    return _Verdict(self._request, answered, settled=self._settled)
                problem = self._again(then or now, problem)
                continue
            if decision["type"] in ("reject", "respond"):
                return _Verdict(self._request, _in_its_place(self._asked, decision), settled=self._settled)
            if then is not None and then.state == "begun":
                return self._allowed(edited, then)
            if then is not None and then.state == "edited":
                problem, self._asked = self._again(then, then.why, state="edited"), edited
                continue
            problem = self._stale(then, now)
            if problem:
                problem = self._again(then or now, problem)
            elif said := self._more(edited):
                problem, self._asked = self._again(now, said, state="edited"), edited
            else:
                if decision.get("scope") == "always":
                    self._kept.allow(self._asked.always())
                return self._allowed(edited, now)

    def _answer(self, problem: str) -> tuple[Question | None, Question, HITLRequest, Any]:
        """Return the question then and now, the request and its answer; stops the graph if there is no answer."""
        preview = preview_of(self._asked.tool, self._asked.call["args"])
        then, now = self._kept.question(self._key), self._asked.question(preview)
        if then is not None and not stale(then, now, self._expires):
            # It has waited since it was first asked, however often the graph has been resumed since.
            now = replace(now, asked=then.asked)
        try:
            answer = interrupt(self._asked.request(problem, now, preview, self._expires))
            while self._had(answer):
                answer = interrupt(self._asked.request(problem, now, preview, self._expires))
        except GraphInterrupt:
            reached(Point.QUESTION)
            self._kept.ask(self._key, now)
            raise
        return then, now, self._asked.request(problem, then or now, preview, self._expires), answer

    def _had(self, answer: Any) -> bool:
        """Return whether this answer was already given: after a crash it is unknown whether the graph stored it."""
        given = answer.get(GIVEN) if isinstance(answer, Mapping) else None
        had = given in self._given
        if given is not None:
            self._given.add(given)
        return had

    def _edited(self, decision: Decision) -> Asked:
        """Return the call with the arguments of the decision.

        Raises:
            ConfigError: The tool does not take the arguments.
        """
        if decision["type"] != "edit":
            return self._asked
        return self._asked.edited(decision["edited_action"]["args"], self._risks)

    def _stale(self, then: Question | None, now: Question) -> str:
        """Return why an answer does not settle the question; empty if it does."""
        if then is None:
            return _UNKNOWN
        return then.why if then.state == "again" else stale(then, now, self._expires)

    @staticmethod
    def _unasked(then: Question | None) -> str:
        """Return why a person cannot have said that the act was done; empty if they were told that it may have been."""
        if then is None:
            return _UNKNOWN
        return then.why if then.state == "again" else "" if then.before else BEGUN_SINCE

    def _more(self, edited: Asked) -> str:
        """Return why a call that a person edited is asked about again; empty if it is not."""
        if edited is self._asked:
            return ""
        return f"with these arguments of yours it is {edited.effect}" if edited.effect > self._asked.effect else ""

    def _again(self, question: Question, why: str, *, state: State = "again") -> str:
        """Record that an answer did not settle the question, and move on to the next one."""
        self._kept.ask(self._key, replace(question, state=state, why=why))
        self._number += 1
        self._earlier.add(question.digest)
        return why

    def _allowed(self, asked: Asked, question: Question) -> _Verdict:
        key = self._key

        def begun() -> None:
            self._kept.ask(key, replace(question, state="begun"))

        return _Verdict(self._request.override(tool_call=asked.call), begun=begun, settled=self._settled)

    def _settled(self) -> None:
        for number in range(self._number + 1):
            self._kept.forget(hashed(self._place, number))

    @property
    def _key(self) -> str:
        """The key under which the question is stored."""
        return hashed(self._place, self._number)


def _place(call: Mapping[str, Any]) -> tuple[str, ...]:
    """Return where in which graph a call is made; it stays the same when the call is restarted."""
    configured = get_config()["configurable"]
    return tuple(str(part) for part in (configured.get("thread_id"), configured.get("checkpoint_ns"), call["id"]))


def _was_asked(call: Mapping[str, Any], state: Path) -> bool:
    """Return whether a person answered about this call before it was restarted.

    That answer holds even if the policy has changed since.
    """
    answers: Sequence[Any] = getattr(_pad(), "resume", None) or ()
    if not answers and not _bare_answer():
        return False
    # If nobody was asked about the call before it began, the first answer is to a question of the tool itself.
    ours = bool(answers) and isinstance(answers[0], Mapping) and GIVEN in answers[0]
    return ours or Kept(state).question(hashed(_place(call), 0)) is not None


def _bare_answer() -> bool:
    """Return whether the graph was resumed with an answer without an id, which may be for another call."""
    pad = _pad()
    return pad is not None and pad.get_null_resume(False) is not None


def _pad() -> Any:
    """Return LangGraph's scratchpad of the current task; None outside a task."""
    try:
        return get_config()["configurable"].get("__pregel_scratchpad")
    except RuntimeError:
        return None


def _in_its_place(asked: Asked, decision: Mapping[str, Any]) -> ToolMessage:
    """Return what the model is told about a call that is not made."""
    call, message = asked.call, decision.get("message")
    if decision["type"] == "respond":
        answer = ToolMessage(message, name=call["name"], tool_call_id=call["id"])
        return marked(answer, Outcome.DONE, f"a person said that it was done: {message}") if asked.begun else answer
    reason = f"a person refused this call: {message or 'no reason given'}"
    if asked.begun:
        reason = f"{reason} ({asked.begun})"
    return not_done(call, Outcome.REJECTED, reason, reason)


def _noticed(answer: ToolAnswer, asked: ToolCallRequest, made: ToolCallRequest) -> ToolAnswer:
    """Return the answer of a call, with a notice to the model if a person changed its arguments."""
    if made.tool_call["args"] == asked.tool_call["args"] or not isinstance(answer, ToolMessage):
        return answer
    arguments = json.dumps(made.tool_call["args"], ensure_ascii=False, default=str)
    notice = f"A person changed the arguments of this call to {arguments} before it was made. Do not repeat your own."
    if isinstance(answer.content, str):
        return answer.model_copy(update={"content": f"{notice}\n\n{answer.content}"})
    return answer.model_copy(update={"content": [{"type": "text", "text": notice}, *answer.content]})
