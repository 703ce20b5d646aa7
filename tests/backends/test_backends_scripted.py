"""The offline double."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from pointsman.backends import Endpoint, ScriptedBackend, ScriptedChatModel
from pointsman.backends.base import BackendError
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import FailureKind
from pydantic import BaseModel

_CALL = AIMessage("", tool_calls=[{"name": "look", "args": {"at": "it"}, "id": "1", "type": "tool_call"}])


def test_it_says_its_lines_in_order_and_remembers_what_it_was_asked() -> None:
    busy = BackendError(FailureKind.OVERLOADED, "busy")
    model = ScriptedChatModel(replies=["One.", _CALL, busy, lambda messages: f"You said {messages[-1].text}"])
    assert model.invoke("a").text == "One."
    assert model.invoke("b").tool_calls == _CALL.tool_calls
    with pytest.raises(BackendError, match="busy"):
        model.invoke("c")
    assert model.invoke("d").text == "You said d"
    assert [asked[-1].text for asked in model.asked] == ["a", "b", "c", "d"]
    with pytest.raises(ConfigError, match="holds 4"):
        model.invoke("e")


def test_one_function_can_decide_every_reply() -> None:
    def decide(messages: list[BaseMessage]) -> str:
        return messages[-1].text.upper()

    model = ScriptedChatModel(replies=decide)
    assert [model.invoke(word).text for word in ("a", "b", "c")] == ["A", "B", "C"]


async def test_a_stream_adds_up_to_the_whole_reply() -> None:
    backend = ScriptedBackend()
    model = ScriptedChatModel(replies=["Two words.", "Two words.", _CALL, "Two words."], model="m-1")
    whole = await model.ainvoke("hi")
    pieces = [chunk async for chunk in model.astream("hi")]
    assert [chunk.text for chunk in pieces if chunk.text] == ["Two ", "words."]
    merged: Any = sum(pieces[1:], pieces[0])
    assert (merged.text, merged.usage_metadata) == (whole.text, whole.usage_metadata)
    assert backend.read(merged) == backend.read(whole)
    assert backend.read(whole).model == "m-1"
    chunks = list(model.stream("hi"))
    called: Any = sum(chunks[1:], chunks[0])
    assert called.tool_calls == _CALL.tool_calls
    assert backend.read(called).failure is None


def test_blocks_stream_as_blocks() -> None:
    content: list[Any] = [{"type": "text", "text": "One."}, "Two."]
    chunks = list(ScriptedChatModel(replies=[AIMessage(content)]).stream("hi"))
    merged: Any = sum(chunks[1:], chunks[0])
    assert merged.text == "One.Two."


def test_usage_that_a_reply_brings_is_kept() -> None:
    told: Any = {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    model = ScriptedChatModel(replies=[AIMessage("Hi.", usage_metadata=told)])
    assert model.invoke("hi").usage_metadata == told


def test_the_same_reply_can_be_said_twice() -> None:
    line = AIMessage("Hi.")
    model = ScriptedChatModel(replies=[line, line])
    first = model.invoke("a")
    first.response_metadata["marked"] = True
    assert "marked" not in model.invoke("b").response_metadata
    assert line.response_metadata == {}


def test_a_stop_sequence_ends_the_text() -> None:
    assert ScriptedChatModel(replies=["one STOP two"]).invoke("hi", stop=["STOP"]).text == "one "


def test_tools_and_output_schemas_bind() -> None:
    class Ticket(BaseModel):
        """A ticket."""

        subject: str

    @tool
    def look(at: str) -> str:
        """Look."""
        return at

    call = AIMessage("", tool_calls=[{"name": "Ticket", "args": {"subject": "x"}, "id": "1", "type": "tool_call"}])
    model = ScriptedChatModel(replies=[_CALL, call])
    assert model.bind_tools([look], tool_choice="any").invoke([HumanMessage("hi")]).tool_calls
    assert model.with_structured_output(Ticket).invoke("hi") == Ticket(subject="x")


def test_a_script_can_come_from_the_settings() -> None:
    backend = ScriptedBackend()
    model = backend.chat_model(Endpoint(model="m-1", options={"replies": ["Hello."]}))
    assert model.invoke("hi").response_metadata["model_name"] == "m-1"
    for options in ({}, {"replies": "Hello."}, {"replies": 3}, {"replies": [], "more": 1}):
        with pytest.raises(ConfigError):
            backend.chat_model(Endpoint(model="m-1", options=options))


def test_scripted_failures_come_back_as_they_are() -> None:
    backend = ScriptedBackend()
    error = BackendError(FailureKind.QUOTA, "spent")
    assert backend.failure(error) is error
    slow = backend.failure(TimeoutError("slow"))
    assert slow is not None
    assert slow.kind is FailureKind.TIMEOUT
    assert backend.failure(KeyError("ours")) is None
