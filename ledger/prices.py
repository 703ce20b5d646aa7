"""What tokens cost: the genai-prices table, overridden by the catalogue, in exact integers of picodollars."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

from ..configs.catalogue import TokenPrices, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

    from ..configs.schema import ModelEntry, Prices

__all__ = ["PICODOLLARS", "PriceBook", "dollars"]

PICODOLLARS = 10**12
"""Picodollars in a USD: a price of $0.000001 a million tokens is still a whole number of them for each token."""
MOST_TOKENS = 10**9
"""More tokens than this in one call is a fault in what the provider reported, not a usage."""

_TABLE = "genai-prices"
_PER_MILLION = Decimal(1_000_000)
_PICO_PER_TOKEN = Decimal(PICODOLLARS) / _PER_MILLION
# A context of our own: the caller's may round to fewer digits.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_DATED = re.compile(r"[-@:](?:20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))$")
_ONE = Decimal(1)
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Rate:
    """Picodollars a token; above each of ``steps``' input sizes its own price holds for all tokens of the call."""

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()

    def at(self, total_input: int) -> Decimal:
        """The price in a call with this many input tokens."""
        for start, price in self.steps:
            if total_input > start:
                return price
        return self.base

    def dearest(self, most_input: int) -> Decimal:
        """The highest price in any call with no more input tokens than this."""
        return max(self.base, *(price for start, price in self.steps if most_input > start), _NOTHING)


@dataclass(frozen=True, slots=True)
class _Rates:
    """The prices of one model at one time; ``request`` is picodollars a call, whatever its size."""

    input: _Rate | None
    output: _Rate | None
    cache_read: _Rate | None
    cache_write: _Rate | None
    request: Decimal = _NOTHING

    def cost(self, usage: Usage) -> int | None:
        """Picodollars for one call, None where a kind of token it used has no price."""
        plain = usage.input - usage.cache_read - usage.cache_write
        counts = (
            (plain, self.input),
            (usage.cache_read, self.cache_read or self.input),
            (usage.cache_write, self.cache_write or self.input),
            (usage.output, self.output),
        )
        total = self.request
        for count, rate in counts:
            if count:
                if rate is None:
                    return None
                total = _EXACT.fma(rate.at(usage.input), count, total)
        return int(_EXACT.quantize(total, _ONE))

    def most(self, input_tokens: int, output_tokens: int) -> int | None:
        """Picodollars one call within these bounds costs at most, None where there is no price for it."""
        if self.input is None or (self.output is None and output_tokens):
            return None
        kinds = (self.input, self.cache_read, self.cache_write)
        dearest = max(rate.dearest(input_tokens) for rate in kinds if rate is not None)
        answer = _NOTHING if self.output is None else self.output.dearest(input_tokens)
        total = _EXACT.fma(dearest, input_tokens, _EXACT.fma(answer, output_tokens, self.request))
        return math.ceil(total)


