"""The schemas of ``agents.yaml``: agents, their workflows, and the MCP servers whose tools they may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from .words import Effect, StepKind, Tier

__all__ = [
    "AgentEntry",
    "Frozen",
    "McpServer",
    "ServerName",
    "StepEntry",
    "WorkflowEntry",
    "as_tuple",
    "is_loopback",
    "no_bool",
]


def as_tuple(value: Any) -> Any:
    """Return a single value as a tuple, so that a user may write one name instead of a list."""
    return (value,) if isinstance(value, str | int | float | bool) else value


def no_bool(value: Any) -> Any:
    """Reject a boolean where a number is expected, since a Python boolean counts as a number."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


class Frozen(BaseModel):
    """A section of the configuration: it is immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentEntry(Frozen):
    """How a built-in or user-defined agent is bound to its backend.

    Attributes:
        task: What it does, for the routing rules.
        kind: The purpose of its steps.
        tier: The tier it requests; the risk floor may raise it.
        max_tier: The highest tier it may use.
        model: The model it prefers while it qualifies.
        instructions: Its system prompt.
        tools: Names in the tool registry.
        turns: Maximum model turns in one of its steps.
        context: Maximum input tokens of a turn; the model's own limit if absent.
        guidance: Files of the workspace that say how to work in it.
        todos: Whether it keeps a to-do list.
        memory: Namespace of the shared memory that it recalls from.
        remember: Whether its results are kept there.
    """

    task: str = "chat"
    kind: StepKind | None = None
    tier: Tier | None = None
    max_tier: Tier | None = None
    model: str | None = None
    instructions: str = ""
    tools: tuple[str, ...] = ()
    turns: int = Field(default=20, ge=1)
    context: int | None = Field(default=None, ge=4_000)
    guidance: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    todos: bool = False
    memory: str | None = None
    remember: bool = False


class StepEntry(Frozen):
    """One step of a workflow, as written in the configuration.

    Attributes:
        id: Unique within the workflow.
        agent: The agent that performs it.
        instruction: What it has to do, in addition to the task.
        needs: The steps whose results it needs.
        kind: Its purpose; it can only raise the risk that its agent declares.
        effects: Its effects beyond model calls; likewise.
    """

    id: str
    agent: str
    instruction: str = ""
    needs: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    kind: StepKind | None = None
    effects: Annotated[tuple[Effect, ...], BeforeValidator(as_tuple)] = ()


class WorkflowEntry(Frozen):
    """A workflow of agents, also described in ``agents.yaml``.

    Attributes:
        agents: The agents it may use, by name.
        plan: How the supervisor plans if there are no ``steps``.
        steps: The steps themselves.
        retries: How often a step that a verifier doubts is retried with a stronger model.
        memory: Whether its steps write their results to the shared memory and recall those of others.
    """

    agents: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    plan: Literal["model", "in_order"] = "model"
    steps: tuple[StepEntry, ...] = ()
    retries: int = Field(default=2, ge=0)
    memory: bool = True


def _server_name(name: str) -> str:
    # Two underscores in a row separate a server's name from its tool's.
    if len(name) > 32 or not re.fullmatch(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*", name):
        raise ValueError("must be called by at most 32 letters, digits, and single '-' or '_' between them")
    return name


ServerName = Annotated[str, AfterValidator(_server_name)]
_Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number of seconds, not true or false")
    return value


_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False), BeforeValidator(_no_bool)]


class McpServer(Frozen):
    """A server of the Model Context Protocol: a program on this machine, or a URL.

    Attributes:
        command: The program, found as a shell finds it, which communicates over its standard input and output.
        args: Its arguments.
        env: Variables it gets in addition to the few that every program needs; it inherits no others. Their values are
            never shown.
        url: The URL of a server that uses streamable HTTP.
        headers: Sent with every request to that URL; their values are never shown.
        plain_http: Whether the URL may be ``http://`` on another machine, so that anyone on the network path can read
            and change the traffic.
        secrets: Variable of the program, or header of the requests -> NAME of the environment variable that holds its
            value. An ``Authorization`` of a single word is sent as a ``Bearer`` token.
        effects: The effect of each tool, by the server's name for it. A tool that is not listed counts as
            ``destructive``; the server's own statements may raise an effect given here, never lower it.
        timeout: Seconds one call may take.
        start_timeout: Seconds within which it must have listed its tools.
    """

    command: str | None = None
    args: tuple[str, ...] = Field(default=(), repr=False)
    env: Mapping[_Variable, SecretStr] = Field(default_factory=dict)
    url: str | None = None
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    plain_http: bool = False
    secrets: Mapping[str, _Variable] = Field(default_factory=dict)
    effects: Mapping[str, Effect] = Field(default_factory=dict)
    timeout: _Seconds = 60.0
    start_timeout: _Seconds = 30.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either 'command' or 'url'")
        if self.url is None and (self.headers or self.plain_http):
            raise ValueError("has 'headers' and 'plain_http' only with 'url'")
        if self.command is None and (self.args or self.env):
            raise ValueError("has 'args' and 'env' only with 'command'")
        if self.url is not None:
            _check(self.url, plain_http=self.plain_http)
        return self


def _check(url: str, *, plain_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("needs a url that begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must have no user name or password in its url; name a variable under 'secrets'")
    if parts.scheme == "http" and not plain_http and not is_loopback(parts.hostname):
        raise ValueError("needs an https:// url beyond this machine, or plain_http: true")


def is_loopback(host: str) -> bool:
    """Return whether the host of a URL is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
