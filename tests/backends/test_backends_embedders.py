"""Embedders by name, over the real clients and servers that speak the providers' formats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pointsman.backends.base import Endpoint
from pointsman.backends.embedders import EMBEDDERS, CrossEncoderReranker, OnnxEmbeddings, embedder
from pointsman.configs.errors import ConfigError
from pointsman.memory import ChromaStore, Embedder
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


def test_an_encoder_in_onnx_averages_its_token_vectors_whatever_stands_beside_a_text(tmp_path: Path) -> None:
    words = ["[UNK]", "signal", "depot", "red"]
    _encoder(tmp_path, np.array([[9, 9, 9], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32), words)
    made = embedder(f"onnx/{tmp_path}")
    assert isinstance(made, Embedder)
    assert (made.model_id, made.dimensions) == (f"onnx/{tmp_path.name}", 3)
    half = 1 / math.sqrt(2)
    assert made.embed_query("signal depot") == pytest.approx([half, half, 0], abs=1e-6)
    together = made.embed_documents(["signal", "signal depot red signal depot red"])
    assert together[0] == pytest.approx(made.embed_query("signal"), abs=1e-6)
    with ChromaStore(tmp_path / "memory", made) as store:
        store.put(("n",), "k", {"text": "signal red"}, index=["text"])
        assert store.search(("n",), query="red signal")[0].score == pytest.approx(1.0, abs=1e-5)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs the files model\.onnx and tokenizer\.json"):
        OnnxEmbeddings(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        OnnxEmbeddings(tmp_path)
