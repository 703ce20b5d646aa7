"""A server that hangs, dies, floods or lies harms nothing but its own calls."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import time
from typing import Any

import pytest
from pointsman.configs.agents import McpServer
from pointsman.configs.errors import ConfigError
from pointsman.tools import McpServers, ToolRegistry, effect_of
from pydantic import SecretStr

# The fixtures' classes cannot be named here.
Old = Any
Leap = Any


def gone(pid: int) -> bool:
    """Whether a process ends within a bound far above what it takes."""
    for _ in range(2_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_one_server_answers_whatever_it_is_asked_and_ends_with_the_registry(old: Old) -> None:
    with ToolRegistry(plugins=False, mcp=old()) as registry:
        echo = registry.get("mcp__old__echo")
        assert old.noted("started") == 1
        assert echo.invoke({"text": "hi"}) == "hi"
        assert echo.invoke({"text": "noise"}) == "after the noise"
        # A half of a pair of surrogates is no character; a backslash before such an escape makes it words.
        assert echo.invoke({"text": "bytes"}) == "\ufffd\ufffd! \ufffd \ufffd \U0001f600 \\ud83d"
        long = echo.invoke({"text": "long"})
        assert len(long) < 401_000
        assert "characters left out" in long
        assert echo.invoke({"text": "fail"}) == "no such order <U+001B>[31m<U+202E>"
        assert asyncio.run(echo.ainvoke({"text": "again"})) == "again"
        (pid,) = old.pids()
    assert gone(pid)
    assert (old.noted("started"), old.noted("call"), old.noted("ended by its input")) == (1, 6, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("die", "it ended during the call, so the call may or may not have been carried out"),
        ("large", "it sent a message of more than 16,777,216 bytes"),
        ("flood", "it sent more than 10,000 messages without an answer"),
    ],
)
def test_a_server_that_goes_during_a_call_is_started_again_for_the_next_and_the_call_is_not_repeated(
    does: str, said: str, old: Old
) -> None:
    echo = old().get("mcp__old__echo")
    assert said in echo.invoke({"text": does})
    assert echo.invoke({"text": "next"}) == "next"
    assert (old.noted(f"call echo {does}"), old.noted("call echo next"), old.noted("started")) == (1, 1, 2)
    assert gone(old.pids()[0])


def test_an_answer_is_not_judged_by_a_schema_that_would_take_for_ever(old: Old) -> None:
    """Of the server's own: its pattern takes twice as long for each letter more, minutes for this answer."""
    slow = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    text = {"type": "object", "properties": {"text": {"type": "string"}}}
    old.lists({"name": "echo", "inputSchema": text, "outputSchema": slow})
    echo = old("listed").get("mcp__old__echo")
    begun = time.process_time()
    assert echo.invoke({"text": "structured"}) == "structured"
    assert time.process_time() - begun < 2


def test_a_call_that_takes_too_long_ends_and_the_server_goes_on(old: Old, leap: Leap) -> None:
    echo = old(timeout=5_000).get("mcp__old__echo")
    with leap.when(lambda: old.noted("call echo hang"), 5_001):
        assert "it took longer than 5000 s, so it may have done its work or not" in echo.invoke({"text": "hang"})
    assert echo.invoke({"text": "next"}) == "next"
    assert (old.noted("call echo hang"), old.noted("started")) == (1, 1)


@pytest.mark.parametrize(("sent", "shown"), [("text", "this is no JSON"), ("cut", '"result": {'), ("mark", "{")])
def test_an_answer_that_cannot_be_read_fails_the_call_long_before_its_limit_and_the_server_goes_on(
    sent: str, shown: str, old: Old, leap: Leap
) -> None:
    """What is no JSON may be printed beside the answer, so that it is waited for, a little."""
    echo = old(timeout=5_000).get("mcp__old__echo")
    with leap.when(lambda: sent == "text" and old.noted("sent text"), 6):
        said = echo.invoke({"text": sent})
    assert said.startswith("the MCP server 'old': it answered what is no answer of the protocol: '")
    assert shown in said
    assert said.endswith("the call may or may not have been carried out")
    assert echo.invoke({"text": "next"}) == "next"
    assert (old.noted(f"call echo {sent}"), old.noted("started")) == (1, 1)


