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
"""USD per million tokens: at most a thousand times the price of any model so far, so that costs fit into the ledger."""
_Times = Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False), BeforeValidator(no_bool)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(no_bool)]
MEMORY_TOKEN: Final = "POINTSMAN_MEMORY_TOKEN"  # noqa: S105 - a name
"""The environment variable with the token of a served memory."""
LOCAL_EMBEDDERS: Final = ("wordllama", "sentence-transformers", "onnx")
"""The first part of the names of local embedders; any other embedder's name begins with a provider's name."""
OnFailure = Literal["retry", "next", "larger", "stronger", "elsewhere", "stop"]
"""How dispatch reacts to a failure: retry the same model, or use the next candidate, one with a larger context,
one of a higher tier, one of another provider (once), or stop."""


def _off(value: Any) -> Any:
    """Return ``"off"`` for False, since YAML reads a bare ``off`` as a boolean."""
    return "off" if value is False else value


def safe_url(url: str) -> str:
    """Return a URL to which confidential data may be sent.

    Raises:
        ValueError: It is neither https nor on this machine.
    """
    if not re.fullmatch(r"https://[^\s/]\S*|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/\S*)?", url):
        raise ValueError("must be https, or http on this machine, since what is sent there can be read on the way")
    return url


def _url_or_variable(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) else safe_url(text)


