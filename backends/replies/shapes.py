"""Convert replies of servers that almost follow OpenAI's Chat Completions into the form OpenAI would have sent.

LangChain reads only that form: it ignores calls without an index, concatenates a name that every chunk repeats, gives a
reply without a model the requested name, and treats a refusal in a stream as an empty answer.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from ...configs.words import FailureKind
from ..base import BackendError
from ..errors.told import said
from .bounds import MOST_CALLS, ended_by
from .completions import REFUSED, Completions, error_in

__all__ = ["TidyCompletions", "tidy"]

_DONE: Final = b"[DONE]"


class TidyCompletions(Completions):
    """`Completions` whose replies and chunks are converted to OpenAI's form."""

    async def create(self, **payload: Any) -> Any:
        """Send one request.

        Args:
            payload: As for `Completions.create`.
        """
        reply = await super().create(**payload)
        return _TidyStream(reply) if payload.get("stream") else tidy(reply)


def tidy(body: Any) -> Any:
    """Convert a whole reply to OpenAI's form, in place, and return it.

    Args:
        body: The parsed JSON.
    """
    if not isinstance(body, dict):
        return body
    if not body.get("model"):
        # Otherwise LangChain would fill in the requested name.
        body["model"] = ""
    choices = body.get("choices")
    if error := error_in(body):
        body["error"] = error
        return body
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        told = {"message": said(body) or "the reply holds no answer", "code": body.get("code")}
        body["error"] = {**told, "type": body.get("type")}
        return body
    for choice in choices:
        message = choice.get("message")
        if not isinstance(message, dict):
            message = choice["message"] = {"content": choice.get("text") or ""}
        message["role"] = "assistant"
        if calls := _calls_in(message):
            message["tool_calls"] = _Calls().tidied(calls, whole=True)
    return body


def _calls_in(said: dict[str, Any]) -> Any:
    """Return the calls of a message or a delta; older servers have a field for a single call."""
    single = said.pop("function_call", None)
    return said.get("tool_calls") or ([{"function": single}] if isinstance(single, Mapping) else None)


class _TidyStream:
    """Replaces the SDK's stream in langchain-openai."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._calls = _Calls()
        self._finish: str | None = None
        self._spoke = self._refused = False

    async def __aenter__(self) -> _TidyStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.close()

    def __aiter__(self) -> _TidyStream:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await self._stream.__anext__()
        except StopAsyncIteration:
            if self._finish is None and self._spoke and ended_by(self._stream.response, _DONE):
                self._finish = "tool_calls" if self._calls else "stop"
                return {"choices": [{"index": 0, "delta": {}, "finish_reason": self._finish}]}
            raise
        return self._tidied(chunk)

    def _tidied(self, chunk: Any) -> Any:
        if not isinstance(chunk, dict):
            return {"choices": []}
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            chunk["choices"] = []
            return chunk
        choice = choices[0]
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            message = choice.get("message")
            delta = choice["delta"] = message if isinstance(message, dict) else {}
        if delta.get("role") not in (None, "assistant"):
            delta["role"] = "assistant"
        if calls := _calls_in(delta):
            delta["tool_calls"] = self._calls.tidied(calls)
            self._spoke = True
        if delta.get("content"):
            self._spoke = True
        if delta.get("refusal"):
            self._refused = True
        if reason := choice.get("finish_reason"):
            # Merging concatenates the reasons of all chunks, so only the first may have one.
            choice["finish_reason"] = (REFUSED if self._refused else reason) if self._finish is None else None
            self._finish = reason
        return chunk


class _Call:
    def __init__(self, place: int, call_id: str, name: str) -> None:
        self.place = place
        self.id = call_id
        self.name = name
        self.pieces: list[str] = []

    @property
    def whole(self) -> bool:
        text = "".join(self.pieces).strip()
        if not text.endswith("}"):
            return False
        try:
            json.loads(text, strict=False)
        except ValueError:
            return False
        return True


class _Calls:
    """The calls of one reply, distinguished by index, by id, or by one being complete when the next begins."""

    def __init__(self) -> None:
        self._made: list[_Call] = []
        self._at: dict[Any, _Call] = {}
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._made)

    def tidied(self, calls: Any, *, whole: bool = False) -> list[dict[str, Any]]:
        """Convert the calls of a message, or the call chunks of a delta, to OpenAI's form.

        Args:
            calls: As the server sent them.
            whole: Whether each entry is a separate call.
        """
        entries = calls if isinstance(calls, list) else [calls]
        return [self._tidied(entry, whole) for entry in entries if isinstance(entry, Mapping)]

    def _tidied(self, entry: Mapping[str, Any], whole: bool) -> dict[str, Any]:
        function = entry.get("function")
        function = function if isinstance(function, Mapping) else entry
        name, told = function.get("name") or "", entry.get("id") or ""
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        if arguments is None or arguments.strip() == "null":
            arguments = ""
        index = entry.get("index")
        call = None if whole else self._known(index, told, name, arguments)
        begins = call is None
        if call is None:
            if len(self._made) == MOST_CALLS:
                raise BackendError(FailureKind.INVALID_OUTPUT, f"the reply calls more than {MOST_CALLS} tools at once")
            call = _Call(len(self._made), told, name)
            self._made.append(call)
        self._at[index] = call
        # Send a name only once: merging concatenates chunks, and would repeat it.
        tell = name if begins or name != call.name else None
        call.name = call.name or name
        call.pieces.append(arguments)
        return {
            "index": call.place,
            "id": self._new_id(told) if begins else None,
            "type": "function",
            "function": {"name": tell, "arguments": arguments or ("{}" if whole else "")},
        }

    def _known(self, index: Any, told: str, name: str, arguments: str) -> _Call | None:
        """Return the call that a chunk continues; None if it begins a new one."""
        if index is None and told:
            return next((call for call in reversed(self._made) if call.id == told), None)
        call = self._at.get(index) if index is not None else (self._made[-1] if self._made else None)
        if call is None or (told and call.id and told != call.id):
            return None
        if name and arguments and not told and call.whole:
            return None
        return call

    def _new_id(self, told: Any) -> str:
        call_id = told if isinstance(told, str) and told and told not in self._ids else f"call_{uuid.uuid4().hex[:24]}"
        self._ids.add(call_id)
        return call_id
