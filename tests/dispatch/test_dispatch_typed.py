"""Answers typed by pydantic, and tools of any name: mapped for the vendor and back, judged by the class itself."""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pointsman import Agent, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.conversation.naming import wire_name
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Answer, Request, Rule, Scenario, Simulator, ToolCall
from pydantic import BaseModel, Field, RootModel, field_validator

Make = Callable[..., Dispatcher]
T = TypeVar("T")

HAIKU, GEMINI, MINI = "anthropic/claude-haiku-4-5", "google/gemini-3.5-flash", "openai/gpt-5.4-mini"
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Inner(BaseModel):
    a: int
    when: datetime.date | None = None


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Box(BaseModel, Generic[T]):
    value: T


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Zoo(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Pair(BaseModel):
    p: tuple[int, str]
    level: Level


class Rows(RootModel[list[Inner]]):
    """Rows of a table."""


class Iban(BaseModel):
    iban: str

    @field_validator("iban")
    @classmethod
    def _known(cls, value: str) -> str:
        if not value.startswith("DE"):
            raise KeyError(value)
        return value


CASES: list[tuple[Any, dict[str, Any]]] = [
    (Node, {"name": "r", "children": [{"name": "c", "children": []}]}),
    (Box[int], {"value": 3}),
    (Zoo, {"pet": {"kind": "dog", "tricks": ["sit"]}}),
    (Pair, {"p": [1, "x"], "level": 2}),
    (Rows, {"root": [{"a": 1, "when": "2026-01-02"}]}),
    (RootModel[int | str], {"root": "x"}),
]


class Vendor:
    """Answers with a call of the first tool it is shown, under the name that arrived."""

    def __init__(self, simulator: Simulator, *arguments: dict[str, Any]) -> None:
        self.shown: list[tuple[str, dict[str, Any]]] = []
        self._arguments = arguments
        simulator.scenario = Scenario(rules=[Rule(answer=self._answer)])

    def _answer(self, request: Request) -> Answer:
        [shown, *_] = request.body["tools"]
        shown = (shown.get("functionDeclarations") or [shown])[0]
        shown = shown.get("function", shown)
        schema = shown.get("input_schema") or shown.get("parameters_json_schema") or shown["parameters"]
        self.shown.append((shown["name"], schema))
        arguments = self._arguments[min(len(self.shown), len(self._arguments)) - 1]
        return Answer(tool_calls=(ToolCall(shown["name"], arguments),))


def _agent(home: Dispatcher, kind: Any, model: str) -> Any:
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    return Agent("x", model=model, instructions="Fill it in.", output=kind).on(runtime)


@pytest.mark.parametrize("model", [HAIKU, GEMINI, MINI])
@pytest.mark.parametrize(("kind", "arguments"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_any_shape_of_answer_goes_to_the_vendor_and_comes_back_as_the_class(
    dispatcher: Make, simulator: Simulator, kind: Any, arguments: dict[str, Any], model: str
) -> None:
    vendor, home = Vendor(simulator, arguments), dispatcher()
    want = kind.model_validate(arguments["root"] if issubclass(kind, RootModel) else arguments)
    assert _agent(home, kind, model).invoke("go")["structured_response"] == want
    assert RoutedChatModel(prefer=model, dispatcher=home).with_structured_output(kind).invoke("go") == want
    assert len(vendor.shown) == 2
    for name, schema in vendor.shown:
        assert NAME.fullmatch(name)
        assert schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf", "$ref"} & schema.keys()


def test_a_schema_that_contains_itself_keeps_what_it_says(dispatcher: Make, simulator: Simulator) -> None:
    for model in (HAIKU, GEMINI, MINI):
        vendor = Vendor(simulator, {"name": "r"})
        RoutedChatModel(prefer=model, dispatcher=dispatcher()).with_structured_output(Node).invoke("go")
        [(_, schema)] = vendor.shown
        assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
        assert schema["$defs"]["Node"]["properties"]["name"]["type"] == "string"


def test_unions_and_tuples_reach_every_vendor_whole(dispatcher: Make, simulator: Simulator) -> None:
    vendor = Vendor(simulator, {"pet": {"kind": "cat", "lives": 9}})
    RoutedChatModel(prefer=GEMINI, dispatcher=dispatcher()).with_structured_output(Zoo).invoke("go")
    alternatives = vendor.shown[0][1]["properties"]["pet"]["anyOf"]
    assert [one["properties"]["kind"]["enum"] for one in alternatives] == [["cat"], ["dog"]]
    vendor = Vendor(simulator, {"p": [1, "x"], "level": 1})
    RoutedChatModel(prefer=GEMINI, dispatcher=dispatcher()).with_structured_output(Pair).invoke("go")
    properties = vendor.shown[0][1]["properties"]
    assert [one["type"] for one in properties["p"]["prefixItems"]] == ["integer", "string"]
    assert properties["level"]["enum"] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [
        (Iban, {"iban": "FR1"}, {"iban": "DE1"}),
        (Inner, {"a": 1, "when": "next Tuesday"}, {"a": 1, "when": "2026-12-01"}),
        (Rows, {"root": [{"a": 1, "when": "soon"}]}, {"root": []}),
    ],
)
def test_an_answer_its_class_refuses_goes_to_a_stronger_model(
    dispatcher: Make, simulator: Simulator, kind: Any, bad: dict[str, Any], good: dict[str, Any]
) -> None:
    for make in (
        lambda home: _agent(home, kind, HAIKU).invoke("go")["structured_response"],
        lambda home: RoutedChatModel(prefer=HAIKU, dispatcher=home).with_structured_output(kind).invoke("go"),
    ):
        vendor = Vendor(simulator, bad, good)
        assert isinstance(make(dispatcher()), kind)
        assert len(vendor.shown) == 2


def test_a_class_takes_what_it_takes_for_the_same(dispatcher: Make, simulator: Simulator) -> None:
    vendor = Vendor(simulator, {"a": "3"})
    answer = RoutedChatModel(prefer=HAIKU, dispatcher=dispatcher()).with_structured_output(Inner).invoke("go")
    assert answer == Inner(a=3)
    assert len(vendor.shown) == 1


@pytest.mark.parametrize("kind", [dict, int, {"title": "x"}, Inner(a=1), list[Inner]])
def test_what_types_no_answer_is_refused_where_the_agent_is_defined(kind: Any) -> None:
    with pytest.raises(ConfigError, match="agent 'x': output="):
        Agent("x", output=kind)


def test_a_field_without_a_form_in_json_is_refused_where_the_agent_is_defined() -> None:
    class Odd(BaseModel):
        call: Callable[[], int]

    with pytest.raises(ConfigError, match="no answer can be typed by Odd"):
        Agent("x", output=Odd)


@pytest.mark.parametrize("name", ["crm.lookup", "crm/lookup", "look up", "a" * 70, "größe", "2fa", "查询"])
def test_a_tool_of_any_name_is_called_and_gone_on_with_under_it(
    dispatcher: Make, simulator: Simulator, name: str
) -> None:
    done: list[str] = []

    @tool(effect="read", name=name)
    def look(q: str) -> str:
        """Look something up."""
        done.append(q)
        return "found"

    names: list[str] = []

    def answer(request: Request) -> Answer:
        tools = request.body["tools"]
        shown = [one.get("function", one)["name"] for one in tools[0].get("functionDeclarations", tools)]
        names.extend(shown)
        if any(message.role == "tool" for message in request.messages):
            assert shown[0] in str(request.body["messages" if "messages" in request.body else "contents"])
            return Answer(text="done")
        return Answer(tool_calls=(ToolCall(shown[0], {"q": "x"}),))

    for model in (HAIKU, GEMINI, MINI):
        simulator.scenario = Scenario(rules=[Rule(answer=answer)])
        home = dispatcher()
        runtime = Runtime(home.settings)
        runtime.__dict__["dispatcher"] = home
        messages = Agent("a", model=model, tools=[look]).on(runtime).invoke("go")["messages"]
        calls = [call["name"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
        assert calls == [name]
        replies = [message.response_metadata for message in messages if isinstance(message, AIMessage)]
        assert {reply["pointsman"]["model"] for reply in replies} == {model}
    assert done == ["x", "x", "x"]
    assert all(NAME.fullmatch(one) for one in names)


def test_names_made_for_vendors_differ_where_the_real_ones_do() -> None:
    made = [wire_name(name) for name in ("a.b", "a/b", "a b", "a_b", "查询", "查", "x" * 64, "x" * 65, "x" * 66)]
    assert len(set(made)) == len(made)
    assert all(NAME.fullmatch(name) for name in made)


async def test_a_streamed_call_comes_under_its_real_name(dispatcher: Make, simulator: Simulator) -> None:
    @tool(effect="read", name="crm.lookup")
    def look(q: str) -> str:
        """Look something up."""
        return q

    Vendor(simulator, {"q": "x"})
    for model in (HAIKU, MINI):
        bound = RoutedChatModel(prefer=model, dispatcher=dispatcher()).bind_tools([look])
        whole: Any = None
        async for chunk in bound.astream("go"):
            whole = chunk if whole is None else whole + chunk
        assert [call["name"] for call in whole.tool_calls] == ["crm.lookup"]


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_without_an_id_or_with_that_of_another_get_their_own(
    dispatcher: Make, simulator: Simulator, stream: bool
) -> None:
    @tool(effect="read")
    def look(q: str) -> str:
        """Look something up."""
        return q

    twice = (ToolCall("look", {"q": "a"}, id="call_0"), ToolCall("look", {"q": "b"}, id="call_0"))
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=twice))])
    earlier = AIMessage("", tool_calls=[{"name": "look", "args": {"q": "0"}, "id": "call_0"}])
    said = [HumanMessage("go"), earlier, ToolMessage("0", tool_call_id="call_0"), HumanMessage("again")]
    bound: Any = RoutedChatModel(kind="gather", prefer=MINI, dispatcher=dispatcher()).bind_tools([look])
    if stream:
        whole: Any = None
        async for chunk in bound.astream(said):
            whole = chunk if whole is None else whole + chunk
    else:
        whole = await bound.ainvoke(said)
    assert [call["args"] for call in whole.tool_calls] == [{"q": "a"}, {"q": "b"}]
    assert len({"call_0", *(call["id"] for call in whole.tool_calls)}) == 3


def test_two_different_tools_of_one_name_are_refused_where_they_are_bound() -> None:
    def described(what: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": "look", "description": what, "parameters": {"type": "object"}}}

    with pytest.raises(ConfigError, match="two tools are called 'look', and a call could mean either: rename one"):
        RoutedChatModel().bind_tools([described("up"), described("down")])
    assert len(RoutedChatModel().bind_tools([described("up"), described("up")]).kwargs["tools"]) == 2  # type: ignore[attr-defined]
