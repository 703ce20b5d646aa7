"""`ModelCard`: all that routing may know of one model, with profile, price and configuration already merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from .words import Tier

__all__ = ["ModelCard", "TokenPrices", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens one call used. ``input`` counts all input tokens, those read from or written to a cache included."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """USD per single token at the moment the catalogue was made; ``version`` names the table they came from."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    version: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model as routing sees it.

    Attributes:
        id: ``provider/name``.
        provider: Key of the provider in the settings.
        name: The provider's name for the model.
        tier: Its capability class.
        roles: What it is good for.
        tasks: The only tasks it serves, or None for any.
        scores: Capability scores in 0..1.
        context: Input window in tokens, or None when unknown.
        max_output: Output limit in tokens, or None when unknown.
        inputs: Input modalities.
        tools: Can call tools.
        structured: Can be held to a JSON schema.
        prices: Prices, or None when unknown (unknown is never zero).
        local: Requests stay on this machine.
    """

    id: str
    provider: str
    name: str
    tier: Tier
    roles: frozenset[str] = frozenset({"chat"})
    tasks: frozenset[str] | None = None
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    context: int | None = None
    max_output: int | None = None
    inputs: frozenset[str] = frozenset({"text"})
    tools: bool = True
    structured: bool = True
    prices: TokenPrices | None = None
    local: bool = False
