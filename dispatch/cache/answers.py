"""`KeptAnswers`: the response cache for one request, looked at and filled off the event loop."""

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
    """Answers given before to the same request or one like it. Another process may hold their file.

    Attributes:
        responses: The cache.
        request: What is asked for, with all that its answer depends on.
        ask: The same as it was asked. Its class judges what is given again: another may have judged it, or only the
            schema that they share.
        cards: The candidates of the decision: a model that may not run the step now may not answer it out of the cache.
        recorder: Writes a row for each answer that is given again.
    """

    responses: ResponseCache
    request: CacheRequest
    ask: ModelRequest
    cards: Mapping[str, ModelCard]
    recorder: CallRecorder

    async def get(self) -> tuple[AIMessage, CallRow] | None:
        """An answer that is still fresh, and the row of its being given again."""
        return self._recorded(await in_thread(self.responses.get, self.request), 0, "an answer given before")

    async def stand_in(self, made: int) -> tuple[AIMessage, CallRow] | None:
        """An answer of any age, where the policy wants such.

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
        """Keep a usable answer for the next who asks the same."""
        await in_thread(self.responses.put, self.request, message)


def kept_answers(
    responses: ResponseCache,
    routed: Routed,
    *,
    cards: Mapping[str, ModelCard],
    models: str,
    recorder: CallRecorder,
) -> KeptAnswers | None:
    """The answers that may be given for a request.

    Args:
        responses: The cache.
        routed: The request, and what was decided for it.
        cards: The catalogue.
        models: Digest of all that is configured for the models' clients.
        recorder: Writes the rows of answers given again.

    Returns:
        None where an answer to such a request is not kept.
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
        # What one user's data went into is not another's to read.
        "user": step.run.user,
        "class": step.run.user_class,
    }
    options = {**ask.options, "stop": ask.stop, "tool_choice": ask.tool_choice}
    request = CacheRequest.of(ask.messages, tools=ask.tools, options=options, facts=facts)
    if request is None:
        return None
    return KeptAnswers(responses, request, ask, {name: cards[name] for name in decision.candidates}, recorder)
