"""What is wrong with a reply, in words that a reader of its row understands."""

from __future__ import annotations

from collections.abc import Callable

import jsonschema.validators  # noqa: F401 - before its registry is another for a test
import pytest
import referencing
from langchain_core.messages import AIMessage
from pointsman.backends.replies.reply import Reply
from pointsman.configs.words import FailureKind
from pointsman.dispatch.calls.structured_output import judged
from pointsman.dispatch.calls.validation import fault
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.request import ModelRequest
from pydantic import BaseModel, field_validator


@pytest.mark.parametrize(
    ("name", "told"), [("", "a tool"), ("n" * 60, "n" * 60), ("n" * 61, "n" * 59 + "…"), ("two\nlines", "two lines")]
)
def test_a_tool_is_named_in_sixty_characters_of_one_line(
    dispatcher: Callable[..., Dispatcher], name: str, told: str
) -> None:
    home = dispatcher()
    card = home.cards["openai/gpt-5.4-mini"]
    call = {"name": name, "args": {}, "id": "1", "type": "tool_call"}

    def said(failure: FailureKind | None) -> tuple[FailureKind, str] | None:
        message = AIMessage("", tool_calls=[call])
        reply = Reply(card.name, "tool_calls", failure, None)
        return fault(ModelRequest(()), card, home.clients.backend(card), message, reply)

    assert said(FailureKind.INVALID_OUTPUT) == (FailureKind.INVALID_OUTPUT, f"the arguments of {told} are not JSON")
    named = told if name else ""
    assert said(None) == (FailureKind.INVALID_OUTPUT, f"called {named!r}, which is not bound")


@pytest.mark.parametrize(
    ("finish", "told"), [("odd", "finish reason 'odd'"), (None, "it ended without a finish reason")]
)
def test_a_reply_that_did_not_end_well_says_how_it_ended(
    dispatcher: Callable[..., Dispatcher], finish: str | None, told: str
) -> None:
    home = dispatcher()
    card = home.cards["openai/gpt-5.4-mini"]
    reply = Reply(card.name, finish, FailureKind.MALFORMED, None)
    said = fault(ModelRequest(()), card, home.clients.backend(card), AIMessage("It flows"), reply)
    assert said == (FailureKind.MALFORMED, told)


def test_the_schema_of_a_tool_is_compiled_once_for_all_replies(
    dispatcher: Callable[..., Dispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    registry = referencing.Registry
    # Each validator has one of its own.
    monkeypatch.setattr(referencing, "Registry", lambda: compiled.append("a schema") or registry())
    home = dispatcher()
    card = home.cards["openai/gpt-5.4-mini"]
    schema = {"type": "object", "properties": {"only_here": {"type": "integer"}}}
    ask = ModelRequest((), tools=({"type": "function", "function": {"name": "look", "parameters": schema}},))
    reply = Reply(card.name, "tool_calls", None, None)
    for value, wrong in ((1, False), ("one", True), (2, False)):
        message = AIMessage("", tool_calls=[{"name": "look", "args": {"only_here": value}, "id": "1"}])
        assert (fault(ask, card, home.clients.backend(card), message, reply) is not None) is wrong
    assert compiled == ["a schema"]


def test_what_is_wrong_with_a_typed_answer_is_told_in_the_words_of_its_class_without_the_value() -> None:
    class Bill(BaseModel):
        total: int

        @field_validator("total")
        @classmethod
        def positive(cls, total: int) -> int:
            if total < 0:
                raise ValueError(f"{total} is negative")
            return total

    assert judged(Bill, {"total": 7}) is None
    assert judged(Bill, {}) == "total: field required"
    assert judged(Bill, {"total": "secret"}) == (
        "total: input should be a valid integer, unable to parse string as an integer"
    )
    assert judged(Bill, {"total": -7}) == "total: a validator refuses it"
