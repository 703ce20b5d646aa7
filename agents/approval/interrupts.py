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
    """Whether a person has just approved, or edited, this very call, or allows it always."""
    return call["id"] is not None and _ALLOWED.get() == call["id"]


class ApprovalMiddleware(AgentMiddleware[Any, Any]):
    """Stop before a critical call and go on as the person says.

    Each call is an interrupt of its own, whose value is LangChain's ``HITLRequest`` with that one action, so that
    inboxes for LangChain's agents show and answer it. `pointsman.agents.approval.answers.decided` says what is
    understood; for anything else the call is not made, and the person is asked again and told why.

    An approval holds for what was asked: the tool and what it says about itself, the arguments, and the files that
    the call would change, as they were. Where any of these has changed, or the approval has expired, the person is
    asked again and told what changed; an answer that names a digest holds for that act alone. Once given for always,
    it holds for the tool, what it says about itself, and the arguments, unless the call destroys. A person may answer
    in the place of a tool that only reads. What they edit is judged again, and they are asked once more where that does
    more than what they were asked about. Of an act that the step began already, in a part of the run that was cut off,
    a person is asked whatever its risk: it may have happened. They may say that it has, and what came of it, which
    the model is given. They are asked whatever its risk, too, where the target of a call, or what it sends out, comes
    from text that nobody vouches for (`pointsman.tools.taint.gate`).

    Args:
        settings: Gives the settings as they are when a call is made: the risk of a call with each effect, how long an
            approval may take, and where the state is.
        tools: Those of the agent, which say how far their results may be believed.
    """

    def __init__(self, settings: Callable[[], Settings], tools: Sequence[BaseTool]) -> None:
        super().__init__()
        self._settings = settings
        self._tools = {tool.name: tool for tool in tools}

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Ask before a critical call; hand anything else straight on."""
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
        """Ask before a critical call; hand anything else straight on. Files are touched, and conversations read, in a
        thread."""
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
        """What a person is asked, or None where the call may be made without.

        Raises:
            ConfigError: They were asked about a tool that there is no more.
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
        """What speaks against a call by where its values come from."""
        declared = declaration_of(tool)
        if effect is Effect.READ or (effect is Effect.WRITE and declared is not None and declared.confined):
            return ()
        from .taint import judged

        tools = {**self._tools, tool.name: tool}
        said = judged(request.state["messages"], tools, tool, request.tool_call["args"])
        return tuple(reason.text for reason in said.reasons if reason.code is not Code.UNDECLARED)

    def _verdict(self, request: ToolCallRequest, asked: Asked) -> _Verdict:
        """What becomes of a call; this stops the graph until a person has answered."""
        settings = self._settings()
        asking = _Asking(request, asked, Kept(settings.state), settings)
        return asking.allowed_always() or asking.verdict()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The call to make, or the answer in its place.

    Attributes:
        begun: Notes that the call waits for something itself, and is begun anew once it has that.
        settled: Forgets what was asked.
    """

    call: ToolCallRequest
    answer: ToolMessage | None = None
    begun: Callable[[], None] = lambda: None
    settled: Callable[[], None] = lambda: None


class _Asking:
    """A person is asked about one call, once or until an answer settles it.

    A graph that is taken up begins the call anew, and gives the answers again in their order: what had come of each
    is kept, so that an answer that did not settle it then does not settle it later.
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
        """That the call is always allowed; None where it is not, or where a person was asked before it was."""
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
        """What was asked when, what would be asked now, and the answer; this stops the graph where there is none."""
        preview = preview_of(self._asked.tool, self._asked.call["args"])
        then, now = self._kept.question(self._key), self._asked.question(preview)
        if then is not None and not stale(then, now, self._expires):
            # It waits since it was first asked, however often the graph has been taken up in between.
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
        """Whether this very answer was given before: after a crash nobody knows whether the graph has kept it."""
        given = answer.get(GIVEN) if isinstance(answer, Mapping) else None
        had = given in self._given
        if given is not None:
            self._given.add(given)
        return had

    def _edited(self, decision: Decision) -> Asked:
        """The call as the decision has it.

        Raises:
            ConfigError: The tool does not take the arguments.
        """
        if decision["type"] != "edit":
            return self._asked
        return self._asked.edited(decision["edited_action"]["args"], self._risks)

    def _stale(self, then: Question | None, now: Question) -> str:
        """Why an answer does not settle it; empty where it does."""
        if then is None:
            return _UNKNOWN
        return then.why if then.state == "again" else stale(then, now, self._expires)

    @staticmethod
    def _unasked(then: Question | None) -> str:
        """Why nobody can have said that the act was done; empty where they were told that it may have been."""
        if then is None:
            return _UNKNOWN
        return then.why if then.state == "again" else "" if then.before else BEGUN_SINCE

    def _more(self, edited: Asked) -> str:
        """Why what a person has made of the call is asked about again; empty where it is not."""
        if edited is self._asked:
            return ""
        return f"with these arguments of yours it is {edited.effect}" if edited.effect > self._asked.effect else ""

    def _again(self, question: Question, why: str, *, state: State = "again") -> str:
        """Keep that an answer did not settle it, and ask the next question."""
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
        """What the question is kept under."""
        return hashed(self._place, self._number)


