"""`FallbackChain`: asks one model after another until one gives a usable answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Final

from ...backends.base import BackendError
from ...backends.errors.told import one_line as error_line
from ...backends.errors.told import words_of
from ...backends.options import NOTHING
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError, PointsmanError
from ...configs.schema import OnFailure
from ...configs.words import FailureKind, Tier
from ...ledger.rows import CallRow
from ...routing.evidence import of_failure
from ..cache.answers import KeptAnswers
from ..conversation.convert import carried
from ..conversation.prompt_cache import PromptCacheTracker
from ..errors import AllFailed, Failure, NoCandidate, cut_off
from ..evidence.task_stats import TaskHistory
from ..guards.availability import Availability
from ..guards.guards import Grant, Guards
from ..guards.rate_limit import Wait
from ..request import one_line
from .bill import CallRecorder, call_metadata
from .call import ModelCall, fund
from .clients import Clients, Ready
from .prompt import brief
from .replay import Replay

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

    from ..decider import Routed

__all__ = ["FallbackChain"]

_BACKOFF_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 20.0
_SHORT_HOLD_SECONDS: Final = 2.0
"""How long to wait for a rate limit if the next candidate is of a more expensive tier."""
_PATIENCE_SECONDS: Final = 30.0
"""How long a call waits for reservations of parallel calls to be released."""


@dataclass(eq=False, repr=False)
class FallbackChain:
    """Returns the next call to make until one is answered, and acts on how each call ended.

    Attributes:
        routed: The request and the decision made for it.
        cards: The catalogue.
        clients: Its chat models.
        guards: Breakers, rate limits and budgets.
        recorder: Writes the calls' rows.
        history: Learns how each model performed at the task.
        prompt_caches: Learns which provider has the conversation in its cache.
        availability: Learns of keys that were refused.
        kept: Earlier answers; None if the policy keeps none.
        replay: The request's outcome in an earlier part of the run; None if the run cannot be resumed.
        made: Calls made so far.
        failures: Those without a usable answer.
        setup: Seconds spent loading SDKs and building clients.
        ask: The request.
        decision: Which models may run the step.
        limits: The limits that apply.
        deadline: When the step must be over, in the event loop's seconds; ``setup`` is not counted.
    """

    routed: Routed
    _: KW_ONLY
    cards: Mapping[str, ModelCard]
    clients: Clients
    guards: Guards
    recorder: CallRecorder
    history: TaskHistory
    prompt_caches: PromptCacheTracker
    availability: Availability
    kept: KeptAnswers | None = None
    replay: Replay | None = None
    made: int = 0
    failures: list[Failure] = field(default_factory=list)
    setup: float = 0.0
    _flying: dict[str, ModelCall] = field(default_factory=dict)
    _skipped: list[tuple[str, str]] = field(default_factory=list)
    _mistakes: list[ConfigError] = field(default_factory=list)

    def __post_init__(self) -> None:
        routed = self.routed
        self.ask, self.decision, self.limits = routed.ask, routed.decision, routed.limits
        self.deadline = routed.deadline
        self._candidates = _Candidates(self.cards, list(self.decision.candidates), routed.policy.routing.on_failure)

    def refused(self, failure: Failure) -> None:
        """Note that a provider refused the request earlier, so that a second refusal ends it."""
        self.failures.append(failure)
        self._candidates.refused_by = failure.model.partition("/")[0]

    async def next(self) -> ModelCall | None:
        """Return the next call that may be made besides those in progress, or None if no model is left to ask.

        Raises:
            BudgetExceeded: A cap leaves too little for it.
        """
        while self.made < self.limits.attempts and self._left() > 0:
            if (card := self._candidates.pick(self._flying, last=self.made + 1 == self.limits.attempts)) is None:
                return None
            if self.replay and self.replay.again and (paid := self.replay.failed(card.id)) is not None:
                self.made += 1
                self._on_failure(card, paid)
                continue
            built = await self._built(card)
            if card.id not in self._candidates.queue:
                continue
            ready = built if isinstance(built, str) else self._admitted(card, built)
            if isinstance(ready, ModelCall):
                ready.number = self.made + 1
                if await self._funded(ready):
                    self.made = ready.number
                    self._flying[card.id] = ready
                    return ready
            elif isinstance(ready, Wait) and ready.seconds < self._patience(card):
                if self._candidates.hold(card.id):
                    await asyncio.sleep(ready.seconds)
            elif ready is None:
                self._candidates.slow.add(card.id)
            else:
                self._skipped.append((card.id, str(ready)))
                self._candidates.queue.remove(card.id)
        return None

    def _patience(self, card: ModelCard) -> float:
        """Return how many seconds to wait for a model's rate limit before asking a more expensive one or giving up."""
        if self._candidates.single:
            return self._left()
        return 0.0 if self.ask.declared.latency == "critical" else min(self._left(), _SHORT_HOLD_SECONDS)

    async def _built(self, card: ModelCard) -> Ready | str:
        """Return a card's chat model, built at first use; or the reason why it cannot be built.

        The deadline is extended by the time that takes, since the provider does not cause it.
        """
        began = _now()
        try:
            return await self.clients.ready(card)
        except Exception as error:  # noqa: BLE001 - an SDK may raise anything while it is loaded and set up
            self._mistakes += [error] if isinstance(error, ConfigError) else []
            return one_line(f"its client cannot be built: {error_line(words_of(error))}")
        finally:
            took = _now() - began
            self.setup += took
            self.deadline += took

    def _admitted(self, card: ModelCard, ready: Ready) -> ModelCall | Wait | str | None:
        """Admit a call to a model, without reserving money for it yet.

        Returns:
            The call; or how long a rate limit or breaker delays it; or why it cannot be made now; or None if its
            breaker is open only because the model is slow.
        """
        slow_too = card.id in self._candidates.slow
        tokens, output = self.decision.features.tokens, self.ask.declared.max_output or 0
        grant = self.guards.admit(card, tokens, output, last=slow_too)
        if isinstance(grant, str):
            key = self.guards.key(card)
            if held := self.guards.health.held(key):
                return Wait(grant, held)
            return grant if slow_too or not self.guards.health.merely_slow(key) else None
        return grant if isinstance(grant, Wait) else _made(self.routed, self.recorder, card, ready, grant)

    async def _funded(self, call: ModelCall) -> bool:
        """Reserve a call's worst case; close the call and return False if it cannot be made.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        scopes, tokens = self.routed.scopes, self.routed.step.run.tokens
        if scopes or tokens is not None or self.ask.declared.max_output is not None:
            patience = max(0.0, min(self._left(), _PATIENCE_SECONDS))
            try:
                async with asyncio.timeout_at(self.deadline):
                    await fund(call, self.guards, scopes, tokens, patience)
            except TimeoutError:
                call.close()
                self._skipped.append((call.card.id, "the deadline was over before the ledger could reserve its money"))
                return False
        if call.card.id in self._candidates.queue:
            return True
        call.close()
        return False

    async def answer(self, call: ModelCall) -> AIMessage | None:
        """Make a call and return its reply, or None if the reply is not usable.

        Raises:
            BackendError: The request itself is invalid.
        """
        call.task = asyncio.current_task()
        until = min(self.deadline, _now() + self.limits.call)
        try:
            with call:
                try:
                    message = await call.invoke(until)
                except BackendError as error:
                    await self.failed(call, error)
                    return None
                return message if self.accept(call, message) else None
        except asyncio.CancelledError:
            # Cancelled by this chain, not by the caller: the race goes on without it.
            if call.unwanted:
                return None
            raise
        finally:
            self._flying.pop(call.card.id, None)

    def accept(self, call: ModelCall, message: AIMessage, *, chunks: AIMessageChunk | None = None) -> bool:
        """Check and record a complete reply; return False if the next candidate must be asked."""
        card, (row, wrong) = call.card, call.answered(message, chunks)
        self._flying.pop(card.id, None)
        call.grant.judge(row, None if wrong is None else wrong[0])
        self.history.observe(self.ask.declared.task, row)
        if wrong is not None:
            if self.replay is not None:
                self.replay.unusable(card.id, wrong)
            self._on_failure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        self.prompt_caches.noted(self.routed.place, card)
        if self._flying:
            _break_off(self._flying.values(), "another model answered first")
        self.accounted(message, row, call.notes)
        return True

    async def failed(self, call: ModelCall, error: BackendError) -> None:
        """Record a call that raised, and wait if the same model is retried.

        Raises:
            BackendError: The request itself is invalid.
            ConfigError: A mistake of the user's, such as in a file of examples, is why; no other model would help.
        """
        card, row = call.card, call.failed(error)
        self._flying.pop(card.id, None)
        call.grant.judge(row, error.kind, error.retry_after)
        self.history.observe(self.ask.declared.task, row)
        if error.kind is FailureKind.AUTH:
            self.availability.refused(card.provider)
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__
        if self._on_failure(card, Failure(card.id, error.kind, one_line(error)), error) == "retry":
            pause = error.retry_after or _BACKOFF_SECONDS * (1 + random.random())  # noqa: S311 - jitter
            await asyncio.sleep(max(0.0, min(pause, self._left(), _LONGEST_WAIT_SECONDS)))

    def begun(self, call: ModelCall) -> None:
        """Note that a call's stream has begun and cancel the others; if it breaks later, none of them continues."""
        self._flying.pop(call.card.id, None)
        _break_off(self._flying.values(), "another model answered first")

    def error(self) -> ConfigError | AllFailed:
        """Return the error that explains why there is no answer; a user's mistake if there is no other reason."""
        if self._mistakes and not self.failures and len(self._mistakes) == len(self._skipped):
            return self._mistakes[0]
        if self.failures or self._skipped:
            return AllFailed(self.failures, self._skipped, self.decision.risk, self.setup, self.routed.step)
        return NoCandidate(self.decision, self.routed.step)

    def cut(self, cause: BackendError | None = None) -> BackendError:
        """Return the error of the last stream, whose first words have already been yielded."""
        return cut_off(self.failures[-1], cause, self.routed.step)

    def accounted(self, message: AIMessage, row: CallRow, notes: Sequence[str] | None = None) -> AIMessage:
        """Add to a reply's metadata which model answered, why, and what it cost."""
        rules = [hit.id for hit in self.decision.rules]
        if self.failures and Tier(row.tier) > self.decision.tier:
            raised = (of_failure(failure.kind) for failure in self.failures)
            rules += dict.fromkeys(name for name in raised if name is not None)
        effects = self.ask.called(message) if message.tool_calls else {}
        told = call_metadata(row, rules, self.failures, self._skipped, self.setup, effects)
        message.response_metadata["pointsman"] = told if notes is None else {**told, "notes": list(notes)}
        return message

    def _left(self) -> float:
        return self.deadline - _now()

    def _on_failure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> OnFailure:
        """Apply the policy's action for a failure, and return it.

        Raises:
            BackendError: No other model can be expected to do better.
        """
        self.failures.append(failure)
        action, again = self._candidates.failed(card, failure.kind, list(self._flying))
        if action == "stop" and not self._flying:
            # If two providers refuse the request, the error gives both reasons.
            raise self.error() if again or error is None else error
        gone = [call for name, call in self._flying.items() if name not in self._candidates.queue]
        _break_off(gone, f"{card.id}: {failure.kind}, so another model must answer")
        return action


