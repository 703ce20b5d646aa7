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
"""Characters a token, as LangChain reckons for Claude (`langchain.agents.middleware.summarization`): the least of the
vendors here, so that more room is kept than is needed."""
_SHARE: Final = 8
"""Of the room, one part in so many is the most that a result of a tool, the account of what was left out, and the
user's earlier words each take."""
_LINE: Final = 160
"""Characters of one line of that account."""
_TODOS: Final = "write_todos"
_TOLD: Final = "What came before no longer fits and is left out. In short, oldest first:"


class ContextMiddleware(TurnMiddleware):
    """Leave the oldest turns of a conversation out of what the model sees, once it would see too much.

    The conversation itself stays whole: what an agent did, and whose words it rests on, is judged by all of it. No
    model writes a summary, so it costs nothing, says nothing that did not happen, and is the same when a run is taken
    up. LangChain's SummarizationMiddleware does both otherwise, and can be had by ``middleware=``.

    Args:
        most: Tokens of input that a turn may have, its instructions and tools included.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def seen(self, request: ModelRequest) -> ModelRequest:
        """The call with what fits."""
        system = [request.system_message] if request.system_message else []
        fixed = count_tokens_approximately(system, chars_per_token=_CHARACTERS, tools=list(request.tools))
        messages: list[AnyMessage] = compacted(request.messages, self._most - fixed)
        return request.override(messages=messages)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A message of the model's with the results of its calls, or one of the user's."""

    messages: list[BaseMessage]
    tokens: int


def compacted(messages: Sequence[BaseMessage], most: int) -> list[Any]:
    """The messages that a model is shown of a conversation.

    Of one that is too long these are what came before its first answer (the task), an account of what is left out with
    the list of to-dos as it then stood, the user's words in that, and the newest turns. Turns are left out many at
    once, so that what a provider caches of the beginning holds for many turns.

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
    """A result of which, where it is long, the beginning and the end are left."""
    text = str(result.text)
    most = int(part * _CHARACTERS)
    if len(text) <= most:
        return result
    half = most // 2
    left_out = f"\n[{len(text) - 2 * half:,} characters left out here]\n"
    return result.model_copy(update={"content": text[:half] + left_out + text[-half:]})


def _cut(turns: Sequence[_Turn], room: int) -> int:
    """How many turns are left out: as one would come to it who leaves out half whenever there is no more room."""
    cut, sum_ = 0, 0
    for place, turn in enumerate(turns):
        sum_ += turn.tokens
        if sum_ > room:
            while cut < place and sum_ > room // 2:
                sum_ -= turns[cut].tokens
                cut += 1
    return cut


def _account(gone: Sequence[BaseMessage], part: int) -> HumanMessage:
    """What was left out: the to-dos as they then stood, and a line for each thing said or done, the newest kept."""
    todos, done = _todos(gone), list(_done(gone))
    results = {message.tool_call_id: message for message in gone if isinstance(message, ToolMessage)}
    room = int(part * _CHARACTERS) - sum(map(len, todos))
    lines: list[str] = []
    # From the newest on, and none is made of what there is no room for: at every turn there is more of it.
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
    """What the model said and called in them, in its order."""
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
    """The newest list of to-dos, those that are done counted."""
    calls = [call for m in gone if isinstance(m, AIMessage) for call in m.tool_calls if call["name"] == _TODOS]
    found = calls[-1]["args"].get("todos") if calls else None
    listed = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    left = [one for one in listed if one.get("status") != "completed"]
    done = len(listed) - len(left)
    said = [f"- {one.get('status', 'pending')}: {one_line(str(one.get('content', '')), 400)}" for one in left]
    return [*said, *([f"- {done} completed"] if done else [])]


def _said_by_user(gone: Sequence[BaseMessage], part: int) -> list[BaseMessage]:
    """What the user said in the turns that are left out: the newest, as far as there is room."""
    kept: list[BaseMessage] = []
    for message in reversed(gone):
        if isinstance(message, HumanMessage) and FROM_MIDDLEWARE not in message.additional_kwargs:
            part -= _tokens([message])
            if part < 0 and kept:
                break
            kept.append(message)
    return kept[::-1]
