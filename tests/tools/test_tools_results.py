"""A model reads JSON of what a tool returns, never the notation of Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from pointsman import tool
from pydantic import BaseModel, SecretStr


class Book(BaseModel):
    title: str
    price: Decimal = Decimal("9.90")


class Account(BaseModel):
    name: str
    password: SecretStr


@dataclass
class Page:
    number: int
    on: date


RESULTS = {
    "model": (Book(title="Käse"), {"title": "Käse", "price": "9.90"}),
    "models": ([Book(title="a"), Book(title="b")], [{"title": "a", "price": "9.90"}, {"title": "b", "price": "9.90"}]),
    "dataclass": (Page(3, date(2026, 1, 2)), {"number": 3, "on": "2026-01-02"}),
    "mixed": ({"page": Page(1, date(2026, 1, 2)), "raw": b"\xff"}, {"page": {"number": 1, "on": "2026-01-02"},
              "raw": "(1 bytes of binary data, not shown)"}),
    "secret": (Account(name="a", password=SecretStr("hunter2")), {"name": "a", "password": "**********"}),
    "plain": ({"a": [1, "ü"]}, {"a": [1, "ü"]}),
}  # fmt: skip


async def _told(result: Any, form: str) -> str:
    if form == "async":

        @tool(effect="read")
        async def give() -> Any:
            """Give it."""
            return result
    else:

        @tool(effect="read")
        def give() -> Any:
            """Give it."""
            return result

    assert await give.ainvoke({}) is result
    message = await give.ainvoke({"type": "tool_call", "id": "1", "name": "give", "args": {}})
    assert isinstance(message, ToolMessage)
    return str(message.content)


@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize("name", RESULTS)
async def test_a_model_reads_json_and_code_gets_the_object(name: str, form: str) -> None:
    result, expected = RESULTS[name]
    assert json.loads(await _told(result, form)) == expected


@pytest.mark.parametrize("data", [b"\x89PNG" * 500, bytearray(2000)])
async def test_of_bytes_a_model_reads_how_many_there_are(data: Any) -> None:
    assert await _told(data, "sync") == "(2,000 bytes of binary data, not shown)"


async def test_what_is_a_text_by_itself_is_told_without_quotes() -> None:
    assert await _told(date(2026, 1, 2), "sync") == "2026-01-02"


async def test_what_is_a_message_already_stays_one() -> None:
    message = ToolMessage("said", tool_call_id="1")

    @tool(effect="read")
    def give() -> Any:
        """Give it."""
        return message

    assert await give.ainvoke({"type": "tool_call", "id": "1", "name": "give", "args": {}}) is message


class Mute:
    """Has no text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def _nested() -> list[Any]:
    result: list[Any] = []
    for _ in range(100_000):
        result = [result]
    return result


@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize("result", [Mute(), {"a": [Mute()]}, _nested()], ids=["mute", "inside", "nested"])
async def test_what_cannot_be_written_fails_the_call_and_not_the_run(result: Any, form: str) -> None:
    assert "did its work, but what it returned cannot be written as text" in await _told(result, form)
