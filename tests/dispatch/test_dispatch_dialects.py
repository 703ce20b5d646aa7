"""What each vendor's API asks of a conversation: who ends it, whose thoughts come back, which pictures and texts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pointsman import tool
from pointsman.backends.options import Choice, Wanted
from pointsman.backends.providers.openai_compatible import OpenAICompatibleBackend
from pointsman.configs.catalog import ModelCard
from pointsman.configs.loading.loader import load
from pointsman.configs.words import Tier
from pointsman.dispatch.conversation.convert import portable
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import NoCandidate
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Answer, Rule, Scenario, Simulator

PNG, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM"
HEIC, WEBP = b"\0\0\0\x18ftypheic", b"RIFF\x10\0\0\0WEBP"
REMOTE = ["anthropic", "bedrock", "google", "openai", "openai_compatible", "vertex"]
FLASH = "deepseek/deepseek-v4-flash"


def _card(backend: str) -> ModelCard:
    inputs = frozenset({"text", "image", "pdf"})
    return ModelCard(id=f"{backend}/m", provider=backend, name="m", tier=Tier.STANDARD, inputs=inputs)


def _to(backend: str, *messages: BaseMessage) -> Any:
    return portable(messages, to=backend, card=_card(backend))


def _pictured(data: bytes, mime: str) -> HumanMessage:
    encoded = base64.b64encode(data + b"0" * 40).decode()
    return HumanMessage([{"type": "text", "text": "see"}, {"type": "image", "base64": encoded, "mime_type": mime}])


@pytest.mark.parametrize("backend", [name for name in REMOTE if name != "openai"])
def test_a_conversation_that_ends_with_the_assistant_is_given_to_the_user(backend: str) -> None:
    said = [SystemMessage("Review."), HumanMessage("A haiku"), AIMessage("draft")]
    assert [message.type for message in _to(backend, *said)] == ["system", "human", "ai", "human"]
    asked_last = [*said, HumanMessage("and?")]
    assert _to(backend, *asked_last)[-1].content == "and?"


@pytest.mark.parametrize("backend", REMOTE)
def test_a_conversation_that_ends_with_a_result_stays(backend: str) -> None:
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "abcdefghi"}])
    assert _to(backend, HumanMessage("go"), call, ToolMessage("x", tool_call_id="abcdefghi"))[-1].type == "tool"


@pytest.mark.parametrize("backend", REMOTE)
@pytest.mark.parametrize("blank", ["", " \n", [], [{"type": "text", "text": ""}], [{"type": "text", "text": " \n"}]])
def test_a_blank_result_says_that_it_is_empty(backend: str, blank: Any) -> None:
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "abcdefghi"}])
    carried = _to(backend, HumanMessage("go"), call, ToolMessage(blank, tool_call_id="abcdefghi"))
    assert carried[-1].content == "(empty)"


@pytest.mark.parametrize("backend", REMOTE)
@pytest.mark.parametrize("blank", ["", "  \n", [], [{"type": "text", "text": " "}]])
def test_a_blank_answer_is_no_turn(backend: str, blank: Any) -> None:
    carried = _to(backend, HumanMessage("q"), AIMessage(blank), HumanMessage("q2"))
    assert all(message.type == "human" for message in carried)
    assert "q2" in str(carried[-1].content)


@pytest.mark.parametrize("backend", REMOTE)
def test_no_text_goes_out_that_has_no_utf_8(backend: str) -> None:
    odd = "a\ud83db\x00\ud83d\ude00"
    call = AIMessage(odd, tool_calls=[{"name": "f", "args": {odd: [odd]}, "id": "abcdefghi"}])
    blocks = HumanMessage([{"type": "text", "text": odd}, {"type": "text", "text": "whole"}])
    said = [SystemMessage(odd), HumanMessage(odd), call, ToolMessage(odd, tool_call_id="abcdefghi"), blocks]
    for message in _to(backend, *said):
        told = f"{message.content}{getattr(message, 'tool_calls', '')}"
        assert "\0" not in told
        told.encode()
        assert "\N{GRINNING FACE}" in told


@pytest.mark.parametrize(
    ("backend", "data", "said", "sent"),
    [
        ("anthropic", JPEG, "image/jpg", "image/jpeg"),
        ("anthropic", PNG, "image/jpeg", "image/png"),
        ("anthropic", HEIC, "image/heic", None),
        ("anthropic", BMP, "image/bmp", None),
        ("anthropic", b"<svg", "image/svg+xml", None),
        ("anthropic", GIF, "image/gif", "image/gif"),
        ("google", GIF, "image/gif", None),
        ("google", HEIC, "image/heic", "image/heic"),
        ("google", WEBP, "image/png", "image/webp"),
        ("openai", HEIC, "image/heic", None),
        ("openai", JPEG, "image/pjpeg", "image/jpeg"),
        ("openai_compatible", PNG, "", "image/png"),
    ],
)
def test_a_picture_goes_out_under_its_own_type_to_those_who_take_it(
    backend: str, data: bytes, said: str, sent: str | None
) -> None:
    carried = _to(backend, _pictured(data, said))
    if sent is None:
        assert "give it as PNG or JPEG" in carried
    else:
        assert carried[0].content[1]["mime_type"] == sent


@pytest.mark.parametrize("backend", REMOTE)
def test_a_data_file_that_is_text_goes_out_as_text(backend: str) -> None:
    data = base64.b64encode(b'{"a": 1}').decode()
    block = {"type": "file", "base64": data, "mime_type": "application/json"}
    assert _to(backend, HumanMessage(["see", block]))[0].content[1] == {"type": "text", "text": '{"a": 1}'}


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return "sent"


@pytest.fixture
def compatible(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A routed model on one model of a server that speaks OpenAI's format."""
    made: list[Dispatcher] = []

    def make(model: str = FLASH, **models: Any) -> Any:
        provider = model.partition("/")[0]
        environ = {
            "DEEPSEEK_API_KEY": "not-a-real-key",
            "OPENROUTER_API_KEY": "not-a-real-key",
            f"POINTSMAN_PROVIDERS__{provider.upper()}__BASE_URL": simulator.url("openai"),
        }
        made.append(Dispatcher(load(tmp_path, environ=environ, flags={"models": models} if models else {})))
        return RoutedChatModel(kind="gather", prefer=model, dispatcher=made[-1])

    yield make
    for one in made:
        one.ledger.close()


