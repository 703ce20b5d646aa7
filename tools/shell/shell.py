"""``run_shell``: bash in the workspace, sandboxed if the machine supports it, and otherwise named as unsandboxed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Annotated, Any, Final

from langchain_core.tools import BaseTool
from pydantic import Field

from ...configs.errors import ConfigError
from ...configs.sandbox import Sandbox
from ...configs.words import Effect
from ..base import CallRisk, ToolFailed
from ..decorator import tool
from ..files.changes import keeper
from ..files.noticing import Noticing
from ..files.workspace import Workspace
from ..programs import found
from ..risk.base import CommandRisk
from ..sandbox.base import SandboxState
from ..sandbox.probe import probe
from ..threads import in_thread
from .plain import run_plain
from .streams import ShellResult

__all__ = ["UNSANDBOXED", "shell_tool"]

UNSANDBOXED = "run_shell_UNSANDBOXED"
"""The name of the tool if nothing confines its commands. Permissions given for this name or for ``run_shell`` apply
only to that name, and the person who is asked sees it."""

_KEPT = 64_000  # bytes
_Command = Annotated[str, Field(description="The command, as for bash -c.")]


def shell_tool(
    workspace: Workspace,
    sandbox: Sandbox | None = None,
    *,
    state: SandboxState | None = None,
    output_limit: int = _KEPT,
) -> BaseTool:
    """Return ``run_shell``: bash in the workspace; every process it starts is ended with the call.

    In the sandbox, a command may read the system's folders and the workspace, and write to the workspace except to
    protected paths; it has only a few variables, network access only to allowed domains, and resource limits. The
    tool's effect is ``write``, or ``external`` if there are domains. Each command is analysed before it runs: it counts
    as ``read`` if it only reads, and as ``destructive`` if `read_command` requires asking a person, or if it cannot be
    undone.

    If the machine has no working sandbox and the sandbox's mode is ``ask``, the tool is called `UNSANDBOXED` and every
    command counts as ``destructive``: it can do whatever the user running Pointsman can, read and change files
    anywhere, reach the network, and read the variables of that user's other processes.

    Args:
        workspace: Where commands run.
        sandbox: What they may access, and their limits.
        state: Whether this machine can sandbox them; None to find out with `probe`.
        output_limit: Bytes kept of each of stdout and stderr; the beginning and the end are kept.

    Raises:
        ConfigError: If there is no bash, or no sandbox although one is required.
    """
    sandbox = sandbox or Sandbox()
    bash = found("bash")
    if bash is None:
        raise ConfigError("run_shell needs bash, which is not on the PATH: install it")
    state = state or probe()
    if state.working:
        return _confined(workspace, sandbox, bash, output_limit)
    if sandbox.mode == "required":
        raise ConfigError(
            f"run_shell needs a sandbox, and there is none: {state}; or have a person asked about each command, which "
            "then runs unconfined: --sandbox ask, or sandbox.mode: ask in risk.yaml"
        )
    return _unconfined(workspace, sandbox, bash, output_limit)


def _confined(workspace: Workspace, sandbox: Sandbox, bash: str, kept: int) -> BaseTool:
    from ..sandbox.confined import Confined

    confined = Confined(workspace, sandbox, bash=bash, kept=kept)
    noticing = Noticing(workspace)

    async def run_shell(command: _Command) -> str:
        """Run a bash command in the workspace, in a sandbox. Standard input is empty; nothing it starts outlives it."""
        return await _told(confined.run, command, sandbox, noticing)

    effect = Effect.EXTERNAL if sandbox.domains else Effect.WRITE
    judge = partial(_judged, effect)
    return tool(
        run_shell,
        effect=effect,
        target="command",
        confined=not sandbox.domains,
        risk_of=judge,
        sandbox=_bounds(sandbox),
    )


def _bounds(sandbox: Sandbox) -> str:
    """Return what a sandboxed command may reach and change, for the person who approves it."""
    network = f"network to {', '.join(sandbox.domains)} alone" if sandbox.domains else "no network"
    writable = " and ".join(("workspace", *map(str, sandbox.writable)))
    return f"in the sandbox: {network}, {writable} writable"


def _unconfined(workspace: Workspace, sandbox: Sandbox, bash: str, kept: int) -> BaseTool:
    async def run(command: str, environment: Mapping[str, str]) -> ShellResult:
        own = {**environment, "HOME": str(workspace.root)}
        return await run_plain(bash, command, workspace.root, own, sandbox, kept)

    noticing = Noticing(workspace)

    async def run_shell(command: _Command) -> str:
        """Run a bash command in the workspace, WITHOUT a sandbox: a person is asked about each."""
        return await _told(run, command, sandbox, noticing)

    judge = partial(_judged, None)
    return tool(
        run_shell,
        name=UNSANDBOXED,
        effect=Effect.DESTRUCTIVE,
        target="command",
        risk_of=judge,
        sandbox="UNSANDBOXED: it may do whatever you may, on all files and over the network",
    )


_LASTING: Final = frozenset({"changes-elsewhere", "deletes"})
"""Rules for effects that neither a sandbox nor an undo can reverse, although their risk alone requires no approval."""


def _judged(usual: Effect | None, arguments: Mapping[str, Any]) -> CallRisk:
    """Judge a command before it runs.

    Args:
        usual: The effect of a command that does more than read but needs no approval; None if commands are not
            sandboxed, so that each needs approval.
        arguments: The arguments of the call.
    """
    said = _read(arguments["command"])
    if usual is None or said.asks or any(reason.code in _LASTING for reason in said.reasons):
        return CallRisk(Effect.DESTRUCTIVE, said.told)
    return CallRisk(Effect.READ if said.effect is Effect.READ else usual, said.told)


@lru_cache(maxsize=256)
def _read(command: str) -> CommandRisk:
    """Return what a command would do; cached, because each command is judged several times before it runs."""
    from ..risk.reader import read_command

    return read_command(command)


_Run = Callable[[str, Mapping[str, str]], Awaitable[ShellResult]]


async def _told(run: _Run, command: str, sandbox: Sandbox, noticing: Noticing) -> str:
    keep = None if _read(command).effect is Effect.READ else keeper()
    before = None if keep is None else await in_thread(noticing.look)
    try:
        result = await run(command, _environment(sandbox.environment))
    finally:
        note = "" if keep is None or before is None else await in_thread(noticing.tell, before, keep)
    if result.timed_out:
        raise ToolFailed(f"{result}\n[the limit is {sandbox.timeout:g} s]")
    return f"{result}\n{note}" if note else str(result)


def _environment(names: Iterable[str]) -> dict[str, str]:
    handed = {name: os.environ[name] for name in names if name in os.environ}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TERM": "dumb",
        **handed,
    }
