"""What a conversation becomes for the next model: pairing, ids, media, roles, and what is refused."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from pointsman.configs.catalog import ModelCard
from pointsman.configs.words import Tier
from pointsman.dispatch.conversation.convert import portable
from pointsman.dispatch.conversation.dialects import dialect_of

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4").decode()
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
REMOTE = ("anthropic", "bedrock", "google", "openai", "openai_compatible", "vertex")


def _card(inputs: str = "text image pdf", provider: str = "p", name: str = "m-1", tools: bool = True) -> ModelCard:
    return ModelCard(
        id=f"{provider}/{name}", provider=provider, name=name, tier=Tier.STANDARD, inputs=frozenset(inputs.split()),
        tools=tools,
    )  # fmt: skip


def _to(backend: str, *messages: BaseMessage, card: ModelCard | None = None) -> list[BaseMessage]:
    carried = portable(messages, to=backend, card=card or _card())
    assert not isinstance(carried, str), carried
    return list(carried)


def _refused(backend: str, *messages: BaseMessage, card: ModelCard | None = None) -> str:
    reason = portable(messages, to=backend, card=card or _card())
    assert isinstance(reason, str), reason
    return reason


def _calls(*ids: str | None, name: str = "look", **fields: Any) -> AIMessage:
    calls = [{"name": name, "args": {"n": n}, "id": identity, "type": "tool_call"} for n, identity in enumerate(ids)]
    return AIMessage("", tool_calls=calls, **fields)


@pytest.mark.parametrize("backend", REMOTE)
def test_a_conversation_every_vendor_takes_comes_back_as_the_same_object(backend: str) -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "What is it?"}, IMAGE]),
        _calls("abcdef123", "abcdef124"),
        ToolMessage("red", tool_call_id="abcdef123"),
        ToolMessage("3 g", tool_call_id="abcdef124"),
        AIMessage("A pixel.", response_metadata={"model_provider": "another"}),
        HumanMessage("Sure?"),
    ]
    assert portable(messages, to=backend, card=_card()) is messages


def test_what_runs_in_this_process_gets_the_conversation_as_it_is() -> None:
    messages = [AIMessage("first"), SystemMessage(""), ToolMessage("x", tool_call_id="nobody")]
    assert portable(messages, to="ondevice", card=_card("text", tools=False)) is messages


# Tool calls and their results


@pytest.mark.parametrize(
    ("backend", "identity", "kept"),
    [
        ("openai", "toolu_01A09q90qw90lq917835lq9", True),
        ("openai", "x" * 41, False),
        ("anthropic", "functions.look:0", False),
        ("bedrock", "call 7", False),
        ("google", "x" * 200, True),
        ("openai_compatible", "call_abcdefghijk", False),
        ("openai_compatible", "a1B2c3D4e", True),
        ("a backend nobody knows", "call_abcdefghijk", False),
    ],
)
def test_ids_a_vendor_refuses_are_made_anew_on_both_sides(backend: str, identity: str, kept: bool) -> None:
    _, asked, answered = _to(backend, HumanMessage("hi"), _calls(identity), ToolMessage("red", tool_call_id=identity))
    assert isinstance(asked, AIMessage)
    assert isinstance(answered, ToolMessage)
    new = asked.tool_calls[0]["id"]
    assert new == answered.tool_call_id
    assert (new == identity) is kept


def test_a_new_id_does_not_change_when_the_conversation_grows() -> None:
    start = [HumanMessage("hi"), _calls("a.b"), ToolMessage("red", tool_call_id="a.b")]
    short, long = _to("anthropic", *start), _to("anthropic", *start, AIMessage("ok"), HumanMessage("more"))
    assert long[:3] == short


@pytest.mark.parametrize("backend", REMOTE)
def test_an_id_used_in_two_turns_becomes_two_with_each_its_own_result(backend: str) -> None:
    carried = _to(
        backend,
        HumanMessage("hi"),
        _calls("look"), ToolMessage("first", tool_call_id="look"),
        _calls("look"), ToolMessage("second", tool_call_id="look"),
    )  # fmt: skip
    _, one, first, two, second = carried
    assert one.tool_calls[0]["id"] == first.tool_call_id != two.tool_calls[0]["id"] == second.tool_call_id  # type: ignore[attr-defined]
    assert (first.content, second.content) == ("first", "second")


def test_parallel_calls_without_ids_get_their_results_in_order() -> None:
    asked = _calls(None, None)
    answers = [ToolMessage("one", tool_call_id=""), ToolMessage("two", tool_call_id="")]
    _, carried, one, two = _to("openai", HumanMessage("hi"), asked, *answers)
    assert isinstance(carried, AIMessage)
    assert [call["id"] for call in carried.tool_calls] == [one.tool_call_id, two.tool_call_id]  # type: ignore[attr-defined]
    assert (one.content, two.content) == ("one", "two")


def test_a_call_without_a_result_is_answered_by_not_known() -> None:
    carried = _to(
        "openai", HumanMessage("hi"), _calls("a", "b"), ToolMessage("red", tool_call_id="b"), HumanMessage("?")
    )
    results = [message for message in carried if isinstance(message, ToolMessage)]
    assert [(result.tool_call_id, result.content, result.status) for result in results] == [
        ("b", "red", "success"),
        ("a", "The result of this call is not known.", "error"),
    ]
    assert carried[-1].content == "?"


def test_a_result_that_came_after_the_users_next_words_moves_up_to_its_call() -> None:
    carried = _to(
        "anthropic", HumanMessage("hi"), _calls("a"), HumanMessage("stop"), ToolMessage("red", tool_call_id="a")
    )
    assert [message.type for message in carried] == ["human", "ai", "tool", "human"]


def test_a_result_whose_call_was_cut_off_gets_a_call_back() -> None:
    carried = _to("anthropic", ToolMessage("red", tool_call_id="a", name="look"), HumanMessage("and?"))
    assert [message.type for message in carried] == ["human", "ai", "tool", "human"]
    assert carried[1].tool_calls[0]["name"] == "look"  # type: ignore[attr-defined]
    assert carried[0].content == "(The beginning of this conversation is not shown.)"


def test_a_second_result_of_one_call_is_kept_as_one_of_a_second_call() -> None:
    carried = _to(
        "openai",
        HumanMessage("hi"),
        _calls("a"),
        ToolMessage("one", tool_call_id="a"),
        ToolMessage("two", tool_call_id="a"),
    )
    assert isinstance(carried[1], AIMessage)
    assert [call["name"] for call in carried[1].tool_calls] == ["look", "look"]
    assert [message.content for message in carried[2:]] == ["one", "two"]


def test_a_call_that_could_not_be_read_goes_unless_it_was_answered() -> None:
    broken = {"name": "look", "args": "{oops", "id": "a", "error": None, "type": "invalid_tool_call"}
    message = AIMessage("Let me see.", invalid_tool_calls=[broken], additional_kwargs={"tool_calls": [{"id": "a"}]})
    (_, gone) = _to("openai", HumanMessage("hi"), message)
    assert (gone.content, gone.tool_calls, gone.additional_kwargs) == ("Let me see.", [], {})  # type: ignore[attr-defined]
    _, kept, answer = _to("openai", HumanMessage("hi"), message, ToolMessage("not JSON", tool_call_id="a"))
    assert kept.tool_calls[0]["id"] == answer.tool_call_id  # type: ignore[attr-defined]


def test_the_old_function_calls_become_tool_calls() -> None:
    called = AIMessage("", additional_kwargs={"function_call": {"name": "look", "arguments": '{"n": 1}'}})
    _, asked, answered = _to("anthropic", HumanMessage("hi"), called, FunctionMessage("red", name="look"))
    assert isinstance(asked, AIMessage)
    assert asked.tool_calls[0]["args"] == {"n": 1}
    assert answered.tool_call_id == asked.tool_calls[0]["id"]  # type: ignore[attr-defined]


def test_a_model_without_tools_cannot_go_on_with_tool_calls() -> None:
    asked = (HumanMessage("hi"), _calls("a"), ToolMessage("red", tool_call_id="a"))
    assert "cannot call tools" in _refused("openai_compatible", *asked, card=_card(tools=False))


# Answers of other models


FOREIGN = [
    {"type": "thinking", "thinking": "secret", "signature": "s"},
    {"type": "redacted_thinking", "data": "secret"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "secret"}], "encrypted_content": "s"},
    {"type": "reasoning", "reasoning": "secret"},
    {"type": "reasoning_content", "reasoning_content": {"text": "secret"}},
]


@pytest.mark.parametrize("backend", REMOTE)
@pytest.mark.parametrize("block", FOREIGN, ids=lambda block: block["type"])
def test_thoughts_of_another_model_are_left_out_and_never_become_its_words(backend: str, block: dict[str, Any]) -> None:
    answer = AIMessage([block, {"type": "text", "text": "Hello."}], additional_kwargs={"reasoning_content": "secret"})
    carried = _to(backend, HumanMessage("hi"), answer, HumanMessage("and?"))
    assert [message.content for message in carried] == ["hi", "Hello.", "and?"]
    assert "secret" not in repr(carried)


@pytest.mark.parametrize("backend", REMOTE)
def test_an_answer_that_was_nothing_but_thought_is_no_turn(backend: str) -> None:
    said = [HumanMessage("hi"), AIMessage([FOREIGN[0]]), AIMessage(""), AIMessage("Hello."), HumanMessage("bye")]
    assert [message.content for message in _to(backend, *said)] == ["hi", "Hello.", "bye"]


def test_texts_between_which_something_stood_stay_apart() -> None:
    answer = AIMessage(
        [
            {"type": "text", "text": "I search."},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "text", "text": "It is "},
            {"type": "text", "text": "red.", "citations": [{"url": "https://example.org"}]},
        ]
    )
    assert _to("openai", HumanMessage("hi"), answer)[1].content == "I search.\n\nIt is red."


def test_an_answer_that_is_nothing_but_a_vendors_tool_cannot_be_carried() -> None:
    answer = AIMessage([{"type": "web_search_call", "id": "ws_1", "status": "completed"}])
    assert "a tool at its vendor" in _refused("anthropic", HumanMessage("hi"), answer)


def test_a_refusal_is_carried_as_what_was_said() -> None:
    in_block = AIMessage([{"type": "refusal", "refusal": "I cannot."}])
    beside = AIMessage("", additional_kwargs={"refusal": "I will not."})
    carried = _to("google", HumanMessage("hi"), in_block, HumanMessage("please"), beside, HumanMessage("bye"))
    assert [message.content for message in carried] == ["hi", "I cannot.", "please", "I will not.", "bye"]


def test_a_block_only_its_maker_can_read_cannot_be_carried() -> None:
    answer = AIMessage([{"type": "compaction", "encrypted_content": "…"}])
    assert "'compaction' block" in _refused("anthropic", HumanMessage("hi"), answer)


def test_a_block_of_an_unknown_type_is_carried_by_its_text() -> None:
    assert _to("openai", HumanMessage([{"type": "novelty", "text": "hello"}]))[0].content == [
        {"type": "text", "text": "hello"}
    ]
    assert "'novelty' block" in _refused("openai", HumanMessage([{"type": "novelty", "data": 1}]))


def test_structured_output_leaves_nothing_behind() -> None:
    answer = AIMessage('{"red": true}', additional_kwargs={"parsed": object(), "refusal": None})
    (_, carried, _) = _to("anthropic", HumanMessage("hi"), answer, HumanMessage("bye"))
    assert (carried.content, carried.additional_kwargs) == ('{"red": true}', {})


def test_an_image_another_model_made_is_shown_by_the_user_as_such() -> None:
    answer = AIMessage(["Here.", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}])
    _, said, shown = _to("openai", HumanMessage("draw"), answer)
    assert said.content == "Here."
    assert shown.type == "human"
    assert shown.content[0] == {"type": "text", "text": "(The following is made by the assistant.)"}


def test_an_image_made_beside_a_call_is_shown_after_its_result() -> None:
    answer = AIMessage([IMAGES[0]], tool_calls=_calls("a").tool_calls)
    carried = _to("openai", HumanMessage("draw"), answer, ToolMessage("red", tool_call_id="a"))
    assert [message.type for message in carried] == ["human", "ai", "tool", "human"]
    assert PNG in str(carried[3].content)


@pytest.mark.parametrize(
    ("metadata", "own"),
    [
        ({"pointsman": {"model": "p/m-1"}, "model_provider": "elsewhere"}, True),
        ({"pointsman": {"model": "q/m-1"}, "model_provider": "anthropic", "model_name": "m-1"}, False),
        ({"model_provider": "anthropic", "model_name": "m-1-20260401"}, True),
        ({"model_provider": "anthropic", "model_name": "m-2"}, False),
        ({"model_provider": "openai", "model_name": "m-1"}, False),
        ({}, False),
    ],
)
def test_only_the_very_model_keeps_its_thoughts(metadata: dict[str, Any], own: bool) -> None:
    answer = AIMessage([FOREIGN[0], {"type": "text", "text": "Hello."}], response_metadata=metadata)
    carried = _to("anthropic", HumanMessage("hi"), answer, HumanMessage("and?"))
    assert (carried[1] is answer) is own


# Media


IMAGES = [
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"},
    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": PNG},
    {"type": "media", "mime_type": "image/png", "data": base64.b64decode(PNG)},
    {
        "type": "non_standard",
        "value": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    },
    IMAGE,
]  # fmt: skip


def _payload(backend: str, messages: list[BaseMessage]) -> str:
    """What the vendor's own client would send."""
    if backend == "anthropic":
        from langchain_anthropic.chat_models import _format_messages

        return repr(_format_messages(messages, model="x"))
    if backend == "google":
        from langchain_google_genai.chat_models import _parse_chat_history

        system, contents = _parse_chat_history(messages, model="x")
        return repr(
            [part.model_dump_json(exclude_none=True) for content in contents for part in content.parts or []]
        ) + repr(system)
    from langchain_openai.chat_models.base import _convert_message_to_dict

    return repr([_convert_message_to_dict(message) for message in messages])


