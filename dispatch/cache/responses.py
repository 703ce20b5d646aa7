"""A cache of answers for repeated requests: identical ones, or, if enabled, nearly identical ones."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage

from ...configs.errors import ConfigError
from ...configs.process.forks import Lock, close_before_forks, reset_in_children
from ..state.private import open_private
from ..state.sealing import user_seal
from .key import CacheRequest, cacheable

if TYPE_CHECKING:
    import numpy as np

    _Vector = np.ndarray[Any, np.dtype[np.float32]]

__all__ = ["CacheRequest", "ResponseCache", "Similar", "cacheable"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, made REAL NOT NULL, used REAL NOT NULL, bytes INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_used ON responses (used);
CREATE INDEX IF NOT EXISTS responses_made ON responses (made);
"""
_BUSY_SECONDS: Final = 2.0
# Another process may have written the row after this one read the clock.
_SKEW_SECONDS: Final = 1.0
# Fraction (1/n) of the size limit after which the bytes are counted again, since other processes write too.
_RECOUNT: Final = 16
# One answer may take at most this fraction (1/n) of the size limit.
_LARGEST: Final = 4


class ResponseCache:
    """Answers by request; safe to use from several threads, and from several processes on one file.

    If the cache cannot be read or written for a moment, that counts as a miss.

    Args:
        path: SQLite file next to the ledger; its answers are encrypted with the user's key. None keeps them in memory.
        max_bytes: The most bytes for all answers, and a quarter of it for one; the least recently used are evicted.
        ttl: Seconds an answer is valid.
        similar: Finds similar requests; None for exact matches only.
        fallback: The least similarity of a request whose answer may stand in, whatever its age; None for never.
        clock: Seconds since the epoch.

    Raises:
        ConfigError: A limit is not positive, the file cannot be opened, or there is no folder for the key.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        ttl: float = 3600.0,
        similar: Similar | None = None,
        fallback: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if max_bytes <= 0 or not ttl > 0:
            raise ConfigError("the response cache needs a size and a time to live above zero")
        self._max_bytes, self._ttl, self._clock = max_bytes, ttl, clock
        self._similar, self._fallback = similar, fallback
        self.lock = Lock()
        self._unsure = max_bytes
        self._path = path
        self._seal = None if path is None else user_seal()
        self._open_db: sqlite3.Connection | None = None
        self._closed = False
        close_before_forks(self, self.lock)
        with self.lock:
            try:
                self._db.execute("SELECT 1")
            except sqlite3.Error as error:
                raise ConfigError(f"the response cache cannot be opened: {error}; move it away", file=path) from error

    def get(self, request: CacheRequest) -> AIMessage | None:
        """Look up an answer.

        Returns:
            A new message with new ids and without usage, since nothing was used;
            ``response_metadata["pointsman_cache"]`` holds its ``kind`` (``exact`` or ``similar``), ``age`` in seconds,
            ``similarity`` and the ``model`` that originally gave it. None if there is none.
        """
        return self._found(request)

    def stand_in(self, request: CacheRequest) -> AIMessage | None:
        """Look up an answer of any age to the same or a similar request, for use when no model can answer.

        Returns:
            As `get` does; None also if the policy allows no such answers.
        """
        return None if self._fallback is None else self._found(request, self._fallback, any_age=True)

    def _found(
        self, request: CacheRequest, threshold: float | None = None, *, any_age: bool = False
    ) -> AIMessage | None:
        found = self._read(request.key, any_age=any_age)
        if found is not None:
            return _revived(*found, kind="exact", similarity=1.0)
        near = self._similar.find(request, threshold) if self._similar is not None and request.text else None
        found = None if near is None else self._read(near[0], any_age=any_age)
        return None if near is None or found is None else _revived(*found, kind="similar", similarity=near[1])

    def put(self, request: CacheRequest, message: AIMessage) -> bool:
        """Store a usable answer.

        Returns:
            Whether it was stored. An answer is not if it is too large, has no JSON form, was itself a hit, or has
            invalid calls, or if it cannot be encrypted or written.
        """
        if message.invalid_tool_calls or "pointsman_cache" in message.response_metadata:
            return False
        body = _kept(message)
        size = 0 if body is None else len(body.encode("utf-8", "surrogatepass"))
        if body is None or size > self._max_bytes / _LARGEST:
            return False
        if self._seal is not None:
            try:
                body = self._seal.close(body)
            except ConfigError:
                return False
        now = self._clock()
        with self.lock:
            try:
                self._db.execute(
                    "INSERT OR REPLACE INTO responses (key, made, used, bytes, body) VALUES (?, ?, ?, ?, ?)",
                    (request.key, now, now, size, body),
                )
                self._make_room(now, size)
            except (sqlite3.Error, UnicodeEncodeError):
                return False
        if self._similar is not None and request.text:
            self._similar.add(request)
        return True

    def clear(self) -> None:
        """Delete every answer, leaving no trace in the file.

        Raises:
            ConfigError: The file cannot be written.
        """
        with self.lock:
            try:
                self._db.execute("PRAGMA secure_delete = ON")
                self._db.execute("DELETE FROM responses")
                # Free pages still hold the answers that were evicted before.
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise ConfigError(f"the response cache cannot be emptied: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._closed = True
            self._shut()

    def close_for_fork(self) -> None:
        """Close the file before this process forks; it is reopened at its next use."""
        if self._path is not None:
            self._shut()

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self.lock.reset_after_fork()
        # A connection that could not be closed before the fork belongs to the parent; the cache then only misses.
        self._closed = self._closed or (self._path is not None and self._open_db is not None)

    def _shut(self) -> None:
        if self._open_db is not None:
            self._open_db.close()
            self._open_db = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the response cache is closed")
        if self._open_db is None:
            try:
                self._open_db = _open(self._path)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
        return self._open_db

    def _read(self, key: str, *, any_age: bool = False) -> tuple[str, float] | None:
        now = self._clock()
        with self.lock:
            try:
                row = self._db.execute("SELECT body, made FROM responses WHERE key = ?", (key,)).fetchone()
                if row is None or not (any_age or -_SKEW_SECONDS <= now - row[1] < self._ttl):
                    return None
                self._db.execute("UPDATE responses SET used = ? WHERE key = ?", (now, key))
                body = row[0] if self._seal is None else self._seal.open(row[0])
            except (sqlite3.Error, ConfigError):
                return None
        return str(body), max(0.0, now - float(row[1]))

    def _make_room(self, now: float, added: int) -> None:
        self._unsure += added
        if self._unsure < self._max_bytes / _RECOUNT:
            return
        self._unsure = 0
        if self._fallback is None:
            self._db.execute("DELETE FROM responses WHERE made <= ?", (now - self._ttl,))
        (total,) = self._db.execute("SELECT COALESCE(SUM(bytes), 0) FROM responses").fetchone()
        bound = self._max_bytes
        if total > bound * (1 - 1 / _RECOUNT):
            target = bound * (1 - 2 / _RECOUNT)
            for key, size in self._db.execute("SELECT key, bytes FROM responses ORDER BY used").fetchall():
                if total <= target:
                    break
                self._db.execute("DELETE FROM responses WHERE key = ?", (key,))
                total -= size


class Similar:
    """Finds requests that differ only in the wording of the user's last message.

    Everything else must be the same, and so must every part of that message with digits, quotes, a path or a negation,
    which embeddings hardly distinguish. Requests are kept in memory; the oldest are evicted.

    Args:
        embed: Returns a text's vector; all vectors must have the same length.
        threshold: The least cosine, in 0..1, that counts as the same question.
        most: How many requests to remember.

    Raises:
        ConfigError: The threshold or the number is out of range.
    """

    def __init__(self, embed: Callable[[str], Sequence[float]], *, threshold: float = 0.95, most: int = 4096) -> None:
        if not 0 < threshold <= 1 or most < 1:
            raise ConfigError("similar answers need a threshold in 0..1 and room for at least one")
        self._embed, self._threshold, self._most = embed, threshold, most
        self._lock = Lock()
        reset_in_children(self._lock)
        self._vectors: dict[str, dict[str, _Vector]] = {}
        self._order: deque[tuple[str, str]] = deque()

    def find(self, request: CacheRequest, threshold: float | None = None) -> tuple[str, float] | None:
        """Return the key of the most similar request of the same scope and its cosine; None if none is close enough.

        Args:
            request: The request.
            threshold: The least cosine; default: the constructor's.
        """
        import numpy as np

        with self._lock:
            if request.scope not in self._vectors:
                return None
        vector = self._unit(request.text)
        with self._lock:
            held = self._vectors.get(request.scope)
            if vector is None or not held:
                return None
            keys, cosines = list(held), np.array(list(held.values())) @ vector
        best = int(cosines.argmax())
        # Rounding can push the cosine of equal vectors slightly above one.
        cosine = min(1.0, float(cosines[best]))
        return (keys[best], cosine) if cosine >= (threshold or self._threshold) else None

    def add(self, request: CacheRequest) -> None:
        """Remember a request whose answer was stored."""
        vector = self._unit(request.text)
        with self._lock:
            if vector is None or request.key in self._vectors.get(request.scope, ()):
                return
            self._vectors.setdefault(request.scope, {})[request.key] = vector
            self._order.append((request.scope, request.key))
            if len(self._order) > self._most:
                scope, key = self._order.popleft()
                del self._vectors[scope][key]
                if not self._vectors[scope]:
                    del self._vectors[scope]

    def _unit(self, text: str) -> _Vector | None:
        import numpy as np

        vector = np.asarray(self._embed(text), dtype=np.float32)
        norm = float(np.linalg.norm(vector))
        return vector / norm if 0 < norm < float("inf") else None


def _open(path: Path | None) -> sqlite3.Connection:
    options: Any = {
        "timeout": _BUSY_SECONDS,
        "isolation_level": None,
        "check_same_thread": False,
        "cached_statements": 16,
    }
    # Answers may hold data that only the user may read.
    db = sqlite3.connect(":memory:", **options) if path is None else open_private(path, **options)
    try:
        # If a crash of the machine loses answers, they are asked for again.
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _kept(message: AIMessage) -> str | None:
    """Return the message as JSON; None if part of it has no JSON form."""
    from pydantic_core import PydanticSerializationError

    stamp = message.response_metadata.get("pointsman")
    model = stamp.get("model") if isinstance(stamp, Mapping) else None
    origin = {key: value for key, value in message.response_metadata.items() if key in _ORIGIN}
    fields = {"content", "additional_kwargs", "tool_calls", "name"}
    try:
        said = message.model_dump(mode="json", include=fields, warnings="error")
        return json.dumps({"said": said, "origin": origin, "model": model}, ensure_ascii=False)
    except (PydanticSerializationError, TypeError, ValueError):
        return None


# Which model made it, which the next conversion of the conversation needs, and how sure it was of each field.
_ORIGIN: Final = frozenset({"fields", "model_provider", "model_name", "output_version"})


def _revived(body: str, age: float, *, kind: str, similarity: float) -> AIMessage | None:
    """Rebuild the message with new ids, since a conversation may hold the same answer twice."""
    try:
        kept = json.loads(body)
        said = kept["said"]
        fresh = {call["id"]: f"call_{uuid.uuid4().hex[:24]}" for call in said["tool_calls"] if call.get("id")}
        message = AIMessage.model_validate(_renamed(said, fresh) if fresh else said)
        message.response_metadata = dict(kept["origin"])
        model = kept["model"]
    except (KeyError, TypeError, ValueError):
        return None
    message.response_metadata["pointsman_cache"] = {
        "kind": kind,
        "age": age,
        "similarity": similarity,
        "model": model,
    }
    return message


def _renamed(value: Any, names: Mapping[str, str], under: str = "") -> Any:
    if isinstance(value, str):
        return names.get(value, value) if under in _ID_KEYS else value
    if isinstance(value, list):
        return [_renamed(item, names, under) for item in value]
    if isinstance(value, dict) and under not in ("args", "input"):
        # Gemini's signatures are keyed by the ids of their calls.
        return {names.get(key, key): _renamed(item, names, key) for key, item in value.items()}
    return value


_ID_KEYS: Final = frozenset({"call_id", "id", "tool_call_id", "tool_use_id"})
