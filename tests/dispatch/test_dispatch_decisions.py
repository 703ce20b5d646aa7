"""`RoutedDecisionModel`: typed questions on this machine, over the wires of decision models, and for LangChain."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AutoModeMiddleware, ModelChoice, ModelRouterMiddleware
from langchain_core.decisions import Box, Choice, Noul, NoulCriteria, Question, Score
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pointsman import RoutedChatModel, RoutedDecisionModel
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed, NoCandidate
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator, ToolCall
from pydantic import BaseModel

Make = Callable[..., Dispatcher]

pytestmark = [
    pytest.mark.filterwarnings("ignore:The middleware `ModelRouterMiddleware` is in beta"),
    pytest.mark.filterwarnings("ignore:`?ModelRouterMiddleware`? is in beta"),
]

TEAM = Choice(
    instructions="Which team handles this?",
    criteria={"billing": "Payments and invoices.", "technical": "Faults of the product.", "sales": None},
)
URGENT = Noul(instructions="Is it urgent?", criteria=NoulCriteria(true="Cannot wait.", false="Can wait a week."))
ANGER = Score(instructions="How angry?", criteria=["Calm.", "Annoyed.", "Furious."])
QUESTIONS: dict[str, Question] = {"team": TEAM, "urgent": URGENT, "anger": ANGER}
SAID = {
    "team": {"billing": 0.7, "technical": 0.2, "sales": 0.1},
    "urgent": {"no": 0.25, "yes": 0.75},
    "anger": {"0": 0.1, "1": 0.6, "2": 0.3},
}
HOSTED = "openai-decisions/gpt-6-luna"
LOCAL = "ollama-decisions/nimble"


@pytest.fixture
def home(dispatcher: Make, simulator: Simulator, tmp_path: Path) -> Make:
    """Make a dispatcher whose catalogue has a decision model of either wire, both played by the simulator."""

    def make(*, hosted: bool = True, local: bool = False, **flags: Any) -> Dispatcher:
        providers = {
            "openai-decisions": {
                "backend": "openai_decisions",
                "base_url": simulator.url("openai-decisions"),
                "key": "OPENAI_API_KEY",
                "enabled": hosted,
            },
            "ollama-decisions": {
                "backend": "systemone",
                "base_url": simulator.url("ollama-decisions"),
                "local": True,
                "enabled": local,
            },
        }
        models = {
            HOSTED: {
                "tier": "economy",
                "tasks": ["classify"],
                "roles": ["classification"],
                "prices": {"input": 1, "output": 4, "as_of": "2026-11-28"},
            },
            LOCAL: {
                "tier": "economy",
                "tasks": ["classify"],
                "prices": {"input": 0, "output": 0, "as_of": "2026-11-28"},
            },
        }
        (tmp_path / "models.yaml").write_text(json.dumps({"providers": providers, "models": models}), encoding="utf-8")
        return dispatcher(**flags)

    return make


@pytest.fixture
def examples(tmp_path: Path) -> Callable[[str, dict[str, list[str]]], str]:
    """Write a file of labelled examples."""

    def write(name: str, texts: dict[str, list[str]]) -> str:
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            rows.writerows([text, label] for label, said in texts.items() for text in said)
        return str(path)

    return write


_THINGS = ("invoice", "refund", "charge", "fee", "receipt", "statement", "discount", "subscription")
_PARTS = ("login", "export", "upload", "screen", "editor", "search", "sync", "printer")
TOPICS = {
    "billing": [f"{verb} the {thing}" for thing in _THINGS for verb in ("pay", "dispute", "resend", "explain")],
    "technical": [f"the {part} {fault}" for part in _PARTS for fault in ("crashes", "is stuck", "fails", "is slow")],
}


@pytest.mark.parametrize(("model", "hosted"), [(HOSTED, True), (LOCAL, False)])
def test_every_kind_of_question_is_answered_over_either_wire(
    home: Make, simulator: Simulator, model: str, hosted: bool
) -> None:
    asked: list[Any] = []

    def answer(request: Any) -> Answer:
        asked.append(request.body)
        return Answer(json=SAID)

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    place = home(hosted=hosted, local=not hosted)
    said = RoutedDecisionModel(dispatcher=place).invoke({"state": "I was charged twice!", "questions": QUESTIONS})
    assert (said.model, said.abstained) == (model, ())
    team, anger = said.choices["team"], said.scores["anger"]
    assert (team.choice, team.confidence, team.probabilities) == ("billing", 0.7, SAID["team"])
    assert said.nouls["urgent"].noul == 0.75
    assert (anger.score, anger.confidence) == (pytest.approx(1.2), 0.6)
    assert anger.legend == {0: "Calm.", 1: "Annoyed.", 2: "Furious."}
    [body] = asked
    assert (body.get("input") or body["state"]) == "I was charged twice!"
    assert json.dumps(body).count("Cannot wait.") == json.dumps(body).count("Payments and invoices.") == 1
    [row] = place.ledger.calls()
    assert (row.model, row.usage.input > 0, row.cost == 0) == (model, True, not hosted)


@pytest.mark.slow
def test_what_has_examples_is_decided_on_this_machine_and_asks_nobody(
    home: Make, simulator: Simulator, examples: Callable[..., str]
) -> None:
    place = home()
    model = RoutedDecisionModel(dispatcher=place, examples={"team": examples("team", TOPICS)})
    said = model.invoke({"state": HumanMessage("please explain the fee"), "questions": {"team": TEAM}})
    assert (said.model, said.choices["team"].choice, said.abstained) == ("ondevice/wordllama-256", "billing", ())
    assert sum(said.choices["team"].probabilities.values()) == pytest.approx(1, abs=0.01)
    assert len(simulator.log) == 0
    assert [row.model for row in place.ledger.calls()] == ["ondevice/wordllama-256"]


def test_where_this_machine_is_not_sure_a_hosted_model_is_asked(
    home: Make, simulator: Simulator, examples: Callable[..., str]
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(json={"team": {"sales": 1.0}}))])
    place = home()
    model = RoutedDecisionModel(dispatcher=place, examples={"team": examples("team", TOPICS)})
    said = model.invoke({"state": "qwxz vbnk", "questions": {"team": TEAM}})
    assert (said.model, said.choices["team"].choice) == (HOSTED, "sales")
    assert [row.model for row in place.ledger.calls()] == ["ondevice/wordllama-256", HOSTED]


def test_where_nobody_is_sure_that_is_told_with_the_best_guess(
    home: Make, simulator: Simulator, examples: Callable[..., str]
) -> None:
    model = RoutedDecisionModel(dispatcher=home(hosted=False), examples={"team": examples("team", TOPICS)})
    said = model.invoke({"state": "qwxz vbnk", "questions": {"team": TEAM}})
    assert said.abstained == ("team",)
    assert said.choices["team"].confidence < 0.9
    assert len(simulator.log) == 0


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (None, "team.csv: cannot read the examples: No such file"),
        ("words,label\nHello,sales\n", "team.csv:1: has no column 'text'"),
        ("text,label\nHello,Sales\n", "team.csv:2: the label 'Sales' is not one to choose from: write it 'sales'"),
        ("text,label\nHello,sales\nBye,no\n", "fewer than two .* which are 'billing', 'sales', 'technical'"),
    ],
)
@pytest.mark.parametrize("hosted", [True, False])
def test_a_mistake_in_the_examples_is_told_and_not_answered_otherwise(
    home: Make, simulator: Simulator, tmp_path: Path, rows: str | None, told: str, hosted: bool
) -> None:
    file = tmp_path / "team.csv"
    if rows is not None:
        file.write_text(rows)
    place = home(hosted=hosted)
    model = RoutedDecisionModel(dispatcher=place, examples={"team": str(file)}, otherwise={"team": "technical"})
    with pytest.raises(ConfigError, match=told):
        model.invoke({"state": "Hello", "questions": {"team": TEAM}})
    assert len(simulator.log) == 0
    assert [row.failure for row in place.ledger.calls()] == ["unknown"]


@pytest.mark.parametrize(("otherwise", "noul"), [({}, 0.3), ({"urgent": True}, 0.5), ({"urgent": False}, 0.3)])
def test_doubt_can_only_raise_where_the_answer_of_the_higher_risk_is_named(
    home: Make, simulator: Simulator, otherwise: dict[str, bool], noul: float
) -> None:
    said = {"team": {"billing": 0.4, "technical": 0.3, "sales": 0.3}, "urgent": {"yes": 0.3, "no": 0.7},
            "anger": {"0": 0.5, "1": 0.3, "2": 0.2}}  # fmt: skip
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(json=said))])
    kept = {**otherwise, "team": "technical", "anger": 2}
    model = RoutedDecisionModel(dispatcher=home(), threshold=0.8, otherwise=kept)
    answers = model.invoke({"state": "Hello", "questions": QUESTIONS})
    assert set(answers.abstained) == {"team", "urgent", "anger"}
    assert (answers.choices["team"].choice, answers.choices["team"].confidence) == ("technical", 0.3)
    assert answers.nouls["urgent"].noul == pytest.approx(noul)
    assert (answers.scores["anger"].score, answers.scores["anger"].probabilities[0]) == (2.0, 0.5)


@pytest.mark.parametrize("said", [{"team": {"billing": 0.2}}, {"team": {"billing": 1.4, "technical": -0.4}}])
def test_probabilities_that_are_none_are_no_answer(home: Make, simulator: Simulator, said: Any) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(json=said))])
    place = home()
    with pytest.raises(AllFailed, match="not an answer"):
        RoutedDecisionModel(dispatcher=place).invoke({"state": "Hello", "questions": {"team": TEAM}})
    assert [row.failure for row in place.ledger.calls()] == ["malformed"]


def test_no_chat_model_is_asked_for_probabilities_it_does_not_have(home: Make, simulator: Simulator) -> None:
    with pytest.raises(NoCandidate, match="tells no probabilities"):
        RoutedDecisionModel(dispatcher=home(hosted=False)).invoke({"state": "Hello", "questions": {"team": TEAM}})
    assert len(simulator.log) == 0


def test_a_question_with_an_answer_of_its_own_for_that_case_needs_no_model(home: Make) -> None:
    model = RoutedDecisionModel(dispatcher=home(hosted=False), otherwise={"team": "sales"})
    said = model.invoke({"state": "Hello", "questions": {"team": TEAM}})
    assert (said.choices["team"].choice, said.abstained) == ("sales", ("team",))


class _Ticket(BaseModel):
    """What a ticket is about."""

    team: Literal["billing", "technical"]


async def test_a_stream_left_before_its_reply_is_charged_and_its_connection_closed(home: Make) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        left.set()
        writer.close()

    async with asyncio.timeout(240), await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = {"providers.openai-decisions.base_url": f"http://127.0.0.1:{port}"}
        place = home(routing__budgets__day=5.0, **url)
        model = RoutedChatModel(dispatcher=place, kind="gather", task="classify", prefer=HOSTED)
        chunks = model.with_structured_output(_Ticket).astream("Charged twice!")
        reading = asyncio.create_task(anext(chunks))
        await arrived.wait()
        assert not left.is_set()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await left.wait()
    [row] = await asyncio.to_thread(place.ledger.calls)
    assert (row.model, row.failure) == (HOSTED, "cancelled")
    assert row.cost
    assert place.budgets.totals(time.strftime("day:%Y-%m-%d", time.gmtime(row.at))) == (row.cost, 0)


def test_a_provider_that_fails_once_is_followed_by_the_next(home: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(vendor="openai-decisions"), fault=Fault("overloaded")),
            Rule(answer=Answer(json=SAID)),
        ]
    )
    place = home(local=True)
    said = RoutedDecisionModel(model=HOSTED, dispatcher=place).invoke({"state": "Hello", "questions": QUESTIONS})
    assert said.model == LOCAL
    assert {row.model for row in place.ledger.calls()} == {HOSTED, LOCAL}


def test_an_answer_that_is_kept_keeps_its_probabilities(home: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(json=SAID))])
    model = RoutedDecisionModel(dispatcher=home(routing__cache={"mode": "exact"}))
    first, second = (model.invoke({"state": "Hello", "questions": QUESTIONS}) for _ in range(2))
    assert len(simulator.log) == 1
    assert (first.answers, first.abstained) == (second.answers, second.abstained)
    assert second.choices["team"].probabilities == SAID["team"]


@pytest.mark.parametrize(
    ("questions", "otherwise", "told"),
    [
        ({}, {}, "no question"),
        ({"where": Box(instructions="The cat")}, {}, "place in a picture"),
        ({"team": TEAM}, {"team": "marketing"}, "no answer to question 'team'"),
        ({"urgent": URGENT}, {"urgent": "yes"}, "no answer to question 'urgent'"),
        ({"anger": ANGER}, {"anger": 3}, "no answer to question 'anger'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    home: Make, simulator: Simulator, questions: Any, otherwise: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        RoutedDecisionModel(dispatcher=home(), otherwise=otherwise).invoke({"state": "Hello", "questions": questions})
    assert len(simulator.log) == 0


async def test_a_state_of_messages_is_read_as_text_and_its_pictures_are_named(home: Make, simulator: Simulator) -> None:
    seen: list[str] = []

    def answer(request: Any) -> Answer:
        seen.append(request.user_text)
        return Answer(json={"urgent": "yes"})

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    picture = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    state = {"messages": [HumanMessage([{"type": "text", "text": "Look"}, picture]), AIMessage("A cat.")], "n": 3}
    said = await RoutedDecisionModel(dispatcher=home()).ainvoke({"state": state, "questions": {"urgent": URGENT}})
    assert said.nouls["urgent"].noul == pytest.approx(0.9)
    told = json.loads(seen[0])
    assert told["n"] == 3
    assert told["messages"][0] == {"role": "human", "content": "Look\n[image left out]"}


_CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Tokyo", "Paris", "Quito")
_SYSTEMS = ("database", "queue", "ledger", "cache", "scheduler", "store", "log", "pool")
ROUTES = {
    "fast": [f"{what} in {city}" for city in _CITIES for what in ("what time is it", "how warm is it")],
    "powerful": [
        *[f"design a {system} that survives a crash" for system in _SYSTEMS],
        *[f"find the deadlock in the {system}" for system in _SYSTEMS],
    ],
}


def _chat(place: Dispatcher, said: str) -> RoutedChatModel:
    return RoutedChatModel(tier="economy", prefer="openai/gpt-5.4-mini", options={"user": said}, dispatcher=place)


@pytest.mark.parametrize(
    ("task", "route"),
    [
        ("what time is it in Oslo, please", "fast"),
        ("design a broker that survives a crash", "powerful"),
        ("qwxz", "powerful"),
    ],
)
def test_langchains_model_router_runs_on_it_unchanged(
    home: Make, simulator: Simulator, examples: Callable[..., str], task: str, route: str
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: Answer(text=str(request.body.get("user"))))])
    place = home(hosted=False)
    router = ModelRouterMiddleware(
        choices={
            "fast": ModelChoice(model=_chat(place, "fast"), criteria="Simple tasks."),
            "powerful": ModelChoice(model=_chat(place, "powerful"), criteria="Hard tasks."),
        },
        instructions="Choose the model suited to the task.",
        classifier=RoutedDecisionModel(
            dispatcher=place,
            examples={"model_route": examples("routes", ROUTES)},
            otherwise={"model_route": "powerful"},
        ),
    )
    agent = create_agent(_chat(place, "neither"), middleware=[router])
    done = agent.invoke({"messages": [HumanMessage(task)]})
    assert (done["messages"][-1].text, done["model_route"].choice) == (route, route)


_FILES = ("a.md", "b.txt", "c.csv", "notes.md", "todo.txt", "plan.md", "log.txt", "list.csv")
RISKY = {
    "no": [f"{verb} {name}" for name in _FILES for verb in ("read_file", "show_file")],
    "yes": [f"{verb} {name}" for name in _FILES for verb in ("delete_file", "send_file")],
}


@pytest.mark.parametrize(("name", "made"), [("read_file", True), ("delete_file", False), ("qwxz_vbnk", False)])
def test_langchains_auto_mode_runs_on_it_unchanged_and_blocks_where_nobody_is_sure(
    home: Make, simulator: Simulator, examples: Callable[..., str], name: str, made: bool
) -> None:
    called: list[str] = []

    @tool(name, description="A tool.")
    def act(path: str) -> str:
        called.append(path)
        return "done"

    def answer(request: Any) -> Answer:
        results = [message for message in request.messages if message.role == "tool"]
        return Answer(text=results[-1].text) if results else Answer(tool_calls=(ToolCall(name, {"path": "notes.md"}),))

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    place = home(hosted=False)
    guard = AutoModeMiddleware(
        tools=[act],
        classifier=RoutedDecisionModel(
            dispatcher=place,
            examples={"is_risky": examples("risky", RISKY)},
            otherwise={"is_risky": True},
            reads=lambda state: f"{state['tool_call']['name']} {state['tool_call']['args']['path']}",
        ),
    )
    model = RoutedChatModel(tier="economy", prefer="openai/gpt-5.4-mini", kind="transform", dispatcher=place)
    done = create_agent(model, tools=[act], middleware=[guard]).invoke({"messages": [HumanMessage("Go")]})
    assert called == (["notes.md"] if made else [])
    assert ("was blocked" in done["messages"][-1].text) is not made
