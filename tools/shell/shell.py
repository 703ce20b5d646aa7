"""Running a command in a workspace: no sandbox, so every command waits for a person."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from langchain_core.tools import BaseTool
from pydantic import Field

from ...configs.errors import ConfigError
from ..base import ToolFailed
from ..decorator import tool
from ..files.workspace import Workspace

__all__ = ["ShellResult", "shell_tool"]

_ENDING = 5.0  # seconds the supervisor has to end everything, more than its own grace


@dataclass(frozen=True, slots=True)
class ShellResult:
    """What came of a command.

    Attributes:
        exit_code: As bash gives it: 128 + n after signal n.
        stdout: Standard output, its middle left out where it was too long.
        stderr: Standard error, likewise.
        timed_out: The command was ended because its time was up.
        escaped: The command ended its own supervisor, so something it started may still run.
    """

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    escaped: bool = False

    def __str__(self) -> str:
        lines = ["timed out; it and all it started were ended" if self.timed_out else f"exit code: {self.exit_code}"]
        if self.escaped:
            lines.append("it ended its own supervisor: something it started may still run")
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                lines.append(f"{name}:\n{text.removesuffix(chr(10))}")
        return "\n".join(lines)


def shell_tool(workspace: Workspace, *, timeout: float = 60.0, output_limit: int = 64_000) -> BaseTool:
    """Return ``run_shell``: bash in the workspace, with an environment of its own and an end to everything it starts.

    There is no sandbox. A command can do whatever the user running Pointsman can: read and change files anywhere,
    reach the network, and read that user's other processes. The parent's variables are not handed to it, but under
    Linux it can still read them in ``/proc/<pid>/environ`` of any process of the same user, so a secret in
    Pointsman's environment is hidden only from commands that do not look for it. The effect is therefore always
    ``destructive``, whatever the command.

    Args:
        workspace: Where commands run, also their ``HOME``.
        timeout: Seconds a command may take.
        output_limit: Bytes kept of each of stdout and stderr; the beginning and the end are kept.

    Raises:
        ConfigError: When there is no bash.
    """
    found = shutil.which("bash")
    if found is None:
        raise ConfigError("run_shell needs bash, which is not on the PATH: install it")
    bash: str = found

    async def run_shell(command: Annotated[str, Field(description="The command, as for bash -c.")]) -> str:
        """Run a bash command in the workspace. Standard input is empty, and nothing it starts outlives it."""
        result = await _run(bash, command, workspace.root, timeout, output_limit)
        if result.timed_out:
            raise ToolFailed(f"{result}\n[the limit is {timeout:g} s]")
        return str(result)

    return tool(run_shell, effect="destructive", target="command")


async def _run(bash: str, command: str, folder: Path, seconds: float, output_limit: int) -> ShellResult:
    loop = asyncio.get_running_loop()
    script = Path(__file__).with_name("reaper.py")
    try:
        transport, watch = await loop.subprocess_exec(
            lambda: _Watch(output_limit),
            *(sys.executable, "-I", "-S", str(script), bash, command),
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
    except OSError as error:  # it is too long, or the workspace is gone
        raise ToolFailed(f"the command cannot be started: {error.strerror}") from error
    except ValueError as error:
        raise ToolFailed("the command contains characters that no command can have") from error
    timed_out = False
    try:
        async with asyncio.timeout(seconds):
            await watch.exited.wait()
    except TimeoutError:
        timed_out = True
    finally:
        # Shielded, so that a second cancellation cannot leave processes behind.
        await asyncio.shield(loop.create_task(_end(transport, watch)))
    code = transport.get_returncode()
    code = 128 + signal.SIGKILL if code is None else code
    return ShellResult(
        exit_code=code if code >= 0 else 128 - code,
        stdout=watch.output[1].text(),
        stderr=watch.output[2].text(),
        timed_out=timed_out,
        escaped=code < 0,
    )


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(folder),
        "TERM": "dumb",
    }


async def _end(transport: asyncio.SubprocessTransport, watch: _Watch) -> None:
    lifeline = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
    lifeline.close()
    try:
        async with asyncio.timeout(_ENDING):
            await watch.over.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
    finally:
        transport.close()


class _Watch(asyncio.SubprocessProtocol):
    """Collects what a process writes.

    ``exited`` is set once it has ended, ``over`` once nothing holds its pipes open any more either.
    """

    def __init__(self, limit: int) -> None:
        self.output = {1: _Output(limit), 2: _Output(limit)}
        self.exited = asyncio.Event()
        self.over = asyncio.Event()
        self._open: set[int | str] = {"process", 1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output[fd].add(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._ended(fd)

    def process_exited(self) -> None:
        self.exited.set()
        self._ended("process")

    def _ended(self, what: int | str) -> None:
        self._open.discard(what)
        if not self._open:
            self.over.set()


class _Output:
    """The beginning and the end of a stream, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head, self._tail = bytearray(), bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        surplus = len(self._tail) - self._half
        if surplus > 0:
            self._left_out += surplus
            del self._tail[:surplus]

    def text(self) -> str:
        gap = f"\n[{self._left_out:,} bytes left out]\n".encode() if self._left_out else b""
        return (self._head + gap + self._tail).decode("utf-8", "replace")
