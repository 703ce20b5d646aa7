"""Shapes of replies that servers of OpenAI's format really send, from the wire to the answer and its account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pointsman.backends.base import BackendError
from pointsman.configs.loading.loader import load
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel

_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
_DONE = "[DONE]"
_TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {
        "type": "object", "properties": {"q": {"type": "string"}}, "required": required}}}
    for name, required in (("f", ["q"]), ("g", []))
]  # fmt: skip

ModelRequest = Callable[..., Any]


@pytest.fixture
def ask(wire: Any, tmp_path: Path) -> Iterator[ModelRequest]:
    """Ask a server for what the wire says, streamed where it is a list; gives the message."""
    homes: list[Dispatcher] = []

    def asked(answer: Any, entry: str = "", said: Any = "Hi", *, stream: bool = False) -> Any:
        (tmp_path / "models.yaml").write_text(
            f"providers: {{vllm: {{enabled: true, base_url: '{wire.url}/v1'}}}}\n"
            "models: {vllm/local-1: {tier: frontier, context: 9000, tools: true, structured: true, "
            f"prices: {{input: 1, output: 1, as_of: 2026-01-01}}{entry}}}}}\n",
            encoding="utf-8",
        )
        flags = {"routing.approved": "[vllm/local-1]"}
        homes.append(Dispatcher(load(tmp_path, environ={}, flags=flags, user=tmp_path / "nobody")))
        wire.answer = answer
        model = RoutedChatModel(kind="gather", dispatcher=homes[-1]).bind(tools=_TOOLS, effects=["read", "read"])
        if not (stream or isinstance(answer, list)):
            return model.invoke(said)
        message: Any = None
        for chunk in model.stream(said):
            message = chunk if message is None else message + chunk
        return message

    yield asked
    for home in homes:
        home.ledger.close()


def _piece(finish: str | None = None, *, model: str = "m", usage: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": model, "choices": [choice], "usage": usage}


def _call(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", **fields, "function": {"name": fields.pop("name", "f"), "arguments": arguments}}


def _whole(finish: Any = "stop", model: Any = "m", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return {"object": "chat.completion", "model": model, "choices": [choice], "usage": _USAGE}


def _streamed(*pieces: dict[str, Any], finish: str | None = "tool_calls") -> list[Any]:
    return [*pieces, _piece(finish, usage=_USAGE), _DONE]


def _calls(message: Any) -> list[tuple[str, Any]]:
    ids = [call["id"] for call in message.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return [(call["name"], call["args"]) for call in message.tool_calls]


_ONE, _TWO = '{"q": "1"}', '{"q": "2"}'
_BOTH = [("f", {"q": "1"}), ("f", {"q": "2"})]


@pytest.mark.parametrize("finish", ["eos", "eos_token", "end_turn", "STOP", "tool_use", "done_for_today"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_end_in_other_words_with_an_answer_is_an_end(ask: ModelRequest, finish: str, stream: bool) -> None:
    answer = _streamed(_piece(content="hi"), finish=finish) if stream else _whole(finish, content="hi")
    message = ask(answer)
    assert message.text == "hi"
    assert message.response_metadata["pointsman"]["usage"]["output"] == 5


@pytest.mark.parametrize("finish", [None, ""])
def test_an_answer_in_one_piece_without_a_reason_for_its_end_is_whole(ask: ModelRequest, finish: str | None) -> None:
    """Gateways and local servers leave the reason out of whole replies, with complete answers.

    Seen in MicrosoftDocs/azure-docs#109589, maximhq/bifrost#1489 (Gemini behind a gateway), PowerShell/AIShell#350
    (KoboldCpp) and pydantic/pydantic-ai#2322 (tool calls of Kimi-K2 by OpenRouter); vLLM itself writes "stop" for it. A
    stream without a reason broke off.
    """
    message = ask(_whole(finish, content="hi"))
    assert (message.text, message.response_metadata["pointsman"]["usage"]["output"]) == ("hi", 5)
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": _ONE}}
    assert ask(_whole(finish, tool_calls=[call])).tool_calls[0]["args"] == {"q": "1"}
    with pytest.raises(BackendError, match="malformed"):
        ask(_whole(finish, tool_calls=[{**call, "function": {"name": "f", "arguments": '{"q": '}}]))


@pytest.mark.parametrize(
    ("finish", "content", "kind"),
    [
        ("done_for_today", "", "malformed"),
        ("model_length", "hi", "truncated"),
        ("MAX_TOKENS", "hi", "truncated"),
        ("sensitive", "hi", "content_filter"),
        ("error", "hi", "malformed"),
        (None, "", "malformed"),
        ("", " ", "malformed"),
    ],
)
def test_an_end_that_is_none_is_no_answer(ask: ModelRequest, finish: str | None, content: str, kind: str) -> None:
    with pytest.raises(BackendError) as caught:
        ask(_whole(finish, content=content))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "pieces",
    [
        [_call(_ONE, index=0, id="a"), _call(_TWO, index=0, id="b")],
        [_call(_ONE, index=0, id="a"), _call(_TWO, index=1, id="a")],
        [_call(_ONE, id="a"), _call(_TWO, id="b")],
        [_call(_ONE), _call(_TWO)],
        [_call(_ONE, index=0, id=None), _call(_TWO, index=0, id=None)],
        [_call(_ONE, index=0, id=""), _call(_TWO, index=1, id="")],
        [_call({"q": "1"}, index=0, id="a"), _call({"q": "2"}, index=1, id="b")],
        [_call('{"q"', id="a"), _call(': "1"}', id="a"), _call(_TWO, id="b")],
        [_call('{"q"', id="a"), _call(': "1"}', name=""), _call(_TWO, id="b")],
        [_call('{"q"', index=0, id="a"), _call(': "1"}', index=0, id="a"), _call(_TWO, index=1, id="b")],
    ],
    ids=range(10),
)
def test_two_calls_are_two_however_their_pieces_are_marked(ask: ModelRequest, pieces: list[Any]) -> None:
    assert _calls(ask(_streamed(*(_piece(tool_calls=[piece]) for piece in pieces)))) == _BOTH
    if len(pieces) == 2:
        assert _calls(ask(_streamed(_piece(tool_calls=pieces)))) == _BOTH
        assert _calls(ask(_whole("tool_calls", tool_calls=pieces))) == _BOTH


@pytest.mark.parametrize("arguments", [None, "", "null", {}])
def test_arguments_that_are_none_are_empty(ask: ModelRequest, arguments: Any) -> None:
    call = _call(arguments, index=0, id="a", name="g")
    assert _calls(ask(_streamed(_piece(tool_calls=[call])))) == [("g", {})]
    assert _calls(ask(_whole("tool_calls", tool_calls=[call]))) == [("g", {})]


def test_the_single_call_of_older_servers_is_a_call(ask: ModelRequest) -> None:
    pieces = [{"name": "f", "arguments": '{"q": '}, {"arguments": '"1"}'}]
    streamed = _streamed(*(_piece(function_call=piece) for piece in pieces), finish="function_call")
    assert _calls(ask(streamed)) == _BOTH[:1]
    assert _calls(ask(_whole("function_call", function_call={"name": "f", "arguments": _ONE}))) == _BOTH[:1]


def test_a_name_that_comes_late_or_again_is_told_once(ask: ModelRequest) -> None:
    pieces = [_call("", index=0, id="a", name=""), _call('{"q": ', index=0), _call('"1"}', index=0)]
    assert _calls(ask(_streamed(*(_piece(tool_calls=[piece]) for piece in pieces)))) == _BOTH[:1]


def test_pings_odd_chunks_and_a_second_end_are_passed_over(ask: ModelRequest) -> None:
    odd = [{}, {"type": "ping"}, {"choices": None}, "null", "[]", "", " ", {"choices": [{"delta": None}]}]
    ended = [_piece("stop"), _piece("stop", content="", model="m-2", usage=_USAGE), _DONE]
    message = ask([*odd, _piece(content="h"), *odd, _piece(content="i", role="model"), *ended])
    assert (message.text, message.response_metadata["finish_reason"]) == ("hi", "stop")


def test_a_stream_that_says_it_is_done_is_complete_and_one_that_only_ends_is_not(ask: ModelRequest) -> None:
    said = [_piece(content="hi"), _piece(usage=_USAGE)]
    assert ask([*said, _DONE]).text == "hi"
    with pytest.raises(BackendError) as caught:
        ask(said)
    assert caught.value.kind == "malformed"


def test_a_refusal_in_its_own_field_is_one_streamed_too(ask: ModelRequest) -> None:
    for answer in (
        _streamed(_piece(refusal="I will"), _piece(refusal=" not."), finish="stop"),
        _whole(refusal="I will not."),
    ):
        with pytest.raises(BackendError) as caught:
            ask(answer)
        assert caught.value.kind == "refusal"


@pytest.mark.parametrize("answer", [{"choices": []}, {}, {"choices": [None]}, [], "hi", 3], ids=json.dumps)
def test_a_body_without_an_answer_is_told_in_words(ask: ModelRequest, answer: Any) -> None:
    with pytest.raises(BackendError) as caught:
        ask((200, answer))
    assert caught.value.kind == "malformed"
    assert "Error:" not in str(caught.value)


def test_a_name_that_the_user_declares_is_no_other_model(ask: ModelRequest) -> None:
    answer = _whole(content="hi", model="team-a/7")
    with pytest.raises(BackendError) as caught:
        ask(answer)
    assert caught.value.kind == "wrong_model"
    for declared in ("team-a/7", "[other-1, 'TEAM-*']"):
        account = ask(answer, f", answers_as: {declared}").response_metadata["pointsman"]
        assert account["answered_by"] == "team-a/7"


@pytest.mark.parametrize("model", [None, ""])
def test_a_reply_that_names_no_model_is_marked_unknown(ask: ModelRequest, model: Any) -> None:
    whole = ask(_whole(content="hi", model=model))
    streamed = ask([_piece(content="hi", model=model), _piece("stop", model=model, usage=_USAGE), _DONE])
    for message in (whole, streamed):
        assert message.response_metadata["pointsman"]["answered_by"] == "unknown"


@pytest.mark.parametrize("listed", [False, True], ids=["text", "blocks"])
def test_what_a_tool_says_to_a_terminal_reaches_no_model(ask: ModelRequest, wire: Any, listed: bool) -> None:
    odd = "a\x1b[2Jb\x00c\x1b]0;x\x07d"
    content: Any = [{"type": "text", "text": odd}] if listed else odd
    call = {"name": "f", "args": {"q": "1"}, "id": "call_1"}
    said = [HumanMessage("Hi"), AIMessage("", tool_calls=[call]), ToolMessage(content, tool_call_id="call_1")]
    ask(_whole(content="hi"), said=said)
    sent = json.dumps(wire.requests[-1]["messages"][-1])
    assert "abcd" in sent
    assert "\\u00" not in sent
    assert said[-1].content == content


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"object": "error", "message": "the engine died", "type": "InternalServerError", "code": 500}, "overloaded"),
        ({"object": "error", "message": "the prompt is too long: 9 > 4", "code": 400}, "context_length"),
        ({"choices": [], "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "quota"),
        ({"choices": [{"index": 0, "delta": {}, "error": {"code": 429, "message": "slow down"}}]}, "rate_limit"),
    ],
)
def test_an_error_in_whatever_form_it_is_told_ends_a_stream_as_one(ask: ModelRequest, error: Any, kind: str) -> None:
    with pytest.raises(BackendError) as caught:
        ask([_piece(content="half"), error, _DONE])
    assert caught.value.kind == kind


def test_a_server_that_does_not_stream_is_understood_too(ask: ModelRequest) -> None:
    message = ask(_whole(content="hi"), stream=True)
    assert (message.text, message.response_metadata["pointsman"]["usage"]["output"]) == ("hi", 5)
    whole = _whole("tool_calls", tool_calls=[_call(_ONE, id="a"), _call(_TWO, id="b")])
    assert _calls(ask(whole, stream=True)) == _BOTH
    with pytest.raises(BackendError) as caught:
        ask({"error": {"message": "Insufficient credits", "code": 402}}, stream=True)
    assert caught.value.kind == "quota"


@pytest.mark.parametrize("pieces", [("a\ud83d", "\ude00b"), ("a", "\ud83d", "\ude00b")])
def test_a_character_that_is_cut_in_two_is_whole_again(ask: ModelRequest, pieces: tuple[str, ...]) -> None:
    assert ask([*(_piece(content=piece) for piece in pieces), _piece("stop", usage=_USAGE), _DONE]).text == "a😀b"
    assert ask(_whole(content="a\ud83d")).text == "a\ufffd"
    halves = (_piece(tool_calls=[_call(text, index=0, **more)]) for text, more in (
        ('{"q": "\ud83d', {"id": "a"}), ('\ude00"}', {})))  # fmt: skip
    assert _calls(ask([*halves, _piece("tool_calls", usage=_USAGE), _DONE])) == [("f", {"q": "😀"})]
    assert _calls(ask(_whole("tool_calls", tool_calls=[_call('{"q": "\\ud83d"}', id="a")]))) == [("f", {"q": "\ufffd"})]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>',
        'I look it up.\n<tool_call>\n{"name": "f", "arguments": {"q": "1"}}\n</tool_call>',
        '[TOOL_CALLS][{"name": "f", "arguments": {"q": "1"}}]',
        '<function=f>{"q": "1"}</function>',
        '<invoke name="f"><parameter name="q">1</parameter></invoke>',
    ],
)
def test_the_call_of_a_tool_that_comes_as_text_is_no_answer(ask: ModelRequest, text: str) -> None:
    with pytest.raises(BackendError, match="the call of a tool came as text") as caught:
        ask(_whole(content=text))
    assert caught.value.kind == "invalid_output"
    spoken = f"Such a call reads:\n{text}\nThat is all."
    assert ask(_whole(content=spoken)).text == spoken


@pytest.mark.parametrize(
    ("pieces", "kind", "why"),
    [
        ([_piece(content="a"), _piece(content="b"), _piece("length")], "truncated", "finish reason 'length'"),
        ([_piece(content="a"), _piece(content="b"), _piece(content="c")], "malformed", "without a finish reason"),
        ([_piece(tool_calls=[_call('{"q": "', index=0, id="a")]), _piece("tool_calls")], "invalid_output",
         "the arguments of f are not JSON"),
        ([_piece(content="a"), _piece(content="b"), {"error": "boom"}], "overloaded", "boom"),
    ],
)  # fmt: skip
def test_a_stream_that_ends_badly_after_its_first_words_says_who_why_and_what_to_do(
    ask: ModelRequest, pieces: list[Any], kind: str, why: str
) -> None:
    with pytest.raises(BackendError) as caught:
        ask(pieces)
    said = str(caught.value)
    assert caught.value.kind == kind
    assert said.startswith("vllm/local-1 has not answered, although it began to: ")
    assert why in said
    assert "on_cut='retract'" in said
