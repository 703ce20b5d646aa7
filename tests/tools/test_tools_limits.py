"""A tool that hangs or floods is ended or cut, and secrets reach its function alone."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from pointsman import ConfigError, tool
from pointsman.configs.redact import redact
from pointsman.tools import call_facts, declare
from pointsman.tools.fitting import LONGEST, fitted

SECRET = "pa55-w0rd-of-the-crm"


def _told(made: Any, **arguments: Any) -> ToolMessage:
    """What a model hears of a call."""
    call = {"name": made.name, "args": arguments, "id": "1", "type": "tool_call"}
    heard: ToolMessage = made.invoke(call)
    assert asyncio.run(made.ainvoke(call)).content == heard.content
    return heard


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_call_that_hangs_ends_when_its_time_is_up_and_the_model_hears_why(kind: str) -> None:
    never = threading.Event()

    def hang() -> str:
        """Hang."""
        never.wait()
        return "never heard"

    async def hang_async() -> str:
        """Hang."""
        await asyncio.Event().wait()
        return "never heard"

    made = tool(hang if kind == "sync" else hang_async, name="hang", effect="read", timeout=0.05)
    heard = _told(made)
    never.set()
    assert heard.content == ("the tool 'hang' took longer than 0.05 s, so it may have done some of its work or all")
    assert heard.status == "error"


@pytest.mark.parametrize("answers", [False, True])
def test_a_call_that_swallows_its_cancellation_is_no_longer_waited_for(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr("pointsman.tools.limits._TIDY_SECONDS", 0.05)
    swallowed: list[str] = []

    @tool(effect="read", timeout=0.05)
    async def stay() -> str:
        """Stay."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append("once")
            if not answers:
                await asyncio.Event().wait()
        return "done all the same"

    call = {"name": "stay", "args": {}, "id": "1", "type": "tool_call"}
    heard = asyncio.run(stay.ainvoke(call))
    assert (heard.status, swallowed) == ("error", ["once"])
    assert heard.content == "the tool 'stay' took longer than 0.05 s, so it may have done some of its work or all"


def test_a_timeout_of_the_tools_own_stays_what_it_is() -> None:
    @tool(effect="read", timeout=60)
    def ask() -> str:
        """Ask."""
        raise TimeoutError("the other side is slow")

    for call in (lambda: ask.invoke({}), lambda: asyncio.run(ask.ainvoke({}))):
        with pytest.raises(TimeoutError, match="the other side is slow"):
            call()


@pytest.mark.parametrize("wrong", [0, -1, True, "5"])
def test_a_timeout_is_a_number_of_seconds(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"timeout is .*: give a number of seconds above 0"):
        tool(lambda: "", name="t", description="d", effect="read", timeout=wrong)


LARGE = "x" * 100_000_000


@pytest.mark.parametrize(
    "result", [LARGE, {"a": LARGE}, [LARGE], [{"type": "text", "text": LARGE}], b"\xff" * 100_000_000]
)
def test_of_a_hundred_megabytes_a_model_reads_the_beginning_and_the_end_and_code_gets_all(result: Any) -> None:
    made = tool(lambda: result, name="t", description="d", effect="read")
    heard = made.invoke({"name": "t", "args": {}, "id": "1", "type": "tool_call"})
    assert len(str(heard.content)) < LONGEST + 200
    assert "left out" in str(heard.content) or "(100,000,000 bytes of binary data, not shown)" in heard.content
    assert made.invoke({}) is result


@given(st.text(st.characters(exclude_categories=[])), st.integers(2, 40))
def test_what_a_model_reads_is_bounded_and_can_be_encoded(text: str, most: int) -> None:
    said = fitted(text, most)
    assert said.encode()[:0] == b""
    assert len(said) <= most + 40
    if len(text) <= most and not any("\ud800" <= sign <= "\udfff" for sign in text):
        assert said is text


def test_several_arguments_can_name_what_a_call_acts_on() -> None:
    @tool(effect="external", target_args=["to", "account"], idempotent=True)
    def pay(to: str, amount: int, account: str = "main") -> str:
        """Pay."""
        return to

    facts = call_facts(pay, {"to": "Ann", "amount": 3})
    assert (dict(facts.targets), facts.target) == ({"to": "Ann", "account": "main"}, "Ann")
    assert call_facts(declare(pay, effect="external", target_args="to"), {"to": "Bob"}).targets == {"to": "Bob"}
    with pytest.raises(ConfigError, match="no argument 'form' to name its target; it has to, amount, account"):
        declare(pay, effect="external", target_args=("to", "form"))
    with pytest.raises(ConfigError, match=r"has no argument 'target_arg'; did you mean 'target_args'\?"):
        declare(pay, effect="external", target_arg="to")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_secret_reaches_the_function_and_nobody_else(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(order: str, token: str) -> dict[str, str]:
        """Look it up."""
        seen.append(token)
        if order == "none":
            from pointsman.tools import ToolFailed

            raise ToolFailed(f"refused with {token}")
        return {"order": order, "sent": f"Bearer {token}"}

    async def look_async(order: str, token: str) -> dict[str, str]:
        """Look it up."""
        return look(order, token)

    made = tool(look if kind == "sync" else look_async, name="look", effect="read", secrets={"token": "CRM_LOGIN"})
    assert list(made.args) == ["order"]
    with pytest.raises(ConfigError, match="the tool 'look' needs the environment variable CRM_LOGIN: set it"):
        made.invoke({"order": "7"})
    monkeypatch.setenv("CRM_LOGIN", SECRET)
    assert _told(made, order="7").content == '{"order": "7", "sent": "Bearer [redacted]"}'
    assert _told(made, order="none").content == "refused with [redacted]"
    assert set(seen) == {SECRET}
    assert SECRET not in redact(f"its token is {SECRET}")
    assert SECRET not in f"{made!r} {made.model_dump_json()}"


def test_a_secret_must_be_an_argument_of_a_function_under_tool() -> None:
    with pytest.raises(ConfigError, match="has no argument 'token' to be handed a secret; it has order"):
        tool(lambda order: "", name="t", description="d", effect="read", secrets={"token": "X"})
    made = tool(lambda order: "", name="t", description="d", effect="read")
    with pytest.raises(ConfigError, match="only a function under @tool can be handed secrets"):
        declare(made, effect="read", secrets={"order": "X"})