@pytest.mark.parametrize("backend", ["anthropic", "google", "openai"])
@pytest.mark.parametrize("image", IMAGES, ids=lambda image: "-".join(map(str, image)))
def test_an_image_in_any_spelling_reaches_every_vendor(backend: str, image: dict[str, Any]) -> None:
    carried = _to(backend, HumanMessage([{"type": "text", "text": "look"}, image]))
    sent = _payload(backend, carried).replace("-", "+").replace("_", "/")
    assert PNG.replace("_", "/") in sent


def test_without_conversion_an_image_in_anothers_spelling_breaks_a_client() -> None:
    message = HumanMessage([IMAGES[3]])
    with pytest.raises(ValueError, match="Unrecognized message part type"):
        _payload("google", [message])
    with pytest.raises(TypeError):
        _payload("anthropic", [HumanMessage([IMAGES[1]])])


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: "-".join(map(str, image)))
def test_a_model_without_eyes_says_so(image: dict[str, Any]) -> None:
    assert _refused("openai", HumanMessage([image]), card=_card("text")) == "it takes no image input"


FILES = [
    {"type": "file", "base64": PDF, "mime_type": "application/pdf"},
    {"type": "file", "source_type": "base64", "data": PDF, "mime_type": "application/pdf"},
    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "title": "a"},
    {"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}"},
    {"type": "media", "mime_type": "application/pdf", "data": PDF},
]


