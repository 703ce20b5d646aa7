"""Carry a routing decision out: ask the candidates in order until one gives a usable answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..configs.catalog import ModelCard
from ..configs.schema import Settings
from ..configs.words import Risk
from ..ledger.budgets.budgets import BudgetExceeded, Budgets
from ..ledger.experience import newest_calls
from ..ledger.ledger import Ledger
from ..ledger.prices import PriceBook
from ..routing.decide import decide
from ..routing.decision import Decision
from ..routing.request import RouteRequest, RoutingContext
from .cache.responses import ResponseCache, Similar
from .calls.call import ModelCall, close_all
from .calls.clients import Clients
from .calls.fallback import FallbackChain
from .calls.hedging import first_of
from .calls.stream import Streamed, as_chunk, bounded, closing_chunk
from .catalog import catalogue, policy_of, problems, unavailable
from .conversation.prompt_cache import PromptCacheTracker
from .defaults import default_dispatcher
from .errors import Failure
from .evidence.classifier import Classifier
from .evidence.task_stats import TaskHistory
from .guards.budget import STEP_INPUT
from .guards.health import Health
from .guards.overrides import OVERRIDES_FILE, Overrides
from .guards.rate_limit import RateLimiter
from .once import Once
from .reload import Reload
from .request import ModelRequest

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

__all__ = ["Dispatcher", "default_dispatcher"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_REMEMBERED_CALLS = 2_000
_REFUSED_SECONDS = 300.0
"""How long a key that was refused is not tried again: keys are mended while a process runs."""
_LOOK_SECONDS = 0.25
"""How soon a switch that another process has turned is heeded."""


class Dispatcher:
    """Decides and carries out model calls under one configuration, and keeps what all calls share.

    Args:
        settings: The configuration.
        ledger: Where to record; the project's own ledger when absent.

    Attributes:
        health: One breaker for each model at each provider.
        headroom: What each provider still takes.
        closed: It was closed and is not to be used.
    """

    def __init__(self, settings: Settings, *, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.ledger = ledger or Ledger(settings.state / "ledger.db")
        self.prices = PriceBook(settings.models)
        self.cards: Mapping[str, ModelCard] = {card.id: card for card in catalogue(settings, self.prices)}
        self.policy = policy_of(settings, tuple(self.cards.values()))
        self.headroom = RateLimiter.of(settings, self.cards.values())
        for problem in problems(settings, self.policy):
            _log.warning("the routing policy: %s", problem)
        self.clients = Clients(settings, self.headroom.hear)
        self.health = Health.of(settings, self.cards.values(), self.ledger.path)
        self.history = TaskHistory(self.policy.routing.history.half_life)
        if self.policy.routing.history.enabled:
            self.history.load(newest_calls(self.ledger, _REMEMBERED_CALLS))
        self.conversations = PromptCacheTracker()
        self.classifier = Classifier(self)
        self.reload = Reload(self)
        self.switches = Overrides(settings.state / OVERRIDES_FILE)
        self._unavailable: dict[str, str] = dict(unavailable(settings))
        self._refused: dict[str, float] = {}
        self.closed = False

    @Once
    def responses(self) -> ResponseCache | None:
        """Answers given before, where the policy keeps them."""
        policy = self.settings.routing.cache
        if policy.mode == "off":
            return None
        similar: Similar | None = None
        if policy.mode == "similar" or policy.fallback is not None:
            from ..backends.ondevice import WordLlamaEmbeddings

            threshold = policy.threshold if policy.mode == "similar" else 1.0
            similar = Similar(WordLlamaEmbeddings().embed_query, threshold=threshold)
        path = self.settings.state / "responses.db"
        return ResponseCache(
            path, max_bytes=policy.max_bytes, ttl=policy.ttl, similar=similar, fallback=policy.fallback
        )

    @Once
    def budgets(self) -> Budgets:
        """Caps, shared with every process that uses the same ledger."""
        return Budgets(self.settings.state / "ledger.db")

    @Once
    def flagship(self) -> ModelCard | None:
        """The first priced model of the highest tier: what everything would cost had all gone there."""
        priced = [card for card in self.cards.values() if card.prices is not None]
        return max(priced, key=lambda card: card.tier.rank, default=None)

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Provider -> why it cannot be used now."""
        return self._unavailable

    def unusable(self, besides: tuple[tuple[str, str], ...] = ()) -> Mapping[str, str]:
        """Provider or model -> why it cannot be used now, with what only one step must not use."""
        switched = self.switches.reasons(age=_LOOK_SECONDS)
        if self._refused:
            self._forgive()
        if not switched and not besides:
            return self._unavailable
        return {**self._unavailable, **switched, **dict(besides)}

    def open_circuits(self) -> frozenset[str]:
        """The models whose breaker lets nothing through now."""
        open_now = {(state.key.provider, state.key.model) for state in self.health.states() if state.state == "open"}
        return frozenset(card.id for card in self.cards.values() if (card.provider, card.name) in open_now)

    def refused(self, provider: str) -> None:
        """Note that a provider refused its key: no other call under it would fare better for a while."""
        self._unavailable[provider] = f"its key was refused: check {self.settings.providers[provider].key}"
        self._refused[provider] = time.monotonic() + _REFUSED_SECONDS

    def _forgive(self) -> None:
        for provider in [name for name, until in self._refused.items() if until <= time.monotonic()]:
            del self._refused[provider], self._unavailable[provider]

    def decide(self, request: RouteRequest, *, only_usable: bool = True) -> Decision:
        """Decide without calling any model.

        Args:
            request: The step.
            only_usable: Leave out what cannot be used from here, for want of a key and the like.
        """
        reasons: Mapping[str, str] = self.unusable() if only_usable else {}
        now = RoutingContext(unavailable=reasons, experience=self.history.of(request.task))
        return decide(self.policy.features(request), self.policy, now)

    def set_aside(self, request: RouteRequest) -> int:
        """Picodollars to keep for a step that is still to come: what it may cost where it is of high risk, else 0.

        Args:
            request: The step, as its agent will declare it.
        """
        decision = self.decide(request)
        if decision.risk.handled_as < Risk.HIGH or decision.model is None:
            return 0
        return self.prices.worst_case(decision.model, STEP_INPUT, request.max_output, datetime.now(UTC)) or 0

    def close(self) -> None:
        """Write what is still waiting and let go of files; calls under way are charged for and not waited for."""
        self.closed = True
        close_all("what it ran on was closed", self.ledger)
        if "budgets" in self.__dict__:
            self.budgets.close()
        if "responses" in self.__dict__ and self.responses is not None:
            self.responses.close()
        self.ledger.close()

    async def call(self, ask: ModelRequest, *, refused: Failure | None = None) -> AIMessage:
        """Get one usable answer.

        Args:
            ask: What is asked.
            refused: That one provider refused it before for a reason nobody knows; a second one that does so ends it.

        Returns:
            The reply, its ``response_metadata["pointsman"]`` saying which model ran, why, and what it cost.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The request itself is at fault, so no other model would do better.
            BudgetExceeded: A cap leaves too little.
        """
        attempts = await FallbackChain.decided(self, ask)
        if refused is not None:
            attempts.refused(refused)
        message = await attempts.kept_answer()
        if message is not None:
            return message
        while (call := await attempts.next()) is not None:
            message = await self._raced(attempts.answer, ask, attempts, call)
            if message is not None:
                await attempts.keep(message)
                return message
        return await attempts.last_resort()

    async def stream(self, ask: ModelRequest) -> AsyncGenerator[AIMessageChunk]:
        """Get one answer in chunks.

        Each chunk is handed out when the next one comes, and those of a structured answer when it is complete. Until
        the first is handed out a failure goes to the next candidate unseen; after that ``ask.on_cut`` decides.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The stream broke, or ended without saying that it was complete.
            BudgetExceeded: A cap leaves too little.
        """
        from .calls.retraction import retracting

        attempts = await FallbackChain.decided(self, ask, stream=True)
        kept = await attempts.kept_answer()
        if kept is not None:
            yield as_chunk(kept)
            return
        while (call := await attempts.next()) is not None:
            said = await self._raced(partial(self._opened, ask, attempts), ask, attempts, call, Streamed.aclose)
            if said is None:
                continue
            async with aclosing(said):
                try:
                    async for chunk in said.ready():
                        yield chunk
                except Exception as error:
                    failure = said.call.translated(error)
                    await attempts.failed(said.call, failure)
                    if said.handed and ask.on_cut == "report":
                        raise attempts.cut(failure) from error
                else:
                    message = said.message()
                    if attempts.accept(said.call, message, chunks=said.whole):
                        await attempts.keep(message)
                        for chunk in said.held:
                            yield chunk
                        yield closing_chunk(message)
                        return
                    if said.handed and ask.on_cut == "report":
                        raise attempts.cut()
            if said.handed:
                yield retracting(said.whole.id if said.whole else None)
        yield as_chunk(await attempts.last_resort())

    async def _raced(
        self,
        work: Callable[[ModelCall], Coroutine[Any, Any, T | None]],
        ask: ModelRequest,
        attempts: FallbackChain,
        call: ModelCall,
        discard: Callable[[T], Awaitable[None]] | None = None,
    ) -> T | None:
        """What ``work`` makes of a call, with a second one beside it where somebody waits badly."""
        if ask.latency != "critical":
            return await work(call)

        async def second() -> Coroutine[Any, Any, T | None] | None:
            try:
                other = await attempts.next()
            except BudgetExceeded:
                # The first may answer yet.
                return None
            return None if other is None else work(other)

        try:
            return await first_of(work(call), second, attempts.limits.hedge, discard)
        except BaseException:
            # A task that is cancelled before it begins never comes to its own end.
            call.close()
            raise

    async def _opened(self, ask: ModelRequest, attempts: FallbackChain, call: ModelCall) -> Streamed | None:
        """The stream of one model up to its first words, or None where it did not come so far."""
        call.task = asyncio.current_task()
        chunks = bounded(call.chunks(self.clients), attempts.deadline, attempts.limits)
        if ask.on_cut == "retract":
            chunks = _retractable(chunks)
        said = Streamed(call, chunks, hold_all=ask.output is not None)
        try:
            await said.open()
        except asyncio.CancelledError:
            await said.aclose()
            # Broken off from here, not by the caller: the race goes on without it.
            if call.unwanted:
                return None
            raise
        except Exception as error:  # noqa: BLE001 - sorted into the provider's trouble and ours
            await attempts.failed(call, call.translated(error))
            return None
        except BaseException:
            call.close()
            raise
        attempts.begun(call)
        # From here on the call is in the hands of whoever reads the rest.
        return said


async def _retractable(chunks: AsyncGenerator[AIMessageChunk]) -> AsyncGenerator[AIMessageChunk]:
    from .calls.retraction import retractable

    async with aclosing(chunks):
        async for chunk in chunks:
            yield retractable(chunk)
