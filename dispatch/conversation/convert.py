"""Convert a conversation that one vendor's model began so that another vendor's model can continue it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from ...configs.catalog import ModelCard
from .blocks import Block, CannotCarry, Carrier, cleaned, kind_of, text_of
from .dialects import Dialect, dialect_of
from .naming import wire_name
from .tool_calls import Call, Turn, fresh_id, turns_of

__all__ = ["carried", "portable"]

_Message = TypeVar("_Message", bound="BaseMessage")

_UNKNOWN_RESULT: Final = "The result of this call is not known."
_OPENING: Final = "(The beginning of this conversation is not shown.)"
# A date, a three-digit version, "latest" or "preview" after the name: the same model at another time.
_DATED: Final = re.compile(r"[-@:](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{3}|latest|preview(?:[-@:][\w.-]*)?)$")
_ORIGIN: Final = ("model_name", "model_provider", "pointsman")
"""The metadata that says which model made a message; the rest is dropped."""
_THOUGHT: Final = ("reasoning_content", "reasoning_details")
_CLOSING: Final = "(It is your turn.)"
_SERVER_IDS: Final = ("msg_", "resp_")


def portable(messages: Sequence[BaseMessage], *, to: str, card: ModelCard) -> Sequence[BaseMessage] | str:
    """Convert a conversation to a form that a model's API accepts.

    Content that only its maker can use (reasoning, signatures, results of tools that ran at the vendor) is kept for
    that same model and otherwise dropped; it is never passed on as text. Tool calls and results are paired, under ids
    the vendor accepts. The user's text is never dropped.

    Args:
        messages: The conversation, oldest first; it is not changed. Which model made an answer is read from its
            ``response_metadata`` (``pointsman`` or LangChain's ``model_provider``); unknown counts as foreign.
        to: Name of the backend that will be asked.
        card: The model that will be asked.

    Returns:
        The messages, the same object if nothing had to be changed; or the reason why the model cannot continue.
    """
    return carried(messages, dialect_of(to), card)


def carried(messages: Sequence[BaseMessage], dialect: Dialect | None, card: ModelCard) -> Sequence[BaseMessage] | str:
    """Do the same as `portable`, for a given dialect instead of a backend."""
    if dialect is None or _is_plain_question(messages):
        return messages
    try:
        made = _Conversation(dialect, card).carry(messages)
    except CannotCarry as reason:
        return str(reason)
    same = len(made) == len(messages) and all(new is old for new, old in zip(made, messages, strict=True))
    return messages if same else made


def _is_plain_question(messages: Sequence[BaseMessage]) -> bool:
    """Return whether they are one user text, after at most one system text, which every model accepts unchanged."""
    if not messages or messages[-1].type != "human" or [one.type for one in messages[:-1]] not in ([], ["system"]):
        return False
    texts = [message.content for message in messages if not message.name]
    return len(texts) == len(messages) and all(
        isinstance(text, str) and text.isascii() and "\0" not in text and text.strip() for text in texts
    )


class _Conversation:
    """One conversion; collects the ids in use as it goes."""

    def __init__(self, dialect: Dialect, card: ModelCard) -> None:
        self._dialect = dialect
        self._card = card
        self._carrier = Carrier(dialect, card.inputs)
        self._used: set[str] = set()
        self._calls = 0

    def carry(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        carried: list[BaseMessage] = []
        for turn in turns_of(messages):
            carried += self._turn(turn)
        if not self._dialect.system_anywhere:
            carried = _system_first(carried)
        if self._dialect.user_first:
            carried = _user_first(carried)
        if self._dialect.user_last:
            carried = _user_last(carried)
        carried = [_on_the_wire(message) for message in carried]
        return _merged(carried, self._carrier) if self._dialect.alternating else carried

    def _turn(self, turn: Turn) -> list[BaseMessage]:
        message = turn.message
        if message is not None and message.type == "chat":
            message = _by_role(message)
            turn.message = message
        if message is None or message.type in ("ai", "AIMessageChunk"):
            return self._assistant(turn)
        if message.type in ("human", "system"):
            content = self._carrier.content(message.content, text_only=message.type == "system")
            changes = {} if content is message.content else {"content": content}
            return [self._changed(message, changes)]
        raise CannotCarry(f"the conversation holds a {message.type!r} message")

    def _assistant(self, turn: Turn) -> list[BaseMessage]:
        if turn.calls and not self._card.tools:
            raise CannotCarry("it cannot call tools, and the conversation has tool calls")
        own = turn.message is not None and self._is_own(turn.message)
        names = [self._id_of(call, own=own) for call in turn.calls]
        renamed = any(name != call.call["id"] for name, call in zip(names, turn.calls, strict=True))
        message, media = self._said(turn, names, rebuild=turn.repaired or renamed, own=own)
        if not turn.calls:
            # Nothing, or only thoughts that no other model can use: drop the turn.
            spoken = [] if _says_nothing(message) else [message]
            return [*spoken, *_shown(media, "made by the assistant")]
        results: list[BaseMessage] = []
        shown: list[BaseMessage] = []
        new_ids = {id(call): name for call, name in zip(turn.calls, names, strict=True)}
        for call in turn.answered:
            result, moved = self._result(call, new_ids[id(call)])
            results.append(result)
            shown += _shown(moved, f"from the result of {call.call['name']}, not from the user")
        return [message, *results, *_shown(media, "made by the assistant"), *shown]

    def _is_own(self, message: BaseMessage) -> bool:
        metadata = message.response_metadata
        stamp = metadata.get("pointsman")
        if isinstance(stamp, Mapping) and stamp.get("model"):
            return bool(stamp["model"] == self._card.id)
        made_by = metadata.get("model_name") or metadata.get("model")
        return metadata.get("model_provider") in self._dialect.makers and _family(made_by) == _family(self._card.name)

    def _id_of(self, call: Call, *, own: bool) -> str:
        """Return the call's new id: its own if the vendor accepts it and no earlier call has it."""
        self._calls += 1
        name = call.call["id"] or ""
        if not name or name in self._used or not (own or self._dialect.call_id.fullmatch(name)):
            name = fresh_id(f"{self._calls}:{name}", self._used)
        self._used.add(name)
        return name

    def _said(self, turn: Turn, names: list[str], *, rebuild: bool, own: bool) -> tuple[AIMessage, list[Block]]:
        message = turn.message
        if isinstance(message, AIMessage) and not rebuild and (own or _is_plain(message)):
            content = self._carrier.kept(message.content)
            return self._changed(message, {} if content is message.content else {"content": content}), []
        text, media = ("", []) if message is None else self._carrier.said(message.content)
        if message is not None:
            text = text or str(message.additional_kwargs.get("refusal") or "")
            if not text and not media and not turn.calls and _is_more_than_thought(message):
                raise CannotCarry("an answer is nothing but what a tool at its vendor brought back")
        calls = [{**call.call, "id": name} for call, name in zip(turn.calls, names, strict=True)]
        made = AIMessage(content=text, tool_calls=calls, name=None if message is None else message.name)
        if message is not None and own:
            made.response_metadata = {key: value for key, value in message.response_metadata.items() if key in _ORIGIN}
            made.additional_kwargs = {key: value for key, value in message.additional_kwargs.items() if key in _THOUGHT}
        return self._changed(made, {}), media

    def _changed(self, message: _Message, changes: dict[str, Any]) -> _Message:
        speaker = self._dialect.speaker
        if message.name and speaker and not speaker.fullmatch(message.name):
            changes["name"] = None
        return message.model_copy(update=changes) if changes else message

    def _result(self, call: Call, name: str) -> tuple[BaseMessage, list[Block]]:
        result = call.result
        if result is None:
            return ToolMessage(_UNKNOWN_RESULT, tool_call_id=name, name=call.call["name"], status="error"), []
        content, moved = self._carrier.result(result.content)
        if content is result.content and name == result.tool_call_id:
            return result, []
        return result.model_copy(update={"content": content, "tool_call_id": name}), moved


def _says_nothing(message: BaseMessage) -> bool:
    """Return whether an answer without calls is blank or only thoughts, which no vendor accepts on their own."""
    if isinstance(message.content, str):
        return not message.content.strip()
    spoken = (block for block in message.content if isinstance(block, dict))
    return all(kind_of(block) in ("text", "thought") and not (text_of(block) or "").strip() for block in spoken)


def _on_the_wire(message: BaseMessage) -> BaseMessage:
    """Return the message with tool names and call arguments that every vendor accepts."""
    if message.type == "tool":
        name = message.name and wire_name(message.name)
        return message if name == message.name else message.model_copy(update={"name": name})
    calls = vars(message).get("tool_calls")
    if not calls:
        return message
    made = [{**call, "name": wire_name(call["name"]), "args": cleaned(call["args"], finite=True)} for call in calls]
    same = all(n["name"] == o["name"] and n["args"] is o["args"] for n, o in zip(made, calls, strict=True))
    return message if same else message.model_copy(update={"tool_calls": made})


def _user_last(messages: list[BaseMessage]) -> list[BaseMessage]:
    if messages and messages[-1].type in ("ai", "AIMessageChunk"):
        return [*messages, HumanMessage(_CLOSING)]
    return messages


def _family(name: object) -> str:
    short = str(name or "").rsplit("/", 1)[-1].lower()
    return _DATED.sub("", short)


def _is_plain(message: AIMessage) -> bool:
    """Return whether a foreign answer holds only text and calls in LangChain's own format."""
    return (
        isinstance(message.content, str)
        and not any(message.additional_kwargs.values())
        and not str(message.id or "").startswith(_SERVER_IDS)
    )


def _is_more_than_thought(message: BaseMessage) -> bool:
    return isinstance(message.content, list) and any(
        isinstance(block, dict) and kind_of(block) == "server" for block in message.content
    )


def _by_role(message: BaseMessage) -> BaseMessage:
    """Convert LangChain's message with a free role to one with a fixed role."""
    role = str(getattr(message, "role", ""))
    if role in ("assistant", "model"):
        return AIMessage(message.content)
    if role in ("system", "developer"):
        return SystemMessage(message.content)
    if role in ("user", "human"):
        return HumanMessage(message.content)
    raise CannotCarry(f"the conversation holds a message of role {role!r}")


def _shown(media: list[Block], origin: str) -> list[BaseMessage]:
    """Return a user message that shows media which cannot stay in place, and says where they come from."""
    return [HumanMessage([{"type": "text", "text": f"(The following is {origin}.)"}, *media])] if media else []


def _system_first(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Merge all system messages into one at the front; most APIs have only one, and clients drop or reject a second."""
    systems = [message for message in messages if isinstance(message, SystemMessage)]
    if not systems or (len(systems) == 1 and messages[0] is systems[0]):
        return messages
    whole = systems[0] if len(systems) == 1 else SystemMessage(_joined(systems))
    return [whole, *(message for message in messages if not isinstance(message, SystemMessage))]


def _user_first(messages: list[BaseMessage]) -> list[BaseMessage]:
    head = 1 if messages and isinstance(messages[0], SystemMessage) else 0
    if head == len(messages):
        return [HumanMessage(message.content) for message in messages]
    if messages[head].type == "human":
        return messages
    return [*messages[:head], HumanMessage(_OPENING), *messages[head:]]


def _merged(messages: list[BaseMessage], carrier: Carrier) -> list[BaseMessage]:
    """Merge consecutive messages of one role; nothing is merged into one with calls, since its results follow it."""
    merged: list[BaseMessage] = []
    for message in messages:
        last = merged[-1] if merged else None
        if isinstance(last, HumanMessage) and isinstance(message, HumanMessage):
            merged[-1] = HumanMessage(_joined([last, message]))
        elif isinstance(last, AIMessage) and isinstance(message, AIMessage):
            before = carrier.said(last.content)[0]
            merged[-1] = message.model_copy(update={"content": _after(before, message.content)})
        else:
            merged.append(message)
    return merged


def _after(text: str, content: Any) -> Any:
    """Return an answer's content with a text before it; its own blocks, which may be signed, stay unchanged."""
    if isinstance(content, str):
        return "\n\n".join(part for part in (text, content) if part.strip())
    return [{"type": "text", "text": text}, *content] if text else content


def _joined(messages: Sequence[BaseMessage]) -> Any:
    """Concatenate the contents: to one text if all are texts, otherwise to a list of blocks."""
    if all(isinstance(message.content, str) for message in messages):
        return "\n\n".join(str(message.content) for message in messages)
    blocks: list[Any] = []
    for message in messages:
        blocks += [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
    return blocks
