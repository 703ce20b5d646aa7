"""`CallFactory`: makes the calls of one request: guards asked, conversation in the model's form, money reserved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...backends.options import NOTHING
from ...configs.catalog import ModelCard
from ...routing.ordering import worth_caching
from ..conversation.convert import portable
from ..guards.guards import Guards
from ..guards.rate_limit import Wait
from .call import ModelCall
from .clients import Clients
from .prompt import brief
from .recorder import CallRecorder

if TYPE_CHECKING:
    from ..decider import Routed

__all__ = ["CallFactory"]


class CallFactory:
    """Makes calls that may be sent.

    Args:
        routed: The request, and what was decided for it.
        clients: The chat models.
        guards: Breakers, rate limits and budgets.
        recorder: Writes the calls' rows.
    """

    def __init__(self, routed: Routed, clients: Clients, guards: Guards, recorder: CallRecorder) -> None:
        self._routed = routed
        self._clients = clients
        self._guards = guards
        self._recorder = recorder
        self._cached = worth_caching(routed.decision.features)

    def call(self, card: ModelCard, *, slow_too: bool) -> ModelCall | Wait | str | None:
        """Make the call of a model, still without money.

        Args:
            card: The model.
            slow_too: Ask it even if its breaker finds it slow.

        Returns:
            The call; or how long its rate limit or breaker holds it back; or why it cannot be made now; or None where
            its breaker only finds it slow.
        """
        guards, backend, ask = self._guards, self._clients.backend(card), self._routed.ask
        tokens, output = self._routed.decision.features.tokens, ask.max_output or 0
        grant = guards.admit(card, tokens, output, last=slow_too)
        if isinstance(grant, str):
            key = guards.key(card)
            if held := guards.health.held(key):
                return Wait(grant, held)
            return grant if slow_too or not guards.health.merely_slow(key) else None
        if isinstance(grant, Wait):
            return grant
        try:
            said = self._routed.said.get(card.id, NOTHING)
            messages, options = brief(ask, card, said)
            carried = portable(messages, to=self._clients.backend_name(card), card=card)
            if isinstance(carried, str):
                grant.give_back()
                return carried
            if self._cached:
                options = {**backend.prompt_cache, **options}
            notes = () if said is NOTHING else said.told
            return ModelCall(
                card, ask, carried, options, backend=backend, grant=grant, booking=self._recorder, notes=notes
            )
        except BaseException:
            grant.give_back()
            raise

    async def funded(self, call: ModelCall, until: float, patience: float) -> bool:
        """Reserve the worst case of a call, and limit the model's output to what that covers.

        Args:
            call: The call; closed where it cannot be made.
            until: When the request has to be over, in the event loop's seconds.
            patience: Seconds to wait for what parallel calls have reserved.

        Returns:
            False where the ledger did not answer before ``until``.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        try:
            async with asyncio.timeout_at(until):
                await self._guards.fund(call, self._routed.scopes, self._routed.step.run.tokens, patience)
        except TimeoutError:
            call.close()
            return False
        return True
