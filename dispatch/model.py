"""`RoutedChatModel`: a LangChain chat model that is whichever model the step's risk and task call for."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field

from ..configs.words import Effect, StepKind, Tier
from ..routing.messages import estimate_tokens
from ..tools.base import effect_of, only_reads
from . import portal
from .ask import Ask
from .defaults import default_dispatcher
from .dispatcher import Dispatcher

__all__ = ["RoutedChatModel"]

_OUTPUT_MARK = "ls_structured_output_format"


class RoutedChatModel(BaseChatModel):
    """A chat model that routes each call, falls back upwards, checks the reply and records the call.

    It takes the place of any LangChain chat model, in ``create_agent``, in a plain `StateGraph`, or alone.

    Args:
        task: What the call does (``chat``, ``code``, ``classify``, …), for the routing rules.
        kind: What the step is for; left out, its reach tells: no tools ``transform`` (``decide`` where it asks for the
            frontier tier), tools that only read ``gather``, any other tools ``act``.
        tier: The least tier asked for; risk may raise it.
        prefer: The model to use while it qualifies, as ``provider/name``; ``model=`` at a call overrides it.
        reversible: Whether what its tools do can be taken back.
        max_output: Tokens of output to leave room for.
        latency: How badly somebody waits. ``batch`` work goes to the cheapest of its tier, ``critical`` work to the
            fastest, and a second model is asked when that one is slow.
        deadline: Seconds an answer may take, retries included.
        on_cut: What becomes of a stream that breaks after its first words: ``report`` raises; ``retract`` lets the next
            candidate answer anew, after a chunk that withdraws what was said. Chunks added with ``+`` heed it; whoever
            shows them one by one must look for `pointsman.dispatch.retraction.retracts`.
        examples: Field of a structured answer -> CSV (``text,label``) of labelled examples.
        dispatcher: The configuration to run under; the working directory's project when absent.
    """

    task: str = "chat"
    kind: StepKind | None = None
    tier: Tier | None = None
    prefer: str | None = None
    reversible: bool = True
    max_output: int | None = None
    latency: Literal["batch", "interactive", "critical"] = "interactive"
    deadline: float | None = Field(default=None, gt=0)
    on_cut: Literal["report", "retract"] = "report"
    examples: Mapping[str, str] = Field(default_factory=dict)
    dispatcher: Dispatcher | None = Field(default=None, exclude=True, repr=False)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "pointsman"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"task": self.task, "kind": self.kind, "tier": self.tier, "prefer": self.prefer}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """What tracers are told; which model really ran stands in the reply."""
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "pointsman"
        params["ls_model_name"] = kwargs.get("model") or self.prefer or f"routed/{self.task}"
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, AIMessage]:
        """Bind tools with their effects.

        A schema given for structured output, and a tool that carries no function, stand for the answer and can do
        nothing; any other tool without a declared effect counts as destructive: `pointsman.declare` gives it one.
        """
        is_output = _OUTPUT_MARK in kwargs
        effects = [None if is_output else effect_of(tool) for tool in tools]
        described = [convert_to_openai_tool(tool) for tool in tools]
        outputs = [tool["function"]["name"] for tool, effect in zip(described, effects, strict=True) if effect is None]
        return self.bind(
            tools=described,
            tool_choice=tool_choice,
            effects=[effect.value for effect in effects if effect is not None],
            only_reads=only_reads(tools),
            output=outputs[0] if outputs else None,
            **kwargs,
        )

    def get_num_tokens(self, text: str) -> int:
        """Estimate how many tokens a text is, rounded up; whose tokenizer it will meet, only a call decides."""
        return super().get_num_tokens(text) if self.custom_get_token_ids else math.ceil(estimate_tokens(text))

    def _ask(self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> Ask:
        options.pop(_OUTPUT_MARK, None)
        return Ask(
            messages=messages,
            task=self.task,
            kind=self.kind,
            tier=self.tier,
            prefer=options.pop("model", None) or self.prefer,
            reversible=self.reversible,
            max_output=self.max_output,
            latency=self.latency,
            deadline=self.deadline,
            on_cut=self.on_cut,
            examples=self.examples,
            tools=tuple(options.pop("tools", None) or ()),
            effects=tuple(Effect(effect) for effect in options.pop("effects", ())),
            only_reads=options.pop("only_reads", False),
            tool_choice=options.pop("tool_choice", None),
            output=options.pop("output", None),
            stop=tuple(stop) if stop else None,
            options=options,
        )

    def _home(self) -> Dispatcher:
        return self.dispatcher or default_dispatcher()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = await self._home().call(self._ask(messages, stop, kwargs))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return portal.run(self._agenerate(messages, stop, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._home().stream(self._ask(messages, stop, kwargs))) as chunks:
            async for chunk in chunks:
                generation = ChatGenerationChunk(message=chunk)
                if run_manager:
                    await run_manager.on_llm_new_token(_text(chunk), chunk=generation)
                yield generation

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for generation in portal.stream(self._astream(messages, stop, **kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(_text(generation.message), chunk=generation)
            yield generation


# LangChain looks at it at each call.
RoutedChatModel._agenerate.__signature__ = inspect.signature(RoutedChatModel._agenerate)  # type: ignore[attr-defined]


def _text(message: BaseMessage | AIMessageChunk) -> str:
    return str(message.text)
