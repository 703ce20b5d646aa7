"""`OnDeviceChatModel`: the on-device algorithms behind LangChain's chat model interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from ...configs.evidence import parse_evidence
from ..chat import OwnChatModel, last_chunk
from .classify import HeadShelf
from .embedder import WordLlamaEmbeddings
from .schema import read_fields
from .sentences import split_sentences
from .tasks import TASKS, Outcome, Request, perform

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

__all__ = ["MODEL_NAME", "PROFILE", "OnDeviceChatModel"]

MODEL_NAME = "wordllama-256"
PROFILE: ModelProfile = {
    "name": "WordLlama 256 on this device",
    "open_weights": True,
    "max_input_tokens": 100_000,
    "max_output_tokens": 2_000,
    "text_inputs": True,
    "image_inputs": False,
    "image_url_inputs": False,
    "pdf_inputs": False,
    "audio_inputs": False,
    "video_inputs": False,
    "text_outputs": True,
    "reasoning_output": False,
    "tool_calling": True,
    "tool_choice": True,
    "structured_output": True,
}


class _DeclinedError(Exception):
    """The model does not handle this request; the message is the reason."""


class OnDeviceChatModel(OwnChatModel):
    """Classify, extract, summarise and answer from evidence on this machine, or decline and say why.

    It reads the last human message. Keyword arguments of a call:

    - ``task``: ``classify``, ``extract``, ``summarise`` or ``answer``; bound to ``extract`` by
      ``with_structured_output``.
    - ``examples``: field -> path of a CSV file with the columns text,label to learn the field's labels from.
    - ``min_confidence``: confidence below which a field is declined, instead of each algorithm's own threshold.
    - ``probabilities``: whether ``fields`` includes the probability of every label.
    - ``sentences``: maximum number of sentences in a summary, 3 if not given.
    - ``tools``, ``tool_choice``: as `bind_tools` makes them; the only tool, or the forced one, is the output schema.

    ``response_metadata`` has ``finish_reason`` (``stop``, ``tool_calls`` or ``declined``), ``confidence``, ``fields``
    (field -> its confidence), ``quotes`` (the passages an answer is based on) and, if declined, ``reason``. A declined
    reply still carries the best guess, if there is one.

    Attributes:
        model: The model's name.
        cache_folder: Folder where learned heads are stored; None keeps them in memory.
        min_confidence: Default for calls that do not give one.
    """

    model: str = MODEL_NAME
    cache_folder: Path | None = None
    min_confidence: float | None = Field(default=None, ge=0, le=1)

    _embedder: WordLlamaEmbeddings = PrivateAttr(default_factory=WordLlamaEmbeddings)
    _shelf: HeadShelf = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Create the cache of learned heads, without loading anything yet."""
        super().model_post_init(context)
        self._shelf = HeadShelf(self._embedder, self.cache_folder)

    @property
    def _llm_type(self) -> str:
        return "pointsman-ondevice"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "min_confidence": self.min_confidence}

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text with the model's own tokenizer."""
        return self._embedder.count_tokens(text)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return PROFILE.copy()

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind an output schema; the class docstring says what a bound tool means here."""
        if "ls_structured_output_format" in kwargs:
            kwargs.setdefault("task", "extract")
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        return super().bind(tools=formatted, tool_choice=tool_choice, **kwargs)

    def _pieces(self, reply: AIMessage) -> Iterator[AIMessageChunk]:
        for piece in _sentences(reply.text):
            yield AIMessageChunk(content=piece)
        yield last_chunk(reply)

    def _reply(self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]) -> AIMessage:
        name, text = None, ""
        try:
            text = _last_text(messages)
            task = _task(options.get("task"))
            name, parameters = _output_schema(options.get("tools") or (), options.get("tool_choice"))
            outcome = self._perform(task, text, parameters, options)
        except _DeclinedError as declined:
            outcome = Outcome(reason=str(declined))
        return self._message(outcome, name, text, stop or (), len(messages))

    def _perform(self, task: str, text: str, parameters: Mapping[str, Any], options: Mapping[str, Any]) -> Outcome:
        evidence, rest = parse_evidence(text)
        least = options.get("min_confidence")
        request = Request(
            text=rest,
            evidence=evidence,
            fields=read_fields(parameters),
            examples=options.get("examples") or {},
            min_confidence=self.min_confidence if least is None else least,
            sentences=options.get("sentences", 3),
            probabilities=options.get("probabilities", False),
        )
        return perform(task, request, self._shelf)

    def _message(self, outcome: Outcome, name: str | None, read: str, stop: Sequence[str], turn: int) -> AIMessage:
        calls = []
        content = _cut(outcome.text or (f"Declined: {outcome.reason}" if outcome.values is None else ""), stop)
        spoken = content
        if outcome.values is not None and name is not None:
            spoken = json.dumps(outcome.values, ensure_ascii=False, sort_keys=True)
            # Derive the id from the input, so that the same call gives the same reply.
            digest = hashlib.sha256(f"{turn}\0{name}\0{read}\0{spoken}".encode("utf-8", "surrogatepass"))
            calls.append(tool_call(name=name, args=dict(outcome.values), id=f"call_{digest.hexdigest()[:24]}"))
        finish = "declined" if outcome.reason else "tool_calls" if calls else "stop"
        metadata = {
            "model_name": self.model,
            "model_provider": "ondevice",
            "finish_reason": finish,
            "confidence": round(outcome.confidence, 4),
            "fields": {field: dict(told) for field, told in outcome.fields.items()},
            "quotes": [dict(quote) for quote in outcome.quotes],
        }
        if outcome.reason:
            metadata["reason"] = outcome.reason
        taken, given = self._embedder.count_tokens(read), self._embedder.count_tokens(spoken)
        usage = UsageMetadata(input_tokens=taken, output_tokens=given, total_tokens=taken + given)
        return AIMessage(content=content, tool_calls=calls, response_metadata=metadata, usage_metadata=usage)


def _last_text(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the last human message."""
    asked = next((message for message in reversed(messages) if isinstance(message, HumanMessage)), None)
    if asked is None:
        raise _DeclinedError("there is no message from a person to work on")
    if isinstance(asked.content, list):
        kinds = {part.get("type", "") for part in asked.content if isinstance(part, dict)} - {"text"}
        if kinds:
            raise _DeclinedError(f"the message has parts that are not text: {', '.join(sorted(kinds))}")
    return asked.text


