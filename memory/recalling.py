"""`Recalling`: a memory's queries: recall by a question, and an item with its lineage and its history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from ..configs.words import Trust
from .base import Parts, Ranking, Recalled, Version
from .calls import in_thread, served
from .items import Row
from .notes import check_prefix
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
        """Find the items that answer a question, best first, at or below a namespace.

        Meaning and words are combined, and the neighbours of a good answer gain a little
        (`pointsman.memory.search.retrieval`), so the best item need not have the highest score of its own.

        Args:
            namespace: Where to search; ``()`` is everywhere in the tenant.
            query: The question.
            limit: The maximum number of items.
            min_score: Leave out items with a lower score (0..1).
            min_trust: Leave out items with a lower trust.
            filter: Conditions on values, as `search` takes them.
            sources: Only items first read from one of these, or from a section of one.
            authors: Only items first written by one of these.
            since: Only items last written then or later; a time without a zone is local time.
            until: Only items last written before then.
            when: The time window in words, such as ``last week`` or ``in March`` (`pointsman.memory.window_in`), by the
                clock and time zone of the process that has the memory open.
            ranking: What else to rank by. A served memory accepts no reranker, since that would run here.
            explain: Whether to return with each item why it was found.

        Raises:
            ValueError: If a filter uses an operator LangGraph does not document, or ``when`` names no time.
            ConfigError: If a reranker is given for a served memory.
        """
        check_prefix(namespace)
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
        """Return the item with an id that `remember` returned or a lineage names, or None if it is gone.

        A superseded item, which no recall finds, says when that happened in ``replaced``.
        """
        row = self._finder.fetch([item_id], former=True).get(item_id)
        return row.recalled(None) if row else None

    @served
    def why(self, item_id: str) -> list[tuple[int, str, Recalled | None]]:
        """Return an item and its ancestors, each as (fewest steps to it, id, item); the item is None if it is gone."""
        with self._database.reading() as db:
            steps = ancestry(db, table.encoded(self._tenant), item_id)
        rows = self._finder.fetch([ancestor for ancestor, _ in steps], former=True)
        return [(depth, i, rows[i].recalled(None) if i in rows else None) for i, depth in steps]

    @served
    def history(self, item_id: str) -> list[Version]:
        """Return the versions of an item with their writers, oldest first; the last one is the current version.

        Of a superseded item, none is current. The last hundred texts that `remember` replaced, under a key or for a
        subject and its attribute, are kept.
        """
        with self._database.reading() as db:
            past = history.of(db, self._tenant, [item_id]).get(item_id, [])
        row = self._finder.fetch([item_id], former=True).get(item_id)
        return [*past, Version(row.value, row.writers, row.trust, row.updated, row.replaced)] if row else []

    arecall = in_thread(recall)
    aitem = in_thread(item)


def _window(
    since: datetime | None, until: datetime | None, when: str | None, now: float
) -> tuple[float | None, float | None]:
    """Return the start (inclusive) and end (exclusive) of the time window, in seconds since 1970."""
    starts, ends = [], []
    if when is not None:
        window = window_in(when, datetime.fromtimestamp(now))  # noqa: DTZ006 - a zone's offset now can differ from then
        if window is None:
            raise ValueError(f"no words of time in {when!r}: write such as 'last week', 'in March' or '3 days ago'")
        starts.append(window[0].timestamp())
        ends.append(window[1].timestamp())
    starts += [since.timestamp()] if since else []
    ends += [until.timestamp()] if until else []
    return max(starts, default=None), min(ends, default=None)
