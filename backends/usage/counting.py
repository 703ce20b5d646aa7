"""Convert a provider's usage, in any format, to LangChain's `UsageMetadata`, and check that it is plausible.

LangChain adds up the usage of a stream's chunks, so a provider's running totals are converted to increments.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ...configs.catalog import MOST_CHARGED, Usage
from .forms import RESPONSES, Form

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.outputs import ChatGenerationChunk

__all__ = [
    "DOUBT", "STASH", "TIER", "CountingStreams", "Doubt", "Running", "believed", "counted", "plain",
    "stash", "usage_of",
]  # fmt: skip

DOUBT: Final = "usage_doubt"
"""Key of a reply's metadata: why the usage that the provider reported is not plausible."""
TIER: Final = "service_tier"
STASH: Final = "pointsman_usage"
"""Key under which a usage is stored in a message's metadata until it is read."""
_PICO: Final = 10**12
_MOST: Final = 10**8
"""Tokens: no model reads or writes a tenth of this in one call, and a wrong charge would use up the budget."""
_CHARGED: Final = "charged_picodollars"
_SEARCHES: Final = "web_searches"
# Names of the service tier with the standard price.
_USUAL: Final = frozenset({"", "standard", "default", "auto", "batch", "on_demand"})


class Doubt(Exception):
    """A provider's usage is impossible; the message says why in a few words."""


def counted(form: Form, raw: Any) -> UsageMetadata | None:
    """Read a provider's usage.

    Args:
        form: Its format.
        raw: The usage, as in the provider's JSON.

    Returns:
        The usage in LangChain's form, None if nothing is reported (yet).

    Raises:
        Doubt: A value is not a number, or is impossible.
    """
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise Doubt("it is not an object")
    told = {meaning: _told(raw, names) for meaning, names in form.names.items() if not meaning.endswith("cost")}
    if any(told[meaning] is None for meaning in form.required):
        return None
    counts = {meaning: count or 0 for meaning, count in told.items()}
    _complete(form, counts)
    charged = _charged(raw) if "cost" in form.names else 0
    tokens: dict[str, Any] = {name: counts.get(name, 0) for name in _TOKENS}
    usage = Usage(**tokens, searches=counts.get("searches", 0), charged=charged)
    if doubt := usage.doubt() or _contradiction(counts):
        # All zeros only means that nothing is reported yet: some servers begin with zeros.
        if not any(counts.values()):
            return _metadata(usage, 0)
        raise Doubt(doubt)
    return _metadata(usage, counts.get("reasoning", 0))


_TOKENS: Final = (
    "input", "output", "cache_read", "cache_write", "cache_write_1h", "audio", "cache_audio", "output_audio",
    "output_image",
)  # fmt: skip


