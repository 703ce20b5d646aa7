"""`ModelCard`: all that routing knows about one model, with profile, price and configuration already merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from .words import Tier

__all__ = ["MOST_CHARGED", "MOST_TOKENS", "ModelCard", "TokenPrices", "Usage"]


MOST_TOKENS: Final = 10**9
"""More tokens than this in one call are an error in the provider's report."""
MOST_CHARGED: Final = 10_000 * 10**12
"""Picodollars; a report of a higher charge for one call is rejected."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, in tokens unless stated otherwise.

    Attributes:
        input: All input, including tokens read from or written to a cache.
        output: All output, including reasoning.
        cache_read: Input tokens read from a cache.
        cache_write: Input tokens written to a cache, for any lifetime.
        cache_write_1h: Those of ``cache_write`` that are kept for an hour.
        audio: Audio tokens in the input.
        cache_audio: Audio tokens read from a cache.
        output_audio: Audio tokens in the output.
        output_image: Image tokens in the output.
        searches: Web searches that the provider made by itself.
        charged: Picodollars the provider reports as charged; 0 if it does not report a charge.
        service_tier: The service tier of the call, such as ``priority``; empty for the standard one.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio: int = 0
    cache_audio: int = 0
    output_audio: int = 0
    output_image: int = 0
    searches: int = 0
    charged: int = 0
    service_tier: str = ""

    @property
    def told(self) -> dict[str, int | str]:
        """Every count by name, and the service tier."""
        return {**dict(zip(_COUNTS, _counts(self), strict=True)), "service_tier": self.service_tier}

    def doubt(self) -> str:
        """Return why these counts are impossible; empty if they are possible.

        The counts come from a provider's JSON, so their annotated types are not guaranteed.
        """
        counts = _counts(self)
        if set(map(type, counts)) != _WHOLE or min(counts) < 0 or max(counts) > MOST_TOKENS:
            for name, count in zip(_COUNTS, counts, strict=True):
                if type(count) is not int:
                    return f"{name} is not a whole number"
                if not 0 <= count <= (MOST_CHARGED if name == "charged" else MOST_TOKENS):
                    return f"{name} {count}" if abs(count) < 10**15 else f"{name} is far too large"
        # A fast path: each reply is checked several times, and nearly all are valid.
        into, out, read, write, hour, audio, cached_audio, *of_output = counts[:9]
        fits = hour <= write and cached_audio <= min(read, audio) and max(audio, read + write) <= into
        if fits and sum(of_output) <= out:
            return "" if into + out else "no tokens"
        for part, whole in _WITHIN:
            if getattr(self, part) > getattr(self, whole):
                return f"{part} {getattr(self, part)} of {whole} {getattr(self, whole)}"
        if self.cache_read + self.cache_write > self.input:
            return f"cache_read {self.cache_read} and cache_write {self.cache_write} of input {self.input}"
        return f"output_audio {self.output_audio} and output_image {self.output_image} of output {self.output}"


_COUNTS: Final = tuple(field.name for field in fields(Usage) if field.name != "service_tier")
_counts = attrgetter(*_COUNTS)
_WHOLE: Final = {int}
_WITHIN: Final = (
    ("cache_write_1h", "cache_write"),
    ("audio", "input"),
    ("cache_audio", "cache_read"),
    ("cache_audio", "audio"),
)


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """USD per single token when the catalogue was built; ``version`` names the table they came from."""

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
        context: Input window in tokens, or None if unknown.
        max_output: Output limit in tokens, or None if unknown.
        inputs: Input modalities.
        tools: Whether it can call tools.
        structured: Whether it can enforce a JSON schema.
        prices: Prices, or None if unknown (unknown is never zero).
        local: Whether requests stay on this machine.
        answers_as: Other names under which its provider reports that it answered; ``*`` matches any characters.
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
    answers_as: tuple[str, ...] = ()