class PriceBook:
    """Prices of the catalogue's models.

    The provider part of a model's id finds the provider in the table of genai-prices, and the entry's ``name``, else
    its ``profile``, else the rest of the id finds the model there. An override in the entry wins over the table.

    Args:
        entries: The catalogue by model id.
    """

    def __init__(self, entries: Mapping[str, ModelEntry]) -> None:
        self._entries = entries
        self._overrides = {name: _overriding(entry.prices) for name, entry in entries.items() if entry.prices}
        self._found: dict[tuple[str, str], ModelInfo | None] = {}
        # Keyed by identity, since the table's prices have no hash; the price itself is kept so that its id stays taken.
        self._converted: dict[int, tuple[ModelPrice, _Rates]] = {}

    @cached_property
    def version(self) -> str:
        """The table and its version."""
        return f"{_TABLE} {installed_version(_TABLE)}"

    def price(self, model_id: str, usage: Usage | None, at: datetime, *, answered_by: str | None = None) -> int | None:
        """Say what a call cost.

        Args:
            model_id: The model asked, as ``provider/name``.
            usage: Tokens used, None where the provider did not say.
            at: When the call was made: prices change by date and by hour. UTC where it names no zone.
            answered_by: The name the provider gave of the model that ran; its price holds where the table knows it.

        Returns:
            Picodollars, halves rounded to even; None when it is unknown: no price, no usage, or one that cannot be.
        """
        if usage is None or not _possible(usage):
            return None
        rates = self._rates(model_id, at, answered_by)
        return None if rates is None else rates.cost(usage)

    def worst_case(self, model_id: str, input_tokens: int, output_tokens: int, at: datetime) -> int | None:
        """Say what a call can cost at most, to be set aside before it is made.

        Args:
            model_id: The model, as ``provider/name``.
            input_tokens: Upper bound of the input; any part of it may turn out to be read from or written to a cache.
            output_tokens: Limit of the output.
            at: When the call will be made.

        Returns:
            Picodollars, no less than `price` for any usage within the bounds; None where the price is unknown.
        """
        rates = self._rates(model_id, at, None)
        return None if rates is None else rates.most(input_tokens, output_tokens)

    def token_prices(self, model_id: str, at: datetime) -> TokenPrices | None:
        """The prices of a model for the catalogue, or None when it has no price for input or output.

        Where the price depends on the size of the call, those of the smallest are given.

        Args:
            model_id: The model, as ``provider/name``.
            at: When.
        """
        rates = self._rates(model_id, at, None)
        if rates is None or rates.input is None or rates.output is None:
            return None
        override = self._entries[model_id].prices if model_id in self._overrides else None
        return TokenPrices(
            input=rates.input.base / PICODOLLARS,
            output=rates.output.base / PICODOLLARS,
            cache_read=(rates.cache_read or rates.input).base / PICODOLLARS,
            cache_write=(rates.cache_write or rates.input).base / PICODOLLARS,
            version=self.version if override is None else f"override {override.as_of}",
        )

    def _rates(self, model_id: str, at: datetime, answered_by: str | None) -> _Rates | None:
        override = self._overrides.get(model_id)
        if override is not None:
            return override
        provider, _, rest = model_id.partition("/")
        model = self._model(provider, answered_by) if answered_by else None
        if model is None:
            entry = self._entries.get(model_id)
            names = (entry.name, entry.profile, rest) if entry else (rest,)
            found = (self._model(provider, name) for name in names if name)
            model = next((one for one in found if one is not None), None)
        if model is None or not model.prices:
            return None
        prices = model.get_prices(at if at.tzinfo else at.replace(tzinfo=UTC))
        converted = self._converted.get(id(prices))
        if converted is None:
            converted = self._converted[id(prices)] = (prices, _from_table(prices))
        return converted[1]

    def _model(self, provider: str, name: str) -> ModelInfo | None:
        key = (provider, name)
        if key not in self._found:
            self._found[key] = _look_up(provider, name)
        return self._found[key]


def dollars(pico: int | None) -> str:
    """Write picodollars as USD for a person, such as ``$0.0123``; ``unknown`` for None.

    Args:
        pico: The amount; negative for a loss.
    """
    if pico is None:
        return "unknown"
    amount = Decimal(abs(pico)) / PICODOLLARS
    sign = "-" if pico < 0 else ""
    if amount >= 100:
        return f"{sign}${amount:,.2f}"
    if amount >= Decimal("0.01") or not amount:
        return f"{sign}${amount:.4f}"
    if amount >= Decimal("0.000001"):
        return f"{sign}${amount:.6f}"
    return f"{sign}<$0.000001"


def _possible(usage: Usage) -> bool:
    """Whether a provider can have counted so: whole numbers, some tokens, the cached ones within the input."""
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_write)
    # The counts were read off a provider's JSON, so their annotation proves nothing.
    if any(type(count) is not int or not 0 <= count <= MOST_TOKENS for count in counts):
        return False
    return usage.cache_read + usage.cache_write <= usage.input and usage.input + usage.output > 0


def _overriding(prices: Prices) -> _Rates:
    def rate(per_million: float | None) -> _Rate | None:
        # Through its text: 0.1 is meant as a tenth, not as the nearest binary fraction.
        return None if per_million is None else _Rate(Decimal(str(per_million)) * _PICO_PER_TOKEN)

    return _Rates(rate(prices.input), rate(prices.output), rate(prices.cache_read), rate(prices.cache_write))


def _from_table(prices: ModelPrice) -> _Rates:
    def rate(key: str) -> _Rate | None:
        value = getattr(prices, key)
        if value is None:
            return None
        if isinstance(value, Decimal):
            return _Rate(value * _PICO_PER_TOKEN)
        # The table sorts its tiers by size; the largest one that is exceeded holds.
        steps = tuple((tier.start, tier.price * _PICO_PER_TOKEN) for tier in reversed(value.tiers))
        return _Rate(value.base * _PICO_PER_TOKEN, steps)

    calls = prices.requests_kcount
    return _Rates(
        input=rate("input_mtok"),
        output=rate("output_mtok"),
        cache_read=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        request=calls * PICODOLLARS / 1000 if isinstance(calls, Decimal) else _NOTHING,
    )


def _look_up(provider: str, name: str) -> ModelInfo | None:
    # Its table is 1.6 MB of Python.
    from genai_prices.data_snapshot import get_snapshot

    for reference in dict.fromkeys((name, _DATED.sub("", name))):
        try:
            return get_snapshot().find_provider_model(reference, None, provider, None)[1]
        except LookupError:
            continue
    return None
