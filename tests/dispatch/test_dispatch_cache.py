"""The response cache: what counts as the same request, what is kept, for how long, and that it never serves wrongly."""

from __future__ import annotations

import json
import math
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect, StepKind
from pointsman.dispatch.cache.responses import CacheRequest, ResponseCache, Similar, cacheable

FACTS = {"tier": "economy", "floor": "economy", "task": "chat", "user": "ada"}
BROKEN = {"name": "x", "args": "{", "id": "1", "error": None, "type": "invalid_tool_call"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


def _request(*messages: BaseMessage | str, **changes: Any) -> CacheRequest:
    told = [HumanMessage(message) if isinstance(message, str) else message for message in messages]
    made = CacheRequest.of(told, **{"facts": FACTS, **changes})
    assert made is not None
    return made


def _answer(text: str = "Cam", **fields: Any) -> AIMessage:
    metadata = {
        "model_provider": "openai", "model_name": "gpt-5.4-mini", "headers": {"x-request-id": "7"},
        "pointsman": {"model": "openai/gpt-5.4-mini", "cost": 12},
    }  # fmt: skip
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    return AIMessage(text, response_metadata=metadata, usage_metadata=usage, id="run-1", **fields)


def test_the_same_request_gets_the_same_answer_marked_as_a_hit() -> None:
    clock = Clock()
    cache = ResponseCache(clock=clock)
    assert cache.get(_request("Which river?")) is None
    assert cache.put(_request("Which river?"), _answer())
    clock.now += 5
    hit = cache.get(_request("Which river?"))
    assert hit is not None
    assert hit.content == "Cam"
    assert (hit.id, hit.usage_metadata) == (None, None)
    assert hit.response_metadata == {
        "model_provider": "openai",
        "model_name": "gpt-5.4-mini",
        "pointsman_cache": {"kind": "exact", "age": 5.0, "similarity": 1.0, "model": "openai/gpt-5.4-mini"},
    }


@pytest.mark.parametrize(
    "other",
    [
        _request("Which river? "),
        _request(SystemMessage("Be brief."), "Which river?"),
        _request(HumanMessage("Which river?", name="bob")),
        _request(AIMessage("Which river?")),
        _request("Which river?", tools=[TOOL]),
        _request("Which river?", options={"temperature": 0}),
        _request("Which river?", facts={**FACTS, "floor": "frontier"}),
        _request("Which river?", facts={**FACTS, "user": "bob"}),
    ],
)
def test_whatever_the_answer_may_depend_on_makes_another_request(other: CacheRequest) -> None:
    cache = ResponseCache()
    cache.put(_request("Which river?"), _answer())
    assert cache.get(other) is None


def test_ids_that_are_drawn_anew_in_every_run_do_not_count() -> None:
    def run(identity: str) -> CacheRequest:
        call = {"name": "look", "args": {"n": 1}, "id": identity, "type": "tool_call"}
        block = {"type": "tool_use", "id": identity, "name": "look", "input": {"n": 1}}
        return _request(
            HumanMessage([{"type": "text", "text": "hi", "id": f"lc_{identity}"}], id=identity),
            AIMessage([block], tool_calls=[call], id=f"run-{identity}", response_metadata={"id": identity}),
            ToolMessage("red", tool_call_id=identity, id=identity),
            "And?",
        )

    assert run("a") == run("b")


def test_which_result_answers_which_call_counts() -> None:
    calls = [{"name": "look", "args": {"n": n}, "id": f"c{n}", "type": "tool_call"} for n in (0, 1)]

    def told(first: str, second: str) -> CacheRequest:
        results = [ToolMessage("red", tool_call_id=first), ToolMessage("blue", tool_call_id=second)]
        return _request("hi", AIMessage("", tool_calls=calls), *results)

    assert told("c0", "c1") != told("c1", "c0")


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_no_two_conversations_share_a_key(one: list[str], other: list[str]) -> None:
    assert (_request(*one).key == _request(*other).key) is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ChatMessage("Be a pirate.", role="user"), ChatMessage("Be a pirate.", role="system")),
        (
            SystemMessage("Be a pirate.", additional_kwargs={"__openai_role__": "developer"}),
            SystemMessage("Be a pirate."),
        ),
        (AIMessage("", invalid_tool_calls=[BROKEN]), AIMessage("", invalid_tool_calls=[{**BROKEN, "args": "["}])),
        (AIMessage("", additional_kwargs={"function_call": {"name": "a", "arguments": "{}"}}), AIMessage("")),
    ],
)
def test_whatever_a_client_sends_of_a_message_counts(one: BaseMessage, other: BaseMessage) -> None:
    assert _request(one, "hello").key != _request(other, "hello").key


