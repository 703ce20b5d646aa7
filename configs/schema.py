"""The schemas of the four configuration files, frozen, and `Settings`, which holds all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from .agents import AgentEntry, Frozen, McpServer, ServerName, StepEntry, WorkflowEntry, as_tuple, no_bool
from .sandbox import Sandbox
from .sources import Sources
from .words import Effect, FailureKind, Risk, Tier

__all__ = [
    "LOCAL_EMBEDDERS",
    "MEMORY_TOKEN",
    "AgentEntry",
    "ApprovalPolicy",
    "CachePolicy",
    "ClassifierPolicy",
    "EmbedderEntry",
    "HealthLimits",
    "HistoryPolicy",
    "Limits",
    "ModelEntry",
    "NotifyPolicy",
    "OnFailure",
    "Prices",
    "ProviderEntry",
    "RiskRule",
    "RoutingPolicy",
    "RoutingRule",
    "Settings",
    "StepEntry",
    "StepRiskPolicy",
    "WorkflowEntry",
    "safe_url",
]


Score = Annotated[float, Field(ge=0, le=1), BeforeValidator(no_bool)]
_Count = Annotated[int, Field(gt=0), BeforeValidator(no_bool)]
_Money = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(no_bool)]
_Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False), BeforeValidator(no_bool)]
"""USD per million tokens: a thousand times what any model has ever cost, so that every cost fits into the ledger."""
_Times = Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False), BeforeValidator(no_bool)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(no_bool)]
MEMORY_TOKEN: Final = "POINTSMAN_MEMORY_TOKEN"  # noqa: S105 - a name
"""The environment variable with the token of a served memory."""
LOCAL_EMBEDDERS: Final = ("wordllama", "sentence-transformers", "onnx")
"""What an embedder's name begins with that computes on this machine; any other name begins with a provider's."""
OnFailure = Literal["retry", "next", "larger", "stronger", "elsewhere", "stop"]
"""What dispatch does about a failure: the same model again, the next candidate, one with a larger context,
one of a higher tier, once one of another provider, or nothing."""


def _off(value: Any) -> Any:
    """YAML reads a bare ``off`` as a truth value."""
    return "off" if value is False else value


def safe_url(url: str) -> str:
    """An address to which what others must not read may be sent.

    Raises:
        ValueError: It is neither https nor on this machine.
    """
    if not re.fullmatch(r"https://[^\s/]\S*|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/\S*)?", url):
        raise ValueError("must be https, or http on this machine, since what is sent there can be read on the way")
    return url


def _url_or_variable(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) else safe_url(text)


class ProviderEntry(Frozen):
    """Where models are served and how to sign in.

    Attributes:
        backend: A name in the backend registry.
        base_url: Endpoint; the vendor's own when absent.
        key: Name of the environment variable that holds the key; absent when none is needed. Never the key itself.
        local: Requests stay on this machine, so ``--offline`` uses the provider itself instead of simulating it.
        region: Region, where the provider has them.
        enabled: False takes every model of the provider out of the routing.
        batch_discount: Share of the price that it takes off for work sent through its batch API.
        options: Further keyword arguments for the backend's client.
    """

    backend: str
    base_url: Annotated[str, StringConstraints(strip_whitespace=True)] | None = None
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    local: bool = False
    region: str | None = None
    enabled: bool = True
    batch_discount: Score = 0.0
    options: Mapping[str, Any] = Field(default_factory=dict)


class Prices(Frozen):
    """USD per million tokens, overriding the price table; ``as_of`` says when they were read.

    Attributes:
        cache_read: Of what is read from a cache; as the input when absent.
        cache_write: Of what is written to a cache; as the input when absent.
        cache_write_1h: Of what is written for an hour. A call that does so has no price where ``cache_write`` has one
            and this has none.
        input_audio: Of sound in the input; as the input when absent.
        output_audio: Of sound in the output; as the output when absent.
        search: USD per thousand web searches that the provider makes by itself.
        service_tiers: Tier of service, as the provider names it in its answers -> times the price.
    """

    input: _Price
    output: _Price
    cache_read: _Price | None = None
    cache_write: _Price | None = None
    cache_write_1h: _Price | None = None
    input_audio: _Price | None = None
    output_audio: _Price | None = None
    search: _Price | None = None
    service_tiers: Mapping[str, _Times] = Field(default_factory=dict)
    as_of: date


class ModelEntry(Frozen):
    """One model of the catalogue, named ``provider/name`` by its key in ``models.yaml``.

    Attributes:
        tier: Its capability class.
        name: The provider's name for it; the part of the key after the first ``/`` when absent.
        answers_as: Other names under which its provider says that it answered: what an alias or a deployment leads to;
            ``*`` stands for any letters.
        roles: What it is good for, such as ``chat``, ``code``, ``vision``.
        tasks: The only tasks it serves; absent means any.
        scores: Capability scores in 0..1 by name (``reasoning``, ``coding``, ``vision``, ``speed``).
        profile: The name under which the price table and the model profiles know it, when it differs.
        context: Input window in tokens; overrides the model profile.
        max_output: Output limit in tokens; overrides the model profile.
        inputs: Input modalities; overrides the model profile.
        tools: Can call tools; overrides the model profile.
        structured: Can be held to a JSON schema; overrides the model profile.
        prices: Overrides the price table.
        rpm: Requests a minute that the provider takes, where its answers do not tell.
        tpm: Tokens a minute it takes, input and output together.
        sla: Seconds within which it answers; as in `HealthLimits`, which it overrides.
        as_of: When the overrides and scores were last checked.
        options: Further keyword arguments for the chat model.
    """

    tier: Tier
    name: str | None = None
    answers_as: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    roles: tuple[str, ...] = ("chat",)
    tasks: tuple[str, ...] | None = None
    scores: Mapping[str, Score] = Field(default_factory=dict)
    profile: str | None = None
    context: _Count | None = None
    max_output: _Count | None = None
    inputs: tuple[Literal["text", "image", "pdf", "audio", "video"], ...] | None = None
    tools: bool | None = None
    structured: bool | None = None
    prices: Prices | None = None
    rpm: _Positive | None = None
    tpm: _Positive | None = None
    sla: _Positive | None = None
    as_of: date | None = None
    options: Mapping[str, Any] = Field(default_factory=dict)


class EmbedderEntry(Frozen):
    """``embedder`` in ``models.yaml``: what makes the vectors by which the memory is searched.

    Attributes:
        model: ``wordllama``, ``sentence-transformers/MODEL`` or ``onnx/FOLDER``, which compute on this machine; or a
            provider, a slash and its name for a model that embeds, which is sent every text of the memory.
        dimensions: Length of the vectors, of models that can cut theirs; their own when absent.
    """

    model: Annotated[str, StringConstraints(strip_whitespace=True)] = "wordllama"
    dimensions: _Count | None = None


Scalar = str | int | float | bool
Condition = Annotated[tuple[Scalar, ...], BeforeValidator(as_tuple)] | Mapping[Literal["min", "max"], float]
"""One of these values, or a number within ``min``..``max`` (both included)."""


class RiskRule(Frozen):
    """Every feature in ``when`` holds -> the step has at least this risk."""

    id: str
    reason: str
    when: Mapping[str, Condition]
    risk: Risk


class StepRiskPolicy(Frozen):
    """``risk.yaml``: rules over declared facts of a step, and the tier below which each risk may not run."""

    rules: tuple[RiskRule, ...]
    floors: Mapping[Risk, Tier]
    call: Mapping[Effect, Risk]


class NotifyPolicy(Frozen):
    """What tells somebody that an act waits for a person: a program, an address, or both.

    Attributes:
        command: A program with its arguments, run without a shell, that reads what waits as JSON from standard input.
        url: An address to which the same is sent by POST, https or http on this machine; or, where the address itself
            is a secret, the name of the environment variable that holds it.
        timeout: Seconds either of them may take.
    """

    command: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    url: Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_url_or_variable)] | None = None
    timeout: _Positive = 10.0


class ApprovalPolicy(Frozen):
    """``approval`` in ``risk.yaml``: how long an approval may take, and who is told that one is wanted.

    Attributes:
        expires: Seconds after which an act is asked about anew instead of being done; a week by default.
        notify: Who is told.
    """

    expires: _Positive = 7 * 86_400.0
    notify: NotifyPolicy = NotifyPolicy()


class RoutingRule(Frozen):
    """Every feature in ``when`` holds -> what the rule says applies; the first rule that names a tier wins it.

    Attributes:
        tier: Go to this tier (never below the risk floor).
        prefer: Models to try first, while they qualify.
        avoid: Models or providers not to use.
        require: Least capability scores.
    """

    id: str
    reason: str
    when: Mapping[str, Condition] = Field(default_factory=dict)
    tier: Tier | None = None
    prefer: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    avoid: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    require: Mapping[str, Score] = Field(default_factory=dict)


class Limits(Frozen):
    """Bounds on every run, or on those of one class of users.

    Attributes:
        max_cost: USD a run may spend.
        max_tokens: Tokens of input and output that a run may use.
        tiers: Tiers it may use.
        require: Least capability scores of the models it may use.
        attempts: Model calls one step may make.
        deadline: Seconds one step may take, retries included.
        call: Seconds one model call may take.
        first_token: Seconds to the first words of a stream.
        stall: Seconds a stream may say nothing once it has begun.
        hedge: Seconds after which a second model is asked as well where the step's latency is ``critical``.
    """

    max_cost: _Money | None = None
    max_tokens: _Count | None = None
    tiers: tuple[Tier, ...] | None = None
    require: Mapping[str, Score] = Field(default_factory=dict)
    attempts: _Count = 6
    deadline: _Positive = 600.0
    call: _Positive = 180.0
    first_token: _Positive = 60.0
    stall: _Positive = 30.0
    hedge: _Positive = 3.0


class HealthLimits(Frozen):
    """When a model at a provider counts as ill and is left alone, and for how long. All times are seconds.

    Attributes:
        window: How long a call counts.
        samples: The most calls remembered of one model; older ones make room.
        consecutive: Failures in a row, or slow answers in a row, that are too many.
        rate: Share of failures, or of slow answers, that is too much.
        calls: The least number of calls in the window before a share or a percentile means anything.
        sla: Seconds within which 95 % of the answers, or the first words of streams, must come. None compares a model
            with itself instead: an answer is slow that takes five times as long as the model takes as a rule for that
            much to read and to write, and ``slack`` longer at least.
        slack: Least seconds beyond what is usual, without an ``sla``.
        cool_down: How long it is left alone the first time; each time in a row it doubles.
        cool_down_cap: Where the doubling ends, jitter not counted.
        jitter: Largest share by which a cool-down is lengthened at random, so that not all come back at once.
        longest_hold: The longest ``retry-after`` that is believed.
    """

    window: _Positive = 60.0
    samples: _Count = 512
    consecutive: _Count = 5
    rate: float = Field(default=0.5, gt=0, le=1)
    calls: _Count = 10
    sla: _Positive | None = None
    slack: _Positive = 10.0
    cool_down: _Positive = 5.0
    cool_down_cap: _Positive = 300.0
    jitter: float = Field(default=0.2, ge=0, allow_inf_nan=False)
    longest_hold: _Positive = 86_400.0

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.calls > self.samples:
            raise ValueError("samples must not be fewer than calls")
        if self.cool_down > self.cool_down_cap:
            raise ValueError("cool_down_cap must not be below cool_down")
        return self


class CachePolicy(Frozen):
    """Whether answers are kept and given again; never for steps that act or see secrets.

    Attributes:
        mode: ``off``; ``exact`` for the very same request; ``similar`` also where only the wording of the last message
            differs a little.
        ttl: Seconds an answer is good for.
        threshold: Least cosine similarity of two wordings.
        max_bytes: The most all answers may take.
        fallback: Least cosine similarity at which an answer of any age stands in where every model failed, marked as
            such; None for never.
    """

    mode: Annotated[Literal["off", "exact", "similar"], BeforeValidator(_off)] = "off"
    ttl: _Positive = 3600.0
    threshold: float = Field(default=0.95, gt=0, le=1)
    max_bytes: _Count = 64 * 1024 * 1024
    fallback: float | None = Field(default=None, gt=0, le=1)


class HistoryPolicy(Frozen):
    """Whether past calls of a task order the models inside a tier.

    Rules, approved models and a model asked for go before them.

    Attributes:
        enabled: False leaves the order to prices and scores.
        half_life: Seconds after which a call counts half. A model that was moved back for its failures thus comes
            back to be tried once its calls count less than ``least``.
        least: Calls, by their weight, that it takes to believe what they say of a model.
    """

    enabled: bool = True
    half_life: _Positive = 86400.0
    least: _Positive = 20.0


class ClassifierPolicy(Frozen):
    """The small model that judges complexity where the scorer is ``classifier``.

    Attributes:
        model: Which; None for the cheapest of the tiers economy and standard that can be used and held to a schema.
        timeout: Seconds it may take, after which the rules decide alone. No more than a quarter of a step's deadline.
    """

    model: str | None = None
    timeout: _Positive = 3.0


class RoutingPolicy(Frozen):
    """``routing.yaml``: ordered rules, the strategy for what they leave open, what is done about each kind of failure.

    Attributes:
        scorer: Who judges complexity, for the rules that ask for it: ``rules`` (nobody, so that only declared facts
            decide), the path of a router file of your own from the project folder, or ``classifier`` (a small model,
            asked at each step that hangs on it). Either of the latter judges only the tasks for which ``pointsman
            router eval`` has shown that it beats the commonest tier of the workload and plain length.
        classifier: The small model.
        approved: The only models or providers that may be used; absent means all.
        budgets: ``day``, ``user`` or ``tag:NAME`` -> USD that all runs together may spend in that scope.
        cache: Whether answers are kept and given again.
        history: Whether past calls of a task count.
        limits: Bounds on every run and call.
        health: When a model is left alone for its failures or its slowness.
        classes: Class of users -> the bounds that differ for them.
    """

    strategy: Literal["cost", "latency", "quality", "balanced"] = "cost"
    scorer: str = "rules"
    classifier: ClassifierPolicy = ClassifierPolicy()
    rules: tuple[RoutingRule, ...] = ()
    approved: tuple[str, ...] | None = None
    on_failure: Mapping[FailureKind, OnFailure]
    budgets: Mapping[Annotated[str, Field(pattern=r"^(day|user|tag:.+)$")], _Money] = Field(default_factory=dict)
    cache: CachePolicy = CachePolicy()
    history: HistoryPolicy = HistoryPolicy()
    limits: Limits = Limits()
    health: HealthLimits = HealthLimits()
    classes: Mapping[str, Limits] = Field(default_factory=dict)

    def limits_of(self, user_class: str) -> Limits:
        """The bounds on a class of users: its own, and for what it does not name those on every run."""
        own = self.classes.get(user_class)
        if own is None:
            return self.limits
        return self.limits.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


class Settings(Frozen):
    """Everything that was configured, after precedence: built-in < user < project < environment < flags.

    Attributes:
        origins: Dotted name of each setting that is not built in -> the place it was set.
        secrets: Environment variable name -> key, for the variables that providers and MCP servers name.
        project: The project folder.
        state: The folder for ledger, memory and checkpoints; one inside it where offline, as nothing simulated may pass
            for real later.
        memory: Where ``pointsman memory serve`` serves the agents' memory, https or http on this machine; None for the
            one in ``state``, and where offline. The environment names its token (`MEMORY_TOKEN`).
        offline: Nothing leaves this machine: providers that are not ``local`` are simulated.
        sources: Where routing and risk can be read again when their files change; None where they did not come from
            files as they are.
        needs_mark: The state folder is obeyed only where it is the user's own, by the mark in it: it lies in a project
            that came from anywhere, and nobody named it.
        obeyed: Files and folders that no tool may write, there or not: what is read as configuration, and what is
            kept for the user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    providers: Mapping[str, ProviderEntry]
    models: Mapping[str, ModelEntry]
    embedder: EmbedderEntry = EmbedderEntry()
    agents: Mapping[str, AgentEntry]
    mcp: Mapping[ServerName, McpServer] = Field(default_factory=dict)
    workflows: Mapping[str, WorkflowEntry] = Field(default_factory=dict)
    routing: RoutingPolicy
    risk: StepRiskPolicy
    approval: ApprovalPolicy = ApprovalPolicy()
    sandbox: Sandbox = Sandbox()
    project: Path
    state: Path
    memory: Annotated[str, AfterValidator(safe_url)] | None = None
    offline: bool = False
    origins: Mapping[str, str] = Field(default_factory=dict)
    secrets: Mapping[str, SecretStr] = Field(default_factory=lambda: MappingProxyType({}), exclude=True, repr=False)
    sources: Sources[Settings] | None = Field(default=None, exclude=True, repr=False)
    needs_mark: bool = Field(default=False, exclude=True, repr=False)
    obeyed: tuple[Path, ...] = Field(default=(), exclude=True, repr=False)

    def __getstate__(self) -> dict[Any, Any]:
        # A pickle is a file or a message like any other: what comes out of one has no keys, nor a way to them.
        state = super().__getstate__()
        values = {**state["__dict__"], "origins": dict(self.origins), "secrets": {}, "sources": None, "mcp": {}}
        return {**state, "__dict__": values}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        # The same settings are the same wherever they were read.
        apart = {"sources": None, "obeyed": ()}
        return {**self.__dict__, **apart} == {**other.__dict__, **apart}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy, with changes; a policy put in so is kept, whatever becomes of the files; a state counts as named."""
        if update and {"routing", "risk"} & set(update):
            update = {"sources": None, **update}
        if update and "state" in update:
            update = {"needs_mark": False, **update}
        return super().model_copy(update=update, deep=deep)

    def key_of(self, provider: str) -> SecretStr | None:
        """The provider's key, or None where it names no variable or the variable is not set."""
        name = self.providers[provider].key
        return self.secrets.get(name) if name else None
