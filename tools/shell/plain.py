"""Run one bash command, unconfined, as the user who runs Pointsman, and end all its processes afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from ...configs.sandbox import Sandbox
from ..base import ToolFailed
from .streams import Ending, ShellResult, Watch

__all__ = ["run_plain"]

_ENDING = 5.0  # seconds the supervisor has to end everything; longer than its own grace period


async def run_plain(
    bash: str, command: str, folder: Path, environment: Mapping[str, str], sandbox: Sandbox, kept: int
) -> ShellResult:
    """Run a command until it ends or reaches a limit, and end the processes it left.

    Args:
        bash: The path of bash.
        command: As for ``bash -c``.
        folder: Where it runs.
        environment: All of its variables.
        sandbox: The limits; only those that need no sandbox (time and output) are used.
        kept: Bytes kept of each of stdout and stderr.

    Raises:
        ToolFailed: If it cannot be started.
    """
    loop = asyncio.get_running_loop()
    script = Path(__file__).with_name("reaper.py")
    try:
        transport, watch = await loop.subprocess_exec(
            lambda: Watch(kept, sandbox.output),
            *(sys.executable, "-I", "-S", str(script), bash, command),
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:  # the command is too long, or the workspace is gone
        raise ToolFailed(f"the command cannot be started: {error.strerror}") from error
    except ValueError as error:
        raise ToolFailed("the command contains characters that no command can have") from error
    try:
        ending = await watch.ended(sandbox.timeout)
    finally:
        # Shielded, so that a second cancellation cannot leave processes behind.
        await asyncio.shield(loop.create_task(_end(transport, watch)))
    code = transport.get_returncode()
    code = 128 + signal.SIGKILL if code is None else code
    return ShellResult(
        exit_code=code if code >= 0 else 128 - code,
        stdout=watch.output[1].text(),
        stderr=watch.output[2].text(),
        timed_out=ending is Ending.TIME,
        escaped=code < 0,
        notes=_reached(ending, code, sandbox),
    )


def _reached(ending: Ending, code: int, sandbox: Sandbox) -> tuple[str, ...]:
    if ending is Ending.OUTPUT:
        return (f"ended: it wrote more than {sandbox.output:,} bytes (sandbox.output in risk.yaml)",)
    return ("killed (signal 9)",) if ending is Ending.EXITED and code == 128 + signal.SIGKILL else ()


async def _end(transport: asyncio.SubprocessTransport, watch: Watch) -> None:
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