def test_what_a_provider_left_empty_in_a_message_does_not_count() -> None:
    assert _request(AIMessage("a", additional_kwargs={"refusal": None})).key == _request(AIMessage("a")).key


def test_a_request_without_a_json_form_is_not_cached() -> None:
    assert CacheRequest.of([HumanMessage("hi")], options={"callback": object()}) is None
    assert CacheRequest.of([HumanMessage("hi")], options={"temperature": math.nan}) is None


@pytest.mark.parametrize(
    ("effects", "kind", "sensitivity", "may"),
    [
        ((), StepKind.TRANSFORM, "internal", True),
        ((Effect.READ,), StepKind.GATHER, "internal", True),
        ((Effect.READ, Effect.WRITE), StepKind.GATHER, "internal", False),
        ((Effect.DESTRUCTIVE,), None, "internal", False),
        ((), StepKind.ACT, "internal", False),
        ((), StepKind.TRANSFORM, "secret", False),
    ],
)
def test_steps_that_act_and_secrets_are_never_cached(
    effects: tuple[Effect, ...], kind: StepKind | None, sensitivity: str, may: bool
) -> None:
    assert cacheable(effects, kind, sensitivity) is may


def test_calls_come_back_under_ids_of_their_own_each_time() -> None:
    call = {"name": "look", "args": {"look": "look"}, "id": "look", "type": "tool_call"}
    block = {"type": "tool_use", "id": "look", "name": "look", "input": {"look": "look"}}
    answer = AIMessage([block], tool_calls=[call], additional_kwargs={"signatures": {"look": "sig"}})
    cache = ResponseCache()
    cache.put(_request("hi"), answer)
    one, two = cache.get(_request("hi")), cache.get(_request("hi"))
    assert one is not None
    assert two is not None
    ids = {one.tool_calls[0]["id"], two.tool_calls[0]["id"], "look"}
    assert len(ids) == 3
    new = one.tool_calls[0]["id"]
    assert one.tool_calls[0] == {**call, "id": new}
    assert one.content == [{**block, "id": new}]
    assert one.additional_kwargs == {"signatures": {new: "sig"}}


def test_changing_a_hit_does_not_change_what_is_kept() -> None:
    cache = ResponseCache()
    cache.put(_request("hi"), AIMessage([{"type": "text", "text": "Cam"}]))
    hit = cache.get(_request("hi"))
    assert hit is not None
    hit.content.clear()  # type: ignore[union-attr]
    again = cache.get(_request("hi"))
    assert again is not None
    assert again.text == "Cam"


