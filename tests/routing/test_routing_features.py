"""What is read off a conversation before any model sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect, Risk, StepKind, Tier
from pointsman.routing.features.features import Features, extract, features_dict, from_dict
from pointsman.routing.features.messages import estimate_tokens, language, measure
from pointsman.routing.request import RouteRequest

PROGRAM = "def total(items):\n    return sum(item.price * item.count for item in items if item._paid == True)\n" * 5
PROSE = "The committee met on Tuesday and agreed that the report should be sent to every member before Friday. " * 5


def measured(*messages: Any, **declared: Any) -> Features:
    return extract(RouteRequest(messages=messages, **declared))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def tool(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "1", "content": content, **more}


def test_a_request_that_declares_nothing_transforms_and_has_no_effects() -> None:
    features = extract(RouteRequest())
    assert (features.kind, features.effects, features.tools) == ("transform", (), 0)


def test_tools_bound_without_effects_count_as_destructive() -> None:
    assert extract(RouteRequest(tools=2)).effects == (Effect.DESTRUCTIVE,)


def test_the_worst_of_several_effects_is_the_worst_whatever_their_order() -> None:
    features = extract(RouteRequest(effects=(Effect.EXTERNAL, Effect.READ, Effect.WRITE)))
    assert features.effects[-1] is Effect.EXTERNAL
    assert features.tools == 3


def test_declared_facts_arrive_unchanged() -> None:
    features = extract(
        RouteRequest(
            id="r1", kind=StepKind.ACT, task="code", reversible=False, sensitivity="secret", dependents=4,
            risk=Risk.MEDIUM, tier=Tier.ADVANCED, model="a/x", structured=True, max_output=7, latency="batch",
            user_class="trial", tags=("b", "a"),
        )
    )  # fmt: skip
    assert features_dict(features) | {
        "id": "r1", "kind": "act", "task": "code", "reversible": False, "sensitivity": "secret", "dependents": 4,
        "risk": "medium", "tier": "advanced", "model": "a/x", "structured": True, "max_output": 7, "latency": "batch",
        "user_class": "trial", "tags": ["a", "b"],
    } == features_dict(features)  # fmt: skip


def test_messages_are_counted_by_role_and_the_step_by_the_answers_so_far() -> None:
    features = measured(
        {"role": "system", "content": "s"}, user("u"), {"role": "assistant", "content": "a"}, tool("t"), user("u")
    )
    counts = features.system_messages, features.user_messages, features.assistant_messages, features.tool_messages
    assert counts == (1, 2, 1, 1)
    assert (features.messages, features.step) == (5, 2)


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "type": "function", "function": {"name": "write", "arguments": json.dumps({"text": PROGRAM})}},
        {"id": "1", "type": "tool_call", "name": "write", "args": {"text": PROGRAM}},
    ],
    ids=["OpenAI", "LangChain"],
)
def test_tool_calls_count_with_their_arguments_in_either_form(call: dict[str, Any]) -> None:
    features = measured(user("go"), {"role": "assistant", "content": None, "tool_calls": [call, call]})
    assert features.tool_calls == 2
    assert features.characters > 2 * len(PROGRAM)
    assert features.code_share > 0.9


@pytest.mark.parametrize(
    ("said", "errors", "tracebacks", "passed", "failed"),
    [
        ("3 files", 0, 0, 0, 0),
        ('Traceback (most recent call last):\n  File "a.py"\nValueError: no', 1, 1, 0, 0),
        ("bash: foo: command not found", 1, 0, 0, 0),
        ('{"status": "error", "why": "ENOENT"}', 1, 0, 0, 0),
        ("===== 12 passed in 0.3s =====", 0, 0, 1, 0),
        ("===== 2 failed, 12 passed in 0.3s =====", 1, 0, 0, 1),
        ("Ran 4 tests in 0.1s\n\nOK", 0, 0, 1, 0),
        ("Ran 4 tests in 0.1s\n\nFAILED (errors=1)", 1, 0, 0, 1),
        ("test result: ok. 5 passed; 0 failed", 0, 0, 1, 0),
        (PROSE * 20 + "Error: it broke", 1, 0, 0, 0),
        ("try:\n    go()\nexcept KeyError:\n    pass", 0, 0, 0, 0),
    ],
)
def test_outcomes_are_read_off_tool_results(said: str, errors: int, tracebacks: int, passed: int, failed: int) -> None:
    features = measured(user("go"), tool(said))
    found = features.tool_errors, features.tracebacks, features.tests_passed, features.tests_failed
    assert found == (errors, tracebacks, passed, failed)
    assert features.last_failed == bool(errors)
    assert features.tool_results == 1


def test_a_tool_result_marked_as_an_error_counts_as_one_whatever_it_says() -> None:
    assert measured(tool("fine", status="error")).tool_errors == 1
    part = {"type": "tool_result", "tool_use_id": "1", "is_error": True, "content": [{"type": "text", "text": "fine"}]}
    features = measured(user("sort these"), user([part]))
    assert (features.tool_errors, features.tool_results, features.question) == (1, 1, len("sort these"))


def test_a_failure_that_was_mended_is_not_the_newest() -> None:
    assert not measured(tool("Error: no"), tool("done")).last_failed


def test_programs_and_diffs_are_told_from_prose() -> None:
    assert measured(user(PROSE)).code_share == 0
    assert measured(user(PROGRAM)).code_share == 1
    assert 0.3 < measured(user(PROSE), tool(PROGRAM)).code_share < 0.7
    assert 0 < measured(user(f"{PROSE}\n```\nls -la\n```\n{PROSE}")).code_share < 0.1
    diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n"
    assert measured(user(diff)).diff_share == 1
    assert measured(user(PROSE)).diff_share == 0


def test_a_program_in_the_system_prompt_says_nothing_about_the_work() -> None:
    assert measured({"role": "system", "content": PROGRAM}, user(PROSE)).code_share == 0


@pytest.mark.parametrize(
    ("part", "modality"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, "image"),
        ({"type": "input_image", "image_url": "https://example.org/a.png"}, "image"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}, "image"),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "AA"}}, "pdf"),
        ({"type": "file", "mime_type": "image/jpeg", "base64": "AA"}, "image"),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}, "pdf"),
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, "audio"),
        ({"type": "media", "mime_type": "video/mp4", "data": "AA"}, "video"),
    ],
)
def test_attachments_are_told_by_their_declared_type_and_cost_tokens(part: dict[str, Any], modality: str) -> None:
    features = measured(user([{"type": "text", "text": "what is this?"}, part]))
    assert features.modalities == tuple(sorted(("text", modality)))
    assert features.tokens > measured(user("what is this?")).tokens + 1_000


def test_a_text_file_is_text() -> None:
    features = measured(user([{"type": "document", "source": {"media_type": "text/plain", "data": PROSE}}]))
    assert features.modalities == ("text",)
    assert features.characters == len(PROSE)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("How do I reset the password for my card?", "en"),
        ("Wie kann ich das Passwort für meine Karte ändern?", "de"),
        ("Comment est-ce que je change le mot de passe de ma carte ?", "fr"),
        ("¿Cómo puedo cambiar la contraseña de mi tarjeta?", "es"),
        ("パスワードを変更したい", "ja"),
        ("비밀번호를 바꾸고 싶어요", "ko"),
        ("我想更改我的密码", "zh"),
        ("Как изменить пароль моей карты?", "ru"),
        ("كيف أغير كلمة المرور؟", "ar"),
        ("12345", ""),
        ("", ""),
    ],
)
def test_the_language_of_a_question_is_guessed_from_script_and_common_words(text: str, code: str) -> None:
    assert language(text) == code


def test_the_estimate_of_tokens_knows_prose_programs_and_wide_scripts() -> None:
    assert len(PROSE) / 4.5 < estimate_tokens(PROSE) < len(PROSE) / 3.4
    assert estimate_tokens(PROGRAM) > len(PROGRAM) / 3.5
    assert estimate_tokens("我想更改我的密码") >= 8


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (({"role": "user", "content": "x"}, {"content": "x"}), "message 2 has no role"),
        (({"role": "wizard", "content": "x"},), "message 1 has the unknown role 'wizard'"),
        (({"role": ["user"], "content": "x"},), "message 1 has the unknown role"),
        ((user(3),), "message 1 has an int for content"),
        ((user({"type": "text"}),), "message 1 has a dict for content"),
        ((user([3]),), "message 1 has an int among its parts"),
        ((user([{"text": "x"}]),), "message 1 has a part without a type"),
        ((user([{"type": "text"}]),), "message 1 has a text part without text"),
        (({"role": "assistant", "tool_calls": "x"},), "message 1 has a str for tool_calls"),
        (({"role": "assistant", "tool_calls": [3]},), "message 1 has an int among its tool_calls"),
    ],
)
def test_a_malformed_message_is_named(messages: tuple[Any, ...], complaint: str) -> None:
    with pytest.raises(ConfigError, match=r"^message \d") as caught:
        extract(RouteRequest(messages=messages))
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_a_message_that_is_no_mapping_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^message 2 is a str, not a mapping with role and content"):
        measure([user("x"), "hello"])  # type: ignore[list-item]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "tool_calls", "function", "arguments", "args", "source", "file", "mime_type"]
)
WORDS = st.sampled_from(["user", "tool", "assistant", "text", "file", "document", "image_url", "tool_result", "\ud800"])
SHAPED = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.lists(st.fixed_dictionaries({"role": st.just("user") | SHAPED, "content": SHAPED, "tool_calls": SHAPED})))
def test_no_message_whatever_crashes_the_extraction(messages: list[dict[str, Any]]) -> None:
    request = RouteRequest.model_construct(**{**dict(RouteRequest()), "messages": tuple(messages)})
    try:
        features = extract(request)
    except ConfigError:
        return
    assert features.tokens >= 0
    assert 0 <= features.code_share <= 1
    assert 0 <= features.diff_share <= 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        RouteRequest,
        messages=st.lists(st.text(max_size=50).map(user), max_size=3).map(tuple),
        kind=st.none() | st.sampled_from(StepKind),
        effects=st.lists(st.sampled_from(Effect)).map(tuple),
        risk=st.none() | st.sampled_from(Risk),
        tier=st.none() | st.sampled_from(Tier),
        model=st.none() | st.text(max_size=5),
        tags=st.lists(st.text(max_size=5)).map(tuple),
        structured=st.booleans(),
    )
)
def test_features_survive_being_written_as_json(request: RouteRequest) -> None:
    features = extract(request)
    assert from_dict(json.loads(json.dumps(features_dict(features)))) == features


@pytest.mark.parametrize(
    ("recorded", "complaint"),
    [
        ({"colour": "red"}, "unknown feature 'colour'"),
        ({"risk": "dire"}, "feature 'risk' is 'dire'; it must be one of low"),
        ({"tier": 3}, "feature 'tier' is 3"),
        ({"effects": ["explode"]}, "feature 'effects' is 'explode'"),
        ({"effects": "read"}, "feature 'effects' must be a list"),
        ({"tokens": "many"}, "feature 'tokens' is 'many'; it must be a whole number"),
        ({"tools": True}, "feature 'tools' is True"),
        ({"reversible": 1}, "feature 'reversible' is 1"),
    ],
)
def test_a_record_that_is_none_of_features_is_refused(recorded: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(recorded)
    assert str(caught.value).startswith(complaint)


def test_a_record_from_before_a_feature_existed_takes_its_default() -> None:
    assert from_dict({"kind": "act"}) == Features(kind="act")
