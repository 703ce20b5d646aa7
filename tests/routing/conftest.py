"""The built-in policy, and a catalogue to decide over, free of network and clock."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pointsman.configs
import pytest
import yaml
from pointsman.configs.catalog import ModelCard, TokenPrices
from pointsman.configs.schema import RoutingPolicy, Settings
from pointsman.configs.words import Tier
from pointsman.routing.decide import decide
from pointsman.routing.decision import Decision
from pointsman.routing.features.features import extract
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RouteRequest, RoutingContext

# USD per million tokens, input and output.
_PRICES = {
    "deepseek/deepseek-v4-flash": (0.26, 0.5),
    "openai/gpt-5.4-mini": (0.75, 4.5),
    "anthropic/claude-haiku-4-5": (1, 5),
    "google/gemini-3.5-flash": (0.5, 3),
    "anthropic/claude-sonnet-4-6": (3, 15),
    "google/gemini-3.1-pro": (2, 12),
    "openai/gpt-5.5": (5, 30),
    "anthropic/claude-opus-4-7": (5, 25),
    "openai/gpt-5.5-pro": (30, 180),
    "bedrock/claude-opus-4-7": (5, 25),
    "vertex/gemini-3.1-pro": (2, 12),
}

Decide = Callable[..., Decision]


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The built-in files."""
    home = Path(str(pointsman.configs.__file__)).parent
    merged: dict[str, Any] = {}
    for name in ("models", "agents", "routing", "risk"):
        merged |= yaml.safe_load((home / f"{name}.yaml").read_text(encoding="utf-8"))
    return Settings(**merged, project=Path("project"), state=Path("state"))


@pytest.fixture(scope="session")
def catalogue(settings: Settings) -> tuple[ModelCard, ...]:
    """The built-in models, with the vendors' usual figures where the files leave them to profiles and price tables."""
    return tuple(_card(settings, name) for name in settings.models)


def _card(settings: Settings, name: str) -> ModelCard:
    entry = settings.models[name]
    provider, _, rest = name.partition("/")
    prices = _PRICES.get(name)
    if entry.prices is not None:
        prices = (entry.prices.input, entry.prices.output)
    return ModelCard(
        id=name,
        provider=provider,
        name=entry.name or rest,
        tier=entry.tier,
        roles=frozenset(entry.roles),
        tasks=None if entry.tasks is None else frozenset(entry.tasks),
        scores=entry.scores,
        context=entry.context or 200_000,
        max_output=entry.max_output or 64_000,
        inputs=frozenset(entry.inputs or ("text", "image", "pdf")),
        tools=entry.tools is not False,
        prices=None if prices is None else priced(*prices),
        local=settings.providers[provider].local,
    )


def priced(input_price: float, output_price: float) -> TokenPrices:
    """Prices per million tokens."""
    per = Decimal(1_000_000)
    read, write = Decimal(str(input_price)) / per, Decimal(str(output_price)) / per
    return TokenPrices(read, write, read, read, "table-1")


@pytest.fixture(scope="session")
def policy(settings: Settings, catalogue: tuple[ModelCard, ...]) -> Policy:
    """The built-in policy over the built-in models."""
    return Policy.compile(settings.routing, settings.risk, catalogue)


@pytest.fixture(scope="session")
def card() -> Callable[..., ModelCard]:
    """Make a card: ``card("a/x", "economy", price=(1, 2), context=1000)``."""

    def make(name: str, tier: str = "economy", price: tuple[float, float] | None = (1, 2), **more: Any) -> ModelCard:
        provider, _, rest = name.partition("/")
        return ModelCard(
            id=name,
            provider=provider,
            name=rest,
            tier=Tier(tier),
            prices=None if price is None else priced(*price),
            **more,
        )

    return make


@pytest.fixture(scope="session")
def over(settings: Settings) -> Callable[..., Policy]:
    """Make a policy over cards: ``over(card, ..., rules=[...], strategy="quality")``; built-in risk, no rules."""

    def make(*cards: ModelCard, scorer: Any = lambda features: (0.0, 1.0), **routing: Any) -> Policy:
        document = {"rules": (), "on_failure": settings.routing.on_failure, **routing}
        return Policy.compile(RoutingPolicy(**document), settings.risk, cards, scorer=scorer)

    return make


@pytest.fixture(scope="session")
def route(policy: Policy) -> Decide:
    """Decide over the built-in policy, or ``by=`` another: ``route(kind="gather")``; ``now=`` for circumstances."""

    def make(by: Policy = policy, now: RoutingContext = RoutingContext(), **request: Any) -> Decision:  # noqa: B008
        return decide(extract(RouteRequest(**request)), by, now)

    return make
