"""Running one bash command confined: starting it, detecting the limits it reaches, and ending all its processes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shlex
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.sandbox import Sandbox
from ..base import ToolFailed
from ..files.scan import Seen
from ..files.workspace import Workspace
from ..programs import found
from ..shell.streams import Ending, ShellResult, Watch
from . import view
from .cgroups import Group, grouped
from .guard import Guard
from .mounting import Mount, as_words, beforehand, refuse_too_many
from .network import INSIDE, Gate, Permits, Proxy, is_public
from .seccomp import program as filter_program

__all__ = ["Confined"]

_ENDING = 10.0  # seconds for killed processes to be gone; one in uninterruptible sleep can take longer
_TIDY = 3.0  # seconds after the timeout for a command to end and for what it made at protected paths to be moved away
_LOOK = 0.01  # seconds between two attempts to lock the workspace
_KIB = 1024
_NO_MEMORY = ("Cannot allocate memory", "MemoryError", "bad_alloc", "out of memory", "Out of memory")
"""Messages of programs that ran out of memory."""


class Confined:
    """Runs commands in a workspace, each in its own sandbox.

    Args:
        workspace: The only folder they may change, except for the protected paths in it.
        sandbox: What else they may see, and their limits.
        bash: The path of bash.
        kept: Bytes kept of each of stdout and stderr.
        permits: Whether an address that an allowed domain resolves to may be connected to.

    Raises:
        ConfigError: There is no bubblewrap.
    """

    def __init__(
        self, workspace: Workspace, sandbox: Sandbox, *, bash: str, kept: int, permits: Permits = is_public
    ) -> None:
        program = found("bwrap")
        if program is None:
            raise ConfigError("there is no bwrap on the PATH: install bubblewrap")
        self._program, self._bash = program, bash
        self._root, self._sandbox, self._kept = workspace.root, sandbox, kept
        self._permits = permits
        self._guard = Guard(workspace)

    async def run(self, command: str, environment: Mapping[str, str]) -> ShellResult:
        """Run a command to its end or its limit; afterwards none of its processes is left.

        Args:
            command: As for ``bash -c``.
            environment: Its variables, in addition to those of `view` and of the proxy.

        Raises:
            ConfigError: The workspace would show more than a project, or can also be reached through a link.
            ToolFailed: Another command has been running for too long, this one cannot be started, or what it made at a
                protected path cannot be moved away.
        """
        view.refuse_workspace(self._root)
        view.refuse_aliases(self._root, self._sandbox)
        async with _alone(self._root, self._sandbox.timeout):
            seen = await asyncio.to_thread(self._guard.look)
            mounts = self._guard.mounts(seen)
            refuse_too_many(mounts)
            with self._guard.running():
                return await self._run(command, environment, seen, mounts)

    async def _run(
        self, command: str, environment: Mapping[str, str], seen: Seen, mounts: Sequence[Mount]
    ) -> ShellResult:
        async with self._gate() as gate:
            run = _Run(self._sandbox, Watch(self._kept, self._sandbox.output))
            # Until the first process is known, there is no way to end all of them, so the start always completes, even
            # if it is cancelled; the end is shielded, so that a second cancellation leaves nothing behind either.
            start = asyncio.ensure_future(self._start(run, command, environment, mounts, gate))
            try:
                await asyncio.shield(start)
                await run.ended(self._root)
            finally:
                restored = await asyncio.shield(asyncio.ensure_future(self._after(start, run, seen)))
            notes = [f"{line}, and a person has to change it" for line in restored]
            notes += [] if gate is None else gate.refused()
        return run.result(notes)

    async def _after(self, start: asyncio.Future[None], run: _Run, seen: Seen) -> list[str]:
        await asyncio.wait([start])
        start.exception()  # if the run was cancelled, nobody else retrieves it
        await run.end()
        return await asyncio.to_thread(self._guard.restore, seen)

    def _gate(self) -> AbstractAsyncContextManager[Gate | None]:
        domains = self._sandbox.domains
        return Gate(Proxy(domains, permits=self._permits)) if domains else nullcontext()

    async def _start(
        self, run: _Run, command: str, environment: Mapping[str, str], mounts: Sequence[Mount], gate: Gate | None
    ) -> None:
        loop = asyncio.get_running_loop()
        run.group = grouped(self._sandbox.memory, self._sandbox.processes)
        with ExitStack() as stack:
            status, status_end = os.pipe()
            run.status = status
            stack.callback(os.close, status_end)
            filter_ = os.memfd_create("filter")
            stack.callback(os.close, filter_)
            os.write(filter_, filter_program())
            os.lseek(filter_, 0, os.SEEK_SET)
            early, listed = beforehand(mounts)
            for descriptor in listed:
                stack.callback(os.close, descriptor)
            passed = [status_end, filter_, *listed, *([] if gate is None else [gate.inner.fileno()])]
            try:
                run.transport, _ = await loop.subprocess_exec(
                    lambda: run.watch,
                    *self._joining(run.group),
                    *early,
                    *(self._program, *view.namespaces(self._program), *view.system(self._program, self._sandbox)),
                    *(
                        *([] if gate is None else gate.mounts()),
                        *view.workspace(self._root, self._sandbox.writable),
                        *as_words(mounts),
                    ),
                    *("--seccomp", str(filter_), "--json-status-fd", str(status_end), "--"),
                    *([] if gate is None else gate.words()),
                    *(self._bash, "--noprofile", "--norc", "-c", self._limits(run.group), "bash", command),
                    env={**view.VARIABLES, **environment, **(INSIDE if gate is not None else {})},
                    start_new_session=True,
                    pass_fds=passed,
                )
            except OSError as error:  # the command is too long
                raise ToolFailed(f"the command cannot be started: {error.strerror}") from error
            except ValueError as error:
                raise ToolFailed("the command contains characters that no command can have") from error
        await run.begun()

    def _joining(self, group: Group | None) -> list[str]:
        """Return the words before bubblewrap that put it in the cgroup from the start."""
        if group is None:
            return []
        joins = [f"echo 0 > {shlex.quote(str(folder / group.join))} || exit 125" for folder in group.folders]
        return [self._bash, "--noprofile", "--norc", "-c", "\n".join([*joins, 'exec "$@"']), "join"]

    def _limits(self, group: Group | None) -> str:
        """Return what bash runs inside before it becomes the command.

        The process limit is set here because the kernel counts processes per user in a user namespace; it counts none
        for the machine's root. If there is no cgroup, the memory of each process is limited: its data to the limit,
        and its address space to four times as much.
        """
        sandbox = self._sandbox
        lines = [
            # The other end closes when Pointsman ends, and what is then still starting shall not begin.
            # The other end of stdin closes when Pointsman ends; a command that is still starting then must not run.
            "if read -t 0; then exit 125; fi",
            # The soft limit sends SIGXCPU, which says why; the hard limit kills.
            f"ulimit -S -t {sandbox.cpu} && ulimit -H -t {sandbox.cpu + 1} || exit 125",
            f"ulimit -c 0 -f {max(1, sandbox.file_size // _KIB)} -u {sandbox.processes} || exit 125",
        ]
        if group is None or "memory" not in group.limits:
            kib = max(1, sandbox.memory // _KIB)
            lines.append(f"ulimit -d {kib} -v {4 * kib} || exit 125")
        lines.append(f'exec {shlex.quote(self._bash)} --noprofile --norc -c "$1" </dev/null')
        return "\n".join(lines)


@dataclass
class _Run:
    """One command, from its start to the end of its last process."""

    sandbox: Sandbox
    watch: Watch
    group: Group | None = None
    status: int = -1
    transport: asyncio.SubprocessTransport | None = None
    first: int | None = None
    ending: Ending | None = None
    starved: bool = False
    _said: bytearray = field(default_factory=bytearray)

    async def begun(self) -> None:
        """Wait until the first process inside is known, through which all can be ended, or bubblewrap has given up."""
        loop = asyncio.get_running_loop()
        known = asyncio.Event()

        def read() -> None:
            data = os.read(self.status, 4096)
            self._said += data
            if not data:
                loop.remove_reader(self.status)
            if self.first is None and b"\n" in self._said:
                self.first = self._handle()
            if not data or self.first is not None:
                known.set()

        os.set_blocking(self.status, False)
        loop.add_reader(self.status, read)
        await known.wait()

    async def ended(self, root: Path) -> None:
        """Wait until the command has ended by itself, or has reached a limit."""
        free = _free(root)
        self.ending = await self.watch.ended(self.sandbox.timeout, full=lambda: free - _free(root) > self.sandbox.disk)

    async def end(self) -> None:
        """End every process, and wait until the kernel has released the last one."""
        loop = asyncio.get_running_loop()
        if self.transport is not None:
            if self.first is not None:
                await _gone(self.first)
                os.close(self.first)
            else:
                with suppress(ProcessLookupError):
                    os.killpg(self.transport.get_pid(), signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(_ENDING):
                    await self.watch.over.wait()
            self.transport.close()
        if self.status >= 0:
            loop.remove_reader(self.status)
            with suppress(BlockingIOError):
                while data := os.read(self.status, 4096):
                    self._said += data
            os.close(self.status)
        if self.group is not None:
            self.starved = await asyncio.to_thread(self.group.killed)
            await asyncio.to_thread(self.group.remove)

    def result(self, notes: Sequence[str]) -> ShellResult:
        """Return the result of the command.

        Args:
            notes: Further notes for the result.

        Raises:
            ToolFailed: The command was never started.
        """
        stdout, stderr = self.watch.output[1].text(), self.watch.output[2].text()
        code = self._told("exit-code")
        if code is None and self.ending is Ending.EXITED:
            raise ToolFailed(f"the sandbox cannot be set up, so the command was not run: {stderr.strip() or 'it died'}")
        return ShellResult(
            exit_code=128 + signal.SIGKILL if code is None else code,
            stdout=stdout,
            stderr=stderr,
            timed_out=self.ending is Ending.TIME,
            notes=(*self._reached(code, stderr), *notes),
        )

    def _reached(self, code: int | None, stderr: str) -> list[str]:
        """Return notes on the limits that ended it, or one of its processes, as far as the kernel reports them."""
        sandbox = self.sandbox
        if self.ending is Ending.DISK:
            return [f"ended: it filled the disk by more than {sandbox.disk:,} bytes (sandbox.disk in risk.yaml)"]
        if self.ending is Ending.OUTPUT:
            return [f"ended: it wrote more than {sandbox.output:,} bytes (sandbox.output in risk.yaml)"]
        memory = f"may use {sandbox.memory:,} bytes (sandbox.memory in risk.yaml)"
        if self.starved:
            return [f"killed for memory: all that it ran, together, {memory}"]
        if self.ending is Ending.TIME:
            return []
        if code == 128 + signal.SIGXCPU:
            return [f"ended: it used more than {sandbox.cpu} s of processor time (sandbox.cpu in risk.yaml)"]
        if code == 128 + signal.SIGXFSZ:
            return [f"ended: a file may have {sandbox.file_size:,} bytes (sandbox.file_size in risk.yaml)"]
        if code and self._limited and any(words in stderr for words in _NO_MEMORY):
            return [f"out of memory: each of its processes {memory}"]
        return ["killed (signal 9)"] if code == 128 + signal.SIGKILL else []

    @property
    def _limited(self) -> bool:
        """Whether each process has its own memory limit, because no cgroup limits them together."""
        return self.group is None or "memory" not in self.group.limits

    def _handle(self) -> int | None:
        with suppress(ProcessLookupError, OSError):
            return os.pidfd_open(self._told("child-pid") or -1)
        return None

    def _told(self, key: str) -> int | None:
        for line in bytes(self._said).splitlines():
            with suppress(ValueError):
                if isinstance(found := json.loads(line).get(key), int):
                    return found
        return None


_HELD: set[int] = set()
"""Open workspace folders that commands of this process have locked or wait for; a forked child closes them."""


def _let_go() -> None:
    for folder in _HELD:
        os.close(folder)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)


_turns: Counter[str] = Counter()
"""Workspace -> how many commands of this process have run in it."""


async def _next_turn(folder: int, root: Path, patience: float) -> None:
    """Lock a folder as soon as earlier commands have released it.

    Raises:
        ToolFailed: The same command has held it for longer than ``patience`` seconds.
    """
    turn = _turns[str(root)], _holder(folder)
    while not await _soon(folder, patience):
        turn, before = (_turns[str(root)], _holder(folder)), turn
        if turn == before:
            raise ToolFailed(
                f"the command was not run: for {patience:g} s another one has been running in this workspace{turn[1]}, "
                "and they run one after the other. Try it again when that one has ended"
            )


async def _soon(folder: int, seconds: float) -> bool:
    """Whether a folder could be locked within this time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not _locked(folder):  # noqa: ASYNC110 - another process may hold it
                await asyncio.sleep(_LOOK)
            return True
    return False