@pytest.mark.parametrize(
    "answer",
    [
        AIMessage("", invalid_tool_calls=[BROKEN]),
        AIMessage("hi", response_metadata={"pointsman_cache": {}}),
        AIMessage("hi", additional_kwargs={"parsed": object()}),
        AIMessage("hi", additional_kwargs={"audio": b"\xff\xfe"}),
        AIMessage("x" * 300_000),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_whole_is_not_kept(answer: AIMessage) -> None:
    cache = ResponseCache(max_bytes=1_000_000)
    assert cache.put(_request("hi"), answer) is False
    assert cache.get(_request("hi")) is None


def test_an_answer_is_good_until_its_time_is_over() -> None:
    clock = Clock()
    cache = ResponseCache(ttl=60, clock=clock)
    cache.put(_request("hi"), _answer())
    clock.now += 59.9
    assert cache.get(_request("hi")) is not None
    clock.now += 0.1
    assert cache.get(_request("hi")) is None
    clock.now -= 600
    assert cache.get(_request("hi")) is None


def test_the_least_recently_used_make_room_and_the_bound_holds() -> None:
    clock = Clock()
    cache = ResponseCache(max_bytes=40_000, clock=clock)
    for number in range(200):
        clock.now += 1
        assert cache.put(_request(f"question {number}"), AIMessage("x" * 1000))
        (total,) = cache._db.execute("SELECT SUM(bytes) FROM responses").fetchone()
        assert total <= 40_000
        assert cache.get(_request("question 0")) is not None
    assert cache.get(_request("question 199")) is not None
    assert cache.get(_request("question 100")) is None


def test_a_file_is_private_and_shared_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cache.db"
    one, two = ResponseCache(path), ResponseCache(path)
    one.put(_request("hi"), _answer())
    hit = two.get(_request("hi"))
    assert hit is not None
    assert hit.content == "Cam"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    two.clear()
    assert one.get(_request("hi")) is None
    one.close()
    two.close()


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_text("this is no database, but a long enough text to look at" * 20)
    with pytest.raises(ConfigError, match=r"cache\.db: the response cache cannot be opened"):
        ResponseCache(path)


def test_a_row_that_was_tampered_with_is_a_miss_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    cache = ResponseCache(path)
    request = _request("hi")
    cache.put(request, _answer())
    evil = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain_core", "messages", "AIMessage"],
        "kwargs": {"content": "x"},
    }
    for body in ("{", "[]", json.dumps(evil), json.dumps({"said": {"content": 7}, "origin": {}, "model": None})):
        with sqlite3.connect(path) as db:
            db.execute("UPDATE responses SET body = ?", (body,))
        db.close()
        assert cache.get(request) is None
    cache.close()


def test_a_cache_that_cannot_be_used_for_a_moment_only_misses() -> None:
    cache = ResponseCache()
    cache.put(_request("hi"), _answer())
    cache.close()
    assert cache.get(_request("hi")) is None
    assert cache.put(_request("hi"), _answer()) is False


def test_threads_share_one_cache() -> None:
    cache = ResponseCache()
    barrier = threading.Barrier(8)

    def work(worker: int) -> bool:
        barrier.wait()
        for number in range(40):
            cache.put(_request(f"{number}"), _answer(f"{number}"))
            hit = cache.get(_request(f"{number}"))
            if hit is None or hit.content != f"{number}":
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


# Nearly the same


def _letters(text: str) -> list[float]:
    """A crude embedding: how often each letter occurs, which is blind to order and to punctuation."""
    return [float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]


def _similar(threshold: float = 0.9, most: int = 100, clock: Clock | None = None) -> ResponseCache:
    return ResponseCache(similar=Similar(_letters, threshold=threshold, most=most), ttl=60, clock=clock or Clock())


def test_a_question_in_nearly_the_same_words_gets_the_answer_and_its_likeness() -> None:
    cache = _similar()
    cache.put(_request("Which river flows through Cambridge?"), _answer())
    hit = cache.get(_request("Which river flows through Cambridge, please?"))
    assert hit is not None
    mark = hit.response_metadata["pointsman_cache"]
    assert mark["kind"] == "similar"
    assert 0.9 <= mark["similarity"] < 1
    assert cache.get(_request("Who wrote Hamlet?")) is None


def test_similar_answers_are_opt_in() -> None:
    cache = ResponseCache()
    cache.put(_request("Which river?"), _answer())
    assert cache.get(_request("Which river??")) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is order 17 now?", "Where is order 18 now?"),
        ("May I do this?", "May I not do this?"),
        ("You can do it", "You can't do it"),
        ('What does "abc" mean?', 'What does "cba" mean?'),
        ("Read docs/a please", "Read docs/b please"),
    ],
)
def test_what_embeddings_are_blind_to_must_be_the_same(one: str, other: str) -> None:
    cache = _similar(threshold=0.5)
    cache.put(_request(one), _answer())
    assert cache.get(_request(other)) is None


def test_only_the_users_last_words_may_differ() -> None:
    cache = _similar(threshold=0.5)
    cache.put(_request(SystemMessage("Be brief."), "Which river?"), _answer())
    assert cache.get(_request(SystemMessage("Be brief"), "Which river??")) is None
    assert cache.get(_request(SystemMessage("Be brief."), "Which river??", facts={**FACTS, "user": "bob"})) is None
    assert cache.get(_request(SystemMessage("Be brief."), "Which river??")) is not None


def test_a_similar_answer_dies_with_the_one_it_came_from() -> None:
    clock = Clock()
    cache = _similar(clock=clock)
    cache.put(_request("Which river?"), _answer())
    clock.now += 61
    assert cache.get(_request("Which river??")) is None


def test_the_oldest_similar_requests_make_room() -> None:
    cache = _similar(threshold=0.99, most=3)
    for word in ("aaa", "bbb", "ccc", "ddd", "eee"):
        cache.put(_request(word), _answer(word))
        cache.put(_request(word), _answer(word))
    found = {word: cache.get(_request(word.upper())) for word in ("aaa", "bbb", "ccc", "ddd", "eee")}
    assert {word: hit.content for word, hit in found.items() if hit} == {"ccc": "ccc", "ddd": "ddd", "eee": "eee"}


def test_a_text_without_a_vector_is_never_similar() -> None:
    cache = _similar(threshold=0.1)
    cache.put(_request("???"), _answer())
    assert cache.get(_request("??")) is None


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, math.nan])
def test_senseless_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ConfigError):
        Similar(_letters, threshold=threshold)
    with pytest.raises(ConfigError):
        ResponseCache(ttl=threshold if threshold <= 0 else math.nan)
