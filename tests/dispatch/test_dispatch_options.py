"""What a call asks for beside its messages reaches each vendor in its own words, or is said not to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pointsman import tool
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.calls.options import call_options
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import NoCandidate
from pointsman.dispatch.model import RoutedChatModel
from pointsman.dispatch.request import ModelRequest
from pointsman.simulator import Answer, Request, Rule, Scenario, Simulator, ToolCall
from pydantic import BaseModel

Make = Callable[..., Dispatcher]

HAIKU, OPUS = "anthropic/claude-haiku-4-5", "anthropic/claude-opus-4-7"
GEMINI, MINI, PRO = "google/gemini-3.5-flash", "openai/gpt-5.4-mini", "openai/gpt-5.5-pro"


@tool(effect="read")
def look(q: str) -> str:
    """Look something up."""
    return q


@tool(effect="read")
def required(q: str) -> str:
    """Say whether something is required."""
    return q


class Asked:
    """A model asked with options, and the body that arrived."""

    def __init__(self, home: Dispatcher, simulator: Simulator) -> None:
        self._home = home
        self.bodies: list[dict[str, Any]] = []
        simulator.scenario = Scenario(rules=[Rule(answer=self._answer)])

    def _answer(self, request: Request) -> Answer:
        self.bodies.append(dict(request.body))
        return Answer(tool_calls=(ToolCall("look", {"q": "x"}),)) if request.body.get("tools") else Answer(text="ok")

    def __call__(self, model: str, *tools: Any, choice: Any = None, **options: Any) -> dict[str, Any]:
        asked: Any = RoutedChatModel(kind="transform", prefer=model, dispatcher=self._home)
        if tools:
            bound = asked.bind_tools(tools, tool_choice=choice, **options)
            told: dict[str, Any] = bound.invoke("hi").response_metadata["pointsman"]
        else:
            told = asked.invoke("hi", **options).response_metadata["pointsman"]
        return told


@pytest.fixture
def asked(dispatcher: Make, simulator: Simulator) -> Asked:
    return Asked(dispatcher(), simulator)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
@pytest.mark.parametrize(
    ("model", "read"),
    [
        (HAIKU, lambda body: body["max_tokens"]),
        (GEMINI, lambda body: body["generationConfig"]["maxOutputTokens"]),
        (MINI, lambda body: body["max_completion_tokens"]),
        (PRO, lambda body: body["max_output_tokens"]),
    ],
)
def test_the_limit_of_the_answer_has_three_names_and_reaches_every_vendor(
    asked: Asked, model: str, read: Callable[[Any], int], name: str
) -> None:
    assert asked(model, **{name: 50})["model"] == model
    assert [read(body) for body in asked.bodies] == [50]


@pytest.mark.parametrize(
    ("model", "options", "left_out"),
    [
        (HAIKU, {"seed": 1}, {"seed"}),
        (HAIKU, {"stop": ["\n"]}, {"stop"}),
        (HAIKU, {"temperature": 0.5, "top_p": 0.9}, {"top_p"}),
        (HAIKU, {"reasoning_effort": "low"}, {"reasoning_effort"}),
        (OPUS, {"temperature": 0, "top_k": 5}, {"temperature", "top_k"}),
        (GEMINI, {"user": "u1", "thinking": {"type": "enabled"}}, {"user", "thinking"}),
        (MINI, {"stop": ["END"], "temperature": 0, "top_k": 5}, {"stop", "temperature", "top_k"}),
        (PRO, {"seed": 1, "stop": "END", "temperature": 0}, {"seed", "stop", "temperature"}),
    ],
)
def test_what_a_model_does_not_take_is_left_out_and_noted_in_decision_row_and_reply(
    asked: Asked, model: str, options: dict[str, Any], left_out: set[str]
) -> None:
    told = asked(model, **options)
    assert (told["model"], told["attempt"]) == (model, 1)
    [body] = asked.bodies
    flat = {**body, **body.get("generationConfig", {})}
    assert not {*left_out, "stop_sequences"} & flat.keys() - {"thinking"} or left_out == {"thinking"}
    assert {note.split()[0] for note in told["notes"]} == left_out
    assert {rule for rule in told["rules"] if rule.startswith("option.")} >= {f"option.{name}" for name in left_out}


def test_options_arrive_in_the_words_of_each_vendor(asked: Asked) -> None:
    asked(HAIKU, stop=["\n", "END"], user="u1", temperature=1.5)
    asked(GEMINI, stop="END", seed=7, reasoning_effort="xhigh")
    asked(MINI, temperature=0.2, reasoning_effort="none", user="u1")
    haiku, gemini, mini = asked.bodies
    assert (haiku["stop_sequences"], haiku["metadata"], haiku["temperature"]) == (["END"], {"user_id": "u1"}, 1.0)
    sent = gemini["generationConfig"]
    assert (sent["stopSequences"], sent["seed"], sent["thinkingConfig"]["thinking_level"]) == (["END"], 7, "HIGH")
    assert (mini["temperature"], mini["reasoning_effort"], mini["user"]) == (0.2, "none", "u1")


@pytest.mark.parametrize(
    ("spelling", "mode"),
    [
        ("auto", "auto"),
        ("none", "none"),
        (False, "none"),
        ("any", "any"),
        (True, "any"),
        ({"type": "any"}, "any"),
        ("look", "tool"),
        (["look"], "tool"),
        ({"type": "function", "function": {"name": "look"}}, "tool"),
        ({"type": "function", "name": "look"}, "tool"),
        ({"type": "tool", "name": "look"}, "tool"),
        ({"tool": {"name": "look"}}, "tool"),
        ({"function_calling_config": {"mode": "ANY", "allowed_function_names": ["look"]}}, "tool"),
        ({"function_calling_config": {"mode": "ANY", "allowed_function_names": ["look", "required"]}}, "any"),
    ],
)
def test_a_choice_of_tools_in_any_spelling_means_the_same_to_every_vendor(
    asked: Asked, spelling: Any, mode: str
) -> None:
    for model in (HAIKU, GEMINI, MINI):
        assert asked(model, look, choice=spelling)["model"] == model
    anthropic, google, openai = asked.bodies
    named = {"type": "function", "function": {"name": "look"}}
    assert anthropic["tool_choice"] == ({"type": "tool", "name": "look"} if mode == "tool" else {"type": mode})
    assert google["toolConfig"]["functionCallingConfig"]["mode"] == ("ANY" if mode == "tool" else mode.upper())
    assert openai["tool_choice"] == {"any": "required", "tool": named}.get(mode, mode)


def test_a_tool_called_like_a_mode_is_the_tool(asked: Asked) -> None:
    for model in (HAIKU, MINI):
        with pytest.raises(Exception, match=r"called 'look'"):
            asked(model, required, choice="required")
    assert asked.bodies[0]["tool_choice"] == {"type": "tool", "name": "required"}


def test_calling_one_tool_at_a_time_is_told_to_those_who_can_be_told(asked: Asked) -> None:
    told = [asked(model, look, parallel_tool_calls=False) for model in (HAIKU, GEMINI, MINI)]
    anthropic, google, openai = asked.bodies
    assert anthropic["tool_choice"]["disable_parallel_tool_use"] is True
    assert openai["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in str(google)
    assert [bool(one["notes"]) for one in told] == [False, True, False]


def test_strict_tools_go_to_models_that_can_be_held_to_them(asked: Asked) -> None:
    assert asked(GEMINI, look, strict=True)["model"] != GEMINI
    asked(HAIKU, look, strict=True)
    asked(MINI, look, strict=True)
    assert asked.bodies[1]["tools"][0]["strict"] is True
    function = asked.bodies[2]["tools"][0]["function"]
    assert (function["strict"], function["parameters"]["additionalProperties"]) == (True, False)


def test_a_tool_with_free_properties_cannot_be_bound_strictly(dispatcher: Make) -> None:
    @tool(effect="read")
    def tally(counts: dict[str, int]) -> str:
        """Tally."""
        return str(counts)

    with pytest.raises(ConfigError, match="'tally' cannot be strict"):
        RoutedChatModel(dispatcher=dispatcher()).bind_tools([tally], strict=True)


_THINKING: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


@pytest.mark.parametrize(
    ("model", "configured", "options", "kept", "left_out"),
    [
        (HAIKU, {**_THINKING, "temperature": 0.2, "top_k": 5}, {}, {}, {"temperature", "top_k"}),
        (HAIKU, {**_THINKING, "temperature": 0.2}, {"temperature": 0.5}, {}, {"temperature"}),
        (HAIKU, {"temperature": 0.2}, _THINKING, {}, {"temperature"}),
        (HAIKU, {"temperature": 0.2}, {}, {"temperature": 0.2}, set()),
        (HAIKU, {"temperature": 0.2}, {"temperature": 0.5}, {"temperature": 0.5}, set()),
        (HAIKU, {"temperature": 0.2}, {"top_p": 0.9}, {"top_p": 0.9}, {"temperature"}),
        (HAIKU, {"temperature": 0.2, "top_p": 0.9}, {}, {"temperature": 0.2}, {"top_p"}),
        (OPUS, {"temperature": 0.2}, {}, {}, {"temperature"}),
    ],
)
def test_what_is_configured_for_a_model_is_left_out_and_noted_as_what_a_call_asks_for_is(
    dispatcher: Make, simulator: Simulator, model: str, configured: Any, options: Any, kept: Any, left_out: set[str]
) -> None:
    asked = Asked(dispatcher(models={model: {"options": configured}}), simulator)
    told = asked(model, **options)
    [body] = asked.bodies
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept
    assert (told["model"], {note.split()[0] for note in told["notes"]}) == (model, left_out)
    assert {rule for rule in told["rules"] if rule.startswith("option.")} >= {f"option.{name}" for name in left_out}


def test_a_forced_tool_excludes_a_model_that_thinks_first(dispatcher: Make, simulator: Simulator) -> None:
    thinking = {HAIKU: {"options": _THINKING}}
    asked = Asked(dispatcher(models=thinking), simulator)
    assert asked(HAIKU, look, choice="any")["model"] != HAIKU
    assert asked(HAIKU, look)["model"] == HAIKU


def test_a_typed_answer_of_a_model_that_thinks_is_asked_for_and_checked(dispatcher: Make, simulator: Simulator) -> None:
    class Out(BaseModel):
        a: int

    bodies: list[dict[str, Any]] = []

    def answer(request: Request) -> Answer:
        bodies.append(dict(request.body))
        return Answer(tool_calls=(ToolCall("Out", {"a": 1}),)) if len(bodies) > 1 else Answer(text="a is 1")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    thinking = {HAIKU: {"options": _THINKING}}
    model = RoutedChatModel(kind="transform", prefer=HAIKU, dispatcher=dispatcher(models=thinking))
    assert model.with_structured_output(Out).invoke("go") == Out(a=1)
    assert bodies[0]["tool_choice"] == {"type": "auto"}
    assert len(bodies) == 2


def test_an_answer_without_the_call_that_was_forced_is_no_answer(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="no"))])
    model = RoutedChatModel(kind="transform", prefer=HAIKU, dispatcher=dispatcher(routing__limits={"attempts": 1}))
    with pytest.raises(Exception, match="no tool was called"):
        model.bind_tools([look], tool_choice="any").invoke("hi")


def test_a_json_object_is_asked_of_those_who_promise_one(asked: Asked) -> None:
    assert asked(HAIKU, response_format={"type": "json_object"})["model"] != HAIKU
    assert asked(GEMINI, response_format={"type": "json_object"})["model"] == GEMINI


def test_a_thought_that_leaves_no_room_for_the_answer_excludes_the_model(
    dispatcher: Make, simulator: Simulator
) -> None:
    thinking = {HAIKU: {"options": _THINKING}}
    asked = Asked(dispatcher(models=thinking), simulator)
    assert asked(HAIKU, max_tokens=50)["model"] != HAIKU


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"temprature": 0}, "did you mean 'temperature'"),
        ({"max_token": 5}, "did you mean 'max_tokens'"),
        ({"max_tokens": 0}, "max_tokens=0 cannot be used"),
        ({"temperature": "hot"}, "temperature='hot' cannot be used"),
        ({"reasoning_effort": "huge"}, "reasoning_effort='huge' cannot be used"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "given twice"),
        ({"api_key": "x"}, "environment variables"),
        ({"n": 3}, "ask once for each answer"),
    ],
)
def test_options_nobody_knows_are_refused_where_they_are_given(
    dispatcher: Make, simulator: Simulator, options: dict[str, Any], told: str
) -> None:
    model = RoutedChatModel(dispatcher=dispatcher())
    with pytest.raises(ConfigError, match=told):
        model.bind(**options)
    with pytest.raises(ConfigError, match=told):
        model.invoke("hi", **options)
    with pytest.raises(ConfigError, match=told):
        RoutedChatModel(dispatcher=dispatcher(), **options)
    assert not simulator.log


@pytest.mark.parametrize(
    ("option", "taken", "refused"),
    [
        ("max_tokens", [1], [0, -1]),
        ("temperature", [0, 2], [-0.1, 2.1]),
        ("top_p", [0, 1], [-0.1, 1.1]),
        ("top_k", [1], [0]),
        ("presence_penalty", [-2, 2], [-2.1, 2.1]),
        ("frequency_penalty", [-2, 2], [-2.1, 2.1]),
        ("top_logprobs", [0, 20], [-1]),
    ],
)
def test_an_option_is_taken_within_its_bounds_and_refused_beyond_them(
    option: str, taken: list[float], refused: list[float]
) -> None:
    for value in taken:
        assert call_options({option: value}) == {option: value}
    for value in refused:
        with pytest.raises(ConfigError, match=f"{option}={value} cannot be used"):
            call_options({option: value})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"preffer": "x"}, "did you mean 'prefer'"),
        ({"model": MINI}, "prefer="),
        ({"dispacher": None}, "'dispatcher'"),
        ({"kind": "think"}, "kind='think' cannot be used: input should be 'gather'"),
        ({"deadline": 0}, "deadline=0 cannot"),
    ],
)
def test_fields_nobody_knows_are_refused_with_the_one_that_was_meant(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        RoutedChatModel(**fields)


def test_options_given_at_construction_hold_for_every_call_until_it_says_otherwise(
    dispatcher: Make, simulator: Simulator
) -> None:
    asked = Asked(dispatcher(), simulator)
    model: Any = RoutedChatModel(
        kind="transform", prefer=GEMINI, temperature=0.5, max_tokens=60, timeout=30, dispatcher=asked._home
    )
    model.invoke("hi")
    model.invoke("hi", temperature=0.1)
    assert [body["generationConfig"]["temperature"] for body in asked.bodies] == [0.5, 0.1]
    assert [body["generationConfig"]["maxOutputTokens"] for body in asked.bodies] == [60, 60]
    assert model.deadline == 30


def test_a_choice_that_names_no_tool_bound_is_refused_at_once(dispatcher: Make) -> None:
    with pytest.raises(ConfigError, match="did you mean 'look'"):
        RoutedChatModel(dispatcher=dispatcher()).bind_tools([look], tool_choice="lok")


def test_what_no_model_can_be_held_to_is_told_model_by_model(dispatcher: Make) -> None:
    home = dispatcher(providers={"openai": {"enabled": False}, "anthropic": {"enabled": False}})
    model = RoutedChatModel(kind="gather", prefer=GEMINI, dispatcher=home).bind_tools([look], strict=True)
    with pytest.raises(NoCandidate, match=r"cannot be held to the schemas of tools \(strict\)"):
        model.invoke("hi")


@pytest.mark.parametrize("model", [HAIKU, GEMINI, "openai/gpt-5.5"])
@pytest.mark.filterwarnings("ignore:Automatically retrieving remote:DeprecationWarning")
def test_a_schema_that_points_to_an_address_has_nothing_fetched(
    model: str, dispatcher: Make, simulator: Simulator, serve: Any
) -> None:
    asked: list[str] = []
    url = serve(lambda request: (asked.append(request.path), (200, {}, b'{"type": "object"}'))[1])
    schema = {"type": "object", "properties": {"q": {"$ref": f"{url}/inside"}, "n": {"type": "integer"}}}
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=(ToolCall("look", {"q": "x"}),)))])
    home = dispatcher(routing__approved=[model], risk__floors={"high": "economy"})
    pointing = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": schema}}
    bound: Any = RoutedChatModel(kind="transform", tier="economy", dispatcher=home).bind_tools([pointing])
    assert [call["args"] for call in bound.invoke("hi").tool_calls] == [{"q": "x"}]
    assert asked == []


async def _bound(home: Dispatcher, ask: ModelRequest) -> Any:
    card = home.cards[MINI]
    await home.clients.ready(card)
    return home.clients.bound(ask, card)[1]["tools"]


async def _said(home: Dispatcher, ask: ModelRequest) -> Any:
    return home.clients.each_said(ask, home.cards)


@pytest.mark.parametrize("made", [_bound, _said])
async def test_what_equal_requests_are_sent_with_is_made_once_and_not_kept_for_ever(
    dispatcher: Make, made: Callable[[Dispatcher, ModelRequest], Awaitable[Any]]
) -> None:
    home = dispatcher()

    def asking(number: int) -> ModelRequest:
        function = {"name": f"look_{number}", "parameters": {"type": "object", "properties": {}}}
        return ModelRequest((), tools=({"type": "function", "function": function},))

    first = await made(home, asking(0))
    for number in range(1, 20):
        await made(home, asking(number))
    assert await made(home, asking(0)) is first
    for number in range(20, 300):
        await made(home, asking(number))
    assert await made(home, asking(0)) is not first
