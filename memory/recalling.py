"""`Recalling`: what a memory is asked: a question, an item, where one comes from, what it said before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from langgraph.store.base import SearchOp, validate_op_namespace

from ..configs.words import Trust
from .base import Parts, Ranking, Recalled, Version
from .calls import in_thread, served
from .items import Row
from .search.conflicts import later
from .search.filters import check_filter
from .search.finder import Finder
from .search.mirror import Mirror
from .search.times import window_in
from .serving.connection import Connection
from .storage import history, table
from .storage.database import Database
from .storage.lineage import ancestry
from .writer import Writer

__all__ = ["Recalling"]

_BY_DEFAULT = Ranking()


class Recalling:
    """The reading side of `ChromaStore` beyond LangGraph's own operations."""

    _server: Connection | None = None
    _clock: Callable[[], float]
    _database: Database
    _finder: Finder
    _tenant: str
    _writer: Writer

    @served
    def recall(
        self,
        namespace: tuple[str, ...],
        query: str,
        *,
        limit: int = 5,
        min_score: float | None = None,
        min_trust: Trust | None = None,
        filter: Mapping[str, Any] | None = None,
        sources: Sequence[str] = (),
        authors: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        when: str | None = None,
        ranking: Ranking = _BY_DEFAULT,
        explain: bool = False,
    ) -> list[Recalled]:
        """Find what answers a question, best first, at or below a namespace.

        Meaning and words count together, and what stands beside a good answer counts a little
        (`pointsman.memory.search.retrieval`), so the best need not have the highest score of its own.

        Args:
            namespace: Where to look; ``()`` is everywhere in the tenant.
            query: The question.
            limit: How many items at most.
            min_score: Leave out what scores less (0..1).
            min_trust: Leave out what is trusted less.
            filter: Conditions on values, as `search` takes them.
            sources: Only what was first read from one of these, or from a section of one.
            authors: Only what one of these wrote first.
            since: Only what was last written then or later; a time without a zone is this machine's.
            until: Only what was last written before then.
            when: The same in words, such as ``last week`` or ``in March`` (`pointsman.memory.window_in`), by the clock
                and the zone of the process that has the memory open.
            ranking: What else counts. A memory that another process serves takes no reranker, which runs here.
            explain: Whether each item says why it was found.

        Raises:
            ValueError: If a filter uses an operator LangGraph does not document, or ``when`` has no words of time.
            ConfigError: If a served memory is asked with a reranker.
        """
        validate_op_namespace(SearchOp(namespace))
        check_filter(filter)
        first, last = _window(since, until, when, self._clock())
        if not query.strip() or limit < 1:
            return []
        asked = partial(
            Mirror.mask,
            prefix=namespace,
            condition=filter,
            indexed=True,
            min_trust=min_trust,
            sources=sources,
            authors=authors,
            since=first,
            until=last,
        )
        best = self._finder.recall(query, limit, asked, ranking, min_score=min_score, explain=explain)
        return self._read(best)

    def _read(self, best: Sequence[tuple[Row, float, Parts | None]]) -> list[Recalled]:
        rows = [row for row, *_ in best]
        self._writer.refresh(rows)
        items = {row.id: row.recalled(score, parts) for row, score, parts in best}
        return [replace(items[i], later=newer) if newer else items[i] for i, newer in later(rows).items()]

    @served
    def item(self, item_id: str) -> Recalled | None:
        """Return an item by the id that `remember` or a lineage names, or None if it is gone."""
        row = self._finder.fetch([item_id]).get(item_id)
        return row.recalled(None) if row else None

    @served
    def why(self, item_id: str) -> list[tuple[int, str, Recalled | None]]:
        """Return the fewest steps to, the id of, and each item that one comes from, itself first; None if not kept."""
        with self._database.reading() as db:
            steps = ancestry(db, table.encoded(self._tenant), item_id)
        rows = self._finder.fetch([ancestor for ancestor, _ in steps])
        return [(depth, i, rows[i].recalled(None) if i in rows else None) for i, depth in steps]

    @served
    def history(self, item_id: str) -> list[Version]:
        """Return what an item has said, oldest first, and who wrote it; the last is what it says now.

        Kept are the last hundred texts that `remember` replaced under a key or for a subject and its attribute.
        """
        with self._database.reading() as db:
            past = history.of(db, self._tenant, [item_id]).get(item_id, [])
        row = self._finder.fetch([item_id]).get(item_id)
        return [*past, Version(row.value, row.writers, row.trust, row.updated, None)] if row else []

    arecall = in_thread(recall)
    aitem = in_thread(item)


def _window(
    since: datetime | None, until: datetime | None, when: str | None, now: float
) -> tuple[float | None, float | None]:
    """Return the first second that counts and the first that does not any more, in seconds since 1970."""
    starts, ends = [], []
    if when is not None:
        window = window_in(when, datetime.fromtimestamp(now))  # noqa: DTZ006 - a zone's offset of now is not that of then
        if window is None:
            raise ValueError(f"no words of time in {when!r}: write such as 'last week', 'in March' or '3 days ago'")
        starts.append(window[0].timestamp())
        ends.append(window[1].timestamp())
    starts += [since.timestamp()] if since else []
    ends += [until.timestamp()] if until else []
    return max(starts, default=None), min(ends, default=None)
