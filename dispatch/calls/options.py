"""Call options: one typed set for every vendor, and ``tool_choice`` normalized to one form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from ...backends import registry
from ...backends.options import Choice, Said
from ...configs.errors import ConfigError
from ...configs.loading.layers import suggest
from ...routing.decision import Decision, RuleHit

__all__ = ["CallOptions", "call_options", "choice_of", "known_options", "noted"]

_ALIASES: Final[Mapping[str, str]] = {
    "effort": "reasoning_effort",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
}
# Options that LangChain itself passes to a chat model and that do not affect the answer.
_IGNORED: Final = frozenset({"stream", "stream_usage"})
_ELSEWHERE: Final[Mapping[str, str]] = {
    "n": "ask once for each answer, with batch()",
    "request_timeout": "give the model a deadline=, in seconds",
    "timeout": "give the model a deadline=, in seconds",
    "max_retries": "the policy's limits say how often is tried (routing.limits.attempts)",
    "api_key": "keys stand in environment variables that models.yaml names",
    "base_url": "the address of a provider stands in models.yaml",
    "model_name": "give the model prefer=, as provider/name",
}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, tuple | set | frozenset) else value


_Stop = Annotated[str, StringConstraints(min_length=1)]


class CallOptions(BaseModel):
    """Options for any call besides messages and tools; they are translated for each vendor.

    An option that a vendor's API does not support is dropped, with a note in the decision. If dropping it would break
    a guarantee (``strict``, a forced ``tool_choice``, ``response_format``), the vendor's models are excluded instead.

    Attributes:
        max_tokens: Most tokens the answer may have.
        stop: Texts at which the answer ends.
        temperature: From 0 to 2; lowered to the vendor's maximum.
        top_p: Share of the probability mass to sample from.
        top_k: Number of most likely tokens to sample from.
        presence_penalty: Penalty on words that have occurred, from -2 to 2.
        frequency_penalty: Penalty on words that occur often, from -2 to 2.
        seed: For reproducible answers, if a vendor supports that.
        user: Whom the answer is for; an id that means nothing elsewhere.
        reasoning_effort: How much to think before the answer; mapped to the nearest level a model supports.
        parallel_tool_calls: Whether several tools may be called at once.
        strict: Whether tool arguments must match their schemas.
        response_format: In OpenAI's format.
        service_tier: As the vendor names it.
        logprobs: Whether to return the log probability of each token.
        top_logprobs: How many alternatives to return for each token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int | None = Field(default=None, gt=0)
    stop: Annotated[list[_Stop] | None, BeforeValidator(_listed)] = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    user: str | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    parallel_tool_calls: bool | None = None
    strict: bool | None = None
    response_format: Any = None
    service_tier: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0)


_STANDARD: Final = frozenset(CallOptions.model_fields)


@cache
def known_options() -> frozenset[str]:
    """Return every accepted option: the standard ones, their aliases, and each vendor's own."""
    vocabularies = [registry.get(name).vocabulary for name in registry.BACKENDS]
    own = {word for vocabulary in vocabularies if vocabulary is not None for word in vocabulary.own}
    return frozenset({*_STANDARD, *_ALIASES, *own})


def call_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check call options and return them by their standard names; None counts as not given.

    Args:
        given: Options by any of their names; a vendor's own options are passed on unchecked.

    Raises:
        ConfigError: An option is unknown or given twice, or its value is not allowed.
    """
    standard: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name in _IGNORED:
            continue
        meant = _ALIASES.get(name, name)
        if meant in standard:
            raise ConfigError(f"the option {meant} is given twice, once as {name}: give it once")
        if meant in _STANDARD:
            standard[meant] = value
        elif name in known_options():
            own[name] = value
        else:
            raise ConfigError(f"unknown option {name!r}{_remedy(name)}")
    if not standard:
        return own
    try:
        checked = CallOptions(**standard)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][0])
        raise ConfigError(f"the option {name}={standard[name]!r} cannot be used: {detail['msg'].lower()}") from None
    made = {name: getattr(checked, name) for name in standard}
    if made.get("stop") == []:
        del made["stop"]
    return {**made, **own}


def _remedy(name: str) -> str:
    return f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else suggest(name, known_options())


def choice_of(said: Any, names: Collection[str]) -> Choice | None:
    """Read a ``tool_choice`` in the format of LangChain or any vendor.

    Args:
        said: ``auto``, ``none``, ``any``, ``required``, True or False, a tool's name, or a mapping in one of OpenAI's
            two formats or in Anthropic's, Google's or Bedrock's; None if not given.
        names: Names of the bound tools.

    Raises:
        ConfigError: It is none of these, or names a tool that is not bound.
    """
    if said is None or isinstance(said, Choice):
        return said
    if isinstance(said, bool):
        return Choice("any") if said else Choice("none")
    if isinstance(said, list | tuple) and len(said) == 1:
        said = said[0]
    if isinstance(said, str):
        return _named(said, names)
    found = _of_mapping(said, names) if isinstance(said, Mapping) else None
    if found is None:
        raise ConfigError(f"tool_choice={said!r} means nothing here: say 'auto', 'none', 'any' or the name of one tool")
    return found


_MODES: Final[Mapping[str, Choice]] = {
    "auto": Choice("auto"),
    "none": Choice("none"),
    "any": Choice("any"),
    "required": Choice("any"),
}


def _named(word: str, names: Collection[str]) -> Choice:
    # A tool may be called "any": a bound tool's name takes precedence over the usual meaning.
    if word in names:
        return Choice("tool", word)
    if word.lower() in _MODES:
        return _MODES[word.lower()]
    raise ConfigError(f"tool_choice names {word!r}, which is not among the tools bound{suggest(word, names)}")


def _of_mapping(said: Mapping[str, Any], names: Collection[str]) -> Choice | None:
    inner = said.get("function") or said.get("tool") or said.get("function_calling_config") or said
    if not isinstance(inner, Mapping):
        return None
    if isinstance(inner.get("name"), str):
        return _named(inner["name"], names)
    allowed = inner.get("allowed_function_names")
    if isinstance(allowed, list | tuple) and len(allowed) == 1:
        return _named(str(allowed[0]), names)
    return _MODES.get(str(inner.get("mode") or said.get("type") or next(iter(said), "")).lower())


def noted(decision: Decision, said: Mapping[str, Said]) -> Decision:
    """Return a decision with the options that its candidates do not support added to its rules.

    Args:
        decision: The decision.
        said: Candidate -> the request's options as its client takes them.
    """
    lacking: dict[tuple[str, str], list[str]] = {}
    for name in decision.candidates:
        for option, note in said[name].notes.items():
            lacking.setdefault((option, note), []).append(name)
    if not lacking:
        return decision
    hits = [RuleHit(f"option.{option}", f"{', '.join(names)}: {note}") for (option, note), names in lacking.items()]
    return replace(decision, rules=(*decision.rules, *hits))
