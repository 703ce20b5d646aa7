"""Embedders by name: on this machine, or a provider's, each with the name and length of its vectors.

``wordllama``, ``sentence-transformers/NAME`` and ``onnx/FOLDER`` compute on this machine; ``openai/MODEL``,
``google/MODEL`` and ``openai_compatible/MODEL`` ask a provider. Their requests are no rows of the ledger.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from langchain_core.embeddings import Embeddings

from ..configs.errors import ConfigError
from .base import Endpoint
from .http.clients import missing_extra, required_key
from .http.hosts import base_of
from .ondevice.embedder import WordLlamaEmbeddings, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .ondevice.embedder import Embedder

__all__ = ["EMBEDDERS", "CrossEncoderReranker", "NamedEmbeddings", "OnnxEmbeddings", "embedder"]

_OPENAI: Final = "https://api.openai.com/v1"
_BATCH: Final = 100  # texts a request: Google's limit (ai.google.dev/api/embeddings), below that of the others
_KEPT: Final = 4096  # vectors in this process's memory, of texts and of questions
_LONGEST: Final = 512  # tokens of a text that a small encoder reads


class NamedEmbeddings(Embeddings):
    """LangChain's embeddings with what a memory must know about vectors; the last few thousand are asked for once.

    Args:
        embeddings: Makes the vectors.
        model_id: Names the model, and its version where there is one.
        dimensions: Length of a vector; asked of the model by one word at first use if not given.
    """

    def __init__(self, embeddings: Embeddings, model_id: str, dimensions: int | None = None) -> None:
        self._embeddings, self.model_id = embeddings, model_id
        self._dimensions = dimensions
        self._kept: OrderedDict[str, list[float]] = OrderedDict()
        self._asked: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = Lock()

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        if self._dimensions is None:
            self._dimensions = len(self._embeddings.embed_query("length"))
        return self._dimensions

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one vector a text."""
        kept = self._kept
        known = {text: vector for text in texts if (vector := kept.get(text)) is not None}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(fresh), _BATCH):
            some = fresh[start : start + _BATCH]
            vectors = self._embeddings.embed_documents(some)
            if len(vectors) != len(some):
                raise ConfigError(f"embedder {self.model_id!r} gave {len(vectors)} vectors for {len(some)} texts")
            known.update(zip(some, vectors, strict=True))
        self._keep(kept, known)
        return [known[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Embed one text, as a question: some models embed questions otherwise than passages."""
        vector = self._asked.get(text)
        if vector is None:
            vector = self._embeddings.embed_query(text)
            self._keep(self._asked, {text: vector})
        return vector

    def clear(self) -> None:
        """Drop what was embedded before, such as what is to be forgotten."""
        with self._lock:
            self._kept.clear()
            self._asked.clear()

    def _keep(self, kept: OrderedDict[str, list[float]], vectors: Mapping[str, list[float]]) -> None:
        """Keep vectors as the last ones used, from whichever thread."""
        with self._lock:
            for text, vector in vectors.items():
                kept.pop(text, None)
                kept[text] = vector
            while len(kept) > _KEPT:
                kept.popitem(last=False)


class OnnxEmbeddings(Embeddings):
    """A sentence encoder in ONNX, such as the exports of sentence-transformers: its token vectors averaged.

    Args:
        folder: Holds ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``.

    Raises:
        ConfigError: One of the files is missing or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.model_id = f"onnx/{folder.name}"
        files = [folder / "model.onnx", folder / "onnx" / "model.onnx"]
        model = next((file for file in files if file.exists()), None)
        if model is None or not (folder / "tokenizer.json").exists():
            raise ConfigError("needs the files model.onnx and tokenizer.json", file=folder)
        try:
            self._session = import_module("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])
            self._tokenizer = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # both libraries raise classes of their own
            raise ConfigError(f"cannot be loaded: {error}", file=folder) from error
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()
        self._inputs = {each.name for each in self._session.get_inputs()}
        self.dimensions = len(self.embed_query("length"))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one unit vector a text."""
        rows: list[list[float]] = []
        for start in range(0, len(texts), _BATCH):
            rows += self._vectors(texts[start : start + _BATCH]).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        return self.embed_documents([text])[0]

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        given = {
            "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        tokens = self._session.run(None, {name: array for name, array in given.items() if name in self._inputs})[0]
        weights = mask[:, :, None].astype(np.float32)
        return unit_rows(np.asarray((tokens * weights).sum(1) / np.maximum(weights.sum(1), 1e-9), np.float32))


class CrossEncoderReranker:
    """A reranker for a memory's recall: a cross-encoder of sentence-transformers on this machine.

    Args:
        model: A name at Hugging Face, or a folder.

    Raises:
        ConfigError: The extra is not installed.
    """

    def __init__(self, model: str) -> None:
        self._model = _sentence_transformers("CrossEncoder")(model)

    def score(self, query: str, texts: list[str]) -> list[float]:
        """Return how well each text answers."""
        scores: list[float] = [float(score) for score in self._model.predict([(query, text) for text in texts])]
        return scores


def embedder(name: str, endpoint: Endpoint | None = None, *, dimensions: int | None = None) -> Embedder:
    """Give the embedder of a name.

    Args:
        name: ``wordllama``, or what stands in `EMBEDDERS`, a slash and the model.
        endpoint: A provider's key, address and time limit; its ``model`` is overlooked.
        dimensions: Length of the vectors, of models that can cut theirs.

    Raises:
        ConfigError: There is no such embedder, an extra is not installed, or a provider has no key.
    """
    kind, _, model = name.partition("/")
    make = EMBEDDERS.get(kind)
    if make is None or bool(model) == (kind == "wordllama"):
        known = ", ".join(each if each == "wordllama" else f"{each}/MODEL" for each in EMBEDDERS)
        raise ConfigError(f"unknown embedder {name!r}: there are {known}")
    made: Embedder = make(model, endpoint or Endpoint(name), dimensions)
    return made


def _sentence_transformers(name: str) -> Any:
    try:
        return getattr(import_module("sentence_transformers"), name)
    except ImportError as error:
        raise missing_extra("sentence-transformers") from error


def _local(model: str, endpoint: Endpoint, dimensions: int | None) -> NamedEmbeddings:
    made = _sentence_transformers("SentenceTransformer")(model, truncate_dim=dimensions)

    class Local(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            rows: list[list[float]] = made.encode(texts, normalize_embeddings=True).tolist()
            return rows

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return NamedEmbeddings(Local(), _name("sentence-transformers", model, dimensions), dimensions)


def _openai(model: str, endpoint: Endpoint, dimensions: int | None) -> NamedEmbeddings:
    return _speaking_openai("openai", model, endpoint, dimensions, endpoint.base_url or _OPENAI)


def _compatible(model: str, endpoint: Endpoint, dimensions: int | None) -> NamedEmbeddings:
    if endpoint.base_url is None:
        raise ConfigError(f"embedder openai_compatible/{model} needs the server's address: give base_url")
    return _speaking_openai("openai_compatible", model, endpoint, dimensions, endpoint.base_url)


def _speaking_openai(kind: str, model: str, endpoint: Endpoint, dimensions: int | None, url: str) -> NamedEmbeddings:
    from langchain_openai import OpenAIEmbeddings
    from pydantic import SecretStr

    key = required_key(endpoint, kind) if kind == "openai" else endpoint.key or SecretStr("no-key-needed")
    made = OpenAIEmbeddings(
        model=model,
        dimensions=dimensions,
        openai_api_key=key,
        openai_api_base=base_of(url, "/embeddings"),
        request_timeout=endpoint.timeout,
        max_retries=2,
        # Counting tokens would load a vocabulary from the network, and send numbers that other servers do not know.
        check_embedding_ctx_length=False,
    )
    return NamedEmbeddings(made, _name(kind, model, dimensions), dimensions)


def _google(model: str, endpoint: Endpoint, dimensions: int | None) -> NamedEmbeddings:
    from langchain_google_genai import GoogleGenerativeAIEmbeddings

    made = GoogleGenerativeAIEmbeddings(
        model=model,
        google_api_key=required_key(endpoint, "google"),
        base_url=endpoint.base_url,
        output_dimensionality=dimensions,
    )
    return NamedEmbeddings(made, _name("google", model, dimensions), dimensions)


def _name(kind: str, model: str, dimensions: int | None) -> str:
    """Return the name under which vectors are kept: cut ones are others than whole ones."""
    return f"{kind}/{model}" + (f"@{dimensions}" if dimensions else "")


EMBEDDERS: Final = MappingProxyType[str, Callable[[str, Endpoint, int | None], Any]](
    {
        "wordllama": lambda *_: WordLlamaEmbeddings(),
        "sentence-transformers": _local,
        "onnx": lambda model, *_: OnnxEmbeddings(Path(model)),
        "openai": _openai,
        "google": _google,
        "openai_compatible": _compatible,
    }
)
"""Kind -> what makes an embedder of a model, an endpoint and a length."""
