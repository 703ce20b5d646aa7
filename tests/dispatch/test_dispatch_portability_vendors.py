"""A tool-calling conversation begun at one vendor goes on at another, over the real clients and the simulator."""

from __future__ import annotations

import base64
import json
from itertools import permutations
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pointsman.backends import registry
from pointsman.backends.base import Endpoint
from pointsman.configs.catalog import ModelCard
from pointsman.configs.words import Tier
from pointsman.dispatch.conversation.convert import portable
from pointsman.simulator import Answer, Request, Rule, Scenario, Simulator, ToolCall
from pydantic import SecretStr

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
THOUGHT, SIGNATURE, SEALED = "a thought of its own", "c2lnbmVkIGJ5IGl0cyBtYWtlcg==", "sealed-by-its-maker"

# Name -> backend, model and options; OpenAI speaks two formats.
VENDORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "anthropic": ("anthropic", "claude-opus-4-7", {}),
    "google": ("google", "gemini-3.1-pro-preview", {}),
    "openai": ("openai", "gpt-5.5", {}),
    "responses": ("openai", "gpt-5.5-pro", {"use_responses_api": True}),
}
PAIRS = list(permutations(VENDORS, 2))
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name} at something",
            "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
        },
    }
    for name in ("look", "weigh")
]


def _card(vendor: str) -> ModelCard:
    backend, model, _ = VENDORS[vendor]
    return ModelCard(
        id=f"{backend}/{model}", provider=backend, name=model, tier=Tier.FRONTIER,
        inputs=frozenset({"text", "image", "pdf"}),
    )  # fmt: skip


class Stage:
    """The simulator, the clients of all vendors, and the bodies that arrived."""

    def __init__(self, simulator: Simulator) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._simulator = simulator
        simulator.scenario = Scenario(rules=[Rule(answer=self._answer)])

    def _answer(self, request: Request) -> Answer:
        self.bodies.append(dict(request.body))
        if any(message.role == "tool" for message in request.messages):
            return Answer(text="It is a red pixel of 3 g.")
        return Answer(tool_calls=(ToolCall("look", {"thing": "it"}), ToolCall("weigh", {"thing": "it"})))

    async def ask(self, vendor: str, messages: Any) -> AIMessage:
        backend, model, options = VENDORS[vendor]
        client = registry.get(backend).chat_model(
            Endpoint(model, base_url=self._simulator.url(backend), key=SecretStr("not-a-real-key"), options=options)
        )
        reply = await client.bind_tools(TOOLS).ainvoke(list(messages))
        assert isinstance(reply, AIMessage)
        return reply

    async def conversation(self, vendor: str) -> list[BaseMessage]:
        """Two rounds at one vendor: parallel calls with an image among the results, then a thought and one call."""
        opening: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("What is it, and what does it weigh?")]
        first = await self.ask(vendor, opening)
        look, weigh = first.tool_calls
        shown = [{"type": "text", "text": "one pixel"}, {"type": "image", "base64": PNG, "mime_type": "image/png"}]
        second = _thinking(vendor)
        return [
            *opening,
            first,
            ToolMessage("3 g", tool_call_id=weigh["id"] or "", name="weigh"),
            ToolMessage(shown, tool_call_id=look["id"] or "", name="look"),
            SystemMessage("Answer in English."),
            second,
            ToolMessage("red", tool_call_id=second.tool_calls[0]["id"] or "", name="look"),
        ]


def _thinking(vendor: str) -> AIMessage:
    """A reply with reasoning and a call as the vendor's own client reads it off the wire."""
    return {"anthropic": _anthropic, "google": _google, "openai": _openai, "responses": _responses}[vendor]()


def _anthropic() -> AIMessage:
    from anthropic.types import Message
    from langchain_anthropic import ChatAnthropic

    said = Message.model_validate(
        {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-7",
            "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
            "content": [
                {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": SEALED},
                {"type": "text", "text": "I look again."},
                {"type": "tool_use", "id": "toolu_01A", "name": "look", "input": {"thing": "colour"}},
            ],
        }
    )  # fmt: skip
    model = ChatAnthropic(model_name="claude-opus-4-7", api_key=SecretStr("x"), timeout=None, stop=None)
    result = model._format_output(said)
    return _stamped(result.generations[0].message, result.llm_output or {})


def _google() -> AIMessage:
    from google.genai.types import Candidate, Content, FunctionCall, Part
    from langchain_google_genai.chat_models import _parse_response_candidate

    signature = base64.b64decode(SIGNATURE)
    call = FunctionCall(name="look", args={"thing": "colour"})
    parts = [
        Part(text=THOUGHT, thought=True, thought_signature=signature),
        Part(text="I look again."),
        Part(function_call=call, thought_signature=signature),
    ]
    return _parse_response_candidate(
        Candidate(content=Content(role="model", parts=parts)), model_name="gemini-3.1-pro-preview"
    )


def _openai() -> AIMessage:
    from langchain_openai.chat_models.base import _convert_dict_to_message

    call = {"id": "call_7", "type": "function", "function": {"name": "look", "arguments": '{"thing": "colour"}'}}
    message = _convert_dict_to_message({"role": "assistant", "content": "I look again.", "tool_calls": [call]})
    return _stamped(message, {"model_provider": "openai", "model_name": "gpt-5.5"})


def _responses() -> AIMessage:
    from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
    from openai.types.responses import Response

    said = Response.model_validate(
        {
            "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.5-pro", "status": "completed",
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": THOUGHT}],
                 "encrypted_content": SEALED},
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": "I look again.", "annotations": []}]},
                {"type": "function_call", "id": "fc_1", "call_id": "call_7", "name": "look",
                 "arguments": '{"thing": "colour"}'},
            ],
        }
    )  # fmt: skip
    message = _construct_lc_result_from_responses_api(said).generations[0].message
    assert isinstance(message, AIMessage)
    return message