@asynccontextmanager
async def _alone(root: Path, longest: float) -> AsyncIterator[None]:
    """Run one command at a time in a workspace: another could move a folder away before its contents are mounted.

    A command waits as long as earlier ones run one after the other; the wait does not count towards its own time.

    Args:
        root: The workspace.
        longest: Seconds that one command may take.

    Raises:
        ToolFailed: The same command is still running long after it should have ended.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _HELD.add(folder)
    try:
        if not _locked(folder):
            await _next_turn(folder, root, longest + _TIDY)
        _turns[str(root)] += 1
        yield
    finally:
        with suppress(OSError):  # from a file system without locks
            fcntl.flock(folder, fcntl.LOCK_UN)  # closing alone would leave the lock with whoever inherited it
        _HELD.discard(folder)
        os.close(folder)


def _holder(folder: int) -> str:
    """Return which process has locked a folder, as far as the kernel reports it (proc_locks(5))."""
    status = os.fstat(folder)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5] == place and int(words[4]) > 0:
                return f" (of process {words[4]})"
    return ""


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


async def _gone(process: int) -> None:
    """Kill a process by its pidfd and wait until it has ended; with a namespace's first process, all others end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    loop.add_reader(process, ended.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDING):
                await ended.wait()
    finally:
        loop.remove_reader(process)


def _free(root: Path) -> int:
    status = os.statvfs(root)
    return status.f_bfree * status.f_frsize
