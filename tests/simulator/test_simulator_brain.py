"""The default brain and its schema sampling."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.simulator import Message, Request, Tool, ToolCall
from pointsman.simulator.brain import force_a_call, think
from pointsman.simulator.sample import sample
from pydantic import BaseModel, Field

_NAMES = st.sampled_from(["a", "b", "c", "city", "count", "note", "items"])
_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["Set a=3 and city is Oslo, 'quoted' 7 8.5 -2", "Fly from New York to Paris on 2026-05-01."]),
)


def _bounds(low: int, width: int, integer: bool) -> dict[str, Any]:
    return {"type": "integer" if integer else "number", "minimum": low, "maximum": low + width}


_LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({}),
    st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
              st.integers(0, 30), st.integers(0, 9)),
    st.builds(_bounds, st.integers(-50, 50), st.integers(0, 20), st.booleans()),
    st.builds(lambda low, step: {"type": "integer", "exclusiveMinimum": low, "multipleOf": step},
              st.integers(-30, 30), st.integers(1, 9)),
    st.builds(lambda values: {"enum": values}, st.lists(st.one_of(st.integers(), st.text()), min_size=1)),
    st.builds(lambda value: {"const": value}, st.one_of(st.integers(), st.text(), st.none())),
    st.sampled_from([{"type": ["integer", "null"]}, {"type": "string", "format": "date"},
                     {"type": "string", "format": "email"}, {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}]),
)  # fmt: skip


def _nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def build(properties: dict[str, Any], required: int) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties)[:required],
            "additionalProperties": False,
        }

    return st.one_of(
        st.builds(build, st.dictionaries(_NAMES, inner, max_size=4), st.integers(0, 4)),
        st.builds(lambda sub, low, more: {"type": "array", "items": sub, "minItems": low, "maxItems": low + more},
                  inner, st.integers(0, 3), st.integers(0, 3)),
        st.builds(lambda subs: {"anyOf": subs}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda sub: {"allOf": [sub]}, inner),
        st.builds(lambda subs: {"type": "array", "prefixItems": subs, "items": False},
                  st.lists(inner, min_size=1, max_size=3)),
    )  # fmt: skip


_SCHEMAS = st.recursive(_LEAVES, _nested, max_leaves=8)


@given(schema=_SCHEMAS, text=_TEXTS)
def test_a_sample_always_satisfies_its_schema(schema: dict[str, Any], text: str) -> None:
    jsonschema.validate(sample(schema, text), schema, format_checker=jsonschema.FormatChecker())


@given(schema=_SCHEMAS, text=_TEXTS)
def test_the_same_request_always_gets_the_same_sample(schema: dict[str, Any], text: str) -> None:
    assert sample(schema, text) == sample(schema, text)


class _Colour(Enum):
    RED = "red"
    BLUE = "blue"


class _Node(BaseModel):
    name: str
    parent: _Node | None
    children: list[_Node]


class _Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class _Dog(BaseModel):
    kind: Literal["dog"]
    tricks: set[str] = Field(min_length=2)


class _Order(BaseModel):
    id: int = Field(gt=100, multiple_of=7)
    colour: _Colour
    pets: list[Annotated[_Cat | _Dog, Field(discriminator="kind")]] = Field(min_length=2)
    tree: _Node
    prices: dict[str, float]
    pair: tuple[int, str]
    note: str | None
    when: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


def test_a_sample_of_a_deep_pydantic_schema_with_references_and_unions_validates() -> None:
    value = sample(_Order.model_json_schema(), "Order a blue one with 14 and 203.")
    order = _Order.model_validate(value)
    assert order.colour is _Colour.BLUE
    assert order.id == 203


def test_googles_upper_case_types_are_understood() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"n": {"type": "INTEGER"}, "s": {"type": "STRING"}},
        "required": ["n", "s"],
    }
    assert sample(schema, "Take 4 of 'salt'.") == {"n": 4, "s": "salt"}


def _tool(name: str, **properties: str) -> Tool:
    return Tool(
        name,
        schema={
            "type": "object",
            "properties": {key: {"type": kind} for key, kind in properties.items()},
            "required": list(properties),
        },
    )


def _ask(text: str, *tools: Tool, **more: Any) -> Request:
    return Request("openai", "chat", "m", (Message("user", text),), tools, **more)


_WEATHER = _tool("get_weather", location="string")
_ADD = _tool("add", a="integer", b="integer")


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("What is the weather in San Francisco, CA?", _WEATHER, {"location": "San Francisco, CA"}),
        ("Please add 3 and 4.", _ADD, {"a": 3, "b": 4}),
        ("add with b=3, a=4", _ADD, {"a": 4, "b": 3}),
        ("Call get_weather for 'ul. Długa'", _WEATHER, {"location": "ul. Długa"}),
    ],
)
def test_a_tool_the_user_clearly_asks_for_is_called_with_the_users_values(
    text: str, tool: Tool, arguments: dict[str, Any]
) -> None:
    assert think(_ask(text, tool)).tool_calls == (ToolCall(tool.name, arguments),)


def test_a_tool_nobody_asked_for_is_left_alone() -> None:
    assert think(_ask("Hello there!", _WEATHER, _ADD)).text == "You said: Hello there!"
    assert think(_ask("What is the weather in Oslo?", _WEATHER, tool_choice="none")).tool_calls == ()


def test_two_tools_named_in_one_request_are_called_in_parallel_unless_forbidden() -> None:
    text = "Use get_weather for Oslo and add 1 and 2"
    calls = think(_ask(text, _WEATHER, _tool("add_up", a="integer"), _ADD)).tool_calls
    assert [call.name for call in calls] == ["get_weather", "add"]
    assert len(think(_ask(text, _WEATHER, _ADD, parallel=False)).tool_calls) == 1


def test_a_forced_choice_calls_even_when_nothing_fits() -> None:
    assert think(_ask("Hi", _WEATHER, _ADD, tool_choice="any")).tool_calls[0].name == "get_weather"
    assert think(_ask("Hi", _WEATHER, _ADD, tool_choice="named", tool_name="add")).tool_calls[0].name == "add"
    assert force_a_call(_ask("Hi", _ADD)).tool_calls[0].arguments == {"a": 0, "b": 0}


def test_a_forced_choice_after_a_result_moves_on_to_a_tool_not_called_yet() -> None:
    request = _ask("What is the weather in Oslo?", _WEATHER, _tool("final_answer", text="string"), tool_choice="any")
    called = (
        *request.messages,
        Message("assistant", "", (ToolCall("get_weather", {"location": "Oslo"}, "c1"),)),
        Message("tool", "Rain.", tool_call_id="c1"),
    )
    again = Request("openai", "chat", "m", called, request.tools, "any")
    assert think(again).tool_calls[0].name == "final_answer"


def test_a_tools_result_is_reported() -> None:
    request = Request(
        "openai", "chat", "m",
        (Message("user", "weather in Oslo?"), Message("assistant", "", (ToolCall("get_weather", {}, "c1"),)),
         Message("tool", "Rain, 7 degrees.", tool_call_id="c1")),
        (_WEATHER,),
    )  # fmt: skip
    assert think(request).text == "The tool returned: Rain, 7 degrees."


def test_attachments_are_mentioned() -> None:
    messages = (Message("user", "What is this?", images=2, documents=1),)
    assert think(Request("google", "chat", "m", messages)).text == "You said: What is this? (with 2 images, 1 document)"
    assert think(Request("google", "chat", "m", (Message("user", "", images=1),))).text == (
        "I received your message (with 1 image)."
    )


def test_json_mode_uses_the_keys_the_user_names() -> None:
    answer = think(_ask("A joke as JSON with 'setup' and 'punchline' keys", json_mode=True))
    assert isinstance(answer.json, dict)
    assert set(answer.json) == {"setup", "punchline"}


def test_a_made_up_judgement_finds_nothing_wrong_unless_it_is_told_to() -> None:
    verdict = {"type": "object", "properties": {"ok": {"type": "boolean"}, "urgent": {"type": "boolean"}}}

    assert sample({**verdict, "required": ["ok", "urgent"]}, "hello") == {"ok": True, "urgent": False}
    assert sample({**verdict, "required": ["ok"]}, "ok: false")["ok"] is False
