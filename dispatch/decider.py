"""`Decider`: decides which models may answer a request, from the policy and the current state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..configs.process.ids import new_id
from ..ledger.prices import PICODOLLARS
from ..routing.decide import decide
from ..routing.decision import Because, RejectionCode
from ..routing.features.features import extract
from ..routing.ordering import worth_caching
from ..routing.request import BudgetReserve, RoutingContext
from .calls.options import noted
from .context import StepContext
from .conversation.prompt_cache import Place, PromptCacheTracker, place_of
from .evidence.classifier import Classifier
from .evidence.task_stats import TaskHistory
from .guards.availability import Availability
from .guards.budget import scopes_of
from .request import ModelRequest, route_request

if TYPE_CHECKING:
    from ..backends.options import Said
    from ..configs.schema import Limits
    from ..ledger.budgets.budgets import Budgets
    from ..routing.decision import Decision
    from ..routing.policy.policy import Policy

__all__ = ["Decider", "Routed"]


@dataclass(frozen=True, slots=True)
class Routed:
    """A request and the decision made for it.

    Attributes:
        ask: The request.
        step: The step it belongs to.
        policy: The policy in force at the decision; it applies until the request is answered.
        decision: Which models may answer, best first.
        scopes: Budget scopes its calls count against, each with its cap in picodollars.
        said: Model -> the request's options as that model's client takes them.
        place: The request's position in its conversation.
        limits: The limits that apply.
        deadline: When the answer is due, in the event loop's seconds.
        keeps_prompt: Whether the vendor should cache the prompt for the next request.
    """

    ask: ModelRequest
    step: StepContext
    policy: Policy
    decision: Decision
    scopes: Mapping[str, int | None]
    said: Mapping[str, Said]
    place: Place
    limits: Limits
    deadline: float
    keeps_prompt: bool


@dataclass(frozen=True, eq=False, repr=False)
class Decider:
    """Decides which models may answer each request.

    Attributes:
        classifier: Judges how hard a step is, if the decision depends on it.
        history: How models have performed at tasks.
        prompt_caches: Which model has a conversation in its prompt cache.
        availability: What cannot be used now.
        budgets: Returns the budgets; called only if a rule or a reserve needs what they leave.
    """

    classifier: Classifier
    history: TaskHistory
    prompt_caches: PromptCacheTracker
    availability: Availability
    budgets: Callable[[], Budgets]

    async def routed(self, ask: ModelRequest, step: StepContext, policy: Policy, said: Mapping[str, Said]) -> Routed:
        """Decide which models may answer a request.

        Args:
            ask: The request.
            step: The step it belongs to.
            policy: The policy in force.
            said: Model -> the request's options as that model's client would take them.
        """
        limits = policy.limits.get(step.run.user_class, policy.routing.limits)
        deadline = asyncio.get_running_loop().time() + min(limits.deadline, ask.declared.deadline or limits.deadline)
        budgets, place = policy.routing.budgets, place_of(ask.messages, ask.tools)
        scopes = scopes_of(step.run, budgets) if budgets or step.run.caps else {}
        request = route_request(ask, step, new_id())
        features = extract(request) if policy.reads is None else policy.features(request)

        def context() -> RoutingContext:
            """Return the current state."""
            asked, unavailable = policy.asks, self.availability.reasons(step.unavailable)
            unfit = {name: Because(RejectionCode.CONVERSATION, one.unfit) for name, one in said.items() if one.unfit}
            return RoutingContext(
                unavailable={**unavailable, **unfit} if unfit else unavailable,
                needs_price=any(cap is not None for cap in scopes.values()),
                budget_left=self.budget_left(scopes) if "budget_left" in asked else None,
                funds=self._reserve(step) if step.ahead else None,
                experience=self.history.of(ask.declared.task),
                carried=self.prompt_caches.carried(place) if place.before is not None else frozenset(),
                down=frozenset((*unavailable, *self.availability.open_circuits())) if "down" in asked else frozenset(),
            )

        now = context()
        if policy.routing.scorer == "classifier":
            judged = await self.classifier.judged(features, ask, policy, now)
            if judged is not features:
                # The classifier's call took time, so the state may have changed.
                features, now = judged, context()
        decision, keeps_prompt = decide(features, policy, now), worth_caching(features)
        if said:
            decision = noted(decision, said)
        return Routed(ask, step, policy, decision, scopes, said, place, limits, deadline, keeps_prompt)

    def budget_left(self, scopes: Mapping[str, int | None]) -> float | None:
        """Return the share of the tightest cap that is neither spent nor reserved; None without caps."""
        capped = {scope: cap for scope, cap in scopes.items() if cap}
        if not capped:
            return None
        budgets = self.budgets()
        return max(0.0, min(1 - sum(budgets.totals(scope)) / cap for scope, cap in capped.items()))

    def _reserve(self, step: StepContext) -> BudgetReserve | None:
        """Return what the run's own caps leave for the high-risk steps still to come; None without caps."""
        # Reading totals reads the budget file, so callers do it only when needed.
        if not step.run.caps:
            return None
        budgets = self.budgets()
        left = min(cap - sum(budgets.totals(scope)) for scope, cap in step.run.caps)
        return BudgetReserve(max(0, left) / PICODOLLARS, sum(step.ahead) / PICODOLLARS, len(step.ahead))
