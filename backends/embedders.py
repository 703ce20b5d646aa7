"""Embedders by name, local or a provider's, each with a model id and the length of its vectors.

``wordllama``, ``sentence-transformers/NAME`` and ``onnx/FOLDER`` compute on this machine; ``openai/MODEL``,
``google/MODEL`` and ``openai_compatible/MODEL`` ask a provider.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np
from langchain_core.embeddings import Embeddings

from ..configs.errors import ConfigError
from ..configs.process.forks import Lock, reset_in_children
from ..configs.words import FailureKind
from . import registry
from .base import BackendError, Endpoint
from .encoding import Encoding, prompt_of_passages
from .errors.told import one_line
from .http.clients import missing_extra, required_key
from .http.hosts import NO_REDIRECTS, base_of, is_here
from .ondevice.embedder import WordLlamaEmbeddings, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .ondevice.embedder import Embedder

__all__ = ["EMBEDDERS", "Booking", "CrossEncoderReranker", "NamedEmbeddings", "OnnxEmbeddings", "embedder", "unbooked"]

_T = TypeVar("_T")

_OPENAI: Final = "https://api.openai.com/v1"
_GOOGLE: Final = "https://generativelanguage.googleapis.com"
_VERSION: Final = "v1beta"
_BATCH: Final = 100  # texts per request: Google's limit (ai.google.dev/api/embeddings), the lowest of the providers
_AT_ONCE: Final = 16  # texts per local batch: for 100 long texts the attention alone takes 1.2 GB
_KEPT: Final = 4096  # cached vectors in this process, for texts and for questions each
_HOSTED: Final = ("openai", "google", "openai_compatible")
_PASSING: Final = (FailureKind.RATE_LIMIT, FailureKind.OVERLOADED, FailureKind.TIMEOUT, FailureKind.CONNECTION)
_PAUSES: Final = (0.5, 1.0)  # seconds before a request is made again
_LONGEST_PAUSE: Final = 60.0
_BYTES: Final = 8000  # bytes of a text that are embedded: at least its number of tokens, of which OpenAI takes 8,192


class NamedEmbeddings(Embeddings):
    """LangChain's embeddings with the model id and vector length a memory needs; the last few thousand are cached.

    Args:
        make: Builds the underlying embeddings: now, and again in a forked child, since connections cannot be shared.
        model_id: Names the model, and its version if it has one.
        dimensions: Length of a vector; if not given, found at first use by embedding one word.
    """

    def __init__(self, make: Callable[[], Embeddings], model_id: str, dimensions: int | None = None) -> None:
        self._make, self.model_id = make, model_id
        self._embeddings: Embeddings | None = make()
        self._dimensions = dimensions
        self._kept: OrderedDict[str, list[float]] = OrderedDict()
        self._asked: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = Lock()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._lock.reset_after_fork()
        self._embeddings = None

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        if self._dimensions is None:
            self._dimensions = len(self._ask(partial(_question, text="length")))
        return self._dimensions

    def suppose(self, dimensions: int) -> None:
        """Use the length of the stored vectors if the length is not known yet, which saves a request."""
        self._dimensions = self._dimensions or dimensions

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one vector per text."""
        kept = self._kept
        known = {text: vector for text in texts if (vector := kept.get(text)) is not None}
        known.update({text: [0.0] * self.dimensions for text in texts if not text.strip()})
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(fresh), _BATCH):
            some = fresh[start : start + _BATCH]
            vectors = self._ask(partial(_documents, texts=[_sent(text) for text in some]))
            if len(vectors) != len(some):
                raise ConfigError(f"embedder {self.model_id!r} gave {len(vectors)} vectors for {len(some)} texts")
            known.update(zip(some, vectors, strict=True))
        self._keep(kept, known)
        return [known[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Embed one text as a question: some models embed questions differently from passages."""
        vector = self._asked.get(text)
        if vector is None:
            blank = not text.strip()
            vector = [0.0] * self.dimensions if blank else self._ask(partial(_question, text=_sent(text)))
            self._keep(self._asked, {text: vector})
        return vector

    def near(self, words: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
        """Find words of similar meaning, as the default embedder does on this machine."""
        return WordLlamaEmbeddings().near(words)

    def clear(self) -> None:
        """Drop the cached vectors, for example of texts that must be forgotten."""
        with self._lock:
            self._kept.clear()
            self._asked.clear()

    def _ask(self, ask: Callable[[Embeddings], _T]) -> _T:
        if self._embeddings is None:
            self._embeddings = self._make()
        return ask(self._embeddings)

    def _keep(self, kept: OrderedDict[str, list[float]], vectors: Mapping[str, list[float]]) -> None:
        """Cache vectors as the most recently used; thread-safe."""
        with self._lock:
            for text, vector in vectors.items():
                kept.pop(text, None)
                kept[text] = vector
            while len(kept) > _KEPT:
                kept.popitem(last=False)


def _documents(model: Embeddings, texts: list[str]) -> list[list[float]]:
    return [[float(part) for part in vector] for vector in model.embed_documents(texts)]


def _question(model: Embeddings, text: str) -> list[float]:
    return [float(part) for part in model.embed_query(text)]


class Booking(Protocol):
    """Books requests to a provider."""

    def __call__(self, texts: Sequence[str]) -> AbstractContextManager[Callable[[int | None], None]]:
        """Return a block for one request, which is booked however the block ends.

        Args:
            texts: What is sent.

        Returns:
            The block; it gives a function to be called with the input tokens that the provider reports, None if it
            reports none.
        """


@contextmanager
def unbooked(texts: Sequence[str]) -> Iterator[Callable[[int | None], None]]:
    """Book nothing, for embedders that are used without a ledger."""
    yield lambda _: None


class _Hosted(Embeddings):
    """A provider's embedding model; each request is booked, and asked again after a failure that may pass.

    Args:
        ask: Sends texts, as questions or not; returns their vectors and the input tokens the provider reports.
        failure: Translates the client's exceptions.
        booking: Books the requests.
        sleep: Waits some seconds.

    Raises:
        BackendError: From each method: the provider returned no vectors.
    """

    def __init__(
        self,
        ask: Callable[[list[str], bool], tuple[list[list[float]], int | None]],
        failure: Callable[[BaseException], BackendError],
        booking: Booking,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._request, self._failure, self._booking, self._sleep = ask, failure, booking, sleep

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts."""
        return self._asked(texts, question=False)

    def embed_query(self, text: str) -> list[float]:
        """Embed one text as a question."""
        return self._asked([text], question=True)[0]

    def _asked(self, texts: list[str], *, question: bool) -> list[list[float]]:
        for pause in _PAUSES:
            try:
                return self._answer(texts, question=question)
            except BackendError as failure:
                if failure.kind not in _PASSING:
                    raise
                self._sleep(min(pause if failure.retry_after is None else failure.retry_after, _LONGEST_PAUSE))
        return self._answer(texts, question=question)

    def _answer(self, texts: list[str], *, question: bool) -> list[list[float]]:
        with self._booking(texts) as told:
            try:
                found, tokens = self._request(texts, question)
                # Read here, because a provider may also answer with what is no vector.
                vectors = [[float(part) for part in vector] for vector in found]
                if not vectors:
                    raise ValueError("there are none")
            except Exception as error:
                raise self._failure(error) from error
            told(tokens)
            return vectors


def _sent(text: str) -> str:
    """Return the part of a text that is sent: the beginning of a long one, in valid Unicode."""
    return text.encode("utf-8", "replace")[:_BYTES].decode("utf-8", "ignore")


class OnnxEmbeddings(Embeddings):
    """A sentence encoder in ONNX, such as the exports of sentence-transformers.

    Args:
        folder: Holds ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``, and may hold the files of
            sentence-transformers that tell the pooling, the prompts and the longest text (see `Encoding`).

    Raises:
        ConfigError: One of the files is missing or cannot be read, or requires what is not computed here.
    """

    def __init__(self, folder: Path) -> None:
        self._encoding = Encoding.of(folder)
        self.model_id = self._encoding.named(f"onnx/{folder.name}")
        files = [folder / "model.onnx", folder / "onnx" / "model.onnx"]
        model = next((file for file in files if file.exists()), None)
        if model is None or not (folder / "tokenizer.json").exists():
            raise ConfigError("needs the files model.onnx and tokenizer.json", file=folder)
        try:
            self._session = import_module("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])
            self._tokenizer = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # both libraries raise classes of their own
            raise ConfigError(f"cannot be loaded: {error}", file=folder) from error
        self._tokenizer.enable_truncation(self._encoding.longest)
        self._tokenizer.enable_padding()
        self._inputs = {each.name for each in self._session.get_inputs()}
        self.dimensions = len(self.embed_query("length"))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one unit vector per text."""
        return self._embed([self._encoding.passage + text for text in texts])

    def embed_query(self, text: str) -> list[float]:
        """Embed one text as a question."""
        return self._embed([self._encoding.question + text])[0]

    def _embed(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = [[]] * len(texts)
        # Batch texts of similar length, since each is padded to the longest of its batch.
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(texts), _AT_ONCE):
            places = by_length[start : start + _AT_ONCE]
            for place, vector in zip(places, self._vectors([texts[place] for place in places]).tolist(), strict=True):
                rows[place] = vector
        return rows

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        given = {
            "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        tokens = self._session.run(None, {name: array for name, array in given.items() if name in self._inputs})[0]
        if self._encoding.pooling == "cls":
            return unit_rows(np.asarray(tokens[:, 0], np.float32))
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
        """Return how well each text answers the query."""
        scores: list[float] = [float(score) for score in self._model.predict([(query, text) for text in texts])]
        return scores


def embedder(
    name: str, endpoint: Endpoint | None = None, *, dimensions: int | None = None, booking: Booking = unbooked
) -> Embedder:
    """Return the embedder with a name.

    Args:
        name: ``wordllama``, or a key of `EMBEDDERS`, a slash and the model.
        endpoint: A provider's key, address and timeout, or options for sentence-transformers; its ``model`` is ignored.
        dimensions: Length of the vectors, for models that can truncate theirs.
        booking: Books each request to a provider.

    Raises:
        ConfigError: There is no such embedder, an extra is not installed, or a provider has no key.
    """
    kind, _, model = name.partition("/")
    make = EMBEDDERS.get(kind)
    if make is None or bool(model) == (kind == "wordllama"):
        known = ", ".join(each if each == "wordllama" else f"{each}/MODEL" for each in EMBEDDERS)
        raise ConfigError(f"unknown embedder {name!r}: there are {known}")
    more = {"booking": booking} if kind in _HOSTED else {}
    made: Embedder = make(model, endpoint or Endpoint(name), dimensions, **more)
    return made


def _sentence_transformers(name: str) -> Any:
    try:
        return getattr(import_module("sentence_transformers"), name)
    except ImportError as error:
        raise missing_extra("sentence-transformers") from error


def _local(model: str, endpoint: Endpoint, dimensions: int | None) -> NamedEmbeddings:
    try:
        made = _sentence_transformers("SentenceTransformer")(model, truncate_dim=dimensions, **endpoint.options)
    except (OSError, ValueError) as error:
        raise ConfigError(f"embedder sentence-transformers/{model} cannot be loaded: {error}") from error

    class Local(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            rows: list[list[float]] = made.encode_document(texts, normalize_embeddings=True).tolist()
            return rows

        def embed_query(self, text: str) -> list[float]:
            row: list[float] = made.encode_query(text, normalize_embeddings=True).tolist()
            return row

    kind = Encoding(passage=prompt_of_passages(made.prompts))
    return NamedEmbeddings(Local, kind.named(_name("sentence-transformers", model, dimensions)), dimensions)


def _wordllama(model: str, endpoint: Endpoint, dimensions: int | None) -> WordLlamaEmbeddings:
    if dimensions not in (None, WordLlamaEmbeddings.dimensions):
        raise ConfigError(f"embedder wordllama has {WordLlamaEmbeddings.dimensions} dimensions, not {dimensions}")
    return WordLlamaEmbeddings()


def _onnx(model: str, endpoint: Endpoint, dimensions: int | None) -> NamedEmbeddings:
    if dimensions is not None:
        raise ConfigError(f"embedder onnx/{model} has vectors of one length: leave out dimensions")
    made = OnnxEmbeddings(Path(model))
    return NamedEmbeddings(lambda: made, made.model_id, made.dimensions)


def _openai(model: str, endpoint: Endpoint, dimensions: int | None, booking: Booking) -> NamedEmbeddings:
    return _speaking_openai("openai", model, endpoint, dimensions, booking, endpoint.base_url or _OPENAI)


def _compatible(model: str, endpoint: Endpoint, dimensions: int | None, booking: Booking) -> NamedEmbeddings:
    if endpoint.base_url is None:
        raise ConfigError(f"embedder openai_compatible/{model} needs the server's address: give base_url")
    return _speaking_openai("openai_compatible", model, endpoint, dimensions, booking, endpoint.base_url)


def _speaking_openai(
    kind: str, model: str, endpoint: Endpoint, dimensions: int | None, booking: Booking, url: str
) -> NamedEmbeddings:
    from openai import DefaultHttpxClient, OpenAI

    key = required_key(endpoint, kind).get_secret_value() if kind == "openai" else _key(endpoint)
    cut: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}

    def make() -> Embeddings:
        client = OpenAI(
            api_key=key,
            base_url=base_of(url, "/embeddings"),
            http_client=DefaultHttpxClient(
                timeout=endpoint.timeout, trust_env=not is_here(url), follow_redirects=False
            ),
            timeout=endpoint.timeout,
            # Each request is booked, so the client must not send further ones by itself.
            max_retries=0,
        )
        # The SDK takes both from the environment and would send them to whichever host the URL names.
        client.organization = client.project = None

        def ask(texts: list[str], question: bool) -> tuple[list[list[float]], int | None]:
            answer = client.embeddings.create(model=model, input=texts, **cut)
            return [each.embedding for each in answer.data], _told(answer, "usage", "prompt_tokens")

        return _Hosted(ask, _failures(kind), booking)

    return NamedEmbeddings(make, _name(kind, model, dimensions), dimensions)


def _key(endpoint: Endpoint) -> str:
    return endpoint.key.get_secret_value() if endpoint.key else "no-key-needed"


def _told(answer: Any, usage: str, tokens: str) -> int | None:
    """Return the input tokens that an answer reports; None if it reports none."""
    count = getattr(getattr(answer, usage, None), tokens, None)
    return count if type(count) is int and count > 0 else None


def _google(model: str, endpoint: Endpoint, dimensions: int | None, booking: Booking) -> NamedEmbeddings:
    from google.genai import Client
    from google.genai.types import EmbedContentConfig, HttpOptions

    key, url = required_key(endpoint, "google").get_secret_value(), endpoint.base_url or _GOOGLE

    def make() -> Embeddings:
        # The SDK itself: LangChain's own class lets environment variables switch its client to Vertex.
        client = Client(
            vertexai=False,
            api_key=key,
            http_options=HttpOptions(
                base_url=base_of(url, f"/{_VERSION}/models", f"/{_VERSION}"),
                api_version=_VERSION,
                client_args={**NO_REDIRECTS, "timeout": endpoint.timeout, "trust_env": not is_here(url)},
            ),
        )

        def ask(texts: list[str], question: bool) -> tuple[list[list[float]], int | None]:
            asked: Any = client.models.embed_content
            answer = asked(
                model=model,
                contents=[{"parts": [{"text": text}]} for text in texts],
                config=EmbedContentConfig(
                    task_type="RETRIEVAL_QUERY" if question else "RETRIEVAL_DOCUMENT", output_dimensionality=dimensions
                ),
            )
            return [each.values for each in answer.embeddings], _told(answer, "usage_metadata", "prompt_token_count")

        return _Hosted(ask, _failures("google"), booking)

    return NamedEmbeddings(make, _name("google", model, dimensions), dimensions)


def _failures(kind: str) -> Callable[[BaseException], BackendError]:
    """Translate by a backend's table; since only texts are sent, other exceptions come from reading the answer."""
    known = registry.get(kind).failure

    def failure(error: BaseException) -> BackendError:
        said = f"{kind} gave an answer without vectors: {one_line(str(error))}"
        return known(error) or BackendError(FailureKind.MALFORMED, said)

    return failure


def _name(kind: str, model: str, dimensions: int | None) -> str:
    """Return the name under which vectors are stored: truncated vectors differ from full ones."""
    return f"{kind}/{model}" + (f"@{dimensions}" if dimensions else "")


EMBEDDERS: Final = MappingProxyType[str, Callable[..., Any]](
    {
        "wordllama": _wordllama,
        "sentence-transformers": _local,
        "onnx": _onnx,
        "openai": _openai,
        "google": _google,
        "openai_compatible": _compatible,
    }
)
"""Kind -> function that builds an embedder from a model, an endpoint and a length; a hosted one takes a `Booking`."""
