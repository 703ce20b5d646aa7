"""Commands, confined and not: what they return, and that nothing they start outlives them."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from pointsman.agents.approval.answers import digest
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect
from pointsman.tools import Sandbox, SandboxState, ToolRegistry, Workspace, call_facts, effect_of, probe, shell_tool

MISSING = SandboxState(False, "a test has none")
UNCONFINED = Sandbox(mode="ask", timeout=600)


def _unconfined(folder: Path, **more: Any) -> BaseTool:
    return shell_tool(Workspace(folder), UNCONFINED, state=MISSING, **more)


def _made(kind: str, folder: Path, **more: Any) -> BaseTool:
    if kind == "unconfined":
        return _unconfined(folder, **more)
    if not probe().working:
        pytest.skip(str(probe()))
    return shell_tool(Workspace(folder), Sandbox(timeout=600), **more)


@pytest.fixture(params=["confined", "unconfined"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shell(tmp_path: Path, kind: str) -> BaseTool:
    return _made(kind, tmp_path)


async def _run(shell: BaseTool, command: str) -> ToolMessage:
    message = await shell.ainvoke({"type": "tool_call", "id": "1", "name": shell.name, "args": {"command": command}})
    assert isinstance(message, ToolMessage)
    return message


async def _out_of_time(command: asyncio.Task[ToolMessage], leap: Any) -> ToolMessage:
    # Should its clock not have begun to run, so soon after its first words, the next leap ends it.
    await asyncio.sleep(0.05)
    while not command.done():
        leap.forward(601)
        await asyncio.wait({command}, timeout=20)
    return await command


def _commands() -> Iterator[tuple[int, bytes]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_bytes()


def _alive(mark: str) -> list[int]:
    """Processes whose command line holds a mark; a zombie has none any more."""
    return [process for process, command in _commands() if mark.encode() in command]


def _sleeping(mark: str) -> int:
    return sum(command == f"sleep\0{mark}\0".encode() for _, command in _commands())


@pytest.fixture
def mark() -> str:
    """A number of seconds that no other sleep on the machine has."""
    return f"1000.{secrets.randbelow(10**9):09}"


async def test_a_command_reports_exit_code_and_both_streams(shell: BaseTool, tmp_path: Path) -> None:
    message = await _run(shell, "echo out; echo err >&2; pwd; exit 3")
    assert message.content == f"exit code: 3\nstdout:\nout\n{tmp_path}\nstderr:\nerr"
    assert message.status == "success"
    assert (await _run(shell, "true")).content == "exit code: 0"
    assert (await _run(shell, "kill -TERM $$")).content == "exit code: 143"
    assert (await _run(shell, "no_such_command_here 2>/dev/null")).content == "exit code: 127"


def test_it_also_runs_without_an_event_loop(shell: BaseTool) -> None:
    assert shell.invoke({"command": "echo $((6 * 7))"}) == "exit code: 0\nstdout:\n42"


async def test_standard_input_is_empty_and_pipelines_end_as_in_any_shell(shell: BaseTool) -> None:
    assert (await _run(shell, "cat")).content == "exit code: 0"
    assert (await _run(shell, "yes | head -n 1")).content == "exit code: 0\nstdout:\ny"


def test_without_a_sandbox_every_command_is_destructive(tmp_path: Path) -> None:
    shell = _unconfined(tmp_path)
    assert effect_of(shell) is Effect.DESTRUCTIVE
    facts = call_facts(shell, {"command": "ls"})
    assert (facts.effect, facts.target, facts.reversible) == (Effect.DESTRUCTIVE, "ls", False)


async def test_the_parents_variables_are_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = _unconfined(tmp_path)
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret")
    naive = subprocess.run(["bash", "-c", "env"], capture_output=True, text=True, check=True).stdout
    assert "sk-very-secret" in naive
    message = await _run(shell, "env; tr '\\0' '\\n' < /proc/$PPID/environ")
    assert "sk-very-secret" not in message.content
    names = set(re.findall(r"^(\w+)=", str(message.content), re.MULTILINE))
    assert names <= {"PATH", "LANG", "HOME", "TERM", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
    assert f"HOME={tmp_path}" in message.content


@pytest.mark.parametrize(
    "escape",
    [
        "sleep {0}",
        "sleep {0} & wait",
        "setsid sleep {0} & sleep {0}",
        "(setsid nohup sleep {0} >/dev/null 2>&1 &) ; sleep {0}",
        "env -i setsid bash -c '(setsid sleep {0} &) ; sleep {0}' & sleep {0}",
        "trap '' TERM INT HUP; set -m; sleep {0} & disown; sleep {0}",
    ],
)
async def test_a_timeout_ends_the_whole_tree(shell: BaseTool, leap: Any, mark: str, escape: str) -> None:
    command = asyncio.create_task(_run(shell, f"echo begun; {escape.format(mark)}"))
    while _sleeping(mark) < escape.count("{0}") and not command.done():
        await asyncio.sleep(0.01)
    message = await _out_of_time(command, leap)
    assert message.status == "error"
    assert str(message.content).startswith("timed out; it and all it started were ended\nstdout:\nbegun")
    assert _alive(mark) == []


async def test_killing_the_group_alone_would_miss_a_child_with_its_own_session(mark: str) -> None:
    command = f"setsid sleep {mark} & echo $!; wait"
    with subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            async with asyncio.timeout(240):
                while os.getsid(child) != child:
                    await asyncio.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert _alive(mark) == [child]
        finally:
            os.kill(child, signal.SIGKILL)


async def test_what_a_command_leaves_behind_ends_with_it(shell: BaseTool, mark: str) -> None:
    message = await _run(shell, f"(setsid sleep {mark} &) ; sleep {mark} & echo done")
    assert message.content == "exit code: 0\nstdout:\ndone"
    assert _alive(mark) == []


async def test_cancelling_ends_the_whole_tree(shell: BaseTool, tmp_path: Path, mark: str) -> None:
    task = asyncio.create_task(_run(shell, f"(setsid sleep {mark} &) ; touch begun; sleep {mark}"))
    while not (tmp_path / "begun").exists() and not task.done():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _alive(mark) == []


async def test_cancelling_a_command_that_is_just_being_started_leaves_nothing(tmp_path: Path, mark: str) -> None:
    shell = _made("confined", tmp_path)
    for turns in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        task = asyncio.create_task(_run(shell, f"sleep {mark}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert _alive(mark) == [], turns


async def test_the_tree_ends_when_pointsman_itself_is_killed(
    programs: Any, kind: str, tmp_path: Path, mark: str
) -> None:
    _made(kind, tmp_path)
    program = (
        "import sys; from pointsman.tools import Sandbox, SandboxState, Workspace, shell_tool;"
        "state = SandboxState(False, '') if sys.argv[3] == 'unconfined' else None;"
        "sandbox = Sandbox(mode='ask' if state else 'required');"
        "shell_tool(Workspace(sys.argv[1]), sandbox, state=state).invoke({'command': sys.argv[2]})"
    )
    command = f"(setsid sleep {mark} &); touch begun; sleep {mark}"
    with programs.start(["-c", program, tmp_path, command, kind]) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            await asyncio.sleep(0.02)
        process.kill()
    async with asyncio.timeout(240):
        while _alive(mark):
            await asyncio.sleep(0.02)


async def test_a_command_that_kills_its_supervisor_is_found_out(tmp_path: Path) -> None:
    message = await _run(_unconfined(tmp_path), "kill -KILL $PPID; while :; do :; done")
    assert message.content == "exit code: 137\nit ended its own supervisor: something it started may still run"


async def test_output_keeps_its_beginning_and_end_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    shell = _made(kind, tmp_path, output_limit=1_000)
    message = await _run(shell, "echo first; seq 1 300000; echo last; echo oops >&2")
    text = str(message.content)
    assert len(text) < 1_200
    assert text.startswith("exit code: 0\nstdout:\nfirst\n1\n2\n")
    assert text.endswith("\n300000\nlast\nstderr:\noops")
    left_out = re.search(r"\[([\d,]+) bytes left out\]", text)
    assert left_out is not None
    total = len("first\nlast\n") + sum(len(f"{number}\n") for number in range(1, 300_001))
    assert int(left_out[1].replace(",", "")) == total - 1_000


async def test_a_command_that_writes_too_much_is_ended(shell: BaseTool) -> None:
    message = await _run(shell, "yes")
    assert str(message.content).startswith(
        "exit code: 137\nended: it wrote more than 67,108,864 bytes (sandbox.output in risk.yaml)\nstdout:\ny\ny\n"
    )
    assert len(message.content) < 65_000


async def test_bytes_that_are_no_utf8_do_not_stop_a_report(shell: BaseTool) -> None:
    assert (await _run(shell, r"printf 'caf\xe9\n'")).content == "exit code: 0\nstdout:\ncaf\ufffd"


@pytest.mark.parametrize("command", ["echo \0", "x" * 300_000])
async def test_a_command_that_cannot_be_started_is_told_to_the_model(shell: BaseTool, command: str) -> None:
    message = await _run(shell, command)
    assert message.status == "error"
    assert len(message.content) < 200


def test_without_bash_the_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="needs bash"):
        ToolRegistry(Workspace(tmp_path), plugins=False).get("run_shell")


def test_without_a_sandbox_nothing_runs_unless_a_person_is_asked_about_each(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run_shell needs a sandbox.*a test has none.*--sandbox ask"):
        shell_tool(Workspace(tmp_path), state=MISSING)
    unconfined = _unconfined(tmp_path)
    assert unconfined.name == "run_shell_UNSANDBOXED"
    assert "WITHOUT a sandbox" in unconfined.description
    # What was allowed of one does not hold for the other: an act is named by its tool.
    assert digest(unconfined.name, {"command": "ls"}) != digest("run_shell", {"command": "ls"})