def usage_of(metadata: Mapping[str, Any], tier: str = "") -> Usage:
    """Convert the usage of a message, whether we or LangChain counted it.

    Args:
        metadata: Its usage, in LangChain's form.
        tier: The service tier of the call.
    """
    into, out = metadata.get("input_token_details") or {}, metadata.get("output_token_details") or {}

    def of(details: Mapping[str, Any], *endings: str) -> Any:
        # Service tiers prefix their counts, and each lifetime of cache entries has its own count.
        found = [count for key, count in details.items() if key.endswith(endings) and count is not None]
        # Return a value that is not a number as it is, so that `believed` finds it.
        return next((count for count in found if type(count) is not int), None) or sum(found)

    return Usage(
        input=metadata.get("input_tokens"),  # type: ignore[arg-type]  # the door looks
        output=metadata.get("output_tokens"),  # type: ignore[arg-type]  # likewise
        cache_read=of(into, "cache_read"),
        cache_write=of(into, "cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
        cache_write_1h=of(into, "ephemeral_1h_input_tokens"),
        audio=into.get("audio") or 0,
        cache_audio=into.get("cached_audio") or 0,
        output_audio=out.get("audio") or 0,
        output_image=out.get("image") or 0,
        searches=metadata.get(_SEARCHES) or 0,
        charged=metadata.get(_CHARGED) or 0,
        service_tier="" if tier.lower() in _USUAL else tier.lower(),
    )


class Running:
    """Converts the running totals of one stream to increments, which add up to the last total."""

    def __init__(self) -> None:
        self._raw: dict[str, Any] = {}
        self._before: UsageMetadata | None = None
        self._doubted = False

    def settle(self, message: AIMessage) -> None:
        """Set the usage of a chunk from what `stash` or a response's metadata stored in it.

        Args:
            message: The chunk, or a whole reply.
        """
        metadata = message.response_metadata
        stashed = metadata.pop(STASH, None)
        if stashed is None and isinstance(carried := metadata.get("metadata"), dict) and STASH in carried:
            stashed = RESPONSES, json.loads(carried.pop(STASH))
            if not carried:
                del metadata["metadata"]
        if stashed is not None:
            self.told(message, *stashed)

    def told(self, message: AIMessage, form: Form, raw: Any) -> None:
        """Set the usage of the chunk it came with.

        Args:
            message: The chunk, or a whole reply.
            form: The provider's format.
            raw: The provider's usage.
        """
        message.usage_metadata = None
        if isinstance(raw, Mapping):
            new = {name: value for name, value in raw.items() if value is not None}
            raw = self._raw = {**self._raw, **new} if form.told_in_pieces else new
        try:
            now = counted(form, raw)
        except Doubt as doubt:
            if not self._doubted:
                message.response_metadata[DOUBT] = str(doubt)
            self._doubted = True
            return
        if now is None:
            return
        if self._before is None and (tier := _tier(raw)):
            message.response_metadata[TIER] = tier
        message.usage_metadata = now if self._before is None else _minus(now, self._before)  # type: ignore[assignment]
        self._before = now


class CountingStreams:
    """Mixin that precedes, among a subclass's bases, a chat model that stores raw usage in its chunks."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        running = Running()
        for chunk in super()._stream(*args, **kwargs):  # type: ignore[misc]
            running.settle(chunk.message)
            yield chunk

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        running = Running()
        async with aclosing(super()._astream(*args, **kwargs)) as chunks:  # type: ignore[misc]
            async for chunk in chunks:
                running.settle(chunk.message)
                yield chunk


def stash(message: AIMessage, form: Form, raw: Any) -> None:
    """Store a raw usage in a chunk for `Running.settle`, which knows the previous total."""
    message.response_metadata[STASH] = (form, raw)


def plain(usage: Any) -> Any:
    """Return an SDK's usage object as the JSON it was parsed from; anything else unchanged."""
    dump = getattr(usage, "model_dump", None)
    return usage if dump is None else dump(mode="python", by_alias=True, warnings=False)


def _told(raw: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found: int | None = None
    for name in names:
        value = _at(raw, name)
        if value is None:
            continue
        count = value if type(value) is int else _count(name, value)
        # A proxy may report zero under one name and the count under another; two different counts are a contradiction.
        if found and count and count != found:
            raise Doubt(f"{names[0]} and its other names differ")
        found = count if found is None else max(found, count)
    return found


def _at(raw: Mapping[str, Any], path: str) -> Any:
    folders, name, kind = _split(path)
    for folder in folders:
        raw = raw.get(folder)  # type: ignore[assignment]
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            raise Doubt(f"{folder} is not an object")
    found = raw.get(name)
    if not kind or found is None:
        return found
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise Doubt(f"{name} is not a list of objects")
    told = [entry.get("tokenCount") for entry in found if entry.get("modality") == kind[:-1]]
    return sum(_count(name, count) for count in told if count is not None) if told else None


@cache
def _split(path: str) -> tuple[tuple[str, ...], str, str]:
    *folders, last = path.split(".")
    name, _, kind = last.partition("[")
    return tuple(folders), name, kind


def _count(name: str, value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise Doubt(f"{name} is not a whole number")


def _complete(form: Form, counts: dict[str, int]) -> None:
    """Add parts that the format counts separately to their totals, and to the output what only the total includes."""
    lifetimes = counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0)
    counts["cache_write"] = max(counts.get("cache_write", 0), lifetimes)
    for whole, parts in form.beside.items():
        counts[whole] += sum(counts[part] for part in parts)
    reasoning = 0 if "output" in form.beside else counts.get("reasoning", 0)
    if reasoning > counts["output"] and counts["output"] >= 0:
        # More reasoning than output means that the output does not include it.
        counts["output"] += reasoning
    counts["output"] += max(0, counts.get("total", 0) - counts["input"] - counts["output"])


def _contradiction(counts: Mapping[str, int]) -> str:
    negative = next((f"{name} {count}" for name, count in counts.items() if count < 0), "")
    split = counts.get("cache_miss", 0) and counts["cache_miss"] + counts["cache_read"] > counts["input"]
    return negative or (f"cache hits and misses are more than input {counts['input']}" if split else "")


def _charged(raw: Mapping[str, Any]) -> int:
    """Return the picodollars a router reports as charged; with the user's own key, the upstream's charge is added."""
    total = 0
    for name in ("cost", "cost_details.upstream_inference_cost") if raw.get("is_byok") is True else ("cost",):
        value = _at(raw, name)
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 <= value <= MOST_CHARGED / _PICO:
            raise Doubt(f"{name} is not an amount of money")
        total += int(Decimal(str(value)) * _PICO)
    return total


def _tier(raw: Any) -> str:
    """Return the service tier that a usage reports; empty for the standard one."""
    for name in ("speed", TIER, "trafficType"):
        told = raw.get(name)
        if isinstance(told, str) and told.removeprefix("ON_DEMAND_").lower() not in _USUAL:
            return told.removeprefix("ON_DEMAND_").lower()
    return ""


def _metadata(usage: Usage, reasoning: int) -> UsageMetadata:
    hour = usage.cache_write_1h
    into = {"cache_read": usage.cache_read, "cache_creation": 0 if hour else usage.cache_write}
    if hour:
        into |= {"ephemeral_5m_input_tokens": usage.cache_write - hour, "ephemeral_1h_input_tokens": hour}
    into |= {name: count for name, count in (("audio", usage.audio), ("cached_audio", usage.cache_audio)) if count}
    out = {"reasoning": reasoning, "audio": usage.output_audio, "image": usage.output_image}
    made: Any = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "input_token_details": into,
        "output_token_details": {name: count for name, count in out.items() if count},
    }
    beside = {_SEARCHES: usage.searches, _CHARGED: usage.charged}
    return {**made, **{name: count for name, count in beside.items() if count}}  # type: ignore[typeddict-item]


def _minus(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    def since(name: str) -> Any:
        new, old = now.get(name), before.get(name)
        if isinstance(new, Mapping) or isinstance(old, Mapping):
            return _minus(new or {}, old or {})
        return (new or 0) - (old or 0)

    return {name: since(name) for name in {**before, **now}}


def believed(message: AIMessage) -> tuple[Usage | None, str]:
    """Return the usage of a reply if it is plausible; all charges are based on this function.

    A usage with one impossible number is rejected as a whole, because the rest might make the answer look cheap. If the
    usage is None, the caller charges the amount reserved for the call.

    Args:
        message: A complete reply, the sum of a stream's chunks, or of some of them.

    Returns:
        The usage, None if it is not reported or not plausible; and the doubt, empty if there is none.
    """
    doubt = message.response_metadata.get(DOUBT)
    if doubt:
        return None, f"usage not believable: {doubt}"
    told = message.usage_metadata
    if told is None:
        return None, "usage not told"
    tier = message.response_metadata.get(TIER)
    usage = usage_of(told, tier if isinstance(tier, str) else "")
    doubt = usage.doubt()
    if not doubt:
        doubt = _unlikely(usage)
    return (None, f"usage not believable: {doubt}") if doubt else (usage, "")


def _unlikely(usage: Usage) -> str:
    if not usage.input:
        # Every prompt has some tokens.
        return "input 0"
    return next((f"{name} {count}" for name in ("input", "output") if (count := getattr(usage, name)) > _MOST), "")
