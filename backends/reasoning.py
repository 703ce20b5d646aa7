"""Keep a reply's reasoning with the reply, and send it back with it to servers that require this.

Chat Completions has no field for it, so servers add one (api-docs.deepseek.com/guides/thinking_mode,
openrouter.ai/docs/use-cases/reasoning-tokens), which langchain-openai drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

__all__ = ["with_reasoning"]

_TEXT: Final = "reasoning_content"
_DETAILS: Final = "reasoning_details"
_FIELDS: Final = (_TEXT, _DETAILS)
_UNKNOWN: Final = "(The reasoning is not known.)"


@cache
def with_reasoning(made: type[Any]) -> Any:
    """Return a subclass of a langchain-openai class that keeps reasoning.

    Its field ``wants_reasoning`` says that the server rejects an assistant message without its reasoning.
    """
    space = {"__module__": made.__module__, "__annotations__": {"wants_reasoning": bool}, "wants_reasoning": False}
    meta: Any = type(made)
    return meta(made.__name__, (Reasoning, made), space)


class Reasoning:
    """Mixin that precedes a langchain-openai chat model among a subclass's bases."""

    wants_reasoning: bool

    def _create_chat_result(self, response: Any, *args: Any, **kwargs: Any) -> ChatResult:
        result: ChatResult = super()._create_chat_result(response, *args, **kwargs)  # type: ignore[misc]
        choices = response.get("choices") if isinstance(response, Mapping) else None
        for generation, choice in zip(result.generations, choices or (), strict=False):
            _keep(generation.message, choice.get("message"))
        return result

    def _convert_chunk_to_generation_chunk(self, chunk: Any, *args: Any, **kwargs: Any) -> ChatGenerationChunk | None:
        made: ChatGenerationChunk | None = super()._convert_chunk_to_generation_chunk(chunk, *args, **kwargs)  # type: ignore[misc]
        choices = chunk.get("choices") if isinstance(chunk, Mapping) else None
        if made is not None and choices:
            _keep(made.message, choices[0].get("delta"))
        return made

    def _get_request_payload(self, input_: Any, *, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)  # type: ignore[misc]
        messages = self._convert_input(input_).to_messages()  # type: ignore[attr-defined]
        for message, sent in zip(messages, payload.get("messages") or (), strict=False):
            if sent.get("role") != "assistant":
                continue
            for name in _FIELDS:
                if value := message.additional_kwargs.get(name):
                    sent[name] = _merged(value) if name == _DETAILS else value
            if self.wants_reasoning and not sent.get(_TEXT):
                # Another model's answer, whose reasoning this model cannot use.
                sent[_TEXT] = _UNKNOWN
        return payload


def _keep(message: Any, told: Any) -> None:
    for name in _FIELDS if isinstance(told, Mapping) else ():
        if value := told.get(name):
            message.additional_kwargs[name] = _apart(value) if name == _DETAILS else value


def _apart(details: Any) -> Any:
    # LangChain joins all strings of two chunks with the same integer index, even their format and type.
    if not isinstance(details, list):
        return details
    return [
        {**one, "index": str(one["index"])} if isinstance(one, Mapping) and isinstance(one.get("index"), int) else one
        for one in details
    ]


def _merged(details: Any) -> Any:
    # A streamed detail arrives in chunks with the same index.
    if not isinstance(details, list):
        return details
    whole: dict[Any, dict[str, Any]] = {}
    for place, piece in enumerate(details):
        if not isinstance(piece, Mapping):
            return details
        known = whole.setdefault(piece.get("index", f"at {place}"), {})
        for name, value in piece.items():
            joined = name in ("text", "summary") and isinstance(value, str) and isinstance(known.get(name), str)
            known[name] = known[name] + value if joined else known.get(name) if value is None else value
    for one in whole.values():
        if str(one.get("index", "")).isdigit():
            one["index"] = int(one["index"])
    return list(whole.values())
