"""A conversation that stays within a number of tokens, however many turns it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from ...configs.evidence import Evidence, render_evidence
from ...configs.words import Trust
from ...dispatch.request import one_line
from ..approval.taint import FROM_MIDDLEWARE
from ..around import TurnMiddleware

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest

__all__ = ["ContextMiddleware", "compacted"]

_CHARACTERS: Final = 3.3
"""Characters per token, as LangChain estimates for Claude (`langchain.agents.middleware.summarization`): the lowest of
the vendors here, so that more room is reserved than is needed."""
_SHARE: Final = 8
"""A tool result, the account of what was left out, and the user's earlier words may each take one part in this many of
the room."""
_LINE: Final = 160
"""Characters of one line of that account."""
_TODOS: Final = "write_todos"
_TOLD: Final = "What came before no longer fits and is left out. In short, oldest first:"


class ContextMiddleware(TurnMiddleware):
    """Leave the oldest turns of a conversation out of what the model sees, once that would be too long.

    The conversation itself stays complete: what an agent did, and whose words it rests on, is judged by all of it. No
    model writes a summary, so it costs nothing, invents nothing, and is the same when a run is resumed. LangChain's
    SummarizationMiddleware differs in both respects, and can be passed as ``middleware=``.

    Args:
        most: Maximum input tokens of a turn, including its instructions and tools.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def seen(self, request: ModelRequest) -> ModelRequest:
        """Return the call with the messages that fit."""
        system = [request.system_message] if request.system_message else []
        fixed = count_tokens_approximately(system, chars_per_token=_CHARACTERS, tools=list(request.tools))
        messages: list[AnyMessage] = compacted(request.messages, self._most - fixed)
        return request.override(messages=messages)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A model message with the results of its calls, or a user message."""

    messages: list[BaseMessage]
    tokens: int


def compacted(messages: Sequence[BaseMessage], most: int) -> list[Any]:
    """Return the messages of a conversation that a model is shown.

    If the conversation is too long, these are what came before its first answer (the task), an account of what is left
    out with the to-do list as it stood then, the user's words from that part, and the newest turns. Many turns are left
    out at once, so that what a provider caches of the beginning stays valid for many turns.

    Args:
        messages: The conversation.
        most: Tokens.
    """
    if _tokens(messages) <= most:
        return list(messages)
    begin = next((at for at, message in enumerate(messages) if isinstance(message, AIMessage)), len(messages))
    head = list(messages[:begin])
    room = max(most - _tokens(head), most // 2)
    part = room // _SHARE
    turns = list(_turns(messages[begin:], part))
    cut = _cut(turns, room - 2 * part)
    gone = [message for turn in turns[:cut] for message in turn.messages]
    kept = [message for turn in turns[cut:] for message in turn.messages]
    return [*head, *([_account(gone, part)] if gone else []), *_said_by_user(gone, part), *kept]


def _tokens(messages: Sequence[BaseMessage]) -> int:
    return count_tokens_approximately(messages, chars_per_token=_CHARACTERS)


def _turns(messages: Sequence[BaseMessage], part: int) -> Iterator[_Turn]:
    turn: list[BaseMessage] = []
    for message in messages:
        if turn and not isinstance(message, ToolMessage):
            yield _Turn(turn, _tokens(turn))
            turn = []
        turn.append(_shortened(message, part) if isinstance(message, ToolMessage) else message)
    if turn:
        yield _Turn(turn, _tokens(turn))


def _shortened(result: ToolMessage, part: int) -> ToolMessage:
    """Return a result, cut to its beginning and end if it is long."""
    text = str(result.text)
    most = int(part * _CHARACTERS)
    if len(text) <= most:
        return result
    half = most // 2
    left_out = f"\n[{len(text) - 2 * half:,} characters left out here]\n"
    return result.model_copy(update={"content": text[:half] + left_out + text[-half:]})


def _cut(turns: Sequence[_Turn], room: int) -> int:
    """Return how many turns to leave out, if the room is cut to half of it each time it is exceeded."""
    cut, sum_ = 0, 0
    for place, turn in enumerate(turns):
        sum_ += turn.tokens
        if sum_ > room:
            while cut < place and sum_ > room // 2:
                sum_ -= turns[cut].tokens
                cut += 1
    return cut


def _account(gone: Sequence[BaseMessage], part: int) -> HumanMessage:
    """Summarize what was left out: the to-dos as they stood then, and a line per thing said or done, newest kept."""
    todos, done = _todos(gone), list(_done(gone))
    results = {message.tool_call_id: message for message in gone if isinstance(message, ToolMessage)}
    room = int(part * _CHARACTERS) - sum(map(len, todos))
    lines: list[str] = []
    # Start with the newest, and build no line that there is no room for: there are more of them at every turn.
    while done and (room := room - len(line := _line(done[-1], results)) - 1) >= 0:
        lines.insert(0, line)
        done.pop()
    if done:
        lines.insert(0, f"[{len(done)} earlier ones]")
    if todos:
        lines += ["The list of to-dos as it then stood:", *todos]
    passage = Evidence("earlier", "this conversation", "\n".join(lines), Trust.UNTRUSTED)
    return HumanMessage(f"{_TOLD}\n{render_evidence([passage])}", additional_kwargs={FROM_MIDDLEWARE: "context"})


def _done(gone: Sequence[BaseMessage]) -> Iterator[str | ToolCall]:
    """Yield what the model said and called in these messages, in order."""
    for message in gone:
        if isinstance(message, AIMessage):
            if text := str(message.text).strip():
                yield text
            yield from (call for call in message.tool_calls if call["name"] != _TODOS)


def _line(done: str | ToolCall, results: Mapping[str, ToolMessage]) -> str:
    if isinstance(done, str):
        return f"said: {one_line(done, _LINE)}"
    given = one_line(", ".join(f"{name}={value!r}" for name, value in done["args"].items()), _LINE)
    result = results.get(str(done["id"]))
    told = one_line(str(result.text), _LINE) if result is not None else "no result"
    return f"{done['name']}({given}) -> {told}"


def _todos(gone: Sequence[BaseMessage]) -> list[str]:
    """Return the newest to-do list, with the completed items as a count."""
    calls = [call for m in gone if isinstance(m, AIMessage) for call in m.tool_calls if call["name"] == _TODOS]
    found = calls[-1]["args"].get("todos") if calls else None
    listed = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    left = [one for one in listed if one.get("status") != "completed"]
    done = len(listed) - len(left)
    said = [f"- {one.get('status', 'pending')}: {one_line(str(one.get('content', '')), 400)}" for one in left]
    return [*said, *([f"- {done} completed"] if done else [])]


def _said_by_user(gone: Sequence[BaseMessage], part: int) -> list[BaseMessage]:
    """Return what the user said in the turns that are left out: the newest, as far as there is room."""
    kept: list[BaseMessage] = []
    for message in reversed(gone):
        if isinstance(message, HumanMessage) and FROM_MIDDLEWARE not in message.additional_kwargs:
            part -= _tokens([message])
            if part < 0 and kept:
                break
            kept.append(message)
    return kept[::-1]