class ProviderEntry(Frozen):
    """Where models are served and how to authenticate.

    Attributes:
        backend: A name in the backend registry.
        base_url: Endpoint; the vendor's own if absent.
        key: Name of the environment variable that holds the key; absent if none is needed. Never the key itself.
        local: Whether requests stay on this machine, so that ``--offline`` uses the provider instead of simulating it.
        region: Region, if the provider has regions.
        enabled: False excludes every model of the provider from routing.
        batch_discount: Discount for requests sent through its batch API, as a share of the price.
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
        cache_read: Price of tokens read from a cache; that of input if absent.
        cache_write: Price of tokens written to a cache; that of input if absent.
        cache_write_1h: Price of tokens cached for an hour. If ``cache_write`` is given and this is not, a call that
            caches for an hour has no price.
        input_audio: Price of audio in the input; that of input if absent.
        output_audio: Price of audio in the output; that of output if absent.
        search: USD per thousand web searches that the provider makes by itself.
        service_tiers: Service tier, as named in the provider's answers -> factor of the price.
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
        name: The provider's name for it; the part of the key after the first ``/`` if absent.
        answers_as: Other names under which its provider reports that it answered, such as the target of an alias or
            deployment; ``*`` matches any characters.
        roles: What it is good for, such as ``chat``, ``code``, ``vision``.
        tasks: The only tasks it serves; absent means any.
        scores: Capability scores in 0..1 by name (``reasoning``, ``coding``, ``vision``, ``speed``).
        profile: Its name in the price table and the model profiles, if different.
        context: Input window in tokens; overrides the model profile.
        max_output: Output limit in tokens; overrides the model profile.
        inputs: Input modalities; overrides the model profile.
        tools: Whether it can call tools; overrides the model profile.
        structured: Whether it can enforce a JSON schema; overrides the model profile.
        prices: Overrides the price table.
        rpm: Requests per minute that the provider accepts, if its responses do not report it.
        tpm: Tokens per minute it accepts, input and output together.
        sla: Seconds within which it must answer; as in `HealthLimits`, which it overrides.
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
    """``embedder`` in ``models.yaml``: the model that computes the vectors for searching the memory.

    Attributes:
        model: ``wordllama``, ``sentence-transformers/MODEL`` or ``onnx/FOLDER``, which compute on this machine; or a
            provider, a slash and its name for an embedding model, which is sent every text of the memory.
        dimensions: Length of the vectors, for models that can truncate theirs; the model's own if absent.
        prices: Overrides the price table.
    """

    model: Annotated[str, StringConstraints(strip_whitespace=True)] = "wordllama"
    dimensions: _Count | None = None
    prices: Prices | None = None


Scalar = str | int | float | bool
Condition = Annotated[tuple[Scalar, ...], BeforeValidator(as_tuple)] | Mapping[Literal["min", "max"], float]
"""One of these values, or a number within ``min``..``max`` (both included)."""


class RiskRule(Frozen):
    """If every condition in ``when`` holds, the step has at least this risk."""

    id: str
    reason: str
    when: Mapping[str, Condition]
    risk: Risk


class StepRiskPolicy(Frozen):
    """``risk.yaml``: rules over declared facts of a step, and the minimum tier for each risk."""

    rules: tuple[RiskRule, ...]
    floors: Mapping[Risk, Tier]
    call: Mapping[Effect, Risk]


class NotifyPolicy(Frozen):
    """How to notify someone that an act waits for approval: a program, a URL, or both.

    Attributes:
        command: A program with its arguments, run without a shell, that reads the pending act as JSON from standard
            input.
        url: A URL to which the same JSON is sent by POST, https or http on this machine; or, if the URL itself is
            secret, the name of the environment variable that holds it.
        timeout: Seconds each of them may take.
    """

    command: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    url: Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_url_or_variable)] | None = None
    timeout: _Positive = 10.0


class ApprovalPolicy(Frozen):
    """``approval`` in ``risk.yaml``: how long an approval may take, and who is notified that one is needed.

    Attributes:
        expires: Seconds after which an act needs a new approval instead of being executed; a week by default.
        notify: Who is notified.
    """

    expires: _Positive = 7 * 86_400.0
    notify: NotifyPolicy = NotifyPolicy()


class RoutingRule(Frozen):
    """If every condition in ``when`` holds, the rule applies; the first such rule with a tier decides the tier.

    Attributes:
        tier: The tier to use (never below the risk floor).
        prefer: Models to try first, while they qualify.
        avoid: Models or providers not to use.
        require: Minimum capability scores.
    """

    id: str
    reason: str
    when: Mapping[str, Condition] = Field(default_factory=dict)
    tier: Tier | None = None
    prefer: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    avoid: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    require: Mapping[str, Score] = Field(default_factory=dict)


class Limits(Frozen):
    """Limits on every run, or on the runs of one user class.

    Attributes:
        max_cost: USD a run may spend.
        max_tokens: Tokens of input and output that a run may use.
        tiers: Tiers it may use.
        require: Minimum capability scores of the models it may use.
        attempts: Model calls one step may make.
        deadline: Seconds one step may take, retries included.
        call: Seconds one model call may take.
        first_token: Seconds until the first token of a stream.
        stall: Seconds a stream may pause once it has begun.
        hedge: Seconds after which a second model is called as well if the step's latency is ``critical``.
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
    """When a model at a provider counts as unhealthy and is not used, and for how long. All times are in seconds.

    Attributes:
        window: How long a call counts.
        samples: Maximum number of calls remembered per model; older ones are dropped.
        consecutive: Number of failures, or of slow answers, in a row that makes a model unhealthy.
        rate: Share of failures, or of slow answers, that makes a model unhealthy.
        calls: Minimum number of calls in the window before a share or a percentile is used.
        sla: Seconds within which 95 % of the answers, or the first tokens of streams, must come. None compares a model
            with itself instead: an answer is slow if it takes five times as long as usual for the same amount of
            input and output, and at least ``slack`` longer.
        slack: Minimum seconds beyond the usual time, without an ``sla``.
        cool_down: Length of the first cool-down; it doubles each time in a row.
        cool_down_cap: Maximum cool-down, without jitter.
        jitter: Largest share by which a cool-down is randomly lengthened, so that not all end at once.
        longest_hold: The longest ``retry-after`` that is accepted.
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
    """Whether answers are cached and reused; never for steps that act or see secrets.

    Attributes:
        mode: ``off``; ``exact`` for an identical request; ``similar`` also if only the wording of the last message
            differs slightly.
        ttl: Seconds an answer stays valid.
        threshold: Minimum cosine similarity of two wordings.
        max_bytes: Maximum size of all answers together.
        fallback: Minimum cosine similarity at which a cached answer of any age is used if every model failed, marked
            as such; None for never.
    """

    mode: Annotated[Literal["off", "exact", "similar"], BeforeValidator(_off)] = "off"
    ttl: _Positive = 3600.0
    threshold: float = Field(default=0.95, gt=0, le=1)
    max_bytes: _Count = 64 * 1024 * 1024
    fallback: float | None = Field(default=None, gt=0, le=1)


class HistoryPolicy(Frozen):
    """Whether the history of a task's calls determines the order of models inside a tier.

    Rules, approved models and a requested model take precedence.

    Attributes:
        enabled: False leaves the order to prices and scores.
        half_life: Seconds after which a call counts half. A model that was demoted for its failures is therefore
            tried again once its calls count less than ``least``.
        least: Minimum weighted number of calls before a model's history is used.
    """

    enabled: bool = True
    half_life: _Positive = 86400.0
    least: _Positive = 20.0


class ClassifierPolicy(Frozen):
    """The small model that judges complexity if the scorer is ``classifier``.

    Attributes:
        model: The model; None for the cheapest usable one of the tiers economy and standard that can enforce a schema.
        timeout: Seconds it may take before the rules decide alone. At most a quarter of a step's deadline.
    """

    model: str | None = None
    timeout: _Positive = 3.0


class RoutingPolicy(Frozen):
    """``routing.yaml``: ordered rules, the strategy for choices they leave open, and the reaction to each failure.

    Attributes:
        scorer: What judges complexity, for rules that test it: ``rules`` (nothing, so that only declared facts
            decide), the path of your own router file relative to the project folder, or ``classifier`` (a small model,
            called at each step that depends on it). The latter two judge only tasks for which ``pointsman router
            eval`` has shown that they beat the workload's most common tier and plain length.
        classifier: The small model.
        approved: The only models or providers that may be used; absent means all.
        budgets: ``day``, ``user`` or ``tag:NAME`` -> USD that all runs together may spend in that scope.
        cache: Whether answers are cached and reused.
        history: Whether past calls of a task count.
        limits: Limits on every run and call.
        health: When a model is not used because of failures or slowness.
        classes: User class -> the limits that differ for it.
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
        """Return the limits of a user class: its own, and the general ones where it sets none."""
        own = self.classes.get(user_class)
        if own is None:
            return self.limits
        return self.limits.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


