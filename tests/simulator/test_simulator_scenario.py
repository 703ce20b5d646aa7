"""Scenarios: what matches, what is rejected, and how the server plays them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pointsman.simulator
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.simulator import (
    Answer,
    Fault,
    Latency,
    Match,
    Message,
    RateLimit,
    Request,
    Rule,
    Scenario,
    Simulator,
    ToolCall,
    Usage,
)
from pointsman.simulator.engine import Engine


def _request(text: str = "hello", vendor: str = "openai", model: str = "m", endpoint: Any = "chat") -> Request:
    messages = (Message("system", "Be brief."), Message("user", "first words"), Message("user", text))
    return Request(vendor, endpoint, model, messages)


def _said(engine: Engine, request: Request) -> str | None:
    verdict = engine.judge(request, None)
    return engine.reply(request, verdict, 1, "error").text


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (Match(), True),
        (Match(vendor="openai"), True),
        (Match(vendor="anthropic"), False),
        (Match(vendor="open*"), True),
        (Match(model="gpt-*"), False),
        (Match(endpoint="chat"), True),
        (Match(endpoint="embeddings"), False),
        (Match(contains="hello"), True),
        (Match(contains="first"), False),
        (Match(contains_any_message="first"), True),
        (Match(contains_any_message="brief"), True),
        (Match(contains_any_message="absent"), False),
    ],
)
def test_a_match_holds_when_all_its_conditions_do(match: Match, fits: bool) -> None:
    assert match.fits(_request()) is fits


def test_the_first_matching_rule_decides() -> None:
    rules = (Rule(match=Match(contains="no"), answer="A"), Rule(answer="B"), Rule(answer="C"))  # type: ignore[arg-type]  # short forms
    assert _said(Engine(Scenario(rules=rules)), _request()) == "B"


def test_counts_are_those_of_the_requests_that_fit_the_rule() -> None:
    rules = (
        Rule(match=Match(contains="x", first=2), answer=Answer("first")),
        Rule(match=Match(every=3), answer=Answer("third")),
        Rule(match=Match(after=4), answer=Answer("late")),
        Rule(answer=Answer("-")),
    )
    engine = Engine(Scenario(rules=rules))
    said = [_said(engine, _request(text)) for text in ["x", "a", "x", "x", "a", "a", "a", "a", "a"]]
    assert said == ["first", "-", "first", "-", "third", "-", "-", "third", "late"]


@given(seed=st.integers(), share=st.floats(0.05, 0.95))
def test_chance_is_drawn_from_the_seed(seed: int, share: float) -> None:
    rules = (Rule(match=Match(probability=share), answer=Answer("hit")), Rule(answer=Answer("miss")))
    request = _request()

    def played() -> list[str | None]:
        engine = Engine(Scenario(rules=rules, seed=seed))
        return [_said(engine, request) for _ in range(30)]

    assert played() == played()


def test_chance_hits_its_share() -> None:
    engine = Engine(Scenario(rules=(Rule(match=Match(probability=0.3), fault=Fault("hang")),)))
    request = _request()
    hits = sum(engine.judge(request, None).fault is not None for _ in range(2000))
    assert 520 < hits < 680


def test_lognormal_latency_has_the_median_and_95th_percentile_asked_for() -> None:
    engine = Engine(Scenario(latency=Latency(median_ms=200, p95_ms=900)))
    waits = sorted(engine.judge(_request(), None).wait for _ in range(4000))
    assert waits[2000] == pytest.approx(0.2, rel=0.1)
    assert waits[3800] == pytest.approx(0.9, rel=0.15)


def test_a_function_can_answer() -> None:
    def shout(request: Request) -> Answer:
        return Answer(request.user_text.upper())

    assert _said(Engine(Scenario(rules=(Rule(answer=shout),))), _request("quiet")) == "QUIET"


def test_usage_and_model_can_be_told_while_the_brain_answers() -> None:
    told = Answer(usage=Usage(input=1000, output=50, cached=400), model="other")
    engine = Engine(Scenario(rules=(Rule(answer=told),)))
    request = _request()
    reply = engine.reply(request, engine.judge(request, None), 1, "error")
    assert (reply.text, reply.model) == ("You said: hello", "other")
    assert (reply.counts.input, reply.counts.output, reply.counts.cached) == (1000, 50, 400)


def test_the_example_is_a_scenario() -> None:
    scenario = Scenario.load(Path(pointsman.simulator.__file__).with_name("example.yaml"))
    assert scenario.rules[0].fault == Fault("overloaded")
    assert scenario.rules[1].fault == Fault("hang")
    assert scenario.rules[2].fault == Fault("cut_stream", after_chunks=2)
    assert scenario.rules[3].answer == Answer(tool_calls=(ToolCall("look_up_order", {"order_id": "A-1001"}),))
    assert scenario.rate_limits == {"openai": RateLimit(requests_per_minute=60)}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("rules:\n  - match: {vendor: x\n", 3, "YAML"),
        ("rules:\n  - fault: hang\n  - fault: explode\n", 3, "rules.1.fault"),
        ("seed: 1\nrule: []\n", 2, "rule"),
        ("rules:\n  - match:\n      vendor: a\n      mdoel: b\n", 4, "mdoel"),
        ("rules:\n  - answer:\n      text: 7\n", 3, "text"),
        ("rules:\n  - latency: {median_ms: 5}\n", 2, "p95_ms"),
        ("rules:\n  - fault: {kind: hang, variant: field}\n", 2, "variant"),
        ("- a\n- b\n", 1, "document"),
        ("rate_limits:\n  openai: 0\n", 2, "rate_limits.openai"),
    ],
)
def test_a_mistake_in_a_scenario_is_told_with_its_file_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Scenario.parse(text, file="drill.yaml")
    assert caught.value.line == line
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"drill.yaml:{line}: ")


def test_a_missing_scenario_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml"):
        Scenario.load(tmp_path / "no.yaml")


def test_yaml_cannot_build_objects() -> None:
    with pytest.raises(ConfigError):
        Scenario.parse("rules: !!python/object/apply:os.getcwd []")


def _post(sim: Simulator, vendor: str = "openai", key: str | None = None, **more: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    return httpx.post(f"{sim.url(vendor)}/chat/completions", json=body, headers=headers)


def test_a_rule_with_only_a_key_is_a_gate() -> None:
    rules = (Rule(match=Match(vendor="openai"), require_key="right-key"), Rule(answer=Answer("inside")))
    with Simulator(Scenario(rules=rules)) as sim:
        for key in (None, "wrong-key"):
            assert _post(sim, key=key).status_code == 401
        passed = _post(sim, key="right-key")
        assert passed.json()["choices"][0]["message"]["content"] == "inside"
        google = f"{sim.url('google')}/v1beta/models/g:generateContent?key=right-key"
        contents = [{"parts": [{"text": "hi"}]}]
        assert httpx.post(google, json={"contents": contents}).status_code == 200
        told = repr(sim.log) + httpx.get(f"{sim.base_url}/_pointsman/log").text + repr(sim.scenario)
    assert "right-key" not in told
    assert "wrong-key" not in told


def test_a_full_bucket_lets_pass_and_an_empty_one_says_when_to_come_back() -> None:
    limits = {"openai": RateLimit(requests_per_minute=6, burst=2)}
    with Simulator(Scenario(rate_limits=limits)) as sim:
        answers = [_post(sim) for _ in range(3)]
        other = _post(sim, "deepseek")
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "6"
    assert 5 < float(answers[2].headers["retry-after"]) <= 10
    assert other.status_code == 200


def test_latency_delays_the_answer_and_spaces_a_streams_chunks() -> None:
    latency = Latency(ms=60, first_token_ms=40, chunk_gap_ms=20)
    scenario = Scenario(rules=(Rule(answer=Answer("one two three four"), latency=latency),))
    with Simulator(scenario) as sim:
        began = time.perf_counter()
        _post(sim)
        assert time.perf_counter() - began >= 0.06
        began = time.perf_counter()
        _post(sim, stream=True)
        assert time.perf_counter() - began >= 0.04 + 3 * 0.02
        assert [served.latency_ms >= 60 for served in sim.log] == [True, True]


def test_a_running_simulator_takes_a_new_scenario_over_http() -> None:
    with Simulator() as sim:
        control = f"{sim.base_url}/_pointsman"
        assert _post(sim).json()["choices"][0]["message"]["content"] == "You said: hi"
        told = httpx.put(f"{control}/scenario", content="rules:\n  - answer: from the drill\n")
        assert (told.status_code, told.json()) == (200, {"rules": 1})
        assert _post(sim).json()["choices"][0]["message"]["content"] == "from the drill"
        wrong = httpx.put(f"{control}/scenario", content="rules:\n  - fault: explode\n")
        assert wrong.status_code == 400
        assert "rules.0.fault" in wrong.json()["error"]
        assert sim.scenario.rules[0].answer == Answer("from the drill")
        sim.scenario = Scenario(rules=(Rule(fault=Fault("server_error")),))
        assert _post(sim).status_code == 500


def test_the_log_is_read_and_cleared_over_http() -> None:
    with Simulator() as sim:
        control = f"{sim.base_url}/_pointsman"
        _post(sim)
        assert httpx.get(f"{control}/health").json() == {"status": "ok", "served": 1}
        (record,) = httpx.get(f"{control}/log").json()
        assert record["vendor"] == "openai"
        assert (record["status"], record["input_tokens"], record["output_tokens"]) == (200, 4, 3)
        assert record["cost_usd"] is None
        assert httpx.delete(f"{control}/log").status_code == 204
        assert len(sim.log) == 0
        assert httpx.get(f"{control}/nothing").status_code == 404
