"""What the simulator is to do: an ordered list of rules, from YAML or Python."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, TypeAlias

import yaml
from pydantic import BeforeValidator, Field, JsonValue, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as checked

from ..configs.errors import ConfigError
from ..configs.loading.documents import Place, parse
from .request import STRICT, Endpoint, Request, ToolCall

FaultKind = Literal[
    "rate_limit", "server_error", "unavailable", "overloaded", "auth", "permission", "not_found", "bad_request",
    "context_overflow", "hang", "reset", "cut_stream", "tidy_cut", "stall", "error_in_stream", "malformed_json",
    "truncation", "refusal", "empty", "bad_tool_arguments", "wrong_model",
]  # fmt: skip
Variant = Literal["insufficient_quota", "invalid_key", "finish", "field", "broken_json"]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]

_VARIANTS: dict[str, tuple[str, ...]] = {
    "rate_limit": ("insufficient_quota",),
    "auth": ("invalid_key",),
    "refusal": ("finish", "field"),
    "bad_tool_arguments": ("broken_json",),
}


@checked(frozen=True, config=STRICT, kw_only=True)
class Usage:
    """Token counts to report; None leaves the simulator's own count.

    Args:
        input: All input tokens, including cached ones.
        output: Output tokens.
        cached: Input tokens read from the provider's cache.
        cache_creation: Input tokens written to the provider's cache.
    """

    input: int | None = Field(default=None, ge=0)
    output: int | None = Field(default=None, ge=0)
    cached: int | None = Field(default=None, ge=0)
    cache_creation: int | None = Field(default=None, ge=0)


@checked(frozen=True, config=STRICT)
class Answer:
    """What the model answers; if text, tool calls and json are all omitted, the default brain answers.

    Args:
        text: The text.
        tool_calls: Tool calls, in order.
        json: A value sent as the text, encoded; excludes `text`.
        finish: Why the model stopped; derived from the content if None.
        usage: Token counts to report instead of the counted ones.
        model: The model the response names instead of the requested one.
    """

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    json: JsonValue = None
    finish: Finish | None = None
    usage: Usage | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Answer:
        if self.text is not None and self.json is not None:
            raise ValueError("give either text or json")
        return self

    @property
    def says_nothing(self) -> bool:
        """Whether at most usage, model or finish are set, so that the default brain supplies the content."""
        return self.text is None and self.json is None and not self.tool_calls


@checked(frozen=True, config=STRICT)
class Fault:
    """Something that goes wrong.

    Args:
        kind: What goes wrong. `overloaded` is 529 at Anthropic and 503 elsewhere; `error_in_stream` is an overload
            that occurs after the first chunks, and a plain one if the answer is not streamed.
        variant: Another form of the same fault: `insufficient_quota` (rate_limit), `invalid_key` (auth, Google's
            400), `finish` or `field` (refusal), `broken_json` (bad_tool_arguments).
        after_chunks: Content chunks a stream still sends before the fault; half of them if None. At least one
            chunk is always withheld.
        retry_after: Seconds for the rate limit's `retry-after` header.
        message: Replaces the vendor's error text.
        model: The model that answers under `wrong_model`.
    """

    kind: FaultKind
    variant: Variant | None = None
    after_chunks: int | None = Field(default=None, ge=0)
    retry_after: float = Field(default=1.0, ge=0)
    message: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _variant_fits(self) -> Fault:
        if self.variant is not None and self.variant not in _VARIANTS.get(self.kind, ()):
            raise ValueError(f"fault {self.kind} has no variant {self.variant}")
        return self


@checked(frozen=True, config=STRICT, kw_only=True)
class Latency:
    """How long an answer takes, in milliseconds.

    Args:
        ms: Fixed time to the whole answer.
        median_ms: Median of a lognormal time to the whole answer; needs `p95_ms`, excludes `ms`.
        p95_ms: Its 95th percentile.
        first_token_ms: Time to a stream's first content chunk, instead of the time to the whole answer.
        chunk_gap_ms: Time between a stream's content chunks.
    """

    ms: float = Field(default=0.0, ge=0)
    median_ms: float | None = Field(default=None, gt=0)
    p95_ms: float | None = Field(default=None, gt=0)
    first_token_ms: float | None = Field(default=None, ge=0)
    chunk_gap_ms: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _both_or_none(self) -> Latency:
        if (self.median_ms is None) != (self.p95_ms is None):
            raise ValueError("median_ms and p95_ms go together")
        if self.median_ms is not None and self.p95_ms is not None and self.p95_ms < self.median_ms:
            raise ValueError("p95_ms must not be below median_ms")
        if self.median_ms is not None and self.ms:
            raise ValueError("give either ms or median_ms with p95_ms")
        return self

    def seconds(self, rng: random.Random, *, stream: bool) -> float:
        """Return a random time to the answer, or to a stream's first chunk, in seconds."""
        if stream and self.first_token_ms is not None:
            return self.first_token_ms / 1000
        if self.median_ms is None or self.p95_ms is None:
            return self.ms / 1000
        # A lognormal's quantile q is exp(mu + sigma z_q), with z_0.95 = 1.6449 (any table of the normal distribution).
        sigma = math.log(self.p95_ms / self.median_ms) / 1.6449
        return rng.lognormvariate(math.log(self.median_ms), sigma) / 1000


