"""How far the work in a conversation has progressed, in the few numbers that a trained router looks at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import log1p
from typing import Any, Final

from ..request import RouteRequest
from .messages import is_program
from .progress import texts_in

__all__ = ["SIGNALS", "SIGNALS_VERSION", "signals"]

SIGNALS: Final = (
    "system",
    "question",
    "opening",
    "talk",
    "turns",
    "edited",
    "diff_shown",
    "delivered",
    "code",
    "shell",
)
"""Names of the signals, in the order `signals` returns them."""

SIGNALS_VERSION: Final = 1
"""Increased whenever a signal is added, dropped or measured differently; a router of another version is refused."""

_EDITING_TOOL: Final = re.compile(r"(?:^|[_.-])(?:write|edit|patch|replace|create|insert)", re.IGNORECASE)
_SHELL_TOOL: Final = re.compile(
    r"(?:^|[_.-])(?:bash|shell|exec|execute|terminal|run|command)(?:$|[_.-])", re.IGNORECASE
)
_EDITING_COMMANDS: Final = (
    "sed -i", "write_text", ".write(", "apply_patch", "*** Begin Patch", "git apply", "patch -p",
)  # fmt: skip
_DIFF_TO_FILE: Final = re.compile(r"git (?:diff|format-patch)\b[^|]*?>\s*[\w./~-]|>\s*[\w./~-]+\.(?:patch|diff)\b")
_DIFFS: Final = ("diff --git ", "\n@@ -")


@dataclass(slots=True)
class _Work:
    """What was seen so far; the ``last`` fields describe the newest turn with tool calls."""

    system: int = 0
    question: int = 0
    talk: int = 0
    turns: int = 0
    calls: int = 0
    shell: int = 0
    edited: bool = False
    delivery: int = 0
    text: int = 0
    program: int = 0
    last_edited: bool = False
    last_diff: bool = False


def signals(request: RouteRequest) -> tuple[float, ...]:
    """Measure how far the work in a conversation has progressed.

    Sizes and counts are ``log(1 + n)``, booleans are 0 or 1, shares are 0..1:

    - *system*, *question*: characters of the system messages and of the newest user message;
    - *opening*: no model has said anything yet;
    - *talk*, *turns*: assistant messages without and with tool calls;
    - *edited*: a tool call changed a file;
    - *diff_shown*: the newest tool results show a diff;
    - *delivered*: a diff was written to a file in an earlier turn, so the work is in its final review;
    - *code*: share of the text outside system messages that looks like a program;
    - *shell*: share of the tool calls that run a command.

    Ids of messages and calls are ignored: they reveal which vendor wrote a message, not how hard the step is.

    Args:
        request: The step, messages in OpenAI's chat format, or with Anthropic's content blocks.

    Returns:
        One value per name in `SIGNALS`, rounded to six decimals.
    """
    work = _Work()
    for message in request.messages:
        _read(message, work)
    delivered = work.last_diff and not work.last_edited and 0 < work.delivery < work.turns
    found = (
        log1p(work.system),
        log1p(work.question),
        float(work.talk + work.turns == 0),
        log1p(work.talk),
        log1p(work.turns),
        float(work.edited),
        float(work.last_diff),
        float(delivered),
        work.program / (work.text or 1),
        work.shell / (work.calls or 1),
    )
    return tuple(round(value, 6) for value in found)


def _read(message: Mapping[str, Any], work: _Work) -> None:
    role = message.get("role")
    texts, results, calls = _parts(message)
    asked = message.get("tool_calls")
    if isinstance(asked, list | tuple):
        calls.extend(call for call in asked if isinstance(call, Mapping))
    if isinstance(call := message.get("function_call"), Mapping):
        calls.append(call)
    if role in ("tool", "function"):
        texts, results = [], texts + results
    if role in ("system", "developer"):
        work.system += sum(map(len, texts))
        return
    for text in (*texts, *results):
        work.text += len(text)
        if is_program(text.encode("utf-8", "surrogatepass")):
            work.program += len(text)
    if role in ("assistant", "ai", "model"):
        if calls:
            _act(calls, work)
        else:
            work.talk += 1
    elif texts:
        work.question = len(texts[-1])
    if any(mark in text for text in results for mark in _DIFFS):
        work.last_diff = True


def _parts(message: Mapping[str, Any]) -> tuple[list[str], list[str], list[Mapping[str, Any]]]:
    """Return the texts, tool results and tool calls in the content of a message."""
    texts: list[str] = []
    results: list[str] = []
    calls: list[Mapping[str, Any]] = []
    content = message.get("content")
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list | tuple):
        for part in content:
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, Mapping):
                kind = part.get("type")
                if kind == "tool_use":
                    calls.append(part)
                elif kind == "tool_result":
                    results.extend(texts_in(part.get("content")))
                elif isinstance(text := part.get("text"), str):
                    texts.append(text)
    return texts, results, calls


def _act(calls: list[Mapping[str, Any]], work: _Work) -> None:
    work.turns += 1
    work.calls += len(calls)
    work.last_diff = work.last_edited = False
    for call in calls:
        function = call.get("function")
        said = function if isinstance(function, Mapping) else call
        name = str(said.get("name") or "")
        arguments = said.get("arguments", said.get("args", said.get("input")))
        text = arguments if isinstance(arguments, str) else str(arguments or "")
        work.shell += _SHELL_TOOL.search(name) is not None
        if _EDITING_TOOL.search(name) or any(mark in text for mark in _EDITING_COMMANDS):
            work.edited = work.last_edited = True
        elif _DIFF_TO_FILE.search(text):
            work.delivery = work.turns
