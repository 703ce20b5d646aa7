"""What the simulator served: one record per request."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, overload

_MOST_RECORDS = 200_000


@dataclass(frozen=True)
class Served:
    """One request and its outcome; keys, headers and texts are not stored.

    Args:
        time: Unix time of arrival, in seconds.
        model: The requested model.
        answered: The model the answer named; None if there was no answer.
        status: HTTP status sent; None if none was sent (hang, reset).
        fault: Kind of the fault played, None for none.
        input_tokens: Input tokens billed, including cached ones; zero for an error.
        output_tokens: Output tokens billed; for a broken stream those sent until it broke.
        cached_tokens: Part of the input tokens read from the cache.
        cache_creation_tokens: Part of the input tokens written to the cache.
        latency_ms: From arrival to the answer's last byte (or to the fault).
        batch: The request came in a batch, for which providers charge half the price.
    """

    time: float
    vendor: str
    endpoint: str
    model: str
    answered: str | None
    status: int | None
    fault: str | None
    stream: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_creation_tokens: int
    latency_ms: float
    batch: bool = False

    @cached_property
    def cost_usd(self) -> float | None:
        """What the provider would have charged in USD, None if genai-prices has no price for it."""
        if self.input_tokens == 0 and self.output_tokens == 0:
            return 0.0
        price = _price(self)
        return price / 2 if price and self.batch else price

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values, including the cost."""
        return {**asdict(self), "cost_usd": self.cost_usd}


class Log(Sequence[Served]):
    """The newest 200,000 records, oldest first; safe to read while the server writes."""

    def __init__(self) -> None:
        self._records: deque[Served] = deque(maxlen=_MOST_RECORDS)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._records))

    @overload
    def __getitem__(self, index: int) -> Served: ...
    @overload
    def __getitem__(self, index: slice) -> list[Served]: ...
    def __getitem__(self, index: int | slice) -> Served | list[Served]:
        return list(self._records)[index] if isinstance(index, slice) else self._records[index]

    def __repr__(self) -> str:
        return f"Log({list(self._records)!r})"

    def add(self, record: Served) -> None:
        """Append a record."""
        self._records.append(record)

    def clear(self) -> None:
        """Delete all records."""
        self._records.clear()


def _price(record: Served) -> float | None:
    from genai_prices import Usage, calc_price
    from genai_prices.data import providers

    # For an unknown provider the library guesses one from the model's name, and a local model would get a price.
    if not any(provider.id == record.vendor for provider in providers):
        return None
    usage = Usage(
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cache_read_tokens=record.cached_tokens,
        cache_write_tokens=record.cache_creation_tokens,
    )
    moment = datetime.fromtimestamp(record.time, UTC)
    model = record.answered or record.model
    try:
        found = calc_price(usage, model, provider_id=record.vendor, genai_request_timestamp=moment)
    except LookupError:
        return None
    return float(found.total_price)