@dataclass(eq=False)
class _Candidates:
    """The queue of one request's models. A model stays in it until it has been tried or a failure excludes it.

    Attributes:
        cards: The catalogue.
        queue: Models that may still be asked, best first; initially the decision's candidates.
        on_failure: Kind of failure -> the policy's action.
        slow: Models that have become slow; they are asked after the others.
        refused_by: The provider that refused the request; a second refusal ends it.
    """

    cards: Mapping[str, ModelCard]
    queue: list[str]
    on_failure: Mapping[FailureKind, OnFailure]
    slow: set[str] = field(default_factory=set)
    refused_by: str | None = None
    _held: set[str] = field(default_factory=set)
    _retried: set[str] = field(default_factory=set)

    @property
    def single(self) -> bool:
        """Whether only one model is left."""
        return len(self.queue) == 1

    def pick(self, busy: Container[str], *, last: bool) -> ModelCard | None:
        """Return the model to ask next; None if none is left.

        Args:
            busy: Models that are being asked.
            last: Whether only one more call may be made; slow models are asked last, so it is kept for one of them.
        """
        waiting = [name for name in self.queue if name not in busy]
        if not waiting:
            return None
        name = next((name for name in waiting if (name in self.slow) is last), waiting[0])
        if name in self._held:
            # While a rate limit delays this one, ask another of the same tier.
            peers = (one for one in waiting if one not in self._held)
            name = next((one for one in peers if self.cards[one].tier is self.cards[name].tier), name)
        return self.cards[name]

    def hold(self, model: str) -> bool:
        """Note that a rate limit delays a model briefly.

        Returns:
            Whether the caller must wait, since no other model is asked meanwhile.
        """
        if model in self._held or self.single:
            self._held.clear()
            return True
        self._held.add(model)
        return False

    def failed(self, card: ModelCard, kind: FailureKind, busy: Sequence[str]) -> tuple[OnFailure, bool]:
        """Update the queue after a failure.

        Args:
            card: The model that failed.
            kind: The kind of failure.
            busy: Other models that are being asked.

        Returns:
            The policy's action, ``next`` if the model has already been retried; and whether this is the second
            provider that refuses the request.
        """
        action, again = self.on_failure[kind], False
        if action == "elsewhere":
            again = self.refused_by not in (None, card.provider)
            self.refused_by = self.refused_by if again else card.provider
        if action == "stop" or again:
            # Models already being asked may still answer; no other model is asked.
            self.queue = list(busy)
            return "stop", again
        if action == "retry" and card.id not in self._retried:
            self._retried.add(card.id)
            return action, False
        rest = [self.cards[name] for name in self.queue if name != card.id]
        if action == "stronger":
            # If no model is stronger, another one of the same tier may still do better.
            rest = [other for other in rest if other.tier > card.tier] or [o for o in rest if o.tier is card.tier]
        elif action == "larger":
            rest = [other for other in rest if (other.context or 0) > (card.context or 0)]
        if action == "elsewhere" or kind is FailureKind.AUTH:
            rest = [other for other in rest if other.provider != card.provider]
        self.queue = [other.id for other in rest]
        return "next" if action == "retry" else action, False


