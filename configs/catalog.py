"""`ModelCard`: all that routing may know of one model, with profile, price and configuration already merged."""

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
"""More tokens than this in one call is a fault in what the provider reported, not a usage."""
MOST_CHARGED: Final = 10_000 * 10**12
"""Picodollars; a provider that says it charged more than this for one call is not believed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, in tokens where nothing else is said.

    Attributes:
        input: All of the input, whatever was read from or written to a cache included.
        output: All of the output, reasoning included.
        cache_read: Of the input, read from a cache.
        cache_write: Of the input, written to a cache, for whatever time.
        cache_write_1h: Of those written, kept for an hour.
        audio: Of the input, sound.
        cache_audio: Of those read from a cache, sound.
        output_audio: Of the output, sound.
        output_image: Of the output, pictures.
        searches: Web searches that the provider made by itself.
        charged: Picodollars the provider says it charged; 0 where it does not say.
        service_tier: The tier of service it was given, such as ``priority``; empty for the usual one.
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
        """Every count under its name."""
        return {**dict(zip(_COUNTS, _counts(self), strict=True)), "service_tier": self.service_tier}

    def doubt(self) -> str:
        """Say why no provider can have counted so; empty where one can.

        The counts are read off a provider's JSON, so their annotation proves nothing.
        """
        counts = _counts(self)
        if set(map(type, counts)) != _WHOLE or min(counts) < 0 or max(counts) > MOST_TOKENS:
            for name, count in zip(_COUNTS, counts, strict=True):
                if type(count) is not int:
                    return f"{name} is not a whole number"
                if not 0 <= count <= (MOST_CHARGED if name == "charged" else MOST_TOKENS):
                    return f"{name} {count}" if abs(count) < 10**15 else f"{name} is far too large"
        # Each reply is looked at several times, and nearly all are well.
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
        answers_as: Other names under which its provider says that it answered; ``*`` stands for any letters.
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