@pytest.mark.parametrize("backend", ["anthropic", "google", "openai"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: "-".join(map(str, file)))
def test_a_pdf_in_any_spelling_reaches_every_vendor_that_reads_it(backend: str, file: dict[str, Any]) -> None:
    carried = _to(backend, HumanMessage([file]))
    assert PDF in _payload(backend, carried)
    assert _refused(backend, HumanMessage([file]), card=_card("text image")) == "it takes no pdf input"


@pytest.mark.parametrize(
    ("backend", "block", "reason"),
    [
        ("openai", {"type": "file", "url": "https://example.org/a.pdf"}, "by its URL"),
        ("openai", {"type": "image", "file_id": "file_011"}, "another provider"),
        ("anthropic", {"type": "file", "file_id": "file-abc"}, "another provider"),
        ("google", {"type": "audio", "base64": "AA==", "mime_type": "audio/wav"}, "takes no audio"),
        ("openai", {"type": "file", "base64": "AA==", "mime_type": "application/zip"}, "takes no application/zip"),
    ],
)
def test_a_medium_that_cannot_come_along_is_named(backend: str, block: dict[str, Any], reason: str) -> None:
    assert reason in _refused(backend, HumanMessage([block]))


@pytest.mark.parametrize(
    ("block", "mime"),
    [
        ({"type": "image", "url": "https://example.org/a.png?x=1"}, "image/png"),
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png?x=1"}}, "image/png"),
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png?x=1"}}, "image/png"),
        ({"type": "file", "url": "https://example.org/a.png?x=1"}, "application/pdf"),
    ],
)
def test_what_a_url_shows_is_fetched_by_the_provider_and_not_from_here(block: dict[str, Any], mime: str) -> None:
    # No test may reach the network: the client would try as it writes the request.
    linked = {"type": "media", "file_uri": "https://example.org/a.png?x=1", "mime_type": mime}
    asked = HumanMessage([block])
    assert _to("google", asked)[0].content == [linked]
    assert '"https://example.org/a.png?x=1"' in _payload("google", _to("google", asked))
    shown = ToolMessage([{"type": "text", "text": "see"}, block], tool_call_id="a")
    carried = _to("google", HumanMessage("hi"), _calls("a"), shown)
    assert carried[2].content == "see\n[1 attachment: see the next message]"
    assert carried[3].content[1] == linked
    assert '"https://example.org/a.png?x=1"' in _payload("google", carried)


def test_a_text_file_is_carried_as_text() -> None:
    file = {"type": "file", "base64": base64.b64encode(b"a,b").decode(), "mime_type": "text/csv"}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}}
    (carried,) = _to("openai", HumanMessage([file, document]), card=_card("text"))
    assert [block["text"] for block in carried.content] == ["a,b", "plain"]  # type: ignore[index]
    assert _to("anthropic", HumanMessage([document]))[0].content == [document]