def _stamped(message: BaseMessage, output: dict[str, Any]) -> AIMessage:
    # As `BaseChatModel` does with what the client returns beside the message.
    assert isinstance(message, AIMessage)
    message.response_metadata = {**output, **message.response_metadata}
    return message


def _faults(vendor: str, body: dict[str, Any]) -> set[str]:
    """What in a request is foreign to its vendor, lost, or in a place where the vendor refuses it."""
    text = json.dumps(body)
    faults = {
        name for name, value in (("thought", THOUGHT), ("signature", SIGNATURE), ("sealed", SEALED)) if value in text
    }
    if any(f'"{marker}"' in text for marker in ("rs_1", "fc_1", "msg_1")):
        faults.add("id of an item at its maker")
    for needed in ("Be brief.", "Answer in English.", "What is it, and", "I look again.", "3 g", "one pixel", "red"):
        if needed not in text:
            faults.add(f"lost: {needed}")
    if PNG not in text and PNG.replace("+", "-").replace("/", "_") not in text:
        faults.add("lost: the image")
    if vendor == "openai":
        results = [message for message in body["messages"] if message["role"] == "tool"]
        if "image_url" in json.dumps(results):
            faults.add("an image in a tool's result")
    return faults


@pytest.fixture
def stage(simulator: Simulator) -> Stage:
    return Stage(simulator)


async def _unconverted(stage: Stage, begun: str, goes_on: str, *, systems: int) -> set[str]:
    messages = await stage.conversation(begun)
    if systems == 1:
        messages = [message for message in messages if message.text != "Answer in English."]
    try:
        await stage.ask(goes_on, messages)
    except Exception as error:
        return {f"refused: {type(error).__name__}"}
    return _faults(goes_on, stage.bodies[-1])


@pytest.mark.slow
async def test_without_conversion_half_of_the_pairs_are_refused_or_misplace_an_image(stage: Stage) -> None:
    outcome = {pair: await _unconverted(stage, *pair, systems=2) for pair in PAIRS}
    assert all(outcome[begun, "anthropic"] == {"refused: ValueError"} for begun in ("google", "openai", "responses"))
    assert outcome["anthropic", "openai"] == {"refused: BadRequestError"}
    assert all(outcome[begun, "openai"] == {"an image in a tool's result"} for begun in ("google", "responses"))


async def test_without_conversion_one_vendors_thoughts_are_signed_for_another(stage: Stage) -> None:
    faults = await _unconverted(stage, "google", "anthropic", systems=1)
    assert {"thought", "signature"} <= faults


@pytest.mark.parametrize(("begun", "goes_on"), PAIRS, ids="-to-".join)
async def test_with_conversion_every_vendor_goes_on_with_every_others_conversation(
    stage: Stage, begun: str, goes_on: str
) -> None:
    messages = await stage.conversation(begun)
    carried = portable(messages, to=VENDORS[goes_on][0], card=_card(goes_on))
    assert not isinstance(carried, str), carried
    reply = await stage.ask(goes_on, carried)
    assert reply.text == "It is a red pixel of 3 g."
    assert _faults(goes_on, stage.bodies[-1]) == set()


@pytest.mark.parametrize("vendor", ["anthropic", "google", "responses"])
async def test_a_models_own_thoughts_and_signatures_are_kept_for_it(stage: Stage, vendor: str) -> None:
    messages = [message for message in await stage.conversation(vendor) if message.text != "Answer in English."]
    carried = portable(messages, to=VENDORS[vendor][0], card=_card(vendor))
    assert not isinstance(carried, str), carried
    kept = [message for message in carried if isinstance(message, AIMessage)]
    assert all(new is old for new, old in zip(kept, (messages[2], messages[5]), strict=True))
    await stage.ask(vendor, carried)
    body = json.dumps(stage.bodies[-1])
    assert {"anthropic": SIGNATURE, "google": SIGNATURE, "responses": SEALED}[vendor] in body


@pytest.mark.parametrize("vendor", ["anthropic", "google", "responses"])
async def test_another_model_of_the_same_vendor_gets_no_foreign_thoughts(stage: Stage, vendor: str) -> None:
    card = _card(vendor)
    other = ModelCard(
        id=f"{card.provider}/other", provider=card.provider, name="other-1", tier=Tier.STANDARD, inputs=card.inputs
    )
    carried = portable(await stage.conversation(vendor), to=VENDORS[vendor][0], card=other)
    assert not isinstance(carried, str), carried
    await stage.ask(vendor, carried)
    assert _faults(vendor, stage.bodies[-1]) == set()


async def test_a_conversation_wanders_through_all_vendors_and_back(stage: Stage) -> None:
    messages = await stage.conversation("anthropic")
    for vendor in ("google", "openai", "responses", "anthropic", "openai", "google"):
        carried = portable(messages, to=VENDORS[vendor][0], card=_card(vendor))
        assert not isinstance(carried, str), carried
        messages += [await stage.ask(vendor, carried), HumanMessage("Are you sure?")]
        assert len({call["id"] for message in carried for call in getattr(message, "tool_calls", [])}) == 3
