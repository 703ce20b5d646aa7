"""Whether a loop of tool calls makes progress, judged from its messages: pure, and independent of what they ask for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ..evidence import ERRORS, REPEATED, Finding

__all__ = ["CALLS", "Repeated", "repeated", "stalled", "texts_in"]

_IN_A_ROW: Final = 2
_MOST_JSON: Final = 20_000
# How an error result begins; used if its message does not declare whether it is one.
_FAILED: Final = re.compile(
    r"\s*(?:(?:[Ee]rror|ERROR)(?:\s*(?:[:!(\[\d]|$)|\s(?:executing|invoking|running|calling|in|while)\b)"
    r"|[\w.]+(?:Error|Exception)\b|fatal:|panic:|Traceback \(most recent call last\)"
    r"|<returncode>[1-9]|(?:[Cc]ommand )?[Ee]xit(?:ed)?(?: with)?(?: code| status):? [1-9])"
)
_ASSISTANT: Final = frozenset({"assistant", "ai", "model"})
_TOOL: Final = frozenset({"tool", "function"})
_USER: Final = frozenset({"user", "human", "chat"})

CALLS: Final = frozenset({"tool_use", "server_tool_use", "tool_call", "function_call"})
"""Types of message parts that are tool calls: Anthropic's, LangChain's and those of OpenAI's Responses API."""

_Call = tuple[str, str]
"""The tool's name, and its arguments in a canonical form."""


class Repeated(NamedTuple):
    """Calls that are made again and again and return the same result each time.

    Attributes:
        calls: The calls of the newest turn, each with its arguments in a canonical form.
        times: How often each was made at least, including the first time.
    """

    calls: tuple[_Call, ...]
    times: int


@dataclass(slots=True)
class _Turn:
    """The calls of one assistant message by id, and the result of each."""

    calls: dict[str, _Call] = field(default_factory=dict)
    results: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def outcomes(self) -> set[tuple[_Call, str]]:
        """Return each call with its result."""
        return {(call, self.results[key][0]) for key, call in self.calls.items() if key in self.results}

    def failed(self) -> bool:
        return bool(self.results) and all(failed for _, failed in self.results.values())


def stalled(messages: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Return the findings that the current loop makes no progress; empty if it does.

    The loop is everything after the newest words of the user. It makes no progress if every call of its newest turn was
    made before with the same arguments and the same result, or if every call of two turns in a row failed. A result
    counts as failed if its message declares an error or, if it declares nothing, if it begins the way errors do.

    Args:
        messages: OpenAI chat format, oldest first; LangChain's and Anthropic's parts are understood too.
    """
    turns = _turns(messages)
    if len(turns) < _IN_A_ROW or not turns[-1].results:
        return ()
    found: list[Finding] = []
    if _again(turns):
        names = ", ".join(sorted({call[0] for call, _ in turns[-1].outcomes()}))
        found.append(Finding(REPEATED, f"{names} was called again with the same arguments and told the same"))
    if all(turn.failed() for turn in turns[-_IN_A_ROW:]):
        count = next((n for n, turn in enumerate(reversed(turns)) if not turn.failed()), len(turns))
        found.append(Finding(ERRORS, f"the tool calls of {count} turns in a row failed"))
    return tuple(found)


def repeated(messages: Sequence[Mapping[str, Any]]) -> Repeated | None:
    """Return the calls of the newest turn if they only repeat earlier calls with the same results.

    Args:
        messages: In the format that `stalled` accepts.

    Returns:
        The calls and how often they were made; None if the newest turn returned something new.
    """
    turns = _turns(messages)
    again = _again(turns)
    if not again:
        return None
    newest = turns[-1].outcomes()
    return Repeated(tuple(sorted({call for call, _ in newest})), 1 + min(again[one] for one in newest))


def _again(turns: Sequence[_Turn]) -> Counter[tuple[_Call, str]]:
    """Count how often known results came again since the newest turn that returned something new."""
    known: set[tuple[_Call, str]] = set()
    again: Counter[tuple[_Call, str]] = Counter()
    for turn in turns:
        outcomes = turn.outcomes()
        if outcomes and outcomes <= known:
            again.update(outcomes)
        else:
            again.clear()
        known |= outcomes
    return again


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[_Turn]:
    turns: list[_Turn] = []
    for message in _loop(messages):
        if message.get("role") in _ASSISTANT:
            if calls := dict(_calls(message, len(turns))):
                turns.append(_Turn(calls))
            continue
        for key, content, failed in _results(message):
            waiting = turns[-1] if turns else _Turn()
            # A result without a known id answers the first call that still waits for one.
            first = next((call for call in waiting.calls if call not in waiting.results), "")
            if name := key if key in waiting.calls else first:
                text = "\n".join(texts_in(content))
                said = text.strip() + _beside_text(content)
                waiting.results[name] = (said, _says_failed(text) if failed is None else failed)
    return turns


def _loop(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the messages after the newest words of the user."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if message.get("role") not in _USER:
            continue
        content = message.get("content")
        if not isinstance(content, list | tuple) or not any(_is_result(part) for part in content):
            return messages[place + 1 :]
    return messages


def _is_result(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "tool_result"


def _calls(message: Mapping[str, Any], turn: int) -> Iterator[tuple[str, _Call]]:
    content, asked = message.get("content"), message.get("tool_calls")
    made = [call for call in asked if isinstance(call, Mapping)] if isinstance(asked, list | tuple) else []
    if not made and isinstance(call := message.get("function_call"), Mapping):
        made = [call]
    if not made and isinstance(content, list | tuple):
        made = [part for part in content if isinstance(part, Mapping) and part.get("type") in CALLS]
    for number, call in enumerate(made):
        function = call.get("function")
        said = function if isinstance(function, Mapping) else call
        arguments = said.get("arguments", said.get("args", said.get("input")))
        yield str(call.get("id") or f"{turn}.{number}"), (str(said.get("name") or ""), _written(arguments))


def _written(arguments: Any) -> str:
    """Return arguments in a canonical form, regardless of key order and of whether they came as a string."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return str(arguments).strip()
    return json.dumps(arguments, sort_keys=True, default=str)


def _results(message: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool | None]]:
    """Yield the id of the call, its result, and whether that is declared an error; None if nothing is declared."""
    content = message.get("content")
    if message.get("role") in _TOOL:
        status = message.get("status")
        yield str(message.get("tool_call_id") or ""), content, None if status is None else status == "error"
    elif isinstance(content, list | tuple):
        for part in content:
            if _is_result(part):
                yield str(part.get("tool_use_id") or ""), part.get("content"), part.get("is_error")


def texts_in(content: Any) -> Iterator[str]:
    """Yield the texts in the content of a message or of a result."""
    for part in content if isinstance(content, list | tuple) else [content]:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def _beside_text(content: Any) -> str:
    """Return a hash that identifies the images and files of a result; empty if it has none."""
    parts = content if isinstance(content, list | tuple) else ()
    rest = [part for part in parts if isinstance(part, Mapping) and "text" not in part]
    return sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest() if rest else ""


def _says_failed(text: str) -> bool:
    if _FAILED.match(text):
        return True
    if len(text) > _MOST_JSON or not text.lstrip().startswith("{"):
        return False
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return False
    error = told.get("error")
    return (
        bool(isinstance(error, str | Mapping) and error) or told.get("isError") is True or told.get("status") == "error"
    )