def test_an_image_in_a_result_moves_behind_all_results_where_results_are_text() -> None:
    shown = ToolMessage([{"type": "text", "text": "one pixel"}, IMAGE], tool_call_id="a")
    asked = (HumanMessage("hi"), _calls("a", "b"), shown, ToolMessage("3 g", tool_call_id="b"))
    carried = _to("openai", *asked)
    assert [message.type for message in carried] == ["human", "ai", "tool", "tool", "human"]
    assert carried[2].content == "one pixel\n[1 attachment: see the next message]"
    assert carried[4].content == [
        {"type": "text", "text": "(The following is from the result of look, not from the user.)"},
        IMAGE,
    ]
    assert _to("anthropic", *asked)[2] is shown


# Roles


def test_without_conversion_a_later_system_message_is_lost_on_its_way_to_google() -> None:
    messages = [HumanMessage("hi"), SystemMessage("Answer in verse."), HumanMessage("go")]
    assert "verse" not in _payload("google", messages)
    assert "verse" in _payload("google", _to("google", *messages))


@pytest.mark.parametrize("backend", ["anthropic", "bedrock", "google", "openai_compatible", "vertex"])
def test_system_messages_become_one_in_front(backend: str) -> None:
    carried = _to(backend, SystemMessage("A"), HumanMessage("hi"), SystemMessage([{"type": "text", "text": "B"}]))
    assert [message.type for message in carried] == ["system", "human"]
    assert [block["text"] for block in carried[0].content] == ["A", "B"]  # type: ignore[index]
    assert _to(backend, SystemMessage("A"), SystemMessage("B"), HumanMessage("hi"))[0].content == "A\n\nB"


