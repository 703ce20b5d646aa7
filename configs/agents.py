"""The schemas of ``agents.yaml``: agents, workflows of them, and the MCP servers whose tools they may use."""

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
    """Let a user write one name where a list is meant."""
    return (value,) if isinstance(value, str | int | float | bool) else value


def no_bool(value: Any) -> Any:
    """Refuse a truth value where a number is meant: in Python it is one."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


class Frozen(BaseModel):
    """A section of the configuration: nothing in it changes, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentEntry(Frozen):
    """How a built-in or user's agent is bound to its backend.

    Attributes:
        task: What it does, for the routing rules.
        kind: What its steps are for.
        tier: The tier it asks for; the risk floor may raise it.
        max_tier: The highest tier it may use.
        model: The model it prefers while it qualifies.
        instructions: Its system prompt.
        tools: Names in the tool registry.
        turns: Turns of its model that one of its steps may take.
        context: Tokens of input that a turn may have; what the model takes when absent.
        guidance: Files of the workspace that say how to work in it.
        todos: Whether it keeps a list of to-dos.
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


class StepEntry(Frozen):
    """One step of a workflow, as somebody has written it down.

    Attributes:
        id: Unique within the workflow.
        agent: Who does it.
        instruction: What it is to do, beside the task.
        needs: The steps whose results it needs.
        kind: What it is for; it can only raise the risk that its agent declares.
        effects: What it will do beyond thinking; likewise.
    """

    id: str
    agent: str
    instruction: str = ""
    needs: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    kind: StepKind | None = None
    effects: Annotated[tuple[Effect, ...], BeforeValidator(as_tuple)] = ()


class WorkflowEntry(Frozen):
    """A workflow of agents that ``agents.yaml`` describes too.

    Attributes:
        agents: The agents it may use, by name.
        plan: How the supervisor plans where there are no ``steps``.
        steps: The steps themselves.
        retries: How often a step that a verifier doubts is done again by a stronger model.
        memory: Whether its steps write their results into the shared memory and recall what others wrote.
    """

    agents: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    plan: Literal["model", "in_order"] = "model"
    steps: tuple[StepEntry, ...] = ()
    retries: int = Field(default=2, ge=0)
    memory: bool = True


def _server_name(name: str) -> str:
    # Two underscores in a row part a server's name from its tool's.
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
    """A server that speaks the Model Context Protocol: a program on this machine, or an address.

    Attributes:
        command: The program, found as a shell finds it, which speaks over its standard input and output.
        args: Its arguments.
        env: Variables it gets beside the few that every program needs; it inherits no others. Their values are shown
            nowhere.
        url: The address, where the server speaks streamable HTTP.
        headers: Sent with every request to that address; their values are shown nowhere.
        plain_http: The address may be ``http://`` beyond this machine, so that anybody on the way can read and change
            what is said.
        secrets: Variable of the program, or header of the requests -> NAME of the environment variable that holds its
            value. An ``Authorization`` that is one word is sent as a ``Bearer`` token.
        effects: The effect of each tool, by the name that the server gives it. A tool that is not named here counts as
            ``destructive``; what the server says of its tools may raise what stands here, never lower it.
        timeout: Seconds one call may take.
        start_timeout: Seconds until it must have listed its tools.
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
    """Whether a host, as it stands in a URL, is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