def _made(routed: Routed, recorder: CallRecorder, card: ModelCard, ready: Ready, grant: Grant) -> ModelCall | str:
    """Make the call of a model under a grant; or give the grant back and return why the model cannot be asked."""
    try:
        said = routed.said.get(card.id, NOTHING)
        messages, options = brief(routed.ask, card, said)
        taken = carried(messages, ready.dialect, card)
        if isinstance(taken, str):
            grant.give_back()
            return taken
        if routed.keeps_prompt:
            options = {**ready.backend.prompt_cache, **options}
        return ModelCall(
            card,
            routed.ask,
            taken,
            options,
            backend=ready.backend,
            grant=grant,
            booking=recorder,
            notes=() if said is NOTHING else said.told,
            ready=ready,
        )
    except BaseException as error:
        grant.give_back()
        if isinstance(error, PointsmanError) or not isinstance(error, Exception):
            raise
        # Another vendor's format may be able to express what this one cannot.
        return one_line(f"the request cannot be put into its form: {error_line(words_of(error))}")


def _break_off(calls: Iterable[ModelCall], why: str) -> None:
    """Cancel calls in progress whose answers are no longer needed."""
    for call in calls:
        if call.task is not None and call.task is not asyncio.current_task():
            call.unwanted = why
            call.task.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