def test_a_later_system_message_stays_where_the_vendor_takes_it() -> None:
    messages = [HumanMessage("hi"), SystemMessage("Answer in verse."), HumanMessage("go")]
    assert portable(messages, to="openai", card=_card()) is messages


@pytest.mark.parametrize("backend", ["anthropic", "google", "openai_compatible"])
def test_instructions_alone_are_said_by_the_user(backend: str) -> None:
    (only,) = _to(backend, SystemMessage("Write a poem."))
    assert (only.type, only.content) == ("human", "Write a poem.")


def test_messages_in_a_row_become_one_where_roles_must_alternate() -> None:
    carried = _to(
        "openai_compatible",
        HumanMessage("a"),
        HumanMessage([{"type": "text", "text": "b"}]),
        AIMessage("c"),
        AIMessage("d"),
        HumanMessage("e"),
    )
    assert [message.type for message in carried] == ["human", "ai", "human"]
    assert [block["text"] for block in carried[0].content] == ["a", "b"]  # type: ignore[index]
    assert carried[1].content == "c\n\nd"


def test_marks_of_one_vendors_cache_do_not_reach_another() -> None:
    marked = HumanMessage([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "index": 0}])
    assert _to("openai", marked)[0].content == [{"type": "text", "text": "hi"}]
    assert _to("anthropic", marked)[0].content == [
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    ]


