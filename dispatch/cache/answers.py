"""`KeptAnswers`: the response cache for one request, looked at and filled off the event loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...tools.threads import in_thread
from ..calls.structured_output import refused
from .key import CacheRequest, cacheable
from .responses import ResponseCache

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from ...routing.decision import Decision
    from ..context import StepContext
    from ..request import ModelRequest

__all__ = ["KeptAnswers", "kept_answers"]


class KeptAnswers:
    """Answers given before to the same request or one like it. Another process may hold their file.

    Args:
        responses: The cache.
        request: What is asked for, with all that its answer depends on.
        ask: The same as it was asked. Its class judges what is given again: another may have judged it, or only the
            schema that they share.
    """

    def __init__(self, responses: ResponseCache, request: CacheRequest, ask: ModelRequest) -> None:
        self._responses = responses
        self._request = request
        self._ask = ask

    async def get(self) -> AIMessage | None:
        """An answer that is still fresh."""
        return self._usable(await in_thread(self._responses.get, self._request))

    async def stand_in(self) -> AIMessage | None:
        """An answer of any age, where the policy wants such."""
        return self._usable(await in_thread(self._responses.stand_in, self._request))

    def _usable(self, message: AIMessage | None) -> AIMessage | None:
        kind, output = self._ask.answer, self._ask.output
        if message is None or kind is None or output is None:
            return message
        return None if refused(kind, output, message) else message

    async def keep(self, message: AIMessage) -> None:
        """Keep a usable answer for the next who asks the same."""
        await in_thread(self._responses.put, self._request, message)


def kept_answers(
    responses: ResponseCache | None,
    ask: ModelRequest,
    step: StepContext,
    decision: Decision,
    *,
    models: str,
    examples: Mapping[str, str],
) -> KeptAnswers | None:
    """The answers that may be given for a request.

    Args:
        responses: The cache; None where the policy keeps none.
        ask: What is asked.
        step: The step it belongs to.
        decision: What was decided for it.
        models: Digest of all that is configured for the models' clients.
        examples: Field of the answer -> digest of its examples.

    Returns:
        None where an answer to such a request is not kept.
    """
    if responses is None or not cacheable(ask.effects, ask.kind, step.sensitivity or ""):
        return None
    facts: dict[str, Any] = {
        "tier": decision.tier,
        "task": ask.task,
        "kind": ask.kind,
        "prefer": ask.prefer,
        "reversible": ask.reversible,
        "max_output": ask.max_output,
        "latency": ask.latency,
        "examples": examples,
        "policy": decision.policy_hash,
        "models": models,
        "output": ask.output,
        # What one user's data went into is not another's to read.
        "user": step.run.user,
        "class": step.run.user_class,
    }
    options = {**ask.options, "stop": ask.stop, "tool_choice": ask.tool_choice}
    request = CacheRequest.of(ask.messages, tools=ask.tools, options=options, facts=facts)
    return None if request is None else KeptAnswers(responses, request, ask)
