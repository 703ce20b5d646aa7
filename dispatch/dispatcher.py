"""Carry a routing decision out: ask the candidates in order until one gives a usable answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.base import BackendError
from ..configs.catalogue import ModelCard
from ..configs.loader import environment, load
from ..configs.schema import Limits, Settings
from ..configs.words import FailureKind
from ..ledger.budgets import Budgets
from ..ledger.ledger import Ledger
from ..ledger.prices import PriceBook
from ..routing.decide import decide
from ..routing.decision import Decision
from ..routing.request import Circumstances, RouteRequest
from .ask import Ask
from .attempts import Attempt, Attempts
from .cache import ResponseCache, Similar
from .catalogue import catalogue, policy_of, unavailable
from .clients import Clients
from .headroom import Headrooms
from .health import Health
from .switches import SWITCHES_FILE, Switches

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

__all__ = ["Dispatcher", "default_dispatcher"]


class Dispatcher:
    """Decides and carries out model calls under one configuration, and keeps what all calls share.

    Args:
        settings: The configuration.
        ledger: Where to record; the project's own ledger when absent.

    Attributes:
        health: One breaker for each model at each provider.
        headroom: What each provider still takes.
    """

    def __init__(self, settings: Settings, *, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.ledger = ledger or Ledger(settings.state / "ledger.db")
        self.prices = PriceBook(settings.models)
        self.cards: Mapping[str, ModelCard] = {card.id: card for card in catalogue(settings, self.prices)}
        self.policy = policy_of(settings, tuple(self.cards.values()))
        self.clients = Clients(settings)
        self.health = Health()
        self.headroom = Headrooms()
        self.switches = Switches(settings.state / SWITCHES_FILE)
        self._unavailable: dict[str, str] = dict(unavailable(settings))

    @cached_property
    def responses(self) -> ResponseCache | None:
        """Answers given before, where the policy keeps them."""
        policy = self.settings.routing.cache
        if policy.mode == "off":
            return None
        similar: Similar | None = None
        if policy.mode == "similar":
            from ..backends.ondevice import WordLlamaEmbeddings

            similar = Similar(WordLlamaEmbeddings().embed_query, threshold=policy.threshold)
        path = self.settings.state / "responses.db"
        return ResponseCache(path, max_bytes=policy.max_bytes, ttl=policy.ttl, similar=similar)

    @cached_property
    def budgets(self) -> Budgets:
        """Caps, shared with every process that uses the same ledger."""
        return Budgets(self.settings.state / "ledger.db")

    @cached_property
    def flagship(self) -> ModelCard | None:
        """The first priced model of the highest tier: what everything would cost had all gone there."""
        priced = [card for card in self.cards.values() if card.prices is not None]
        return max(priced, key=lambda card: card.tier.rank, default=None)

    @cached_property
    def rules_on_budget(self) -> bool:
        """Whether a routing rule asks how much of the budget is left."""
        return any("budget_left" in rule.when for rule in self.settings.routing.rules)

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Provider -> why it cannot be used now."""
        return self._unavailable

    def unusable(self, besides: tuple[tuple[str, str], ...] = ()) -> Mapping[str, str]:
        """Provider or model -> why it cannot be used now, with what only one step must not use."""
        switched = self.switches.reasons()
        if not switched and not besides:
            return self._unavailable
        return {**self._unavailable, **switched, **dict(besides)}

    def refused(self, provider: str) -> None:
        """Note that a provider refused its key: no other call under it would fare better."""
        self._unavailable[provider] = f"its key was refused: check {self.settings.providers[provider].key}"

    def decide(self, request: RouteRequest, *, only_usable: bool = True) -> Decision:
        """Decide without calling any model.

        Args:
            request: The step.
            only_usable: Leave out what cannot be used from here, for want of a key and the like.
        """
        reasons: Mapping[str, str] = self.unusable() if only_usable else {}
        return decide(self.policy.features(request), self.policy, Circumstances(unavailable=reasons))

    def close(self) -> None:
        """Write what is still waiting and let go of files."""
        if "budgets" in self.__dict__:
            self.budgets.close()
        if "responses" in self.__dict__ and self.responses is not None:
            self.responses.close()
        self.ledger.close()

    async def call(self, ask: Ask) -> AIMessage:
        """Get one usable answer.

        Args:
            ask: What is asked.

        Returns:
            The reply, its ``response_metadata["pointsman"]`` saying which model ran, why, and what it cost.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The request itself is at fault, so no other model would do better.
            BudgetExceeded: A cap leaves too little.
        """
        attempts = Attempts(self, ask)
        kept = attempts.kept_answer()
        if kept is not None:
            return kept
        while (attempt := await attempts.next()) is not None:
            with attempt:
                try:
                    async with asyncio.timeout_at(min(attempts.deadline, _now() + self.policy.limits.call)):
                        message = await self._invoke(ask, attempt)
                except Exception as error:  # noqa: BLE001 - sorted into the provider's trouble and ours
                    await attempts.failed(attempt, self._translate(attempt.card, error))
                    continue
                if attempts.accept(attempt, message):
                    attempts.keep(message)
                    return message
        raise attempts.error()

    async def stream(self, ask: Ask) -> AsyncIterator[AIMessageChunk]:
        """Get one answer in chunks.

        Each chunk is handed out when the next one comes, and those of a structured answer when it is complete. Until
        the first is handed out a failure goes to the next candidate unseen; after that ``ask.on_cut`` decides.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The stream broke, or ended without saying that it was complete.
            BudgetExceeded: A cap leaves too little.
        """
        from .retraction import retractable, retracting

        attempts = Attempts(self, ask, stream=True)
        kept = attempts.kept_answer()
        if kept is not None:
            yield _as_chunk(kept)
            return
        while (attempt := await attempts.next()) is not None:
            heard = _Heard(hold_all=ask.output is not None)
            with attempt:
                try:
                    chunks = _bounded(self._chunks(ask, attempt), attempts.deadline, self.policy.limits)
                    async with aclosing(chunks):
                        async for chunk in chunks:
                            for ready in heard.add(chunk if ask.on_cut == "report" else retractable(chunk), attempt):
                                yield ready
                except Exception as error:
                    failure = self._translate(attempt.card, error)
                    await attempts.failed(attempt, failure, first_token=heard.first, partial=heard.whole)
                    if heard.handed and ask.on_cut == "report":
                        raise failure from error
                else:
                    message = _complete(heard.whole)
                    if attempts.accept(attempt, message, first_token=heard.first, chunks=heard.whole):
                        for chunk in heard.held:
                            yield chunk
                        attempts.keep(message)
                        yield _closing_chunk(message)
                        return
                    if heard.handed and ask.on_cut == "report":
                        raise BackendError(attempts.failures[-1].kind, attempts.failures[-1].detail)
            if heard.handed:
                yield retracting(heard.whole.id if heard.whole else None)
        raise attempts.error()

    async def _invoke(self, ask: Ask, attempt: Attempt) -> AIMessage:
        client, binding = self.clients.bound(ask, attempt.card)
        # LangChain's own layer is already around RoutedChatModel: a second one would trace every token twice, and
        # costs as much as all of the routing.
        result = await client._agenerate(list(attempt.messages), **binding, **attempt.options)
        reply: AIMessage = _told(result.generations[0], result.llm_output)
        return reply

    async def _chunks(self, ask: Ask, attempt: Attempt) -> AsyncGenerator[AIMessageChunk]:
        client, binding = self.clients.bound(ask, attempt.card)
        async for generation in client._astream(list(attempt.messages), **binding, **attempt.options):
            yield _told(generation)

    def _translate(self, card: ModelCard, error: Exception) -> BackendError:
        if isinstance(error, BackendError):
            return error
        if isinstance(error, TimeoutError):
            return BackendError(FailureKind.TIMEOUT, "no complete answer in time")
        failure = self.clients.backend(card).failure(error)
        if failure is None:
            raise error
        failure.__cause__ = error
        return failure