def _task(task: str | None) -> str:
    if task is None:
        raise _DeclinedError(f"no task is named, and there is no free conversation; the tasks are {', '.join(TASKS)}")
    if task not in TASKS:
        raise _DeclinedError(f"the task {task!r} is not one of {', '.join(TASKS)}")
    return task


def _output_schema(
    tools: Sequence[Mapping[str, Any]], choice: str | Mapping[str, Any] | bool | None
) -> tuple[str | None, Mapping[str, Any]]:
    """Return the name and parameters of the tool that is the output schema; no name if no tool is bound."""
    if not tools or choice == "none":
        return None, {}
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    forced = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else choice
    name = forced if forced in functions else next(iter(functions)) if len(functions) == 1 else None
    if not isinstance(name, str):
        raise _DeclinedError("tools are bound of which none is forced as the output schema; tools are not called here")
    return name, functions[name].get("parameters", {})


def _sentences(text: str) -> Iterator[str]:
    """Split text after each sentence; the pieces joined give the text again."""
    start = 0
    for sentence in split_sentences(text)[1:]:
        yield text[start : sentence.start]
        start = sentence.start
    if text[start:]:
        yield text[start:]


def _cut(text: str, stop: Sequence[str]) -> str:
    places = [place for word in stop if word and (place := text.find(word)) >= 0]
    return text[: min(places)] if places else text
