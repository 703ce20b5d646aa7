"""`RoutedChatModel`: a LangChain chat model that routes each call to the model its risk and task need."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..configs.arguments import CheckedModel
from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.words import StepKind, StepKindName, Tier, TierName
from ..routing.features.messages import estimate_tokens
from ..routing.request import RouteRequest
from ..tools.base import effect_of, only_reads
from . import sync
from .calls.options import call_options, choice_of, known_options
from .calls.structured_output import bindable, is_class
from .conversation.blocks import with_types
from .conversation.naming import tool_names
from .defaults import default_dispatcher
from .dispatcher import Dispatcher
from .request import ModelRequest

__all__ = ["RoutedChatModel"]

_OUTPUT_MARK = "ls_structured_output_format"
_OWN = frozenset({"answer", "effects", "model", "only_reads", "output", "tool_choice", "tools", _OUTPUT_MARK})
"""Names bound besides call options."""
_DECLARED = ("task", "kind", "tier", "max_tier", "reversible", "latency", "deadline")
"""Fields passed to routing under the same name."""
_LANGCHAIN = frozenset({"max_retries", "streaming", "timeout"})
"""Arguments that every LangChain chat model takes: ``timeout`` sets the deadline, the policy decides the others."""


class RoutedChatModel(CheckedModel, BaseChatModel):
    """A chat model that routes each call, falls back upwards, checks the reply and records the call.

    It replaces any LangChain chat model, in ``create_agent``, in a plain `StateGraph`, or alone.

    Args:
        task: What the call does (``chat``, ``code``, ``classify``, …), for the routing rules.
        kind: What the step is for. Default, by its tools: none ``transform`` (``decide`` if it asks for the frontier
            tier), only tools that read ``gather``, any other tools ``act``.
        tier: The lowest tier wanted; risk may raise it.
        max_tier: The highest tier allowed; if the risk demands a higher one, no model may answer.
        prefer: The model to use while it qualifies, as ``provider/name``; ``model=`` at a call overrides it.
        reversible: Whether the effects of its tools can be undone.
        max_output: Output tokens to leave room for.
        latency: How urgent the answer is. ``batch`` work goes to the cheapest model of its tier, ``critical`` work to
            the fastest, with a hedged second request when that one is slow.
        deadline: Seconds an answer may take, retries included; LangChain's ``timeout`` says the same.
        on_cut: What happens if a stream breaks after its first words: ``report`` raises; ``retract`` lets the next
            candidate answer from the start, after a chunk that withdraws the earlier ones. Adding chunks with ``+``
            applies it; code that shows chunks one by one must check `pointsman.dispatch.calls.retraction.retracts`.
        examples: Field of a structured answer -> CSV (``text,label``) of labelled examples.
        answer: Pydantic class that validates a typed answer if only its schema is bound as a tool;
            ``with_structured_output`` does not need it.
        options: Call options for every call, by the names of `CallOptions`; each can also be passed as an argument.
        dispatcher: The dispatcher to use; default: that of the current run or the working directory's project.

    Raises:
        ConfigError: An argument or option is unknown, or its value is not allowed.
    """

    task: str = "chat"
    kind: StepKind | None = None
    tier: Tier | None = None
    max_tier: Tier | None = None
    prefer: str | None = None
    reversible: bool = True
    max_output: int | None = None
    latency: Literal["batch", "interactive", "critical"] = "interactive"
    deadline: float | None = Field(default=None, gt=0)
    on_cut: Literal["report", "retract"] = "report"
    examples: Mapping[str, str] = Field(default_factory=dict)
    answer: type[BaseModel] | None = Field(default=None, exclude=True, repr=False)
    options: Mapping[str, Any] = Field(default_factory=dict)
    dispatcher: Dispatcher | None = Field(default=None, exclude=True, repr=False)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    if TYPE_CHECKING:
        # Pydantic also accepts names for enum values; a type checker sees only a field's own type.
        def __init__(
            self,
            *,
            task: str = "chat",
            kind: StepKindName | StepKind | None = None,
            tier: TierName | Tier | None = None,
            max_tier: TierName | Tier | None = None,
            prefer: str | None = None,
            reversible: bool = True,
            max_output: int | None = None,
            latency: Literal["batch", "interactive", "critical"] = "interactive",
            deadline: float | None = None,
            on_cut: Literal["report", "retract"] = "report",
            examples: Mapping[str, str] = ...,
            answer: type[BaseModel] | None = None,
            options: Mapping[str, Any] = ...,
            dispatcher: Dispatcher | None = None,
            **more: Any,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, given: Any) -> Any:
        """Move call options from the arguments into ``options``, and refuse unknown arguments."""
        if not isinstance(given, Mapping):
            return given
        known = {name for field, info in cls.model_fields.items() for name in (field, info.alias) if name}
        rest = {name: value for name, value in given.items() if name in known}
        options = {name: value for name, value in given.items() if name not in known and name not in _LANGCHAIN}
        if (deadline := given.get("timeout")) is not None:
            rest.setdefault("deadline", deadline)
        if "model" in options:
            raise ConfigError("unknown argument 'model': give prefer=, as provider/name")
        for name in options:
            if name not in known_options() and (meant := suggest(name, [*known, *known_options()])):
                raise ConfigError(f"unknown argument {name!r}{meant}")
        options = call_options({**(given.get("options") or {}), **options})
        return {**rest, "options": options} if options else rest

    @property
    def _llm_type(self) -> str:
        return "pointsman"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"task": self.task, "kind": self.kind, "tier": self.tier, "prefer": self.prefer}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """Return what tracers are told; the reply's metadata names the model that ran."""
        name = kwargs.get("model") or self.prefer or f"routed/{self.task}"
        params = LangSmithParams(ls_provider="pointsman", ls_model_type="chat", ls_model_name=name)
        if stop:
            params["ls_stop"] = stop
        if isinstance(kwargs.get("temperature"), int | float):
            params["ls_temperature"] = kwargs["temperature"]
        if isinstance(kwargs.get("max_tokens"), int):
            params["ls_max_tokens"] = kwargs["max_tokens"]
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, AIMessage]:
        """Bind tools with their effects.

        A schema for structured output, or a tool without a function, represents the answer and has no effect. Any other
        tool without a declared effect counts as destructive; `pointsman.declare` declares one.
        """
        is_output = _OUTPUT_MARK in kwargs
        effects = [None if is_output else effect_of(tool) for tool in tools]
        shown = bindable(tools, strict=bool(kwargs.get("strict")), answer=self.answer)
        outputs = [tool["function"]["name"] for tool, effect in zip(shown, effects, strict=True) if effect is None]
        choice_of(tool_choice, tool_names(shown))
        bound: Runnable[Any, AIMessage] = self.bind(
            tools=shown,
            tool_choice=tool_choice,
            effects=[effect.value for effect in effects if effect is not None],
            only_reads=only_reads(tools),
            output=outputs[0] if outputs else None,
            answer=next((tool for tool in tools if is_output and is_class(tool)), None),
            **kwargs,
        )
        return bound

    def get_num_tokens(self, text: str) -> int:
        """Estimate the tokens of a text, rounded up: which tokenizer applies is only known at the call."""
        return super().get_num_tokens(text) if self.custom_get_token_ids else math.ceil(estimate_tokens(text))

    def bind(self, **kwargs: Any) -> Any:
        """Bind call options; they are checked here, not at the call.

        Raises:
            ConfigError: An option is unknown, or its value is not allowed.
        """
        call_options({name: value for name, value in kwargs.items() if name not in _OWN})
        return super().bind(**kwargs)

    def _convert_input(self, model_input: Any) -> PromptValue:
        """Convert the input; also accept images without a MIME type, which LangChain's layer above would reject."""
        prompt = super()._convert_input(model_input)
        messages = prompt.to_messages()
        if all(isinstance(message.content, str) for message in messages):
            return prompt
        made = [(message, with_types(message.content)) for message in messages]
        if all(content is message.content for message, content in made):
            return prompt
        return ChatPromptValue(messages=[message.model_copy(update={"content": content}) for message, content in made])

    def _ask(self, messages: list[BaseMessage], stop: list[str] | None, given: dict[str, Any]) -> ModelRequest:
        asked = {name: value for name, value in given.items() if name not in _OWN}
        options = dict(self.options)
        if asked or stop is not None:
            options |= call_options({"stop": stop, **asked})
        limit, ends = options.pop("max_tokens", None), options.pop("stop", None)
        room = limit or self.max_output
        if room is not None and room < 1:
            raise ConfigError(f"max_output is {room}: ask for at least one token, or leave it out")
        declared = RouteRequest(
            **{name: getattr(self, name) for name in _DECLARED},
            model=given.get("model") or self.prefer,
            max_output=room,
            effects=given.get("effects", ()),
            only_reads=given.get("only_reads", False),
        )
        return ModelRequest(
            messages=messages,
            declared=declared,
            on_cut=self.on_cut,
            examples=self.examples,
            tools=tuple(given.get("tools") or ()),
            tool_choice=given.get("tool_choice"),
            output=given.get("output"),
            answer=given.get("answer") or self.answer,
            stop=tuple(ends) if ends else None,
            options=options,
        )

    def _dispatcher(self) -> Dispatcher:
        return self.dispatcher or default_dispatcher()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = await self._dispatcher().call(self._ask(messages, stop, kwargs))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return sync.run(self._agenerate(messages, stop, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._dispatcher().stream(self._ask(messages, stop, kwargs))) as chunks:
            async for chunk in chunks:
                generation = ChatGenerationChunk(message=chunk)
                if run_manager:
                    await run_manager.on_llm_new_token(str(chunk.text), chunk=generation)
                yield generation

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for generation in sync.stream(self._astream(messages, stop, **kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(str(generation.message.text), chunk=generation)
            yield generation


# LangChain inspects this signature at each call.
RoutedChatModel._agenerate.__signature__ = inspect.signature(RoutedChatModel._agenerate)  # type: ignore[attr-defined]