def _place(call: Mapping[str, Any]) -> tuple[str, ...]:
    """Where in which graph a call is made, which is the same whenever it is begun anew."""
    configured = get_config()["configurable"]
    return tuple(str(part) for part in (configured.get("thread_id"), configured.get("checkpoint_ns"), call["id"]))


def _was_asked(call: Mapping[str, Any], state: Path) -> bool:
    """Whether a person was asked about this call before it was begun anew, and has answered: that holds, whatever the
    policy has become since."""
    answers: Sequence[Any] = getattr(_pad(), "resume", None) or ()
    if not answers and not _bare_answer():
        return False
    # The first answer is to what the tool itself asked where nobody was asked about the call before it was begun.
    ours = bool(answers) and isinstance(answers[0], Mapping) and GIVEN in answers[0]
    return ours or Kept(state).question(hashed(_place(call), 0)) is not None


def _bare_answer() -> bool:
    """Whether the graph was taken up with an answer without an id, which may be for another call."""
    pad = _pad()
    return pad is not None and pad.get_null_resume(False) is not None


def _pad() -> Any:
    """What LangGraph notes of the task that this runs in; None outside any."""
    try:
        return get_config()["configurable"].get("__pregel_scratchpad")
    except RuntimeError:
        return None


def _in_its_place(asked: Asked, decision: Mapping[str, Any]) -> ToolMessage:
    """What the model is told of a call that is not made."""
    call, message = asked.call, decision.get("message")
    if decision["type"] == "respond":
        answer = ToolMessage(message, name=call["name"], tool_call_id=call["id"])
        return marked(answer, Outcome.DONE, f"a person said that it was done: {message}") if asked.begun else answer
    reason = f"a person refused this call: {message or 'no reason given'}"
    if asked.begun:
        reason = f"{reason} ({asked.begun})"
    return not_done(call, Outcome.REJECTED, reason, reason)


def _noticed(answer: ToolAnswer, asked: ToolCallRequest, made: ToolCallRequest) -> ToolAnswer:
    """The answer of a call, telling the model where a person has changed its arguments."""
    if made.tool_call["args"] == asked.tool_call["args"] or not isinstance(answer, ToolMessage):
        return answer
    arguments = json.dumps(made.tool_call["args"], ensure_ascii=False, default=str)
    notice = f"A person changed the arguments of this call to {arguments} before it was made. Do not repeat your own."
    if isinstance(answer.content, str):
        return answer.model_copy(update={"content": f"{notice}\n\n{answer.content}"})
    return answer.model_copy(update={"content": [{"type": "text", "text": notice}, *answer.content]})
