"""Turn a request into a verdict and a reply, from the scenario or else from the default brain."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass, replace

from .base import BadRequest, Counts, Headroom, Manner, Reply, encode, encoded_arguments
from .brain import think
from .faults import alter, refusal_manner, refusal_text
from .request import Request, ToolCall, count_tokens, input_tokens, message_tokens
from .scenario import Answer, Fault, Latency, RateLimit, Rule, Scenario

# OpenAI caches prompts from 1,024 tokens on in steps of 128 (platform.openai.com/docs/guides/prompt-caching); Gemini's
# implicit caching starts at about the same length.
_IMPLICIT_FROM = 1024
_IMPLICIT_STEP = 128
_MOST_PREFIXES = 100_000
# Reported in the headers if the scenario sets no limit.
_UNLIMITED = Headroom(limit=4000, remaining=3999, reset_seconds=0.015)
_WRONG_KEY = Fault("auth")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen to one request; waiting times in seconds."""

    rule: Rule | None
    fault: Fault | None
    wait: float
    gap: float


class Engine:
    """One running scenario with its counters, buckets and prompt cache. Used from one event loop only.

    Args:
        scenario: What to play.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._seen = [0] * len(scenario.rules)
        self._chance = [_draws(scenario.seed, index) for index in range(len(scenario.rules))]
        self._delays = _draws(scenario.seed, "latency")
        self._buckets = {vendor: _Bucket(limit) for vendor, limit in scenario.rate_limits.items()}
        self._prefixes: set[int] = set()

    def headroom(self, vendor: str) -> Headroom:
        """Return the state of a vendor's rate limit without using it up."""
        bucket = self._buckets.get(vendor)
        return _UNLIMITED if bucket is None else bucket.headroom()

    def take(self, vendor: str) -> float:
        """Take one request from a vendor's bucket; return 0 if one was left, else the seconds until there will be."""
        bucket = self._buckets.get(vendor)
        return 0.0 if bucket is None else bucket.take()

    def judge(self, request: Request, key: str | None) -> Verdict:
        """Return the verdict of the first rule that decides a request."""
        for index, rule in enumerate(self.scenario.rules):
            if not rule.match.fits(request):
                continue
            self._seen[index] += 1
            if not rule.match.fits_count(self._seen[index], self._chance[index]):
                continue
            if rule.require_key is not None and key != rule.require_key:
                return self._verdict(rule, _WRONG_KEY, request)
            if not rule.is_gate:
                return self._verdict(rule, rule.fault, request)
        return self._verdict(None, None, request)

    def _verdict(self, rule: Rule | None, fault: Fault | None, request: Request) -> Verdict:
        latency: Latency | None = (rule.latency if rule else None) or self.scenario.latency
        if latency is None:
            return Verdict(rule, fault, 0.0, 0.0)
        wait = latency.seconds(self._delays, stream=request.stream)
        return Verdict(rule, fault, wait, latency.chunk_gap_ms / 1000)

    def reply(self, request: Request, verdict: Verdict, number: int, manner: Manner) -> Reply:
        """Compose the answer.

        Args:
            request: The request.
            verdict: The verdict on the request.
            number: Running number of the request.
            manner: How this wire format shows a refusal.
        """
        answer = self._told(request, verdict)
        if answer.says_nothing and request.endpoint in ("chat", "responses"):
            thought = think(request)
            answer = replace(answer, text=thought.text, json=thought.json, tool_calls=thought.tool_calls)
        fault = verdict.fault
        if fault is not None:
            answer = alter(answer, fault, request)
        text = encode(answer.json).decode() if answer.json is not None else answer.text or ""
        finish: str | None = answer.finish or ("tool_calls" if answer.tool_calls else "stop")
        text, finish, stopped = _limited(text, finish, request)
        if fault is not None and fault.kind == "tidy_cut" and not request.stream:
            finish = None
        calls = tuple(
            call if call.id else ToolCall(call.name, call.arguments, f"call_{number:016d}{index:04d}", call.raw)
            for index, call in enumerate(answer.tool_calls)
        )
        refusal, blocked = None, False
        if fault is not None and fault.kind == "refusal":
            how = refusal_manner(fault, manner)
            refusal = refusal_text(fault) if how == "field" else None
            finish = "refusal" if how == "field" else finish
            blocked = how == "blocked"
        counts = self._counts(request, answer, text + (refusal or ""), calls)
        return Reply(
            request=request,
            number=number,
            created=int(time.time()),
            model=answer.model or request.model,
            text=text,
            tool_calls=calls,
            finish=finish,
            counts=counts,
            stop_sequence=stopped,
            refusal=refusal,
            blocked=blocked,
        )

    def _told(self, request: Request, verdict: Verdict) -> Answer:
        told = verdict.rule.answer if verdict.rule else None
        if told is None or isinstance(told, Answer):
            return told or Answer()
        answer = told(request)
        if not isinstance(answer, Answer):
            raise BadRequest("the scenario's function returned no Answer")
        return answer

    def _counts(self, request: Request, answer: Answer, text: str, calls: tuple[ToolCall, ...]) -> Counts:
        total = input_tokens(request)
        output = count_tokens(text)
        for call in calls:
            output += count_tokens(call.name) + count_tokens(encoded_arguments(call))
        counted = Counts(total, output, *self._cached(request, total))
        told = {} if answer.usage is None else asdict(answer.usage)
        return replace(counted, **{name: count for name, count in told.items() if count is not None})

    def _cached(self, request: Request, total: int) -> tuple[int, int]:
        """Find the prompt's longest cached prefix, and cache this prompt; return (tokens read, tokens written)."""
        explicit = request.breakpoint
        if explicit is None and (total < _IMPLICIT_FROM or request.vendor == "anthropic"):
            return 0, 0
        marked = len(request.messages) if explicit is None else explicit
        state = hash((request.vendor, request.model, request.tool_chars))
        tokens = -(-request.tool_chars // 4)
        read, states = 0, []
        for message in request.messages[:marked]:
            state = hash((state, message.role, message.text, len(message.tool_calls)))
            tokens += message_tokens(message)
            states.append(state)
            if state in self._prefixes:
                read = tokens
        if len(self._prefixes) > _MOST_PREFIXES:
            self._prefixes.clear()
        if explicit is None:
            self._prefixes.update(states)
            return (read // _IMPLICIT_STEP * _IMPLICIT_STEP if read >= _IMPLICIT_FROM else 0), 0
        self._prefixes.add(state)
        return read, max(tokens - read, 0)


def _draws(seed: int, purpose: int | str) -> random.Random:
    return random.Random(f"{seed}/{purpose}")  # noqa: S311  # to be repeatable, not secret


class _Bucket:
    def __init__(self, limit: RateLimit) -> None:
        self._rate = limit.requests_per_minute / 60
        self._size = float(limit.burst or max(round(limit.requests_per_minute), 1))
        self._limit = round(limit.requests_per_minute)
        self._level = self._size
        self._at = time.monotonic()

    def _refill(self) -> None:
        now = time.monotonic()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now

    def take(self) -> float:
        self._refill()
        if self._level < 1:
            return (1 - self._level) / self._rate
        self._level -= 1
        return 0.0

    def headroom(self) -> Headroom:
        self._refill()
        return Headroom(self._limit, int(self._level), (self._size - self._level) / self._rate)


def _limited(text: str, finish: str | None, request: Request) -> tuple[str, str | None, str | None]:
    """Apply stop sequences and the token limit like a provider; return (text, finish, stop sequence that applied)."""
    cuts = [(place, stop) for stop in request.stop if stop and (place := text.find(stop)) >= 0]
    stopped = None
    if cuts:
        place, stopped = min(cuts)
        text, finish = text[:place], "stop"
    if request.max_tokens is not None and count_tokens(text) > request.max_tokens:
        return text[: request.max_tokens * 4], "length", None
    return text, finish, stopped