async def test_an_answer_that_cannot_be_read_fails_the_call_whose_id_it_has_alone(old: Old) -> None:
    servers = old()
    await servers.connect()
    echo = servers.get("mcp__old__echo")
    other = asyncio.ensure_future(echo.ainvoke({"text": "hang"}))
    while not old.noted("call echo hang"):
        await asyncio.sleep(0.01)
    assert "no answer of the protocol" in await echo.ainvoke({"text": "cut"})
    assert not other.done()
    assert "no answer of the protocol" in await echo.ainvoke({"text": "mark"})
    assert "no answer of the protocol" in await other


def test_a_server_that_prints_beside_its_answers_may_take_its_time(old: Old, leap: Leap) -> None:
    echo = old(timeout=5_000).get("mcp__old__echo")
    assert echo.invoke({"text": "noise"}) == "after the noise"
    with leap.when(lambda: old.noted("sent text"), 5_001):
        assert "it took longer than 5000 s" in echo.invoke({"text": "text"})


async def test_a_cancelled_caller_does_not_wait_for_the_server(old: Old) -> None:
    servers = old()
    await servers.connect()
    call = asyncio.ensure_future(servers.get("mcp__old__echo").ainvoke({"text": "hang"}))
    while not old.noted("call echo hang"):
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await servers.get("mcp__old__echo").ainvoke({"text": "next"}) == "next"


async def test_calls_at_once_share_one_server_and_each_has_its_own_answer(old: Old) -> None:
    servers = old()
    await asyncio.gather(servers.connect(), servers.connect(["mcp__old__echo"]))
    echo = servers.get("mcp__old__echo")
    tools = [echo, copy.deepcopy(echo), echo.model_copy(deep=True)] * 5
    said = await asyncio.gather(*(tool.ainvoke({"text": str(n)}) for n, tool in enumerate(tools)))
    assert said == [str(n) for n in range(15)]
    assert (old.noted("started"), old.noted("call")) == (1, 15)


@pytest.mark.parametrize(
    "name", ["config", "run_manager", "callbacks", "self", "tool_input", "input", "args", "kwargs"]
)
def test_an_argument_may_have_any_name(name: str, old: Old) -> None:
    old.lists({"name": "all", "inputSchema": {"type": "object", "properties": {name: {"type": "string"}}}})
    tool = old("listed").get("mcp__old__all")
    assert tool.invoke({name: "given"}) == asyncio.run(tool.ainvoke({name: "given"}))
    assert old.noted(f'all {{"{name}": "given"}}') == 2


