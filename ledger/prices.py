"""What tokens cost: the genai-prices table, overridden by the catalogue, in exact integer picodollars."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache, cached_property
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

from ..configs.catalog import MOST_TOKENS, TokenPrices, Usage
from .storage.reserved import MOST

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

    from ..configs.schema import ModelEntry, Prices

__all__ = ["MOST_TOKENS", "PICODOLLARS", "PriceBook", "dollars"]

PICODOLLARS = 10**12
"""Picodollars per USD: at a price of $0.000001 per million tokens, each token still costs a whole number of them."""

_TABLE = "genai-prices"
_PER_MILLION = Decimal(1_000_000)
_PICO_PER_TOKEN = Decimal(PICODOLLARS) / _PER_MILLION
# A separate context, because the caller's may round to fewer digits.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_DATED = re.compile(r"[-@:](?:20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))$")
_MOST_RATES = 1000
"""Maximum cached prices, each of one model in one minute: enough for fifty models called for twenty minutes."""
_ONE = Decimal(1)
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Rate:
    """Picodollars per token; above the input size of one of ``steps``, its price applies to all tokens of the call."""

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()

    def at(self, total_input: int) -> Decimal:
        """Return the price in a call with this many input tokens."""
        for start, price in self.steps:
            if total_input > start:
                return price
        return self.base

    def highest(self, most_input: int) -> Decimal:
        """Return the highest price of any call with at most this many input tokens."""
        return max(self.base, *(price for start, price in self.steps if most_input > start), _NOTHING)


@dataclass(frozen=True)
class _Rates:
    """The prices of one model at one time; ``request`` is picodollars per call of any size, ``search`` per search."""

    input: _Rate | None
    output: _Rate | None
    cache_read: _Rate | None = None
    cache_write: _Rate | None = None
    cache_write_1h: _Rate | None = None
    audio: _Rate | None = None
    cache_audio: _Rate | None = None
    output_audio: _Rate | None = None
    output_image: _Rate | None = None
    request: Decimal = _NOTHING
    search: Decimal | None = None

    def cost(self, usage: Usage) -> int | None:
        """Return the picodollars for one call, None if a kind of token it used has no price."""
        fresh = usage.input - usage.cache_read - usage.cache_write
        # Audio not reported as cached counts as fresh, up to the number of fresh tokens.
        sound = min(usage.audio - usage.cache_audio, fresh)
        read, write = self.cache_read or self.input, self.cache_write or self.input
        text = usage.output - usage.output_audio - usage.output_image
        counts = (
            (fresh - sound, self.input),
            (sound, self.audio or self.input),
            (usage.cache_read - usage.cache_audio, read),
            (usage.cache_audio, self.cache_audio or read),
            (usage.cache_write - usage.cache_write_1h, write),
            # An hour costs more than five minutes if either has a price of its own.
            (usage.cache_write_1h, self.cache_write_1h or (None if self.cache_write else self.input)),
            (text, self.output),
            (usage.output_audio, self.output_audio or self.output),
            (usage.output_image, self.output_image or self.output),
        )
        total = self.request
        for count, rate in counts:
            if count:
                if rate is None:
                    return None
                total = _EXACT.fma(rate.at(usage.input), count, total)
        if usage.searches:
            if self.search is None:
                return None
            total = _EXACT.fma(self.search, usage.searches, total)
        return min(MOST, int(_EXACT.quantize(total, _ONE)))

    def most(self, input_tokens: int, output_tokens: int) -> int | None:
        """Return the maximum picodollars of one call within these limits, None if there is no price for it."""
        if self.input is None or (self.output is None and output_tokens):
            return None
        dearest, answer = self._dearest(input_tokens) if self._flat is None else self._flat
        total = _EXACT.fma(dearest, input_tokens, _EXACT.fma(answer, output_tokens, self.request))
        return math.ceil(total)

    @cached_property
    def _flat(self) -> tuple[Decimal, Decimal] | None:
        """The highest prices of input and output; None if they depend on the size of the call."""
        rates = [getattr(self, field.name) for field in fields(self)]
        return None if any(isinstance(rate, _Rate) and rate.steps for rate in rates) else self._dearest(0)

    def _dearest(self, input_tokens: int) -> tuple[Decimal, Decimal]:
        into = (self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.audio, self.cache_audio)
        out = (self.output, self.output_audio, self.output_image)
        dearest, answer = (
            max((rate.highest(input_tokens) for rate in kinds if rate is not None), default=_NOTHING)
            for kinds in (into, out)
        )
        return dearest, answer


class PriceBook:
    """Prices of the catalogue's models.

    The provider part of a model's id selects the provider in the genai-prices table; the entry's ``name``, else its
    ``profile``, else the rest of the id selects the model there. An override in the entry takes precedence.

    Args:
        entries: The catalogue by model id.
    """

    def __init__(self, entries: Mapping[str, ModelEntry]) -> None:
        self._entries = entries
        self._overrides = {name: _overriding(entry.prices) for name, entry in entries.items() if entry.prices}
        self._found: dict[tuple[str, str], ModelInfo | None] = {}
        # Provider -> the service tiers that it has used.
        self._given: dict[str, set[str]] = {}
        self._rates_by_minute: dict[tuple[str, str | None, str, int], _Rates | None] = {}
        # Keyed by identity, because the table's prices have no hash; the price is kept so that its id is not reused.
        self._converted: dict[tuple[int, str, tuple[bool, ...]], tuple[ModelPrice, _Rates]] = {}

    @property
    def version(self) -> str:
        """Name of the table and its version."""
        return _version()

    def price(
        self,
        model_id: str,
        usage: Usage | None,
        at: datetime,
        *,
        answered_by: str | None = None,
    ) -> int | None:
        """Return what a call cost.

        Args:
            model_id: The model called, as ``provider/name``.
            usage: Tokens used, None if the provider did not say.
            at: When the call was made: prices change by date and by hour. UTC if it has no time zone.
            answered_by: The provider's name for the model that ran; its price applies if the table knows it.

        Returns:
            Picodollars, halves rounded to even, no more than budgets count in one scope; None if unknown: no price, no
            usage, or an impossible one. If the provider says it charged more than its prices come to, or there is no
            price, the amount it says. A service tier without a price of its own, here or in the table, costs what the
            usual one does.
        """
        if usage is None or usage.doubt():
            return None
        self._given.setdefault(model_id.partition("/")[0], {""}).add(usage.service_tier)
        return self._cost(model_id, usage, at, answered_by)

    def compared(
        self, model_id: str, other: str | None, usage: Usage | None, at: datetime
    ) -> tuple[int | None, int | None]:
        """Return what a call cost, like `price`, and what it would have cost on another model.

        Args:
            model_id: The model called.
            other: The other model; None if there is none.
            usage: Tokens used.
            at: When the call was made.
        """
        if usage is None or usage.doubt():
            return None, None
        self._given.setdefault(model_id.partition("/")[0], {""}).add(usage.service_tier)
        return self._cost(model_id, usage, at), None if other is None else self._cost(other, usage, at)

    def _cost(self, model_id: str, usage: Usage, at: datetime, answered_by: str | None = None) -> int | None:
        rates = self._rates(model_id, at, answered_by, usage.service_tier)
        cost = None if rates is None else rates.cost(usage)
        return max(cost or 0, usage.charged) if usage.charged else cost

    def worst_case(
        self,
        model_id: str,
        input_tokens: int,
        output_tokens: int,
        at: datetime,
        *,
        service_tier: str = "",
        perhaps: Collection[str] = (),
    ) -> int | None:
        """Return the maximum a call can cost, to be reserved before it is made.

        Searches that a provider makes by itself are not included, because their number cannot be known.

        Args:
            model_id: The model, as ``provider/name``.
            input_tokens: Upper bound of the input; any part of it may turn out to be audio, or to be read from or
                written to a cache, even for an hour.
            output_tokens: Limit of the output.
            at: When the call will be made.
            service_tier: The service tier that the call requests. A provider may choose another itself
                (developers.openai.com/api/docs/guides/priority-processing: a project has a default), so every tier it
                has used once is taken into account from then on.
            perhaps: Tiers that the provider is known to choose unasked; they are taken into account until it has
                answered once in this process, after that those it used.

        Returns:
            Picodollars, no less than `price` for any usage within the limits; None if the price is unknown.
        """
        tiers = {service_tier.lower(), *self._given.get(model_id.partition("/")[0], perhaps)}
        # Most tiers have no price of their own and share the rates of another.
        rates = {id(rate): rate for rate in [self._rates(model_id, at, None, tier) for tier in tiers]}
        bounds = [None if rate is None else rate.most(input_tokens, output_tokens) for rate in rates.values()]
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) else None

    def token_prices(self, model_id: str, at: datetime) -> TokenPrices | None:
        """Return the prices of a model for the catalogue, or None if it has no price for input or output.

        If the price depends on the size of the call, those of the smallest calls are returned.

        Args:
            model_id: The model, as ``provider/name``.
            at: When.
        """
        rates = self._rates(model_id, at, None, "")
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

    def _rates(self, model_id: str, at: datetime, answered_by: str | None, tier: str) -> _Rates | None:
        when = at if at.tzinfo else at.replace(tzinfo=UTC)
        # Prices change by the day and the hour, never within a minute.
        key = (model_id, answered_by, tier, int(when.timestamp() // 60))
        known = self._rates_by_minute
        if key in known:
            return known[key]
        if len(known) >= _MOST_RATES:
            known = self._rates_by_minute = {}
        found = known[key] = self._rates_at(model_id, when, answered_by, tier)
        return found

    def _rates_at(self, model_id: str, when: datetime, answered_by: str | None, tier: str) -> _Rates | None:
        override = self._overrides.get(model_id)
        if override is not None:
            return override.get(tier) or override[""]
        model = self._in_table(model_id, answered_by)
        if model is None:
            return None
        return self._converted_once(model, when, tier)

    def _converted_once(self, model: ModelInfo, when: datetime, tier: str) -> _Rates:
        standard = model.get_prices(when)
        # The table calls the same thing a tier for one provider and a speed for another.
        context = {"service_tier": tier, "speed": tier} if tier else {}
        variants = [
            variant for variant in model.price_variants or () if context and variant.when.items() <= context.items()
        ]
        active = tuple([variant.constraint is None or variant.constraint.active(when) for variant in variants])
        key = (id(standard), tier if any(active) else "", active if any(active) else ())
        converted = self._converted.get(key)
        if converted is None:
            prices = model.get_prices(when, context) if any(active) else standard
            converted = self._converted[key] = (standard, _from_table(prices))
        return converted[1]

    def _in_table(self, model_id: str, answered_by: str | None) -> ModelInfo | None:
        provider, _, rest = model_id.partition("/")
        model = self._model(provider, answered_by) if answered_by else None
        if model is None:
            entry = self._entries.get(model_id)
            names = (entry.name, entry.profile, rest) if entry else (rest,)
            found = (self._model(provider, name) for name in names if name)
            model = next((one for one in found if one is not None), None)
        return model if model is not None and model.prices else None

    def _model(self, provider: str, name: str) -> ModelInfo | None:
        key = (provider, name)
        if key not in self._found:
            self._found[key] = _look_up(provider, name)
        return self._found[key]


def dollars(pico: int | None) -> str:
    """Format picodollars as USD for display, such as ``$0.0123``; ``unknown`` for None.

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