class _Heard:
    """What a stream has said so far: all of it, what is still held back, and whether anything was handed out."""

    def __init__(self, *, hold_all: bool) -> None:
        self._hold_all = hold_all
        self._said: list[AIMessageChunk] = []
        self.held: list[AIMessageChunk] = []
        self.first: float | None = None
        self.handed = False

    @property
    def whole(self) -> AIMessageChunk | None:
        """Everything as one chunk, None when nothing was said; merged at once, since each merge copies all."""
        if len(self._said) > 1:
            first, *rest = self._said
            self._said = [first + rest]
        return self._said[0] if self._said else None

    def add(self, chunk: AIMessageChunk, attempt: Attempt) -> list[AIMessageChunk]:
        """Take a chunk; give those that may be handed out."""
        self._said.append(chunk)
        if self.first is None and (chunk.content or chunk.tool_call_chunks):
            self.first = attempt.seconds
        if self.first is None:
            return []
        self.held.append(chunk)
        # The last chunk tells whether the answer is complete, and half of a structured one is of no use.
        if self._hold_all or len(self.held) < 2:
            return []
        self.handed = True
        ready, self.held = self.held[:-1], self.held[-1:]
        return ready


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _bounded(
    chunks: AsyncIterator[AIMessageChunk], deadline: float, limits: Limits
) -> AsyncGenerator[AIMessageChunk]:
    """The same chunks, each waited for no longer than it may take; time the consumer takes is its own."""
    patience = limits.first_token
    while True:
        async with asyncio.timeout_at(min(deadline, _now() + patience)):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        if chunk.content or chunk.tool_call_chunks:
            patience = limits.stall
        yield chunk


def _told(generation: Any, beside: Mapping[str, Any] | None = None) -> Any:
    """The message of a generation, with what the vendor said beside it, as LangChain's own layer puts it there."""
    message = generation.message
    if generation.generation_info or beside:
        message.response_metadata = {
            **(beside or {}),
            **(generation.generation_info or {}),
            **message.response_metadata,
        }
    return message


def _complete(whole: AIMessageChunk | None) -> AIMessage:
    from langchain_core.messages import AIMessage, message_chunk_to_message

    if whole is None:
        return AIMessage("")
    message = message_chunk_to_message(whole)
    if not isinstance(message, AIMessage):
        raise TypeError(f"a chat model streamed {type(message).__name__}")
    return message


def _as_chunk(message: AIMessage) -> AIMessageChunk:
    """A whole message as the only chunk of a stream."""
    from langchain_core.messages import AIMessageChunk

    calls = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": place}
        for place, call in enumerate(message.tool_calls)
    ]
    return AIMessageChunk(
        content=message.content,
        id=message.id,
        tool_call_chunks=calls,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )


def _closing_chunk(message: AIMessage) -> AIMessageChunk:
    """An empty last chunk that carries the account of the call, so that a stream tells what ran too."""
    from langchain_core.messages import AIMessageChunk

    return AIMessageChunk(
        content="",
        id=message.id,
        response_metadata={"pointsman": message.response_metadata["pointsman"]},
        chunk_position="last",
    )


_default: dict[Path, Dispatcher] = {}


def default_dispatcher() -> Dispatcher:
    """The dispatcher of the project in the working directory, made at its first use."""
    project = Path.cwd()
    if project not in _default:
        _default[project] = Dispatcher(load(project, environ=environment()))
    return _default[project]