async def test_the_event_loop_goes_on_while_a_server_starts(old: Old) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    heart = asyncio.ensure_future(beat())
    await old().connect(["mcp__old__echo"])
    heart.cancel()
    assert beats > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no tools", "it did not list its tools within 5000 s"),
        ("many tools", "it lists more than 1,000 tools"),
        ("bad schema", "its answer is not of the protocol: .*tools.3.inputSchema"),
        ("lies", "it answered what is no answer of the protocol: 'I am ready'$"),
        ("cut lies", 'it answered what is no answer of the protocol: \'{"jsonrpc": "2.0", "result"\'$'),
        ("broken", "it ended before it had listed its tools; it said: cannot read its settings"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_clear_line_and_leaves_no_process(
    how: str, said: str, old: Old, leap: Leap
) -> None:
    servers = old(how, start_timeout=5_000)
    begun = "sent a lie" if "lies" in how else "asked for its tools"
    late = leap.when(lambda: old.noted(begun), {"no tools": 5_001, "lies": 20}.get(how, 0))
    with late, pytest.raises(ConfigError, match=f"the MCP server 'old' cannot be used: {said}"):
        servers.get("mcp__old__echo")
    assert all(gone(pid) for pid in old.pids())


def test_a_program_that_is_not_there_is_named() -> None:
    servers = McpServers({"x": McpServer(command="no-such-program-4711")})
    with pytest.raises(ConfigError, match="'x' cannot be used: there is no program 'no-such-program-4711'"):
        servers.get("mcp__x__y")
    servers.close()


def test_a_server_that_ignores_the_end_of_its_input_is_killed(old: Old, leap: Leap) -> None:
    servers = old("stubborn")
    servers.get("mcp__old__echo")
    with leap.when(lambda: old.noted("ended by its input"), 60):
        servers.close()
    assert all(gone(pid) for pid in old.pids())


def test_a_server_that_asks_for_a_completion_or_for_files_is_told_no(old: Old) -> None:
    said = old().get("mcp__old__echo").invoke({"text": "ask"})
    assert [json.loads(answer)["error"]["code"] < 0 for answer in said.splitlines()] == [True] * 3


def test_a_server_gets_the_variables_it_is_given_and_no_others(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-servers")
    entry = old(env={"LEVEL": "debug"}, secrets={"TOKEN": "CRM_TOKEN"})
    with pytest.raises(ConfigError, match="needs the environment variable CRM_TOKEN: set it"):
        entry.get("mcp__old__echo")
    (server,) = entry
    servers = McpServers({"old": server.entry}, secrets={"CRM_TOKEN": SecretStr("s3cr3t")})
    seen = json.loads(servers.get("mcp__old__echo").invoke({"text": "environment"}))
    servers.close()
    assert (seen["LEVEL"], seen["TOKEN"]) == ("debug", "s3cr3t")
    assert set(seen) <= {"LEVEL", "TOKEN", "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mcp__olt__echo", "there is no MCP server 'olt' for the tool 'mcp__olt__echo'; did you mean 'old'?"),
        ("mcp__old__ecko", "has no tool 'mcp__old__ecko'; did you mean 'mcp__old__echo'?"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(name: str, said: str, old: Old) -> None:
    with pytest.raises(ConfigError) as refused:
        ToolRegistry(plugins=False, mcp=old()).get(name)
    assert said in str(refused.value)


def test_an_effect_for_a_tool_that_the_server_lacks_is_refused(old: Old) -> None:
    with pytest.raises(ConfigError, match=r"has no tool 'ecko' to declare an effect of; did you mean 'echo'\?"):
        old(effects={"ecko": "read"}).get("mcp__old__echo")


def test_what_a_server_says_of_its_tools_raises_their_effect_and_never_lowers_it(old: Old) -> None:
    servers = old()
    effects = [effect_of(servers.get(f"mcp__old__{name}")) for name in ("echo", "note", "wipe")]
    assert effects == ["read", "write", "destructive"]
    assert effect_of(old(effects={}).get("mcp__old__echo")) == "destructive"


def test_a_forked_process_starts_servers_of_its_own(old: Old) -> None:
    echo = old().get("mcp__old__echo")
    assert echo.invoke({"text": "parent"}) == "parent"
    if (child := os.fork()) == 0:
        os._exit(0 if echo.invoke({"text": "child"}) == "child" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert echo.invoke({"text": "still"}) == "still"
    assert old.noted("started") == 2


@pytest.mark.slow
def test_a_program_that_ends_or_is_killed_leaves_no_server(old: Old, programs: Any) -> None:
    code = (
        "import os, signal, sys; from pointsman.tools import McpServer, McpServers;"
        "servers = McpServers({'old': McpServer(command=sys.executable, args=sys.argv[2:])});"
        "servers.get('mcp__old__echo'); os.kill(os.getpid(), signal.SIGKILL) if sys.argv[1] == 'killed' else None"
    )
    (server,) = old("")
    for how in ("ends", "killed"):
        programs.run(["-c", code, how, *server.entry.args])
    assert len(old.pids()) == 2
    assert all(gone(pid) for pid in old.pids())