def test_an_empty_message_of_the_user_says_that_it_is_empty() -> None:
    assert [m.content for m in _to("anthropic", HumanMessage(""), HumanMessage([]), HumanMessage([" "]))] == [
        "(empty)"
    ] * 3


def test_a_name_a_vendor_refuses_is_left_out() -> None:
    messages = [HumanMessage("hi", name="Ada Lovelace"), AIMessage("ho", name="a-1")]
    carried = _to("openai", *messages)
    assert [message.name for message in carried] == [None, "a-1"]
    assert _to("anthropic", *messages)[0].name == "Ada Lovelace"


def test_messages_of_a_free_role_get_a_fixed_one() -> None:
    roles = [("user", "human"), ("assistant", "ai"), ("developer", "system")]
    carried = _to("openai", *(ChatMessage(role, role=role) for role, _ in roles))
    assert [message.type for message in carried] == [fixed for _, fixed in roles]
    assert "of role 'oracle'" in _refused("openai", ChatMessage("x", role="oracle"))
    assert "'remove' message" in _refused("openai", RemoveMessage("x"))


# Any conversation


IDS = st.sampled_from(["a", "b", "call.1", "toolu_01", "x" * 50, "", None])
WORDS = st.text("abc ", min_size=1, max_size=8).map(lambda text: f"<{text}>")
TEXT_BLOCK = WORDS.map(lambda text: {"type": "text", "text": text})
ORIGIN = st.sampled_from(
    [{}, {"pointsman": {"model": "p/m-1"}}, {"model_provider": "openai", "model_name": "m-1"},
     {"model_provider": "anthropic", "model_name": "m-1"}]
)  # fmt: skip
CALL = st.builds(lambda identity: {"name": "look", "args": {}, "id": identity, "type": "tool_call"}, IDS)
AI = st.builds(
    lambda content, calls, metadata: AIMessage(content, tool_calls=calls, response_metadata=metadata),
    st.just("") | WORDS | st.lists(TEXT_BLOCK | st.sampled_from(FOREIGN), max_size=3),
    st.lists(CALL, max_size=3),
    ORIGIN,
)
TOOL = st.builds(
    lambda content, identity: ToolMessage(content, tool_call_id=identity or ""),
    WORDS | st.lists(TEXT_BLOCK | st.sampled_from(IMAGES[:5]), max_size=2),
    IDS,
)
HUMAN = st.builds(HumanMessage, WORDS | st.lists(TEXT_BLOCK | st.sampled_from(IMAGES[:5]), max_size=3))
SYSTEM = st.builds(SystemMessage, WORDS | st.lists(TEXT_BLOCK, min_size=1, max_size=2))
CONVERSATION = st.lists(st.one_of(HUMAN, AI, AI, TOOL, TOOL, SYSTEM), max_size=10)


def _words(messages: Any, role: str) -> list[str]:
    return [
        part if isinstance(part, str) else part["text"]
        for message in messages
        if message.type == role
        for part in ([message.content] if isinstance(message.content, str) else message.content)
        if isinstance(part, str) or part["type"] == "text"
    ]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(messages=CONVERSATION, backend=st.sampled_from(REMOTE))
def test_whatever_the_conversation_calls_are_paired_words_kept_and_nothing_is_changed_twice(
    messages: list[BaseMessage], backend: str
) -> None:
    before = copy.deepcopy(messages)
    carried = portable(messages, to=backend, card=_card())
    assert messages == before
    assert not isinstance(carried, str)
    assert portable(carried, to=backend, card=_card()) is carried

    for role in ("human", "system"):
        said = "\n\n".join([*_words(carried, role), *_words(carried, "human")])
        assert all(words in said for words in _words(messages, role))
    results = "".join(_words(carried, "tool"))
    assert all(words in results for words in _words(messages, "tool"))

    dialect = dialect_of(backend)
    assert dialect is not None
    ids: list[str] = []
    position = 0
    while position < len(carried):
        message = carried[position]
        position += 1
        assert message.type != "tool", "a result without a call"
        if not isinstance(message, AIMessage):
            continue
        wanted = [call["id"] for call in message.tool_calls]
        got = [getattr(result, "tool_call_id", None) for result in carried[position : position + len(wanted)]]
        assert sorted(map(str, wanted)) == sorted(map(str, got))
        ids += map(str, wanted)
        position += len(wanted)
        if "pointsman" not in message.response_metadata and not message.response_metadata.get("model_provider"):
            assert all(dialect.call_id.fullmatch(str(identity)) for identity in wanted)
    assert len(ids) == len(set(ids))


