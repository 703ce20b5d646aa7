"""What the signals tell of a conversation, and what they never look at."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.routing.features.signals import SIGNALS, signals
from pointsman.routing.request import RouteRequest

DIFF = "diff --git a/f.py b/f.py\n--- a/f.py\n+++ b/f.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"


def read(*messages: dict[str, Any]) -> dict[str, float]:
    return dict(zip(SIGNALS, signals(RouteRequest(messages=messages)), strict=True))


def call(name: str, arguments: str, id: str = "call_1") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": id, "type": "function", "function": function}]}


def result(text: str, id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


ASK = {"role": "user", "content": "Fix the off-by-one error in f.py."}
EDIT = call("bash", '{"command": "sed -i s/1/2/ f.py"}')
DELIVER = call("bash", '{"command": "git diff -- f.py > patch.txt"}')
REVIEW = call("bash", '{"command": "cat patch.txt"}')


def test_a_conversation_in_which_no_model_has_spoken_is_opening() -> None:
    assert read({"role": "system", "content": "You help."}, ASK)["opening"] == 1
    assert read(ASK, {"role": "assistant", "content": "Which file?"}, ASK)["opening"] == 0


def test_talk_and_turns_with_tools_are_told_apart() -> None:
    found = read(ASK, {"role": "assistant", "content": "Let me see."}, ASK, EDIT, result("ok"))
    assert found["talk"] == found["turns"] == pytest.approx(0.693147)


def test_an_edit_is_seen_in_a_command_and_in_a_tools_name() -> None:
    assert read(ASK, EDIT, result(""))["edited"] == 1
    assert read(ASK, call("str_replace_editor", "{}"), result(""))["edited"] == 1
    assert read(ASK, call("bash", '{"command": "cat f.py"}'), result("x = 1"))["edited"] == 0


def test_work_is_delivered_once_the_written_diff_is_looked_at_again() -> None:
    assert read(ASK, EDIT, result(""), DELIVER, result(""))["delivered"] == 0
    assert read(ASK, EDIT, result(""), DELIVER, result(""), REVIEW, result(DIFF))["delivered"] == 1


def test_an_edit_after_the_delivery_opens_the_work_again() -> None:
    found = read(ASK, EDIT, result(""), DELIVER, result(""), EDIT, result(DIFF))
    assert (found["diff_shown"], found["delivered"]) == (1, 0)


def test_the_share_of_commands_among_the_calls_is_measured() -> None:
    both = [call("bash", "{}")["tool_calls"][0], call("read", "{}")["tool_calls"][0]]
    assert read(ASK, {"role": "assistant", "tool_calls": both}, result("a"), result("b"))["shell"] == 0.5


def test_blocks_of_another_vendor_read_the_same() -> None:
    blocks = (
        {"role": "user", "content": [{"type": "text", "text": ASK["content"]}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "bash", "input": {"command": "ls"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": DIFF}]},
    )
    assert read(*blocks) == read(ASK, call("bash", '{"command": "ls"}'), result(DIFF))


@given(st.text(min_size=1, max_size=40))
def test_ids_of_calls_change_nothing(id: str) -> None:
    assert read(ASK, call("bash", "{}", id), result("x", id)) == read(ASK, call("bash", "{}"), result("x"))


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
            optional={
                "content": st.none() | st.text(max_size=60) | st.lists(st.text(max_size=9) | st.none(), max_size=2),
                "tool_calls": st.none() | st.lists(st.just({"name": "bash", "args": {}}), max_size=2) | st.just("?"),
            },
        ),
        max_size=6,
    )
)
def test_any_conversation_has_one_finite_number_a_signal(messages: list[dict[str, Any]]) -> None:
    found = signals(RouteRequest(messages=tuple(messages)))
    assert len(found) == len(SIGNALS)
    assert all(0 <= value < 30 for value in found)
