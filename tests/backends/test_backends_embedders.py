"""Embedders by name, over the real clients and servers that speak the providers' formats."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from pointsman.backends.base import BackendError, Endpoint
from pointsman.backends.embedders import EMBEDDERS, CrossEncoderReranker, OnnxEmbeddings, embedder
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import FailureKind, Trust
from pointsman.memory import ChromaStore, Embedder, Note, Provenance
from pydantic import SecretStr
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

if TYPE_CHECKING:
    from conftest import Wire

KEY = SecretStr("sk-not-a-key")


def _vectors(*values: list[float]) -> dict[str, object]:
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(values)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _google(*values: list[float]) -> dict[str, object]:
    return {"embeddings": [{"values": v} for v in values]}


def test_the_default_is_this_machines_own() -> None:
    made = embedder("wordllama")
    assert isinstance(made, Embedder)
    assert (made.model_id, made.dimensions) == ("wordllama-256", 256)


@pytest.mark.parametrize("name", ["openai/text-embedding-3-small", "openai_compatible/nomic-embed-text"])
def test_servers_that_speak_openais_format_get_the_texts_as_they_are(wire: Wire, name: str) -> None:
    wire.requests.clear()
    made = embedder(name, Endpoint("m", base_url=f"{wire.url}/v1", key=KEY))
    assert wire.requests == []
    wire.answer = _vectors([1.0, 0.0, 0.0])
    assert made.dimensions == 3
    wire.answer = _vectors([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    assert made.embed_documents(["one", "two"]) == [[1, 0, 0], [0, 1, 0]]
    assert [request["input"] for request in wire.requests] == [["length"], ["one", "two"]]
    assert {request["model"] for request in wire.requests} == {name.partition("/")[2]}
    assert made.model_id == name


def test_a_cut_vector_is_asked_for_and_named_so(wire: Wire) -> None:
    wire.requests.clear()
    wire.answer = _vectors([0.6, 0.8])
    made = embedder("openai/text-embedding-3-large", Endpoint("m", base_url=f"{wire.url}/v1", key=KEY), dimensions=2)
    assert (made.model_id, made.dimensions) == ("openai/text-embedding-3-large@2", 2)
    assert made.embed_query("x") == [0.6, 0.8]
    assert [request["dimensions"] for request in wire.requests] == [2]


def test_google_is_asked_in_its_own_format(wire: Wire) -> None:
    wire.requests.clear()
    wire.answer = _google([0.0, 1.0], [1.0, 0.0])
    made = embedder("google/gemini-embedding-001", Endpoint("m", base_url=wire.url, key=KEY), dimensions=2)
    assert made.embed_documents(["one", "two"]) == [[0, 1], [1, 0]]
    (request,) = wire.requests
    assert "one" in str(request)
    assert "two" in str(request)
    assert made.model_id == "google/gemini-embedding-001@2"


def test_many_texts_are_sent_in_requests_that_providers_take(wire: Wire) -> None:
    wire.requests.clear()
    wire.answer = _vectors(*[[1.0]] * 100)
    made = embedder("openai_compatible/m", Endpoint("m", base_url=f"{wire.url}/v1"), dimensions=1)
    assert len(made.embed_documents([str(n) for n in range(200)])) == 200
    assert [len(request["input"]) for request in wire.requests] == [100, 100]


def test_a_text_is_embedded_once_until_something_is_forgotten(wire: Wire) -> None:
    wire.requests.clear()
    wire.answer = _vectors([1.0, 0.0])
    made = embedder("openai_compatible/m", Endpoint("m", base_url=f"{wire.url}/v1"), dimensions=2)
    with ChromaStore(None, made) as store:
        for _ in range(3):
            store.put(("n",), "k", {"text": "signal"}, index=["text"])
            assert len(store.search(("n",), query="what is red")) == 1
        assert [request["input"] for request in wire.requests] == [["signal"], ["what is red"]]
        store.forget(namespace=("n",))
        store.put(("n",), "k", {"text": "signal"}, index=["text"])
        assert len(wire.requests) == 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("openai/text-embedding-3-small", "needs a key"),
        ("google/gemini-embedding-001", "needs a key"),
        ("openai_compatible/m", "needs the server's address"),
        ("wordlama", "unknown embedder 'wordlama': there are wordllama, sentence-transformers/MODEL"),
        ("openai", "unknown embedder"),
        ("wordllama/256", "unknown embedder"),
        ("sentence-transformers/all-MiniLM-L6-v2", r"pip install 'pointsman\[sentence-transformers\]'"),
    ],
)
def test_what_is_missing_is_told_in_one_line(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        embedder(name)


def test_the_reranker_of_this_machine_names_its_extra() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'pointsman\[sentence-transformers\]'"):
        CrossEncoderReranker("cross-encoder/ms-marco-MiniLM-L6-v2")


def test_every_kind_of_embedder_has_a_name() -> None:
    assert set(EMBEDDERS) == {
        *("wordllama", "sentence-transformers", "onnx"),
        *("openai", "google", "openai_compatible"),
    }


# A model in ONNX of one node, which looks token vectors up, written in protobuf (onnx/onnx.proto3).


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    size, length = len(data), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def _tensor(name: str, kind: int, *dimensions: str) -> bytes:
    shape = b"".join(_field(1, _field(2, each)) for each in dimensions)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, shape)))


def _encoder(folder: Path, table: np.ndarray[tuple[int, ...], np.dtype[np.float32]], words: list[str]) -> None:
    node = _field(1, "table") + _field(1, "input_ids") + _field(2, "tokens") + _field(4, "Gather")
    rows = b"".join(_field(1, each) for each in table.shape)
    weights = rows + _field(2, 1) + _field(8, "table") + _field(9, table.tobytes())
    graph = _field(1, node) + _field(2, "g") + _field(5, weights)
    graph += _field(11, _tensor("input_ids", 7, "b", "t")) + _field(12, _tensor("tokens", 1, "b", "t", "d"))
    (folder / "model.onnx").write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


WORDS = ["[UNK]", "signal", "depot", "red"]
TABLE = np.array([[9, 9, 9], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def test_an_encoder_in_onnx_averages_its_token_vectors_whatever_stands_beside_a_text(tmp_path: Path) -> None:
    _encoder(tmp_path, TABLE, WORDS)
    made = embedder(f"onnx/{tmp_path}")
    assert isinstance(made, Embedder)
    assert (made.model_id, made.dimensions) == (f"onnx/{tmp_path.name}", 3)
    half = 1 / math.sqrt(2)
    assert made.embed_query("signal depot") == pytest.approx([half, half, 0], abs=1e-6)
    together = made.embed_documents(["signal", "signal depot red signal depot red"])
    assert together[0] == pytest.approx(made.embed_query("signal"), abs=1e-6)
    many = [" ".join(WORDS[1:][: 1 + place % 3] * (40 - place)) for place in range(40)]
    for text, vector in zip(many, made.embed_documents(many), strict=True):
        assert vector == pytest.approx(made.embed_query(text), abs=1e-6)
    with ChromaStore(tmp_path / "memory", made) as store:
        store.put(("n",), "k", {"text": "signal red"}, index=["text"])
        assert store.search(("n",), query="red signal")[0].score == pytest.approx(1.0, abs=1e-5)


def _say(folder: Path, name: str, **told: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.parametrize(
    ("told", "pooled"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "include_prompt": True}, [0, 1, 0]),
        ({"pooling_mode": "cls"}, [0, 1, 0]),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "include_prompt": True}, [0, 0.6, 0.8]),
        ({"pooling_mode": ["mean"]}, [0, 0.6, 0.8]),
        ({"word_embedding_dimension": 3}, [0, 0.6, 0.8]),
    ],
)
def test_an_encoder_pools_as_its_folder_says(tmp_path: Path, told: dict[str, object], pooled: list[float]) -> None:
    _encoder(tmp_path, TABLE * np.array([[1], [1], [3], [4]], np.float32), WORDS)
    _say(tmp_path, "1_Pooling/config.json", **told)
    made = embedder(f"onnx/{tmp_path}")
    assert made.embed_query("depot red") == pytest.approx(pooled, abs=1e-6)
    assert made.embed_documents(["depot red", "depot red signal signal"])[0] == pytest.approx(pooled, abs=1e-6)
    assert made.model_id == f"onnx/{tmp_path.name}" + ("@cls" if pooled == [0, 1, 0] else "")


def test_a_memory_knows_words_of_similar_meaning_beside_any_embedder(tmp_path: Path) -> None:
    _encoder(tmp_path, TABLE, WORDS)
    by = Provenance(source="", author="ann", run="", trust=Trust.USER)
    with ChromaStore(None, embedder(f"onnx/{tmp_path}")) as store:
        store.remember_all(("n",), [Note(f"a note on the depot, number {number}", by) for number in range(9)])
        wanted = store.remember(("n",), "a photograph of the depot", provenance=by)
        assert store.recall(("n",), "where is the picture", limit=1)[0].id == wanted


def test_an_encoder_reads_no_more_tokens_than_its_folder_says(tmp_path: Path) -> None:
    _encoder(tmp_path, TABLE, WORDS)
    whole = [part / math.sqrt(6) for part in (2, 1, 1)]
    for longest, read, kind in ((2, [1, 0, 0], "@2"), (512, whole, ""), (8192, whole, ""), (None, whole, "")):
        _say(tmp_path, "sentence_bert_config.json", max_seq_length=longest)
        made = embedder(f"onnx/{tmp_path}")
        assert made.embed_query("signal signal depot red") == pytest.approx(read, abs=1e-6)
        assert made.model_id == f"onnx/{tmp_path.name}{kind}"


@pytest.mark.parametrize(
    ("prompts", "by_default", "question", "passage", "kind"),
    [
        ({"query": "red ", "document": "signal "}, None, "red depot", "signal depot", "@signal "),
        ({"query": "red ", "passage": "signal "}, None, "red depot", "signal depot", "@signal "),
        ({"query": "red "}, None, "red depot", "depot", ""),
        ({"query": "red ", "document": ""}, "query", "red depot", "depot", ""),
        ({"any": "red "}, "any", "red depot", "red depot", "@red "),
        ({"any": "red "}, None, "depot", "depot", ""),
        ({}, None, "depot", "depot", ""),
    ],
)
def test_an_encoder_puts_before_a_text_what_its_folder_says(
    tmp_path: Path, prompts: dict[str, str], by_default: str | None, question: str, passage: str, kind: str
) -> None:
    _encoder(tmp_path, TABLE, WORDS)
    plain = OnnxEmbeddings(tmp_path)
    _say(tmp_path, "config_sentence_transformers.json", prompts=prompts, default_prompt_name=by_default)
    made = embedder(f"onnx/{tmp_path}")
    assert made.embed_query("depot") == plain.embed_query(question)
    assert made.embed_documents(["depot"]) == plain.embed_documents([passage])
    assert made.model_id == f"onnx/{tmp_path.name}{kind}"


def test_a_memory_of_vectors_of_another_pooling_is_refused(tmp_path: Path) -> None:
    _encoder(tmp_path, TABLE, WORDS)
    with ChromaStore(tmp_path / "memory", embedder(f"onnx/{tmp_path}")) as store:
        store.put(("n",), "k", {"text": "signal red"}, index=["text"])
    _say(tmp_path, "1_Pooling/config.json", pooling_mode="cls")
    with pytest.raises(ConfigError, match=r"@cls' .* embed all of it anew by 'pointsman memory reindex'"):
        ChromaStore(tmp_path / "memory", embedder(f"onnx/{tmp_path}"))


@pytest.mark.parametrize(
    ("name", "told", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode_lasttoken": True}, "requires the pooling lasttoken: only mean or cls"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "requires the pooling cls and mean"),
        ("2_Dense/config.json", {}, "2_Dense: is a layer after the pooling, which is not computed"),
        ("config_sentence_transformers.json", {"prompts": ["query"]}, r"config_.*json: cannot be read: prompts"),
        ("sentence_bert_config.json", {"max_seq_length": "all"}, r"sentence_.*json: cannot be read: max_seq_length"),
    ],
)
def test_a_folder_that_requires_what_is_not_computed_is_refused(
    tmp_path: Path, name: str, told: dict[str, object], said: str
) -> None:
    _encoder(tmp_path, TABLE, WORDS)
    _say(tmp_path, name, **told)
    with pytest.raises(ConfigError, match=said):
        OnnxEmbeddings(tmp_path)


def test_sentence_transformers_encodes_questions_and_passages_each_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Model:
        prompts: ClassVar = {"query": "ask: ", "document": "tell: "}

        def __init__(self, name: str, **_: object) -> None:
            assert name == "e5"

        def encode_query(self, text: str, *, normalize_embeddings: bool) -> Any:
            return np.array([1.0, 0.0])

        def encode_document(self, texts: list[str], *, normalize_embeddings: bool) -> Any:
            return np.array([[0.0, 1.0]] * len(texts))

    module = ModuleType("sentence_transformers")
    module.__dict__["SentenceTransformer"] = Model
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    made = embedder("sentence-transformers/e5")
    assert (made.embed_query("x"), made.embed_documents(["x", "y"])) == ([1, 0], [[0, 1], [0, 1]])
    assert made.model_id == "sentence-transformers/e5@tell: "


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs the files model\.onnx and tokenizer\.json"):
        OnnxEmbeddings(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        OnnxEmbeddings(tmp_path)


KINDS = ["openai", "openai_compatible", "google"]


def _made(kind: str, url: str, dimensions: int | None = None) -> Embedder:
    base = url if kind == "google" else f"{url}/v1"
    return embedder(f"{kind}/m", Endpoint("m", base_url=base, key=KEY, timeout=9), dimensions=dimensions)


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_that_embeds_nothing_fails_in_the_words_of_backends(wire: Wire, kind: str) -> None:
    wire.answer = (401, {"error": {"code": 401, "message": "no such key", "status": "UNAUTHENTICATED"}})
    with pytest.raises(BackendError, match="no such key") as failed:
        _made(kind, wire.url).embed_query("x")
    assert failed.value.kind is FailureKind.AUTH


@pytest.mark.parametrize("kind", KINDS)
def test_texts_go_nowhere_else_whatever_is_answered_and_stands_in_the_environment(
    wire: Wire, serve: Callable[..., str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere: list[object] = []

    def take(request: Any) -> tuple[int, dict[str, str], bytes]:
        elsewhere.append(request)
        return 200, {"content-type": "application/json"}, json.dumps({**_vectors([1.0]), **_google([1.0])}).encode()

    other = serve(take)
    for name in ("HTTP_PROXY", "ALL_PROXY", "OPENAI_PROXY", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.setenv(name, other)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    away = serve(lambda _: (307, {"location": f"{other}/v1/embeddings"}, b""))
    with pytest.raises(BackendError):
        _made(kind, away).embed_documents(["secret"])
    wire.answer = _google([1.0]) if kind == "google" else _vectors([1.0])
    assert _made(kind, wire.url).embed_documents(["secret"]) == [[1.0]]
    assert elsewhere == []


FORKING = """
import json, os, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pointsman.backends.base import BackendError, Endpoint
from pointsman.backends.embedders import embedder

