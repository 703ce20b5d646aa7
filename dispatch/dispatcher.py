"""Carry out a routing decision: ask the candidates in order until one gives a usable answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from ..configs.catalog import ModelCard
from ..configs.process.closing import Closing
from ..configs.process.once import Once
from ..configs.schema import Settings
from ..configs.words import Risk
from ..ledger.budgets.budgets import Budgets
from ..ledger.experience import newest_calls
from ..ledger.ledger import Ledger
from ..ledger.prices import PriceBook
from ..routing.decide import decide
from ..routing.decision import Because, Decision
from ..routing.request import RouteRequest, RoutingContext
from .cache.answers import kept_answers
from .cache.responses import ResponseCache, Similar
from .calls.answer import answered, streamed
from .calls.bill import CallRecorder
from .calls.call import close_all
from .calls.clients import Clients
from .calls.fallback import FallbackChain
from .calls.replay import Replay
from .catalog import catalogue, policy_of, problems, unavailable
from .context import StepContext, current
from .conversation.prompt_cache import PromptCacheTracker
from .decider import Decider
from .errors import Failure
from .evidence.classifier import Classifier
from .evidence.task_stats import TaskHistory
from .guards.availability import OVERRIDES_FILE, Availability, Overrides
from .guards.budget import DEFAULT_OUTPUT, STEP_INPUT
from .guards.guards import Guards
from .guards.health import Health
from .guards.rate_limit import RateLimiter
from .reload import Reload
from .request import ModelRequest, plain
from .state.disks import warn_of_network_disk
from .state.files import brought, refers
from .state.ownership import claim

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

    from ..routing.policy.policy import Policy

__all__ = ["Dispatcher"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_REMEMBERED_CALLS = 2_000


class Dispatcher(Closing):
    """Decides and carries out model calls under one configuration, and holds what all calls share.

    Args:
        settings: The configuration.
        ledger: Where to record; default: the project's own ledger.

    Attributes:
        health: One breaker for each model at each provider.
        rate_limiter: How much each provider still accepts.
        closed: Whether it has been closed and must not be used.
    """

    def __init__(self, settings: Settings, *, ledger: Ledger | None = None) -> None:
        claim(settings)
        warn_of_network_disk(settings.state)
        self.settings = settings
        self.ledger = ledger or Ledger(settings.state / "ledger.db")
        self.prices = PriceBook(settings.models)
        self.cards: Mapping[str, ModelCard] = {card.id: card for card in catalogue(settings, self.prices)}
        self.policy = policy_of(settings, tuple(self.cards.values()))
        self.rate_limiter = RateLimiter.of(settings, self.cards.values())
        for problem in problems(settings, self.policy):
            _log.warning("the routing policy: %s", problem)
        self.clients = Clients(settings, self.rate_limiter.hear)
        self.health = Health.of(settings, self.cards.values(), self.ledger.path)
        self.history = TaskHistory(self.policy.routing.history.half_life)
        if self.policy.routing.history.enabled:
            self.history.load(newest_calls(self.ledger, _REMEMBERED_CALLS))
        self.prompt_caches = PromptCacheTracker()
        self.overrides = Overrides(settings.state / OVERRIDES_FILE)
        keys = {name: str(entry.key) for name, entry in settings.providers.items()}
        missing = dict(unavailable(settings))
        self.availability = Availability(missing, self.overrides, self.health, self.cards.values(), keys)
        self.guards = self._guards(self.health)
        self.classifier = self._classifier()
        self.decider = Decider(
            self.classifier, self.history, self.prompt_caches, self.availability, lambda: self.budgets
        )
        self.reload = Reload(settings, self.policy, tuple(self.cards.values()), self.put_in_force)
        self.closed = False

    @Once
    def responses(self) -> ResponseCache | None:
        """The cache of earlier answers; None if the policy keeps none."""
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
        """The caps, shared with every process that uses the same ledger."""
        return Budgets(self.ledger.path)

    @Once
    def flagship(self) -> ModelCard | None:
        """The first priced model of the highest tier, against which savings are reported."""
        priced = [card for card in self.cards.values() if card.prices is not None]
        return max(priced, key=lambda card: card.tier.rank, default=None)

    def _guards(self, health: Health) -> Guards:
        regions = {name: entry.region or "" for name, entry in self.settings.providers.items()}
        return Guards(health, self.rate_limiter, self.prices, lambda: self.budgets, regions, self.clients.asked)

    def _classifier(self) -> Classifier:
        # The classifier has its own breakers: a model that judges badly may still answer well.
        guards = self._guards(Health(self.policy.routing.health))
        return Classifier(self.clients, guards, self.availability, self.ledger, self.prices)

    def put_in_force(self, settings: Settings, policy: Policy) -> None:
        """Use a new policy from the next call on.

        Args:
            settings: The settings that contain it.
            policy: The policy compiled from them.
        """
        self.settings, self.policy = settings, policy

    async def chain(
        self, ask: ModelRequest, step: StepContext, replay: Replay | None = None, *, stream: bool = False
    ) -> FallbackChain:
        """Decide which models may answer a request, and record the decision.

        Args:
            ask: The request.
            step: The step that makes it.
            replay: The request's outcome in an earlier part of the run, to be kept up to date.
            stream: Whether the answer is streamed.
        """
        if self.reload.clock() >= self.reload.next_look:
            await self.reload.look()
        policy = self.policy
        if any(message.type == "tool" or not isinstance(message.content, str) for message in ask.messages):
            ask = await self._whole(plain(ask))
        asks = self.clients.configured or ask.options or ask.stop or ask.tools or ask.declared.max_output
        said = self.clients.each_said(ask, self.cards) if asks else {}
        routed = await self.decider.routed(ask, step, policy, said)
        decision = routed.decision
        recorder = CallRecorder(
            self.ledger, self.prices, step, decision.request, decision.risk, flagship=self.flagship, stream=stream
        )
        recorder.decided(decision)
        kept = None
        if self.responses is not None:
            models = self.clients.settled
            kept = kept_answers(self.responses, routed, cards=self.cards, models=models, recorder=recorder)
        return FallbackChain(
            routed,
            cards=self.cards,
            clients=self.clients,
            guards=self.guards,
            recorder=recorder,
            history=self.history,
            prompt_caches=self.prompt_caches,
            availability=self.availability,
            kept=kept,
            replay=replay,
        )

    async def _whole(self, ask: ModelRequest) -> ModelRequest:
        """Return the request with the files that its messages refer to loaded into them."""
        if not any(map(refers, ask.messages)):
            return ask
        return replace(ask, messages=await asyncio.to_thread(brought, self.settings.state, ask.messages))

    def decide(self, request: RouteRequest, *, only_usable: bool = True) -> Decision:
        """Decide without calling any model.

        Args:
            request: The step.
            only_usable: Leave out models that cannot be used from here, such as those without a key.
        """
        reasons: Mapping[str, Because] = self.availability.reasons() if only_usable else {}
        now = RoutingContext(unavailable=reasons, experience=self.history.of(request.task))
        return decide(self.policy.features(request), self.policy, now)

    def set_aside(self, request: RouteRequest, output: int | None) -> int:
        """Return the picodollars to reserve for a future step: its worst-case cost if it is of high risk, else 0.

        Args:
            request: The step, as its agent will declare it.
            output: The most tokens one of its answers may have; None if not declared.
        """
        decision = self.decide(request)
        if decision.risk.handled_as < Risk.HIGH or decision.model is None:
            return 0
        return self.prices.worst_case(decision.model, STEP_INPUT, output or DEFAULT_OUTPUT, datetime.now(UTC)) or 0

    def close(self) -> None:
        """Write queued rows, close files and connections; calls in progress are charged as cancelled, not awaited."""
        self.closed = True
        close_all("what it ran on was closed", self.ledger)
        self.clients.close()
        if "budgets" in self.__dict__:
            self.budgets.close()
        if "responses" in self.__dict__ and self.responses is not None:
            self.responses.close()
        self.ledger.close()

    async def call(self, ask: ModelRequest, *, refused: Failure | None = None) -> AIMessage:
        """Get one usable answer.

        Args:
            ask: The request.
            refused: One provider's earlier refusal of the request, for an unknown reason; a second refusal ends it.

        Returns:
            The reply, its ``response_metadata["pointsman"]`` saying which model ran, why, and what it cost.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The request itself is invalid, so no other model would do better.
            BudgetExceeded: A cap leaves too little.
        """
        step = current()
        replay = None if step.run.journal is None else Replay.of(ask, step)
        if replay is not None and (given := await replay.answer()) is not None:
            return given
        chain = await self.chain(ask, step, replay)
        if refused is not None:
            chain.refused(refused)
        return await answered(chain)

    def stream(self, ask: ModelRequest) -> AsyncGenerator[AIMessageChunk]:
        """Get one answer in chunks.

        Each chunk is yielded when the next one arrives; chunks of a structured answer are yielded when it is complete.
        If the call fails before the first chunk is yielded, the next candidate is asked; after that ``ask.on_cut``
        decides.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The stream broke, or ended without a sign that it was complete.
            BudgetExceeded: A cap leaves too little.
        """
        return streamed(
            lambda replay: self.chain(ask, current(), replay, stream=True), lambda: Replay.of(ask, current())
        )
