"""The members of an ensemble: which models each may use, and its call."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from ...backends.base import BackendError
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.words import Effect, StepKind, Tier
from ...ledger.budgets.budgets import BudgetExceeded
from ...ledger.rows import CallRow
from ...routing.decide import decide
from ...routing.decision import Decision
from ...routing.request import RoutingContext
from ...tools.base import unbound
from ..context import current, entered
from ..errors import NoCandidate
from ..guards.budget import scopes_of
from ..model import RoutedChatModel
from ..request import ModelRequest, one_line, route_request

__all__ = ["Answering", "Barred", "Member", "barred_from", "called", "cost_key", "model_of", "routed", "shared_out"]

Answering: TypeAlias = RoutedChatModel | Runnable[Any, AIMessage]
"""A routed model, or one with tools bound."""
Barred: TypeAlias = tuple[tuple[str, str], ...]
"""Model or provider -> why it must not be used, as in `StepContext`."""


@dataclass(frozen=True, slots=True)
class Member:
    """The result of one member.

    Attributes:
        model: The model that answered; None if none did.
        cost: Picodollars of all its calls whose cost is known; None if the cost of its answer is unknown.
        failure: Why there is no answer; None if there is one or the member was not asked.
        answer: Text, the value of a structured answer, or the message if it calls tools; None if there is none.
        message: The reply itself.
        error: The exception behind the failure, if one was raised.
    """

    model: str | None = None
    cost: int | None = 0
    failure: str | None = None
    answer: Any = None
    message: AIMessage | None = None
    error: Exception | None = None


def model_of(member: Answering) -> RoutedChatModel:
    """Return a member's model, after checking that the member can only read.

    Raises:
        ConfigError: It can do more, or is not a routed model.
    """
    model = unbound(member)
    if not isinstance(model, RoutedChatModel):
        raise ConfigError(f"a member of an ensemble is a RoutedChatModel, with or without tools, not {type(member)!r}")
    bound: Mapping[str, Any] = getattr(member, "kwargs", {})
    effects = [Effect(effect) for effect in bound.get("effects", ())]
    # A tool bound without its effect counts as destructive.
    undeclared = len(bound.get("tools") or ()) - (bound.get("output") is not None) > len(effects)
    if undeclared or model.kind is StepKind.ACT or any(effect is not Effect.READ for effect in effects):
        raise ConfigError("an ensemble would do the same several times: only steps that read may be given to one")
    return model


def routed(member: Answering, messages: list[BaseMessage], output: type | dict[str, Any] | None) -> Decision:
    """Return the routing decision for this member alone."""
    model, step = model_of(member), current()
    dispatcher = model._dispatcher()
    ask: ModelRequest = model._ask(messages, None, dict(getattr(member, "kwargs", {})))
    if output is not None:
        schema = convert_to_openai_tool(output)
        ask = replace(ask, tools=(schema,), output=schema["function"]["name"])
    caps = scopes_of(step.run, dispatcher.policy.routing.budgets)
    circumstances = RoutingContext(
        unavailable=dispatcher.availability.reasons(step.unavailable),
        needs_price=any(cap is not None for cap in caps.values()),
        budget_left=dispatcher.decider.budget_left(caps),
    )
    return decide(dispatcher.policy.features(route_request(ask, step, "")), dispatcher.policy, circumstances)


def shared_out(models: Sequence[RoutedChatModel], decisions: Sequence[Decision]) -> list[list[str]]:
    """Divide the candidates among the members in turns; members that prefer a model by name choose first."""
    queues = [list(decision.candidates) for decision in decisions]
    turns = sorted(range(len(queues)), key=lambda place: models[place].prefer is None)
    shares: list[list[str]] = [[] for _ in queues]
    owners: dict[str, int] = {}
    while any(queues):
        for place in turns:
            while queues[place]:
                name = queues[place].pop(0)
                if owners.setdefault(_identity(models[place], name), place) == place:
                    shares[place].append(name)
                    break
    return shares


def _identity(model: RoutedChatModel, name: str) -> str:
    """The same for a model that two providers serve: it would only repeat itself."""
    dispatcher = model._dispatcher()
    return dispatcher.settings.models[name].profile or dispatcher.cards[name].name


def barred_from(model: RoutedChatModel, decision: Decision, share: Sequence[str]) -> Barred:
    """Return all models outside a member's share, each with the reason."""
    rejected = {rejection.model: rejection.reason for rejection in decision.rejected}
    return tuple(
        (name, rejected.get(name, "another member of the ensemble has it"))
        for name in model._dispatcher().cards
        if name not in share
    )


def called(
    runnable: Runnable[Any, Any], messages: list[BaseMessage], barred: Barred
) -> Callable[[], Awaitable[Member]]:
    """Return a call to make later; it reports errors of providers and caps in its result instead of raising them."""

    async def call() -> Member:
        step, costs = current(), list[int | None]()

        def observe(row: CallRow) -> None:
            costs.append(row.cost)
            if step.run.observe is not None:
                step.run.observe(row)

        with entered(run=replace(step.run, observe=observe), unavailable=(*step.unavailable, *barred)):
            try:
                said = await runnable.ainvoke(messages)
            except (BackendError, BudgetExceeded, NoCandidate) as error:
                return Member(cost=sum(cost or 0 for cost in costs), failure=one_line(error), error=error)
        message: AIMessage = said if isinstance(said, AIMessage) else said["raw"]
        account = message.response_metadata["pointsman"]
        if {account["model"], account["model"].partition("/")[0]} & dict(barred).keys():
            # A cached answer belongs to the model that first gave it; counted here, that model would vote twice.
            return Member(failure=f"an answer was kept of {account['model']}, which this member may not use")
        cost = None if account["cost"] is None else sum(cost or 0 for cost in costs)
        if message is said:
            return Member(account["model"], cost, None, message if message.tool_calls else str(message.text), message)
        if said["parsed"] is None:
            wrong = f"the answer does not fit its schema: {type(said['parsing_error']).__name__}"
            return Member(cost=cost, failure=f"{account['model']}: {wrong}")
        return Member(account["model"], cost, None, said["parsed"], message)

    return call


def cost_key(model: RoutedChatModel, share: Sequence[str]) -> tuple[int, float]:
    """Return the tier, and the USD for one input and one output token, of the model that a member asks first."""
    if not share:
        return len(Tier), math.inf
    card: ModelCard = model._dispatcher().cards[share[0]]
    return card.tier.rank, math.inf if card.prices is None else float(card.prices.input + card.prices.output)