# What a model said itself


@pytest.mark.parametrize("backend", ["anthropic", "bedrock", "google", "openai", "openai_compatible"])
@pytest.mark.parametrize("blank", ["\n\n", [{"type": "text", "text": " "}]])
def test_a_blank_text_beside_calls_is_not_sent_back_to_its_maker(backend: str, blank: Any) -> None:
    asked = _calls("abcdef123", response_metadata={"pointsman": {"model": "p/m-1"}})
    asked.content = blank
    carried = _to(backend, HumanMessage("hi"), asked, ToolMessage("red", tool_call_id="abcdef123"))
    assert (carried[1].content, len(carried[1].tool_calls)) == ("", 1)  # type: ignore[attr-defined]


def test_a_thought_goes_back_to_its_maker_with_its_signature_or_not_at_all() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    content: list[Any] = [signed, {"type": "thinking", "thinking": "oh"}, {"type": "text", "text": "red"}]
    said = AIMessage(content, response_metadata={"pointsman": {"model": "p/m-1"}})
    assert _to("anthropic", HumanMessage("hi"), said, HumanMessage("?"))[1].content == [signed, content[2]]
    said.content = [signed, {"type": "text", "text": ""}]
    assert [message.type for message in _to("anthropic", HumanMessage("hi"), said, HumanMessage("?"))] == ["human"] * 2


@pytest.mark.parametrize("backend", ["google", "openai_compatible"])
def test_a_call_behind_another_answer_goes_on_with_it_and_keeps_what_is_signed(backend: str) -> None:
    said = AIMessage("I ask the clerk.", response_metadata={"model_provider": "another"})
    mine: dict[str, Any] = {"response_metadata": {"pointsman": {"model": "p/m-1"}}}
    asked = _calls("abcdef123", additional_kwargs={"reasoning_content": "hm"}, **mine)
    asked.content = [{"type": "text", "text": "Look.", "extras": {"signature": "c2ln"}}]
    carried = _to(backend, HumanMessage("hi"), said, asked, ToolMessage("red", tool_call_id="abcdef123"))
    assert [message.type for message in carried] == ["human", "ai", "tool"]
    assert carried[1].content == [{"type": "text", "text": "I ask the clerk."}, *asked.content]
    assert carried[1].additional_kwargs == asked.additional_kwargs


@pytest.mark.parametrize("backend", REMOTE)
def test_numbers_that_json_has_not_go_as_text(backend: str) -> None:
    asked = _calls("abcdef123")
    asked.tool_calls[0]["args"] = {"n": float("nan"), "rest": [float("-inf"), 1.5, {"m": float("inf")}]}
    carried = _to(backend, HumanMessage("hi"), asked, ToolMessage("red", tool_call_id="abcdef123"))
    assert carried[1].tool_calls[0]["args"] == {"n": "nan", "rest": ["-inf", 1.5, {"m": "inf"}]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["NaN", '{"a": NaN}', '{"a": [1, -Infinity]}', "1e999", "[" * 5000 + "]" * 5000])
def test_a_result_that_reads_as_no_json_value_stays_a_text_where_a_client_would_read_it(text: str) -> None:
    asked = (HumanMessage("hi"), _calls("a"), ToolMessage(text, tool_call_id="a"))
    carried = _to("google", *asked)
    assert carried[2].content == [{"type": "text", "text": text}]
    assert text.replace('"', "")[:20] in _payload("google", carried).replace('\\"', "").replace("\\", "").replace(
        '"', ""
    )
    assert _to("anthropic", *asked)[2].content == text
    assert (
        _to("google", HumanMessage("hi"), _calls("a"), ToolMessage('{"a": 1}', tool_call_id="a"))[2].content
        == '{"a": 1}'
    )