def _overriding(prices: Prices) -> dict[str, _Rates]:
    """Return the rates of each service tier, those of the usual one under the empty name."""

    def rates(factor: float) -> _Rates:
        def rate(per_million: float | None) -> _Rate | None:
            # Converted via text: 0.1 means a tenth, not the nearest binary fraction.
            return None if per_million is None else _Rate(_decimal(per_million) * _decimal(factor) * _PICO_PER_TOKEN)

        return _Rates(
            rate(prices.input),
            rate(prices.output),
            rate(prices.cache_read),
            rate(prices.cache_write),
            rate(prices.cache_write_1h),
            rate(prices.input_audio),
            output_audio=rate(prices.output_audio),
            search=None if prices.search is None else _decimal(prices.search) * PICODOLLARS / 1000,
        )

    return {tier.lower(): rates(factor) for tier, factor in {"": 1.0, **prices.service_tiers}.items()}


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))


def _from_table(prices: ModelPrice) -> _Rates:
    def rate(key: str) -> _Rate | None:
        value = getattr(prices, key)
        if value is None:
            return None
        if isinstance(value, Decimal):
            return _Rate(value * _PICO_PER_TOKEN)
        # The table sorts its tiers by size; the largest one that is exceeded applies.
        steps = tuple((tier.start, tier.price * _PICO_PER_TOKEN) for tier in reversed(value.tiers))
        return _Rate(value.base * _PICO_PER_TOKEN, steps)

    def each(key: str) -> Decimal | None:
        value = getattr(prices, key)
        return value * PICODOLLARS / 1000 if isinstance(value, Decimal) else None

    return _Rates(
        input=rate("input_mtok"),
        output=rate("output_mtok"),
        cache_read=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        cache_write_1h=rate("cache_write_1h_mtok"),
        audio=rate("input_audio_mtok"),
        cache_audio=rate("cache_audio_read_mtok"),
        output_audio=rate("output_audio_mtok"),
        output_image=rate("output_image_mtok"),
        request=each("requests_kcount") or _NOTHING,
        search=each("web_searches_kcount"),
    )


@cache
def _version() -> str:
    return f"{_TABLE} {installed_version(_TABLE)}"


def _look_up(provider: str, name: str) -> ModelInfo | None:
    # Its table is 1.6 MB of Python.
    from genai_prices.data_snapshot import get_snapshot

    for reference in dict.fromkeys((name, _DATED.sub("", name))):
        try:
            return get_snapshot().find_provider_model(reference, None, provider, None)[1]
        except LookupError:
            continue
    return None