class Settings(Frozen):
    """The complete configuration, merged by precedence: built-in < user < project < environment < flags.

    Attributes:
        origins: Dotted name of each setting that is not built in -> the place where it was set.
        secrets: Environment variable name -> key, for the variables that providers and MCP servers name.
        project: The project folder.
        state: The folder for ledger, memory and checkpoints; a subfolder of it if offline, so that nothing simulated
            is later mistaken for real.
        memory: URL at which ``pointsman memory serve`` serves the agents' memory, https or http on this machine; None
            for the one in ``state``, and if offline. Its token is in the environment (`MEMORY_TOKEN`).
        offline: Whether nothing leaves this machine: providers that are not ``local`` are simulated.
        sources: Where routing and risk can be reloaded when their files change; None if they did not come unchanged
            from files.
        needs_mark: Whether the state folder is used only if a mark in it shows that it is the user's own, because it
            is in a project of unknown origin and was not named explicitly.
        obeyed: Files and folders that no tool may write, whether they exist or not: those read as configuration, and
            those stored for the user.
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
        # A pickle may be stored or sent anywhere, so it must contain no keys and no way to get them.
        state = super().__getstate__()
        values = {**state["__dict__"], "origins": dict(self.origins), "secrets": {}, "sources": None, "mcp": {}}
        return {**state, "__dict__": values}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        # Settings are equal wherever they were read from.
        apart = {"sources": None, "obeyed": ()}
        return {**self.__dict__, **apart} == {**other.__dict__, **apart}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with changes; a new policy no longer follows its files, and a new state counts as named."""
        if update and {"routing", "risk"} & set(update):
            update = {"sources": None, **update}
        if update and "state" in update:
            update = {"needs_mark": False, **update}
        return super().model_copy(update=update, deep=deep)

    def key_of(self, provider: str) -> SecretStr | None:
        """Return the provider's key, or None if it names no variable or the variable is not set."""
        name = self.providers[provider].key
        return self.secrets.get(name) if name else None
