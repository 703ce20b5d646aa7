"""Carry a routing decision out: ask the candidates in order, check what comes back, record all of it."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends import registry
from ..backends.base import Backend, BackendError, Endpoint
from ..configs.catalogue import ModelCard
from ..configs.loader import environment, load
from ..configs.schema import Settings
from ..configs.words import FailureKind
from ..ledger.ledger import Ledger
from ..ledger.prices import PriceBook
from ..ledger.rows import CallRow, DecisionRow
from ..routing.decide import decide
from ..routing.decision import Decision
from ..routing.explain import decision_dict
from ..routing.features import extract
from ..routing.policy import Policy
from ..routing.request import Circumstances, RouteRequest
from .ask import Ask, one_line, route_request
from .briefing import brief
from .catalogue import catalogue, unavailable
from .checks import fault
from .context import StepContext, current
from .errors import AllFailed, Failure, NoCandidate

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk

__all__ = ["Dispatcher", "default_dispatcher"]

_BACKOFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 20.0


class Dispatcher:
    """Decides and carries out model calls under one configuration.

    Args:
        settings: The configuration.
        ledger: Where to record; the project's own ledger when absent.
    """

    def __init__(self, settings: Settings, *, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.ledger = ledger or Ledger(settings.state / "ledger.db")
        self.prices = PriceBook(settings.models)
        self.cards: Mapping[str, ModelCard] = {card.id: card for card in catalogue(settings, self.prices)}
        self.policy = Policy.compile(settings.routing, settings.risk, tuple(self.cards.values()))
        self.unavailable: dict[str, str] = dict(unavailable(settings))
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, BaseChatModel]] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def flagship(self) -> ModelCard | None:
        """The first priced model of the highest tier: what everything would cost had all gone there."""
        priced = [card for card in self.cards.values() if card.prices is not None]
        return max(priced, key=lambda card: card.tier.rank, default=None)

    def decide(self, request: RouteRequest, *, only_usable: bool = True) -> Decision:
        """Decide without calling any model.

        Args:
            request: The step.
            only_usable: Leave out what cannot be used from here, for want of a key and the like.
        """
        reasons: Mapping[str, str] = self.unavailable if only_usable else {}
        return decide(extract(request), self.policy, Circumstances(unavailable=reasons))

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
        """
        attempts = _Attempts(self, ask)
        for card in attempts:
            started = time.monotonic()
            try:
                async with asyncio.timeout_at(attempts.deadline):
                    message = await self._invoke(ask, card)
            except Exception as error:  # noqa: BLE001 - sorted into the provider's trouble and ours
                await attempts.failed(card, self._translate(card, error), time.monotonic() - started)
                continue
            if attempts.accept(card, message, time.monotonic() - started):
                return message
        raise attempts.error()

    async def stream(self, ask: Ask) -> AsyncIterator[AIMessageChunk]:
        """Get one answer in chunks.

        Each chunk is handed out when the next one comes, and those of a structured answer when it is complete. Until
        the first is handed out a failure goes to the next candidate; after that it is raised, for what was handed out
        cannot be taken back.

        Raises:
            NoCandidate: No model may or can run the step.
            AllFailed: Every candidate failed.
            BackendError: The stream broke, or ended without saying that it was complete.
        """
        attempts = _Attempts(self, ask, stream=True)
        for card in attempts:
            started = time.monotonic()
            first: float | None = None
            whole: AIMessageChunk | None = None
            held: list[AIMessageChunk] = []
            handed = False
            try:
                async with aclosing(_bounded(self._chunks(ask, card), attempts.deadline)) as chunks:
                    async for chunk in chunks:
                        whole = chunk if whole is None else whole + chunk
                        if first is None and (chunk.content or chunk.tool_call_chunks):
                            first = time.monotonic() - started
                        if first is not None:
                            held.append(chunk)
                        # Half of a structured answer is of no use, and the last chunk tells whether all of it is.
                        while len(held) > 1 and ask.output is None:
                            handed = True
                            yield held.pop(0)
            except Exception as error:
                failure = self._translate(card, error)
                await attempts.failed(card, failure, time.monotonic() - started, first_token=first, partial=whole)
                if handed:
                    raise failure from error
                continue
            message = _complete(whole)
            if attempts.accept(card, message, time.monotonic() - started, first_token=first, chunks=whole):
                for chunk in held:
                    yield chunk
                yield _closing_chunk(message)
                return
            if handed:
                raise BackendError(attempts.failures[-1].kind, attempts.failures[-1].detail)
        raise attempts.error()

    def client(self, card: ModelCard) -> BaseChatModel:
        """The chat model of a card, made once for each event loop, since connections belong to a loop."""
        clients = self._clients.setdefault(asyncio.get_running_loop(), {})
        if card.id not in clients:
            provider = self.settings.providers[card.provider]
            endpoint = Endpoint(
                model=card.name,
                base_url=provider.base_url,
                key=self.settings.key_of(card.provider),
                region=provider.region,
                timeout=self.policy.limits.deadline,
                cache=self.settings.state / "models",
                options={**provider.options, **self.settings.models[card.id].options},
            )
            clients[card.id] = registry.get(provider.backend).chat_model(endpoint)
        return clients[card.id]

    def backend(self, card: ModelCard) -> Backend:
        """The backend that serves a card."""
        return registry.get(self.settings.providers[card.provider].backend)

    def _bound(self, ask: Ask, card: ModelCard) -> Any:
        client = self.client(card)
        if not ask.tools:
            return client
        choice = {} if ask.tool_choice is None else {"tool_choice": ask.tool_choice}
        return client.bind_tools([dict(tool) for tool in ask.tools], **choice)

    async def _invoke(self, ask: Ask, card: ModelCard) -> AIMessage:
        messages, options = brief(ask, card)
        # The outer call is traced; a second trace of the same tokens would count them twice.
        reply: AIMessage = await self._bound(ask, card).ainvoke(messages, {"callbacks": []}, **options)
        return reply

    async def _chunks(self, ask: Ask, card: ModelCard) -> AsyncGenerator[AIMessageChunk]:
        messages, options = brief(ask, card)
        async for chunk in self._bound(ask, card).astream(messages, {"callbacks": []}, **options):
            yield chunk

    def _translate(self, card: ModelCard, error: Exception) -> BackendError:
        if isinstance(error, BackendError):
            return error
        if isinstance(error, TimeoutError):
            return BackendError(FailureKind.TIMEOUT, "no complete answer before the deadline")
        failure: BackendError | None = self.backend(card).failure(error)
        if failure is None:
            raise error
        failure.__cause__ = error
        return failure


