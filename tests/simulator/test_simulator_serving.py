"""The server as its clients see it: usage, attachments, tools, embeddings, costs, and its own manners."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pointsman.simulator
import pytest
from google import genai
from google.genai import types as google_types
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from pointsman.configs.errors import ConfigError
from pointsman.simulator import Answer, Latency, Match, Request, Rule, Scenario, Simulator, ToolCall
from pydantic import BaseModel, Field

_KEY = "not-a-real-key"
_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 64).decode()
_LONG = "Every word of this long instruction counts and is read again and again. " * 90
_CALLS = (ToolCall("add", {"a": 1, "b": 2}), ToolCall("look", {"where": "über allen Gipfeln"}))


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.scenario = Scenario()
    running.log.clear()
    return running


@pytest.fixture(scope="module")
def claude(running: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=running.url("anthropic"), api_key=_KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def gpt(running: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=running.url("openai"), api_key=_KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def gemini(running: Simulator) -> Iterator[genai.Client]:
    client = genai.Client(api_key=_KEY, http_options=google_types.HttpOptions(base_url=running.url("google")))
    yield client
    client.close()


def _play(sim: Simulator, answer: Answer) -> None:
    sim.scenario = Scenario(rules=(Rule(answer=answer),))


_ANSWERS = [Answer("Some words, and a few more."), Answer(tool_calls=_CALLS), Answer("Text first.", tool_calls=_CALLS)]


@pytest.mark.parametrize("answer", _ANSWERS)
def test_an_anthropic_stream_adds_up_to_the_answer_in_one_piece(
    sim: Simulator, claude: anthropic.Anthropic, answer: Answer
) -> None:
    _play(sim, answer)
    request: dict[str, Any] = {
        "model": "m", "max_tokens": 200, "system": "Be kind.", "messages": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    whole = claude.messages.create(**request)
    with claude.messages.stream(**request) as stream:
        streamed = stream.get_final_message()
    ignored: Any = {"id": True, "content": {"__all__": {"id", "parsed_output"}}}
    assert streamed.model_dump(exclude=ignored, exclude_none=True) == whole.model_dump(
        exclude=ignored, exclude_none=True
    )
    first, second = sim.log
    assert (first.input_tokens, first.output_tokens) == (second.input_tokens, second.output_tokens)
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (first.input_tokens, first.output_tokens)
    counted = claude.messages.count_tokens(model="m", system="Be kind.", messages=[{"role": "user", "content": "hi"}])
    assert counted.input_tokens == first.input_tokens


@pytest.mark.parametrize("answer", _ANSWERS)
def test_a_chat_completion_stream_adds_up_to_the_answer_in_one_piece(
    sim: Simulator, gpt: openai.OpenAI, answer: Answer
) -> None:
    _play(sim, answer)
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    whole = gpt.chat.completions.create(**request)
    with gpt.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
        stream.until_done()
        streamed = stream.get_final_completion()
    assert streamed.usage == whole.usage
    one, two = whole.choices[0], streamed.choices[0]
    assert (two.finish_reason, two.message.content) == (one.finish_reason, one.message.content)
    for call, (ours, theirs) in zip(
        answer.tool_calls, zip(one.message.tool_calls or [], two.message.tool_calls or [], strict=True), strict=True
    ):
        assert ours.type == theirs.type == "function"
        assert ours.function.name == theirs.function.name == call.name
        assert json.loads(ours.function.arguments) == json.loads(theirs.function.arguments) == call.arguments


@pytest.mark.parametrize("answer", _ANSWERS)
def test_a_response_stream_adds_up_to_the_response(sim: Simulator, gpt: openai.OpenAI, answer: Answer) -> None:
    _play(sim, answer)
    whole = gpt.responses.create(model="m", input="hi")
    with gpt.responses.stream(model="m", input="hi") as stream:
        stream.until_done()
        streamed = stream.get_final_response()
    assert streamed.usage == whole.usage
    assert streamed.output_text == whole.output_text == (answer.text or "")
    assert [item.type for item in streamed.output] == [item.type for item in whole.output]
    calls = [json.loads(item.arguments) for item in streamed.output if item.type == "function_call"]
    assert calls == [call.arguments for call in answer.tool_calls]


@pytest.mark.parametrize("answer", _ANSWERS)
def test_a_gemini_stream_adds_up_to_the_answer_in_one_piece(
    sim: Simulator, gemini: genai.Client, answer: Answer
) -> None:
    _play(sim, answer)
    whole = gemini.models.generate_content(model="m", contents="hi")
    chunks = list(gemini.models.generate_content_stream(model="m", contents="hi"))
    parts = [part for chunk in chunks for part in (chunk.parts or [])]
    assert "".join(part.text or "" for part in parts) == (answer.text or "")
    assert [part.function_call.args for part in parts if part.function_call] == [c.arguments for c in answer.tool_calls]
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert (chunks[-1].candidates or [])[0].finish_reason == (whole.candidates or [])[0].finish_reason == "STOP"


class _Person(BaseModel):
    name: str
    age: int = Field(ge=0, le=150)
    emails: list[str] = Field(min_length=1)


@pytest.mark.parametrize(
    ("kind", "method"),
    [(ChatAnthropic, "function_calling"), (ChatAnthropic, "json_schema"),
     (ChatOpenAI, "function_calling"), (ChatOpenAI, "json_schema"),
     (ChatGoogleGenerativeAI, "function_calling"), (ChatGoogleGenerativeAI, "json_schema")],
)  # fmt: skip
def test_every_way_to_structured_output_gives_the_users_values(sim: Simulator, kind: Any, method: str) -> None:
    vendor = {ChatAnthropic: "anthropic", ChatOpenAI: "openai", ChatGoogleGenerativeAI: "google"}[kind]
    model = kind(model="m", base_url=sim.url(vendor), api_key=_KEY, max_retries=0)
    asked = model.with_structured_output(_Person, method=method)
    assert asked.invoke("Take down 'Ada Lovelace', aged 36, 'ada@example.com'") == _Person(
        name="Ada Lovelace", age=36, emails=["ada@example.com"]
    )


def test_pictures_and_documents_are_accepted_and_counted(
    sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    seen: list[Request] = []

    def look(request: Request) -> Answer:
        seen.append(request)
        return Answer("seen")

    sim.scenario = Scenario(rules=(Rule(answer=look),))
    url = "https://example.com/a.png"
    base64_png = {"type": "base64", "media_type": "image/png", "data": _PNG}
    document = {"type": "base64", "media_type": "application/pdf", "data": _PNG}
    content: Any = [
        {"type": "image", "source": base64_png}, {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "document", "source": document}, {"type": "text", "text": "what?"},
    ]  # fmt: skip
    claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": content}])
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{_PNG}"}},
        {"type": "text", "text": "what?"},
    ]
    gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])
    part = google_types.Part
    gemini.models.generate_content(
        model="m",
        contents=[
            part.from_bytes(data=b"1", mime_type="image/png"), part.from_uri(file_uri=url, mime_type="image/png"),
            part.from_bytes(data=b"1", mime_type="application/pdf"), "what?",
        ],
    )  # fmt: skip
    for request in seen:
        last = request.messages[-1]
        assert (last.text, last.images, last.documents) == ("what?", 2, 1)
    assert len({served.input_tokens for served in sim.log}) == 1
    assert sim.log[0].input_tokens > 3 * 258


def test_a_body_of_many_megabytes_is_accepted(sim: Simulator, gpt: openai.OpenAI) -> None:
    url = "data:image/png;base64," + "A" * 8_000_000
    content: Any = [{"type": "image_url", "image_url": {"url": url}}]
    gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])
    assert sim.log[0].status == 200


def test_an_explicit_cache_marker_writes_first_and_reads_then(sim: Simulator, claude: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": _LONG, "cache_control": {"type": "ephemeral"}}]
    first, second = [
        claude.messages.create(model="m", max_tokens=9, system=system, messages=[{"role": "user", "content": text}])
        for text in ("one", "two")
    ]
    assert first.usage.cache_read_input_tokens == second.usage.cache_creation_input_tokens == 0
    assert first.usage.cache_creation_input_tokens == second.usage.cache_read_input_tokens
    assert (second.usage.cache_read_input_tokens or 0) > 1000
    assert second.usage.input_tokens < 10
    assert sim.log[0].input_tokens == sim.log[1].input_tokens
    assert sim.log[1].cached_tokens == second.usage.cache_read_input_tokens


def test_a_long_prompt_sent_twice_is_cached_without_being_asked(sim: Simulator, gpt: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": _LONG}, {"role": "user", "content": "hi"}]
    cached = []
    for _ in range(2):
        usage = gpt.chat.completions.create(model="m", messages=messages).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached.append(usage.prompt_tokens_details.cached_tokens or 0)
    assert cached[0] == 0
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0


def test_a_text_longer_than_max_tokens_is_cut_and_says_so(sim: Simulator, gpt: openai.OpenAI) -> None:
    _play(sim, Answer("abcdefgh" * 10))
    cut = gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=3)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("abcdefghabcd", "length")
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 3


def test_a_stop_sequence_ends_the_text_and_is_named(sim: Simulator, claude: anthropic.Anthropic) -> None:
    _play(sim, Answer("one STOP two"))
    message: Any = claude.messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stop_sequences=["STOP"]
    )
    assert message.content[0].text == "one "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")


def test_a_tool_call_without_its_result_is_rejected_as_the_vendors_would(
    sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    block: Any = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    before, after = {"role": "user", "content": "hi"}, {"role": "user", "content": "well?"}
    messages: Any = [before, {"role": "assistant", "content": [block]}, after]
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks"):
        claude.messages.create(model="m", max_tokens=9, messages=messages)
    messages = [before, {"role": "assistant", "tool_calls": [call]}, after]
    with pytest.raises(openai.BadRequestError, match="did not have response messages: t1"):
        gpt.chat.completions.create(model="m", messages=messages)
    contents: Any = [
        google_types.UserContent("hi"),
        google_types.ModelContent([google_types.Part.from_function_call(name="add", args={})]),
        google_types.UserContent("well?"),
    ]
    with pytest.raises(genai.errors.ClientError, match="number of function response parts"):
        gemini.models.generate_content(model="m", contents=contents)
    assert [served.status for served in sim.log] == [400, 400, 400]


_BODIES = [b"{", b"[]", b"\xff", b'{"model": 7}', b'{"model": "m", "messages": [7]}', b'{"model": "m", "messages": {}}']


@pytest.mark.parametrize("body", _BODIES)
@pytest.mark.parametrize("path", ["anthropic/v1/messages", "openai/v1/chat/completions", "openai/v1/responses",
                                  "google/v1beta/models/m:generateContent"])  # fmt: skip
def test_a_body_no_vendor_takes_is_a_bad_request(sim: Simulator, path: str, body: bytes) -> None:
    assert httpx.post(f"{sim.base_url}/{path}", content=body).status_code == 400


def test_embeddings_are_unit_vectors_and_closer_for_texts_that_share_words(
    sim: Simulator, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    texts = ["the cat sat on the mat", "the cat lay on the mat", "quarterly revenue fell sharply"]

    def check(vectors: list[list[float]], size: int) -> None:
        assert {len(vector) for vector in vectors} == {size}
        near, far = (sum(x * y for x, y in zip(vectors[0], other, strict=True)) for other in vectors[1:])
        assert near > 0.5 > far
        assert sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-5)

    packed = gpt.embeddings.create(model="e", input=texts)
    check([item.embedding for item in packed.data], 256)
    plain = gpt.embeddings.create(model="e", input=texts, dimensions=64, encoding_format="float")
    check([item.embedding for item in plain.data], 64)
    config = google_types.EmbedContentConfig(output_dimensionality=128)
    found = gemini.models.embed_content(model="gemini-embedding-001", contents=list(texts), config=config)
    check([item.values or [] for item in found.embeddings or []], 128)
    assert [served.endpoint for served in sim.log] == ["embeddings"] * 3


def test_models_are_listed_in_each_vendors_shape(
    sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    sim.scenario = Scenario(models=("one", "two"))
    assert [model.id for model in claude.models.list()] == ["one", "two"]
    assert [model.id for model in gpt.models.list()] == ["one", "two"]
    assert [model.name for model in gemini.models.list()] == ["models/one", "models/two"]
    for version in ("v1", "v1beta"):
        config = google_types.ListModelsConfig(http_options=google_types.HttpOptions(api_version=version))
        assert [model.name for model in gemini.models.list(config=config)] == ["models/one", "models/two"]


def test_googles_batches_are_served_under_both_of_its_versions(sim: Simulator, gemini: genai.Client) -> None:
    sim.scenario = Scenario()
    for version in ("v1", "v1beta"):
        options = google_types.HttpOptions(api_version=version)
        job = gemini.batches.create(
            model="gemini-3.5-flash",
            src=[google_types.InlinedRequest(contents="Hi.", metadata={"key": "one"})],
            config=google_types.CreateBatchJobConfig(http_options=options, display_name=version),
        )
        found = gemini.batches.get(name=job.name or "", config=google_types.GetBatchJobConfig(http_options=options))
        assert (found.name, found.display_name) == (job.name, version)


def test_any_prefix_is_a_vendor_that_speaks_openai(sim: Simulator) -> None:
    for vendor in ("deepseek", "ollama", "vllm", "openrouter", "mine"):
        with openai.OpenAI(base_url=sim.url(vendor), api_key=_KEY) as client:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert [served.vendor for served in sim.log] == ["deepseek", "ollama", "vllm", "openrouter", "mine"]


def test_costs_are_those_of_genai_prices_and_unknown_is_never_zero(sim: Simulator) -> None:
    body = {"messages": [{"role": "user", "content": "hi " * 4000}]}
    for vendor, model in (("openai", "gpt-4o"), ("openai", "no-such-model"), ("ollama", "gpt-4o")):
        httpx.post(f"{sim.url(vendor)}/chat/completions", json={"model": model, **body})
    known, unknown, local = sim.log
    assert known.cost_usd == pytest.approx(known.input_tokens * 2.5e-6 + known.output_tokens * 10e-6)
    assert unknown.cost_usd is None
    assert local.cost_usd is None


def test_headers_tell_the_request_id_and_what_is_left(
    sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI
) -> None:
    raw: Any = claude.messages.with_raw_response.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    )
    assert raw.headers["request-id"].startswith("req_")
    assert int(raw.headers["anthropic-ratelimit-requests-remaining"]) > 0
    other: Any = gpt.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert other.headers["x-request-id"].startswith("req_")
    assert int(other.headers["x-ratelimit-remaining-requests"]) > 0


@pytest.mark.slow
async def test_it_serves_many_at_once_and_loses_no_record() -> None:
    async with Simulator() as sim, httpx.AsyncClient() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        url = f"{sim.url('openai')}/chat/completions"
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == len(sim.log) == 100


def test_a_client_that_leaves_a_stream_pays_for_what_it_was_sent(sim: Simulator) -> None:
    latency = Latency(chunk_gap_ms=20)
    sim.scenario = Scenario(rules=(Rule(answer=Answer("word " * 24), latency=latency),))
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream("POST", f"{sim.url('openai')}/chat/completions", json=body) as response:
        next(response.iter_lines())
    waiting = threading.Event()
    while not sim.log:
        waiting.wait(0.005)
    (served,) = sim.log
    assert served.status == 200
    assert served.output_tokens < 15


def test_a_rule_that_raises_is_an_error_of_the_server_and_is_logged(sim: Simulator) -> None:
    def fail(request: Request) -> Answer:
        raise ZeroDivisionError

    sim.scenario = Scenario(rules=(Rule(match=Match(endpoint="chat"), answer=fail),))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(f"{sim.url('openai')}/chat/completions", json=body).status_code == 500
    assert [served.status for served in sim.log] == [500]


def test_an_unknown_path_is_not_found(sim: Simulator) -> None:
    for path in ("", "x", "openai/v2/chat/completions", "google/v1beta/models/m:paint"):
        assert httpx.post(f"{sim.base_url}/{path}", json={}).status_code == 404


def test_it_binds_loopback_and_says_when_a_port_is_taken(sim: Simulator) -> None:
    assert sim.base_url.startswith("http://127.0.0.1:")
    port = int(sim.base_url.rpartition(":")[2])
    with pytest.raises(ConfigError, match="choose another port"):
        Simulator(port=port).start()


def test_it_is_not_running_outside_its_block() -> None:
    with pytest.raises(ConfigError, match="with block"):
        Simulator().url("openai")


def test_one_that_runs_is_not_started_again(sim: Simulator) -> None:
    with pytest.raises(ConfigError, match="one more"):
        sim.start()


def test_the_fixture_gives_a_running_simulator(simulator: Simulator) -> None:
    assert httpx.get(f"{simulator.base_url}/_pointsman/health").json()["status"] == "ok"


def _python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_importing_the_plugin_loads_no_server() -> None:
    code = (
        "import sys, pointsman.simulator.pytest_plugin, pointsman.simulator\n"
        "print([name for name in ('aiohttp', 'pydantic', 'yaml', 'genai_prices') if name in sys.modules])"
    )
    out, _ = _python(code).communicate(timeout=240)
    assert out.strip() == "[]"


@pytest.mark.slow
def test_serve_answers_until_ctrl_c_and_ends_quietly() -> None:
    code = "from pointsman.simulator import serve\nserve(port=0, ready=lambda url: print(url, flush=True))"
    process = _python(code)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert httpx.get(f"{url}/_pointsman/health").status_code == 200
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=240)
    assert (process.returncode, out, errors) == (0, "", "")


def test_the_public_names_are_sorted_and_there() -> None:
    names = pointsman.simulator.__all__
    assert names == sorted(names)
    assert all(getattr(pointsman.simulator, name).__name__ == name for name in names)