ports = set()

class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        ports.add(self.client_address[1])
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
                           "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
made = embedder("openai_compatible/m", Endpoint("m", base_url=f"http://127.0.0.1:{server.server_address[1]}/v1"))
made.embed_query("before")
made.embed_query("again")
kept = len(ports)
pid = os.fork()
if pid == 0:
    os._exit(0 if made.embed_query("in the child") == [1.0] else 1)
ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(kept, ended, len(ports))
"""


@pytest.mark.slow
def test_a_forked_child_has_connections_of_its_own(programs: Any) -> None:
    ran = programs.run(["-c", FORKING])
    assert ran.stdout.split() == ["1", "0", "2"], ran.stderr


def test_the_length_of_vectors_that_are_there_is_not_asked_for_again(wire: Wire, tmp_path: Path) -> None:
    wire.answer = _vectors([1.0, 0.0])
    with ChromaStore(tmp_path, _made("openai_compatible", wire.url)) as store:
        store.put(("n",), "k", {"text": "signal"}, index=["text"])
    wire.requests.clear()
    with ChromaStore(tmp_path, _made("openai_compatible", wire.url)) as store:
        assert store.get(("n",), "k") is not None
        assert wire.requests == []
        wire.answer = _vectors([1.0, 0.0, 0.0])
        with pytest.raises(ConfigError, match="gave a vector of 3 dimensions, not 2"):
            store.search(("n",), query="signal")


def test_a_length_that_a_model_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wordllama has 256 dimensions, not 64"):
        embedder("wordllama", dimensions=64)
    with pytest.raises(ConfigError, match="leave out dimensions"):
        embedder(f"onnx/{tmp_path}", dimensions=64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [{}, {"data": [{}], "embeddings": [{}]}, (200, "[]"), (200, "no JSON")])
def test_an_answer_without_vectors_fails_in_the_words_of_backends(wire: Wire, kind: str, answer: Any) -> None:
    wire.answer = answer
    with pytest.raises(BackendError) as failed:
        _made(kind, wire.url).embed_documents(["x"])
    assert failed.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_provider_takes_is_not_sent(wire: Wire, kind: str) -> None:
    wire.requests.clear()
    wire.answer = _google([1.0]) if kind == "google" else _vectors([1.0])
    made = _made(kind, wire.url, dimensions=1)
    assert made.embed_documents([" ", ""]) == [[0.0], [0.0]]
    assert made.embed_query("") == [0.0]
    assert wire.requests == []
    assert made.embed_documents(["\ud800" + "é" * 1_000_000]) == [[1.0]]
    (request,) = wire.requests
    assert 3_990 < str(request).count("é") <= 4_000