def _thought(call_id: str, **thoughts: Any) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[{"name": "order_status", "args": {"order_id": "7"}, "id": call_id}],
        additional_kwargs=thoughts,
        response_metadata={"pointsman": {"model": FLASH, "effects": {"order_status": "read"}}},
    )


def test_reasoning_goes_back_to_the_model_whose_it_is(compatible: Callable[..., Any], simulator: Simulator) -> None:
    bodies: list[Any] = []
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: bodies.append(request.body) or Answer(text="ok"))])
    details = [
        {"type": "reasoning.text", "text": "Look ", "format": "f", "index": "0"},
        {"type": "reasoning.text", "text": "it up.", "format": "f", "index": "0"},
    ]
    mine = _thought("call_1", reasoning_content="I look it up.", reasoning_details=details)
    foreign = AIMessage(
        "",
        tool_calls=[{"name": "order_status", "args": {"order_id": "8"}, "id": "toolu_1"}],
        additional_kwargs={"reasoning_content": "another's thought"},
        response_metadata={"pointsman": {"model": "a/b", "effects": {"order_status": "read"}}},
    )
    model = compatible().bind_tools([order_status])
    results = [ToolMessage("sent", tool_call_id="call_1"), ToolMessage("sent", tool_call_id="toolu_1")]
    model.invoke([HumanMessage("Where?"), mine, results[0], HumanMessage("And 8?"), foreign, results[1]])
    own, other = [message for message in bodies[0]["messages"] if message["role"] == "assistant"]
    assert own["reasoning_content"] == "I look it up."
    assert own["reasoning_details"] == [{"type": "reasoning.text", "text": "Look it up.", "format": "f", "index": 0}]
    assert "another" not in other["reasoning_content"]
    assert other["reasoning_content"]


def test_reasoning_is_kept_whole_and_streamed() -> None:
    from langchain_core.messages import AIMessageChunk
    from pointsman.backends.base import Endpoint
    from pydantic import SecretStr

    endpoint = Endpoint("deepseek-v4-flash", base_url="http://127.0.0.1:1/v1", key=SecretStr("x"))
    client: Any = OpenAICompatibleBackend().chat_model(endpoint)
    detail = {"type": "reasoning.text", "format": "f", "index": 0}
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "b",
        "reasoning_details": [{**detail, "text": "c"}],
    }
    body = {"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    whole = client._create_chat_result(body).generations[0].message
    assert whole.additional_kwargs["reasoning_content"] == "b"
    streamed: Any = None
    for text in ("c", "d"):
        delta = {"reasoning_content": text, "reasoning_details": [{**detail, "text": text}]}
        chunk = {"choices": [{"index": 0, "delta": delta}]}
        made = client._convert_chunk_to_generation_chunk(chunk, AIMessageChunk, None).message
        streamed = made if streamed is None else streamed + made
    assert streamed.additional_kwargs["reasoning_content"] == "cd"
    sent = client._get_request_payload([HumanMessage("q"), whole, streamed])["messages"]
    assert [one.get("reasoning_details") for one in sent] == [
        None,
        [{**detail, "text": "c"}],
        [{**detail, "text": "cd"}],
    ]


def test_a_forced_tool_switches_off_the_thinking_it_does_not_go_with(
    compatible: Callable[..., Any], simulator: Simulator
) -> None:
    from pointsman.simulator import ToolCall

    bodies: list[Any] = []
    call = Answer(tool_calls=(ToolCall("order_status", {"order_id": "7"}),))
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: bodies.append(request.body) or call)])
    answer = compatible().bind_tools([order_status], tool_choice="any").invoke("Where is 7?")
    assert (bodies[0]["tool_choice"], bodies[0]["thinking"]) == ("required", {"type": "disabled"})
    assert answer.response_metadata["pointsman"]["notes"] == ["reasoning off, since a tool is forced"]


def test_a_router_s_model_that_thinks_first_is_asked_for_a_typed_answer_only() -> None:
    backend = OpenAICompatibleBackend()
    wanted = Wanted(choice=Choice("any"), tools=True, answer=True)
    assert backend.said("deepseek/deepseek-v4-flash", wanted).choice == Choice("auto")
    acting = Wanted(choice=Choice("any"), tools=True)
    assert "tool_choice" in backend.said("deepseek/deepseek-v4-flash", acting).unfit
    assert backend.said("meta-llama/llama-4", acting).choice == Choice("any")


def test_a_picture_without_data_is_no_request(compatible: Callable[..., Any], simulator: Simulator) -> None:
    empty = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    with pytest.raises(NoCandidate) as refused:
        compatible().invoke([HumanMessage(["see", empty])])
    assert "cannot read images" in {rejection.reason for rejection in refused.value.decision.rejected}
    assert not simulator.log