class _Attempts:
    """The candidates of one ask in order, what became of each, and their rows in the ledger.

    Iterating gives the next card to ask; `failed` and `accept` say how it went and choose the cure.
    """

    def __init__(self, dispatcher: Dispatcher, ask: Ask, *, stream: bool = False) -> None:
        self._home = dispatcher
        self._ask = ask
        self._stream = stream
        self._step: StepContext = current()
        self._decision_id = uuid.uuid4().hex
        reasons = {**dispatcher.unavailable, **dict(self._step.unavailable)}
        features = extract(route_request(ask, self._step, self._decision_id))
        self.decision = decide(features, dispatcher.policy, Circumstances(unavailable=reasons))
        self._queue = list(self.decision.candidates)
        self._retried: set[str] = set()
        self._made = 0
        self.deadline = asyncio.get_running_loop().time() + dispatcher.policy.limits.deadline
        self.failures: list[Failure] = []
        self._record_decision()

    def __iter__(self) -> _Attempts:
        return self

    def __next__(self) -> ModelCard:
        late = asyncio.get_running_loop().time() >= self.deadline
        if late or not self._queue or self._made >= self._home.policy.limits.attempts:
            raise StopIteration
        self._made += 1
        return self._home.cards[self._queue[0]]

    def accept(
        self,
        card: ModelCard,
        message: AIMessage,
        seconds: float,
        *,
        first_token: float | None = None,
        chunks: AIMessageChunk | None = None,
    ) -> bool:
        """Check and record a complete reply; False when the next candidate must be asked.

        ``chunks`` is the reply as it was streamed: merging mends broken JSON, so only the chunks tell of it.
        """
        backend = self._home.backend(card)
        reply = backend.read(message if chunks is None else chunks)
        wrong = fault(self._ask, card, backend, message, reply)
        metadata = message.response_metadata
        row = replace(
            self._row(card, seconds),
            answered_by=reply.model,
            finish=reply.finish,
            usage=reply.usage,
            confidence=metadata.get("confidence"),
            first_token=first_token,
            failure=None if wrong is None else wrong[0].value,
            detail="" if wrong is None else wrong[1],
        )
        row = self._priced(card, row)
        self._record_call(row)
        if wrong is not None:
            self._apply_cure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        metadata["pointsman"] = self._account(card, row)
        return True

    async def failed(
        self,
        card: ModelCard,
        error: BackendError,
        seconds: float,
        *,
        first_token: float | None = None,
        partial: AIMessageChunk | None = None,
    ) -> None:
        """Record a call that raised, and wait where the cure is to ask again."""
        reply = None if partial is None else self._home.backend(card).read(partial)
        row = replace(
            self._row(card, seconds),
            failure=error.kind.value,
            detail=one_line(error),
            first_token=first_token,
            usage=reply.usage if reply else None,
        )
        self._record_call(self._priced(card, row) if row.usage else row)
        if error.kind is FailureKind.AUTH:
            self._home.unavailable[card.provider] = "its key was refused: check the key"
        if self._apply_cure(card, Failure(card.id, error.kind, one_line(error)), error) == "retry":
            pause = error.retry_after or _BACKOFF_SECONDS * (1 + random.random())  # noqa: S311 - jitter
            left = self.deadline - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, min(pause, left, _LONGEST_WAIT_SECONDS)))

    def error(self) -> NoCandidate | AllFailed:
        """The error that tells why there is no answer."""
        if not self.failures:
            return NoCandidate(self.decision, self._step.agent)
        return AllFailed(self.failures, self._step.agent)

    def _apply_cure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> str:
        self.failures.append(failure)
        cure = self._home.policy.cures[failure.kind]
        if cure == "stop":
            raise error or AllFailed(self.failures, self._step.agent)
        if cure == "retry" and card.id not in self._retried:
            self._retried.add(card.id)
            return cure
        rest = [self._home.cards[name] for name in self._queue if name != card.id]
        if cure == "stronger":
            rest = [other for other in rest if other.tier > card.tier]
        elif cure == "larger":
            rest = [other for other in rest if (other.context or 0) > (card.context or 0)]
        if failure.kind is FailureKind.AUTH:
            rest = [other for other in rest if other.provider != card.provider]
        self._queue = [other.id for other in rest]
        return cure

    def _row(self, card: ModelCard, seconds: float) -> CallRow:
        return CallRow(
            id=uuid.uuid4().hex,
            decision=self._decision_id,
            run=self._step.run.id,
            step=self._step.step,
            agent=self._step.agent,
            attempt=self._made,
            model=card.id,
            tier=card.tier.value,
            risk=self.decision.risk.value,
            at=time.time() - seconds,
            latency=seconds,
            stream=self._stream,
        )

    def _priced(self, card: ModelCard, row: CallRow) -> CallRow:
        at = datetime.fromtimestamp(row.at, UTC)
        prices, flagship = self._home.prices, self._home.flagship
        return replace(
            row,
            cost=prices.price(card.id, row.usage, at),
            flagship_cost=prices.price(flagship.id, row.usage, at) if flagship else None,
            flagship=flagship.id if flagship else "",
            price_version=card.prices.version if card.prices else "",
        )

    def _record_call(self, row: CallRow) -> None:
        self._home.ledger.record(row)
        if self._step.run.observe is not None:
            self._step.run.observe(row)

    def _record_decision(self) -> None:
        said = decision_dict(self.decision)
        self._home.ledger.record(
            DecisionRow(
                id=self._decision_id,
                run=self._step.run.id,
                step=self._step.step,
                agent=self._step.agent,
                task=self._ask.task,
                at=time.time(),
                risk=self.decision.risk.value,
                floor=self.decision.floor.value,
                tier=self.decision.tier.value,
                model=self.decision.model,
                candidates=json.dumps(said["candidates"]),
                rejected=json.dumps(said["rejected"]),
                rules=json.dumps(said["rules"]),
                complexity=self.decision.complexity,
                confidence=self.decision.confidence,
                features=json.dumps(said["features"]),
                policy_hash=self.decision.policy_hash,
                price_version=self.decision.price_version,
            )
        )

    def _account(self, card: ModelCard, row: CallRow) -> dict[str, Any]:
        return {
            "decision": self._decision_id,
            "model": card.id,
            "answered_by": row.answered_by,
            "tier": card.tier.value,
            "risk": self.decision.risk.value,
            "attempt": row.attempt,
            "cost": row.cost,
            "seconds": row.latency,
            "confidence": row.confidence,
            "usage": asdict(row.usage) if row.usage else None,
            "rules": [hit.id for hit in self.decision.rules],
            "failed": [f"{failure.model}: {failure.kind}" for failure in self.failures],
        }


async def _bounded(chunks: AsyncIterator[AIMessageChunk], deadline: float) -> AsyncGenerator[AIMessageChunk]:
    """The same chunks, each waited for no longer than the deadline; time the consumer takes is its own."""
    while True:
        async with asyncio.timeout_at(deadline):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        yield chunk


def _complete(whole: AIMessageChunk | None) -> AIMessage:
    from langchain_core.messages import AIMessage, message_chunk_to_message

    if whole is None:
        return AIMessage("")
    message = message_chunk_to_message(whole)
    if not isinstance(message, AIMessage):
        raise TypeError(f"a chat model streamed {type(message).__name__}")
    return message


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
