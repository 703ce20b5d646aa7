"""`KeptAnswers`: the response cache for one request, read and written off the event loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...configs.catalog import ModelCard
from ...tools.threads import in_thread
from ..calls.prompt import examples_digests
from ..calls.structured_output import refused
from .key import CacheRequest, cacheable
from .responses import ResponseCache

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from ...ledger.rows import CallRow
    from ..calls.bill import CallRecorder
    from ..decider import Routed
    from ..request import ModelRequest

__all__ = ["KeptAnswers", "kept_answers"]


@dataclass(frozen=True, eq=False, repr=False)
class KeptAnswers:
    """Earlier answers to the same or a similar request. Another process may have locked their file.

    Attributes:
        responses: The cache.
        request: The cache request, with everything the answer depends on.
        ask: The model request. Its class validates cached answers, which another class or only their common schema may
            have validated before.
        cards: The decision's candidates: a model that may not run the step now may not answer it from the cache.
        recorder: Writes a row for each answer taken from the cache.
    """

    responses: ResponseCache
    request: CacheRequest
    ask: ModelRequest
    cards: Mapping[str, ModelCard]
    recorder: CallRecorder

    async def get(self) -> tuple[AIMessage, CallRow] | None:
        """Return an answer that is still fresh, and the row that records its reuse; None if there is none."""
        return self._recorded(await in_thread(self.responses.get, self.request), 0, "an answer given before")

    async def stand_in(self, made: int) -> tuple[AIMessage, CallRow] | None:
        """Return an answer of any age and its row, if the policy allows such answers.

        Args:
            made: Calls made before it.
        """
        found = await in_thread(self.responses.stand_in, self.request)
        return self._recorded(found, made, "an old answer: no model gave a new one")

    def _recorded(self, message: AIMessage | None, made: int, why: str) -> tuple[AIMessage, CallRow] | None:
        if message is None or self._refused(message):
            return None
        card = self.cards.get(str(message.response_metadata["pointsman_cache"]["model"]))
        if card is None:
            return None
        row = self.recorder.row(card, at=time.time(), attempt=made, finish="cached", detail=why, cost=0)
        self.recorder.record(row)
        return message, row

    def _refused(self, message: AIMessage) -> bool:
        kind, output = self.ask.answer, self.ask.output
        return kind is not None and output is not None and bool(refused(kind, output, message))

    async def keep(self, message: AIMessage) -> None:
        """Store a usable answer for later requests."""
        await in_thread(self.responses.put, self.request, message)


def kept_answers(
    responses: ResponseCache,
    routed: Routed,
    *,
    cards: Mapping[str, ModelCard],
    models: str,
    recorder: CallRecorder,
) -> KeptAnswers | None:
    """Return the cached answers for a request.

    Args:
        responses: The cache.
        routed: The request and the decision made for it.
        cards: The catalogue.
        models: Digest of everything configured for the models' clients.
        recorder: Writes the rows of answers taken from the cache.

    Returns:
        The answers; None if such a request is not cached.
    """
    ask, step, decision = routed.ask, routed.step, routed.decision
    if not cacheable(ask.declared.effects, ask.declared.kind, step.sensitivity or ""):
        return None
    facts: dict[str, Any] = {
        "tier": decision.tier,
        "task": ask.declared.task,
        "kind": ask.declared.kind,
        "prefer": ask.declared.model,
        "reversible": ask.declared.reversible,
        "max_output": ask.declared.max_output,
        "latency": ask.declared.latency,
        "examples": examples_digests(ask.examples),
        "policy": decision.policy_hash,
        "models": models,
        "output": ask.output,
        # An answer made from one user's data must not be shown to another user.
        "user": step.run.user,
        "class": step.run.user_class,
    }
    options = {**ask.options, "stop": ask.stop, "tool_choice": ask.tool_choice}
    request = CacheRequest.of(ask.messages, tools=ask.tools, options=options, facts=facts)
    if request is None:
        return None
    return KeptAnswers(responses, request, ask, {name: cards[name] for name in decision.candidates}, recorder)