@checked(frozen=True, config=STRICT, kw_only=True)
class Match:
    """Which requests a rule applies to. All conditions given must hold.

    Args:
        vendor: Glob for the URL's first segment.
        model: Glob for the requested model.
        endpoint: Only this service.
        contains: Substring of the last user text.
        contains_any_message: Substring of any message's text.
        first: Only the first N requests that meet the conditions above, which also holds for the counts below.
        every: Only every Nth of them.
        after: Only those after the Nth.
        probability: Only this share of them, drawn from the scenario's seed.
    """

    vendor: str = "*"
    model: str = "*"
    endpoint: Endpoint | None = None
    contains: str | None = None
    contains_any_message: str | None = None
    first: int | None = Field(default=None, ge=1)
    every: int | None = Field(default=None, ge=1)
    after: int | None = Field(default=None, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)

    def fits(self, request: Request) -> bool:
        """Whether the request itself meets the conditions, ignoring counts and probability."""
        return (
            (self.vendor == "*" or fnmatchcase(request.vendor, self.vendor))
            and (self.model == "*" or fnmatchcase(request.model, self.model))
            and (self.endpoint is None or self.endpoint == request.endpoint)
            and (self.contains is None or self.contains in request.user_text)
            and (
                self.contains_any_message is None
                or any(self.contains_any_message in message.text for message in request.messages)
            )
        )

    def fits_count(self, number: int, rng: random.Random) -> bool:
        """Whether the rule applies to the `number`-th matching request (from 1); draws once if a probability is set."""
        if self.first is not None and number > self.first:
            return False
        if self.after is not None and number <= self.after:
            return False
        if self.every is not None and number % self.every:
            return False
        return self.probability >= 1 or rng.random() < self.probability


def _short_for(field: str, kind: type | UnionType) -> BeforeValidator:
    """Accept a value of a given type as shorthand for an object with that one field."""
    return BeforeValidator(
        lambda value: {field: value} if isinstance(value, kind) and not isinstance(value, bool) else value
    )


Responder: TypeAlias = Callable[[Request], Answer]


@checked(frozen=True, config=STRICT, kw_only=True)
class Rule:
    """What happens to the requests that match: the first matching rule decides.

    A rule with `require_key` answers 401 to any other key and lets the right one pass. A rule with only a match and a
    key is a gate: requests that pass it go on to the rules after it.

    Args:
        match: Which requests it applies to.
        answer: The answer, a plain text as shorthand, or a function of the request; None for the default brain.
        fault: What goes wrong; its kind as shorthand.
        latency: How long it takes; milliseconds as shorthand.
        require_key: The only API key accepted.
    """

    match: Match = field(default_factory=Match)
    answer: Annotated[Answer | Responder | None, _short_for("text", str)] = None
    fault: Annotated[Fault | None, _short_for("kind", str)] = None
    latency: Annotated[Latency | None, _short_for("ms", int | float)] = None
    require_key: str | None = Field(default=None, repr=False)

    @property
    def is_gate(self) -> bool:
        """Whether the rule only checks the key."""
        return self.require_key is not None and (self.answer, self.fault, self.latency) == (None, None, None)


@checked(frozen=True, config=STRICT, kw_only=True)
class RateLimit:
    """A token bucket: `requests_per_minute` is its refill rate, `burst` its size (one minute's requests if None)."""

    requests_per_minute: float = Field(gt=0)
    burst: int | None = Field(default=None, ge=1)


@checked(frozen=True, config=STRICT, kw_only=True)
class BatchPace:
    """How long a batch takes: it ends when both conditions are met.

    Args:
        polls: Number of polls that still find it in progress.
        seconds: Minimum time since its submission.
    """

    polls: int = Field(default=1, ge=0)
    seconds: float = Field(default=0.0, ge=0)


@checked(frozen=True, config=STRICT, kw_only=True)
class Scenario:
    """The simulator's complete configuration.

    Args:
        rules: In order; the first that matches decides, and the default brain answers if none does.
        rate_limits: By vendor; requests per minute as shorthand.
        latency: For requests whose rule has none; milliseconds as shorthand.
        models: Names listed by the models endpoint.
        batches: How long batches take.
        seed: Seed of every random draw.
    """

    rules: tuple[Rule, ...] = ()
    rate_limits: Mapping[str, Annotated[RateLimit, _short_for("requests_per_minute", int | float)]] = field(
        default_factory=dict
    )
    latency: Annotated[Latency | None, _short_for("ms", int | float)] = None
    models: tuple[str, ...] = ("simulated-model",)
    batches: BatchPace = field(default_factory=BatchPace)
    seed: int = 0

    @classmethod
    def parse(cls, text: str, *, file: Path | str | None = None) -> Scenario:
        """Read a scenario from YAML (JSON is YAML).

        Args:
            text: The document.
            file: Where it came from, for error messages.

        Raises:
            ConfigError: The document is not YAML or not a scenario.
        """
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or "unreadable"
            line = None if mark is None else mark.line + 1
            raise ConfigError(f"the scenario is not valid YAML: {problem}", file=file, line=line) from None
        try:
            return _SCENARIO.validate_python({} if data is None else data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = [part for part in first["loc"] if not _is_a_union_tag(part)]
            message = f"scenario: {'.'.join(map(str, where)) or 'document'}: {first['msg']}"
            raise ConfigError(message, file=file, line=_line_of(text, where)) from None

    @classmethod
    def load(cls, path: Path | str) -> Scenario:
        """Read a scenario from a YAML file.

        Raises:
            ConfigError: The file cannot be read or is not a scenario.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise ConfigError(f"cannot read the scenario: {reason}", file=path) from None
        return cls.parse(text, file=path)


_SCENARIO = TypeAdapter(Scenario)


def _is_a_union_tag(part: str | int) -> bool:
    # Pydantic adds the name of the union member to the location, but users wrote no such key.
    return isinstance(part, str) and (part[:1].isupper() or "[" in part or part == "callable")


def _line_of(text: str, where: Sequence[str | int]) -> int | None:
    node = parse(text, Place("flag", "scenario"))
    if node is None:
        return None
    for part in where:
        try:
            node = node.value[part]
        except (IndexError, KeyError, TypeError):
            break
    return node.place.line
