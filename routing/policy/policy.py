"""`Policy`: everything a decision depends on besides the request and the current circumstances, compiled once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from typing import Any, Self

from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.schema import Limits, RoutingPolicy, StepRiskPolicy
from ...configs.words import Risk, Tier
from ..features.features import Features, extract
from ..request import RouteRequest
from ..scorers.complexity import Scorer
from .proof import Proven
from .rules import CompiledRiskRule, CompiledRule, compile_floors, compile_risk_rule

__all__ = ["CompiledCard", "Policy"]


@dataclass(frozen=True, slots=True)
class CompiledCard:
    """A model card with what every decision would otherwise recompute: its place, its rank and its prices as floats.

    A price is USD per token, and infinite if unknown, so that an unknown price is never the cheapest.
    """

    card: ModelCard
    id: str
    provider: str
    place: int
    rank: int
    input_price: float
    output_price: float
    cache_write_price: float
    speed: float

    @classmethod
    def compile(cls, card: ModelCard, place: int) -> Self:
        """Compile one card; ``place`` is its position in the catalogue."""
        prices = card.prices
        return cls(
            card=card,
            id=card.id,
            provider=card.provider,
            place=place,
            rank=card.tier.rank,
            input_price=inf if prices is None else float(prices.input),
            output_price=inf if prices is None else float(prices.output),
            cache_write_price=inf if prices is None else float(prices.cache_write),
            speed=card.scores.get("speed", 0.0),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled routing policy, risk policy and catalogue; make one with `Policy.compile`.

    Attributes:
        routing: As configured.
        risk: As configured.
        catalogue: The cards, in order of preference.
        scorer: Judges complexity; None if only declared facts decide.
        unused: Why the configured scorer is not in use; empty if it is in use or none is configured.
        reads: Measures the signals of a request that the scorer needs; None if it needs none.
        rules: Compiled routing rules, in order.
        risk_rules: Compiled risk rules.
        floors: Every risk -> the tier below which it may not run.
        limits: User class that has limits of its own -> its limits.
        asks: The features that any routing rule asks about.
        cards: Compiled cards, in order.
        policy_hash: First 16 hex digits of SHA-256 over all of it as canonical JSON.
        price_version: Versions of the price tables that the catalogue is based on.
    """

    routing: RoutingPolicy
    risk: StepRiskPolicy
    catalogue: tuple[ModelCard, ...]
    scorer: Scorer | None
    unused: str
    reads: Callable[[RouteRequest], tuple[float, ...]] | None
    rules: tuple[CompiledRule, ...]
    risk_rules: tuple[CompiledRiskRule, ...]
    floors: Mapping[Risk, Tier]
    limits: Mapping[str, Limits]
    asks: frozenset[str]
    cards: tuple[CompiledCard, ...]
    policy_hash: str
    price_version: str

    @classmethod
    def compile(
        cls,
        routing: RoutingPolicy,
        risk: StepRiskPolicy,
        catalogue: Iterable[ModelCard],
        *,
        scorer: Scorer | None = None,
        unused: str = "",
    ) -> Self:
        """Compile a policy.

        Args:
            routing: Rules, strategy and limits.
            risk: Risk rules and floors.
            catalogue: The models, in order of preference.
            scorer: Judges complexity from features; pure.
            unused: Why the configured scorer is not in use.

        Raises:
            ConfigError: A rule cannot be compiled, or a name occurs twice.
        """
        cards = tuple(catalogue)
        _once("model", (card.id for card in cards))
        _once("routing rule", (rule.id for rule in routing.rules))
        _once("risk rule", (rule.id for rule in risk.rules))
        versions = {card.prices.version for card in cards if card.prices is not None}
        return cls(
            routing=routing,
            risk=risk,
            catalogue=cards,
            scorer=scorer,
            unused=unused,
            reads=getattr(scorer, "read", None),
            rules=tuple(CompiledRule.compile(rule) for rule in routing.rules),
            risk_rules=tuple(compile_risk_rule(rule) for rule in risk.rules),
            floors=compile_floors(risk.floors),
            limits={name: routing.limits_of(name) for name in routing.classes},
            asks=frozenset(name for rule in routing.rules for name in rule.when),
            cards=tuple(CompiledCard.compile(card, place) for place, card in enumerate(cards)),
            policy_hash=_hash(routing, risk, cards, scorer),
            price_version=" + ".join(sorted(versions)),
        )

    def unjudged(self, task: str) -> str:
        """Return why the configured scorer does not judge a task; empty if it does or none is configured."""
        return self.scorer.lacking(task) if isinstance(self.scorer, Proven) else self.unused

    def unmeasured(self, features: Features) -> bool:
        """Whether the scorer would judge a step by signals that its recorded features lack."""
        scorer = self.scorer.scorer if isinstance(self.scorer, Proven) else self.scorer
        return hasattr(scorer, "read") and not self.unjudged(features.task) and not features.signals

    def limits_of(self, user_class: str) -> Limits:
        """Return the limits of a user class."""
        return self.limits.get(user_class) or self.routing.limits

    def features(self, request: RouteRequest) -> Features:
        """Extract a request's features and the signals the scorer needs, so that a replay needs no request."""
        return extract(request, () if self.reads is None else self.reads(request))


def _once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"the {what} '{name}' stands twice; give each its own name")
        seen.add(name)


def _hash(routing: RoutingPolicy, risk: StepRiskPolicy, cards: tuple[ModelCard, ...], scorer: Scorer | None) -> str:
    whole = {
        "routing": routing.model_dump(mode="json"),
        "risk": risk.model_dump(mode="json"),
        "catalogue": [_card(card) for card in cards],
        "scorer": None
        if scorer is None
        else getattr(scorer, "id", getattr(scorer, "__qualname__", type(scorer).__qualname__)),
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def _card(card: ModelCard) -> dict[str, Any]:
    prices = card.prices
    return {
        "id": card.id,
        "provider": card.provider,
        "name": card.name,
        "tier": card.tier.value,
        "roles": sorted(card.roles),
        "tasks": None if card.tasks is None else sorted(card.tasks),
        "scores": dict(card.scores),
        "context": card.context,
        "max_output": card.max_output,
        "inputs": sorted(card.inputs),
        "tools": card.tools,
        "structured": card.structured,
        "prices": prices
        and [str(prices.input), str(prices.output), str(prices.cache_read), str(prices.cache_write), prices.version],
        "local": card.local,
    }
