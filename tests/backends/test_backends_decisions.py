"""The wires of decision models: the vendor's own client reads what the simulator says; faults become their kinds."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai.decisions import Choice, OpenAIDecisions, Predicate, Score
from pointsman.backends import registry
from pointsman.backends.base import BackendError, Endpoint
from pointsman.backends.decisions.questions import questions_of
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import FailureKind
from pointsman.simulator import Answer, Fault, Rule, Scenario, Simulator
from pydantic import SecretStr

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*OpenAIDecisions.* is in beta"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_KEY = "not-a-real-key"
SCHEMA = {
    "type": "object",
    "properties": {
        "team": {"type": "string", "enum": ["billing", "technical"], "description": "Which team?"},
        "urgent": {"type": "boolean", "description": "Is it urgent?"},
    },
    "required": ["team", "urgent"],
}
TOOL = {"type": "function", "function": {"name": "sort", "description": "Sort it.", "parameters": SCHEMA}}
SAID = {"team": {"billing": 0.75, "technical": 0.25}, "urgent": {"no": 0.5, "yes": 0.5}}


def _model(name: str, simulator: Simulator, **changes: Any) -> Any:
    url = simulator.url("decisions")
    made = registry.get(name).chat_model(
        Endpoint(**{"model": "m", "base_url": url, "key": SecretStr(_KEY), "timeout": 20, **changes})
    )
    return made.bind_tools([TOOL])


def test_openais_own_client_understands_the_simulator(simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(json={**SAID, "anger": {"0": 0.25, "1": 0.75}}))])
    client = OpenAIDecisions(model="m", api_key=SecretStr(_KEY), base_url=simulator.url("openai"), max_retries=0)
    said = client.invoke(
        {
            "input": "I was charged twice.",
            "questions": {
                "team": Choice(instructions="Which team?", choices={"billing": None, "technical": "Faults."}),
                "urgent": Predicate(instructions="Is it urgent?"),
                "anger": Score(instructions="How angry?", levels=["Calm", "Angry"]),
            },
        }
    )
    assert (said.choices["team"].choice, said.choices["team"].probabilities["billing"]) == ("billing", 0.75)
    assert (said.predicates["urgent"].probability, said.scores["anger"].score) == (0.5, 0.75)
    assert said.scores["anger"].legend == {0: "Calm", 1: "Angry"}
    assert (said.usage.input_tokens or 0) > 0


@pytest.mark.parametrize("name", ["openai_decisions", "systemone"])
async def test_choices_and_truth_values_of_any_structured_answer_are_asked_about_a_whole_conversation(
    name: str, simulator: Simulator
) -> None:
    seen: list[str] = []

    def answer(request: Any) -> Answer:
        seen.append(request.user_text)
        return Answer(json=SAID)

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    said = await _model(name, simulator).ainvoke([SystemMessage("Sort it."), HumanMessage("Charged twice.")])
    assert seen == ["system: Sort it.\n\nhuman: Charged twice."]
    assert said.tool_calls[0]["args"] == {"team": "billing", "urgent": False}
    assert said.response_metadata["fields"]["team"] == {"confidence": 0.75, "probabilities": SAID["team"]}
    reply = registry.get(name).read(said)
    assert (reply.model, reply.failure, reply.usage.output if reply.usage else None) == ("m", None, 0)


_FAULTS = [
    (Fault("rate_limit"), FailureKind.RATE_LIMIT),
    (Fault("rate_limit", variant="insufficient_quota"), FailureKind.QUOTA),
    (Fault("server_error"), FailureKind.OVERLOADED),
    (Fault("overloaded"), FailureKind.OVERLOADED),
    (Fault("auth"), FailureKind.AUTH),
    (Fault("bad_request"), FailureKind.BAD_REQUEST),
    (Fault("context_overflow"), FailureKind.CONTEXT_LENGTH),
    (Fault("not_found"), FailureKind.UNAVAILABLE),
    (Fault("reset"), FailureKind.CONNECTION),
    (Fault("malformed_json"), FailureKind.MALFORMED),
]


@pytest.mark.parametrize("name", ["openai_decisions", "systemone"])
@pytest.mark.parametrize(("fault", "kind"), _FAULTS, ids=[f"{fault.kind}-{fault.variant}" for fault, _ in _FAULTS])
async def test_a_fault_becomes_its_kind_after_exactly_one_request(
    name: str, fault: Fault, kind: FailureKind, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=fault, answer=Answer(json=SAID))])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the client raises is translated
        await _model(name, simulator).ainvoke("Charged twice.")
    error = caught.value
    found = error if isinstance(error, BackendError) else registry.get(name).failure(error)
    assert found is not None
    assert (found.kind, len(simulator.log)) == (kind, 1)


async def test_an_answer_that_needs_words_is_declined_before_anything_is_sent(simulator: Simulator) -> None:
    schema = {"type": "object", "properties": {"reason": {"type": "string"}}, "required": ["reason"]}
    made = registry.get("systemone").chat_model(Endpoint(model="m", base_url=simulator.url("decisions")))
    tool = {"type": "function", "function": {"name": "say", "description": "Say it.", "parameters": schema}}
    with pytest.raises(BackendError, match="choices and truth values") as caught:
        await made.bind_tools([tool]).ainvoke("Why?")
    assert (caught.value.kind, caught.value.sent, len(simulator.log)) == (FailureKind.DECLINED, False, 0)


def test_questions_are_those_of_the_schema_alone() -> None:
    asked = questions_of(SCHEMA) or {}
    assert (asked["team"].kind, asked["team"].labels) == ("choice", ("billing", "technical"))
    assert (asked["urgent"].kind, asked["urgent"].boolean) == ("noul", True)
    assert questions_of({"type": "object", "properties": {}}) is None
    assert questions_of({"type": "object", "properties": {"n": {"enum": [1, 2]}}}) is None


@pytest.mark.parametrize(
    ("name", "endpoint", "told"),
    [
        ("openai_decisions", Endpoint(model="m"), "needs a key"),
        ("systemone", Endpoint(model="m"), "needs a `base_url:`"),
        ("systemone", Endpoint(model="m", base_url="http://127.0.0.1:9/v1", options={"n": 1}), "has no options"),
    ],
)
def test_what_is_missing_is_told(name: str, endpoint: Endpoint, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        registry.get(name).chat_model(endpoint)


@pytest.mark.parametrize(
    "body", [{}, {"model": "m", "questions": []}, {"model": "m", "questions": {"a": {"type": "x"}}}]
)
def test_a_request_that_is_none_is_refused_by_the_simulator(simulator: Simulator, body: dict[str, Any]) -> None:
    with (
        openai.OpenAI(base_url=simulator.url("openai"), api_key=_KEY, max_retries=0) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.post("/systemone", body={"state": "s", **body}, cast_to=object)
