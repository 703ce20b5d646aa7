"""What a recall takes beside its question: a window of time, recency, importance, diversity, a reranker, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance, Ranking, Recalled, window_in

TEAM = ("team",)
NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)  # a Wednesday
BY = Provenance("", "scout", "", Trust.TOOL)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[ChromaStore]:
    with ChromaStore(None, HashingEmbedder(), clock=clock) as store:
        yield store


def texts(found: list[Recalled]) -> list[str]:
    return [item.text for item in found]


def write(store: ChromaStore, clock: Clock, days_ago: dict[str, float]) -> None:
    for text, days in days_ago.items():
        clock.now = NOON - timedelta(days=days)
        store.remember(TEAM, text, provenance=BY)
    clock.now = NOON


def test_a_window_of_time_leaves_out_what_was_written_before_and_after_it(store: ChromaStore, clock: Clock) -> None:
    write(store, clock, {"depot report one": 30, "depot report two": 9, "depot report three": 1})
    everything = {"depot report one", "depot report two", "depot report three"}
    assert set(texts(store.recall(TEAM, "depot report"))) == everything
    since, until = NOON - timedelta(days=10), NOON - timedelta(days=5)
    assert texts(store.recall(TEAM, "depot report", since=since, until=until)) == ["depot report two"]
    assert set(texts(store.recall(TEAM, "depot report", since=since))) == everything - {"depot report one"}
    assert texts(store.recall(TEAM, "depot report", until=since)) == ["depot report one"]
    assert store.recall(TEAM, "depot report", since=until, until=since) == []


def test_the_first_second_counts_and_the_last_does_not(store: ChromaStore, clock: Clock) -> None:
    write(store, clock, {"at noon": 0})
    assert texts(store.recall(TEAM, "noon", since=NOON)) == ["at noon"]
    assert store.recall(TEAM, "noon", until=NOON) == []


def test_words_of_time_are_a_window_and_narrow_one(store: ChromaStore, clock: Clock) -> None:
    write(store, clock, {"depot report one": 30, "depot report two": 9, "depot report three": 1})
    assert texts(store.recall(TEAM, "depot report", when="last week")) == ["depot report two"]
    assert texts(store.recall(TEAM, "depot report", when="in February")) == ["depot report one"]
    assert texts(store.recall(TEAM, "depot report", when="in March", since=NOON - timedelta(days=2))) == [
        "depot report three"
    ]
    with pytest.raises(ValueError, match="no words of time in 'the other day'"):
        store.recall(TEAM, "depot report", when="the other day")


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ("what happened today?", "2026-03-18", "2026-03-19"),
        ("yesterday", "2026-03-17", "2026-03-18"),
        ("this week", "2026-03-16", "2026-03-23"),
        ("What did we decide last week about doors", "2026-03-09", "2026-03-16"),
        ("last month", "2026-02-01", "2026-03-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("previous year", "2025-01-01", "2026-01-01"),
        ("two days ago", "2026-03-16", "2026-03-17"),
        ("2 weeks ago", "2026-03-02", "2026-03-09"),
        ("three months ago", "2025-12-01", "2026-01-01"),
        ("a year ago", "2025-01-01", "2026-01-01"),
        ("on Monday", "2026-03-16", "2026-03-17"),
        ("last Wednesday", "2026-03-11", "2026-03-12"),
        ("in March", "2026-03-01", "2026-04-01"),
        ("in April", "2025-04-01", "2025-05-01"),
        ("in december 2023", "2023-12-01", "2024-01-01"),
        ("during May of 2024", "2024-05-01", "2024-06-01"),
        ("in 2024", "2024-01-01", "2025-01-01"),
        ("the log of 2026-02-28", "2026-02-28", "2026-03-01"),
        ("on 2026-02-31 or yesterday", "2026-03-17", "2026-03-18"),
        ("the day before yesterday", "2026-03-16", "2026-03-17"),
        ("nine days ago", "2026-03-09", "2026-03-10"),
    ],
)
def test_words_of_time_are_read(words: str, first: str, last: str) -> None:
    def midnight(day: str) -> datetime:
        return datetime.fromisoformat(day).replace(tzinfo=UTC)

    assert window_in(words, NOON) == (midnight(first), midnight(last))


@pytest.mark.parametrize("words", ["since last week", "since 2 weeks ago", "since January", "the past 10 days"])
def test_what_lasts_until_now_has_this_moment_in_it(words: str) -> None:
    window = window_in(words, NOON)
    assert window is not None
    assert window[0] < NOON - timedelta(days=8)
    assert window[1] > NOON


@pytest.mark.parametrize(
    "words",
    [
        *["the march of time", "may I?", "the last straw", "in a moment", "weeks", "in 20245", "12 days of rain"],
        *["", "day by day", "in the second week", "last", "1,000 days ago", "2.5 hours ago", "2-3 days ago"],
        *["half an hour ago", "before last week", "not after 2026-02-01", "in 2026-03", "older than 3 days ago"],
    ],
)
def test_what_may_mean_something_else_is_no_time(words: str) -> None:
    assert window_in(words, NOON) is None


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have this machine's clock change as clocks in Berlin do: in 2026 on the 29th of March and the 25th of October."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize("of_machine", [True, False])
@pytest.mark.parametrize(
    ("words", "asked", "first", "last"),
    [
        ("today", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("last week", "2026-10-26T12:00+01:00", "2026-10-19T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("in March", "2026-07-01T12:00+02:00", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("since 2026-02-01", "2026-07-01T12:00+02:00", "2026-02-01T00:00+01:00", "2026-07-01T12:00:01+02:00"),
        ("past 10 hours", "2026-03-29T12:00+02:00", "2026-03-29T01:00+01:00", "2026-03-29T12:00:01+02:00"),
        ("past 30 minutes", "2026-10-25T02:10+01:00", "2026-10-25T02:40+02:00", "2026-10-25T02:10:01+01:00"),
        ("2 hours ago", "2026-10-25T03:30+01:00", "2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"),
    ],
)
def test_midnights_and_hours_keep_to_changes_of_the_clock(
    words: str, asked: str, first: str, last: str, of_machine: bool
) -> None:
    seconds = datetime.fromisoformat(asked).timestamp()
    window = window_in(words, datetime.fromtimestamp(seconds, None if of_machine else ZoneInfo("Europe/Berlin")))
    assert window is not None
    assert [end.timestamp() for end in window] == [datetime.fromisoformat(end).timestamp() for end in (first, last)]


@pytest.mark.usefixtures("in_berlin")
def test_a_recall_reads_words_of_time_by_this_machines_changes_of_the_clock(store: ChromaStore, clock: Clock) -> None:
    clock.now = datetime.fromisoformat("2026-10-25T00:30+02:00")
    store.remember(TEAM, "the depot opens", provenance=BY)
    clock.now = datetime.fromisoformat("2026-10-25T12:00+01:00")
    assert texts(store.recall(TEAM, "depot", when="today")) == ["the depot opens"]
    window = window_in("today")
    assert window is not None
    assert window[0].tzinfo is not None


@given(st.text(max_size=60), st.datetimes(timezones=st.just(UTC)))
def test_any_text_is_a_window_that_begins_before_it_ends_or_none(text: str, now: datetime) -> None:
    window = window_in(text, now)
    assert window is None or window[0] < window[1]


def test_recency_prefers_the_newer_of_equals_and_is_off_by_default(store: ChromaStore, clock: Clock) -> None:
    write(store, clock, {"the signal at north is red": 1, "the signal at south is red": 90})
    question = "signal at south is red"
    assert texts(store.recall(TEAM, question))[0] == "the signal at south is red"
    assert texts(store.recall(TEAM, question, ranking=Ranking(recency=10)))[0] == "the signal at north is red"
    slow = Ranking(recency=10, half_life=timedelta(days=100_000))
    assert texts(store.recall(TEAM, question, ranking=slow))[0] == "the signal at south is red"


def test_importance_counts_where_it_is_asked_for(store: ChromaStore) -> None:
    values: list[tuple[str, dict[str, object]]] = [
        ("the bridge is closed to trains", {"importance": 1}),
        ("the bridge is closed to cars", {"importance": "very"}),
        ("the bridge is closed to bikes", {}),
    ]
    store.remember_all(TEAM, [Note(text, BY, metadata=metadata) for text, metadata in values])
    question = "is the bridge closed to bikes"
    assert texts(store.recall(TEAM, question))[0].endswith("bikes")
    assert texts(store.recall(TEAM, question, ranking=Ranking(importance=10)))[0].endswith("trains")


def test_diversity_brings_what_the_first_does_not_say(store: ChromaStore) -> None:
    likes = [f"the north depot is closed for repairs in week {number}" for number in range(6)]
    store.remember_all(TEAM, [Note(text, BY) for text in [*likes, "repairs are paid by the depot's insurance"]])
    plain = texts(store.recall(TEAM, "north depot repairs", limit=3))
    mixed = texts(store.recall(TEAM, "north depot repairs", limit=3, ranking=Ranking(diversity=0.6)))
    assert all(text in likes for text in plain)
    assert mixed[0] == plain[0]
    assert "repairs are paid by the depot's insurance" in mixed
    assert len(set(mixed)) == 3


class Shortest:
    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def score(self, query: str, texts: list[str]) -> list[float]:
        self.asked.append((query, texts))
        return [-len(text) for text in texts]


def test_what_somebody_wrote_is_nearer_to_a_question_that_names_them(store: ChromaStore) -> None:
    texts_of = {"Mary Poole": "I planted roses", "Grace": "I planted tulips", "coding": "I planted a flag"}
    for author, text in texts_of.items():
        store.remember(TEAM, text, provenance=Provenance("", author, "", Trust.TOOL))

    def gained(question: str) -> dict[str, float | None]:
        found = store.recall(TEAM, question, explain=True)
        return {item.writers[0].author: item.parts and item.parts.author for item in found}

    assert store.recall(TEAM, "What did Mary plant?")[0].text == "I planted roses"
    assert store.recall(TEAM, "What did Grace plant?")[0].text == "I planted tulips"
    assert gained("What did Mary plant?") == {"Mary Poole": 1.5, "Grace": 0.0, "coding": 0.0}
    # Not by a word that happens to be somebody's name.
    assert set(gained("which coding rules does mary have").values()) == {0.0}


def test_a_reranker_orders_the_best_and_is_asked_once(store: ChromaStore) -> None:
    store.remember_all(TEAM, [Note("train " * length, BY) for length in range(1, 9)])
    reranker = Shortest()
    found = store.recall(TEAM, "train", limit=2, ranking=Ranking(reranker=reranker, rerank=5), explain=True)
    ((query, read),) = reranker.asked
    assert query == "train"
    assert len(read) == 5
    assert texts(found) == sorted(read, key=len)[:2]
    assert [item.parts and item.parts.reranked for item in found] == [-len(item.text) for item in found]
    few = store.recall(TEAM, "train", limit=8, ranking=Ranking(reranker=reranker, rerank=3))
    assert len(reranker.asked[1][1]) == 3
    assert len(few) == 8
    assert store.recall(("nobody",), "train", ranking=Ranking(reranker=reranker)) == []
    assert len(reranker.asked) == 2


def test_a_reranker_that_forgets_a_text_is_named(store: ChromaStore) -> None:
    class Forgetful:
        def score(self, query: str, texts: list[str]) -> list[float]:
            return [1.0]

    store.remember_all(TEAM, [Note("one", BY), Note("two", BY)])
    with pytest.raises(ConfigError, match="gave 1 scores for 2 texts"):
        store.recall(TEAM, "one", ranking=Ranking(reranker=Forgetful()))


def test_an_item_says_why_it_was_found_where_that_is_asked(store: ChromaStore, clock: Clock) -> None:
    write(store, clock, {"Signals are tested on Fridays": 30, "the canteen serves soup": 0})
    assert [item.parts for item in store.recall(TEAM, "signal tests")] == [None, None]
    ranking = Ranking(recency=2, importance=1)
    first, second = store.recall(TEAM, "when is the signal tested", ranking=ranking, explain=True)
    assert first.parts is not None
    assert second.parts is not None
    assert first.parts.matched == ("signal", "tested")
    assert second.parts.matched == ()
    assert (first.parts.recency, second.parts.recency) == (pytest.approx(1.0), pytest.approx(2.0))
    assert first.parts.words == pytest.approx(1.0, abs=0.2)
    for item in (first, second):
        assert item.parts is not None
        part = item.parts
        sum_of_parts = part.own + part.beside + part.document + part.author + part.recency + part.importance
        assert item.parts.total == pytest.approx(sum_of_parts, abs=1e-5)
        assert item.parts.reranked is None
        assert item.score == pytest.approx(1 - (1 - max(item.parts.meaning, 0)) * (1 - item.parts.words), abs=1e-5)


@pytest.mark.parametrize("wrong", [{"diversity": 1.5}, {"diversity": -1}, {"half_life": timedelta(0)}, {"rerank": 0}])
def test_a_ranking_that_ranks_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"diversity|half_life"):
        Ranking(**wrong)  # type: ignore[arg-type]
