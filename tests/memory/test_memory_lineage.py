"""An item is trusted no further than what it was made from, at any depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
from pointsman.memory.items import row_id
from pointsman.memory.storage import table
from pointsman.memory.storage.lineage import ancestry

TRUSTS = st.sampled_from(list(Trust))


@pytest.fixture
def store() -> Iterator[ChromaStore]:
    with ChromaStore(None, HashingEmbedder(4)) as store:
        yield store


def by(trust: Trust, *parents: str) -> Provenance:
    return Provenance("", "agent", "run", trust, parents)


def trust_of(store: ChromaStore, item_id: str) -> Trust:
    item = store.item(item_id)
    assert item is not None
    return item.trust


def test_what_is_made_from_untrusted_text_is_untrusted_however_far_down(store: ChromaStore) -> None:
    last = store.remember(("n",), "from the web", provenance=by(Trust.UNTRUSTED))
    for depth in range(5):
        last = store.remember(("n",), f"summary {depth}", provenance=by(Trust.USER, last))
        assert trust_of(store, last) is Trust.UNTRUSTED
    assert store.recall(("n",), "summary", min_trust=Trust.TOOL) == []


def test_an_item_that_loses_trust_takes_what_was_made_from_it_along(store: ChromaStore) -> None:
    first = store.remember(("n",), "a fact", provenance=by(Trust.USER))
    second = store.remember(("n",), "a summary", provenance=by(Trust.USER, first))
    third = store.remember(("n",), "a report", provenance=by(Trust.TOOL, second))
    assert [trust_of(store, i) for i in (first, second, third)] == [Trust.USER, Trust.USER, Trust.TOOL]
    assert len(store.recall(("n",), "summary", min_trust=Trust.USER)) == 2
    store.remember(("n",), "a fact", provenance=by(Trust.UNTRUSTED))
    assert [trust_of(store, i) for i in (first, second, third)] == [Trust.UNTRUSTED] * 3
    assert store.recall(("n",), "summary", min_trust=Trust.TOOL) == []


def test_forgetting_what_an_item_was_made_from_lends_it_no_trust(store: ChromaStore) -> None:
    bad = store.remember(("n",), "from the web", provenance=Provenance("web", "a", "r", Trust.UNTRUSTED))
    made = store.remember(("n",), "a summary", provenance=by(Trust.USER, bad))
    assert store.forget(source="web") == 1
    assert store.remember(("n",), "a summary", provenance=by(Trust.USER)) == made
    assert trust_of(store, made) is Trust.UNTRUSTED
    assert [(depth, i, item is None) for depth, i, item in store.why(made)] == [(0, made, False), (1, bad, True)]


def test_an_item_cannot_come_from_itself(store: ChromaStore) -> None:
    first = store.remember(("n",), "one", provenance=by(Trust.USER), key="one")
    second = store.remember(("n",), "two", provenance=by(Trust.USER, first))
    for text, parents in (("other", (second,)), ("another", (first,))):
        with pytest.raises(ValueError, match="made from itself"):
            store.remember(("n",), text, provenance=by(Trust.USER, *parents), key="one")
    item = store.item(first)
    assert item is not None
    assert (item.text, item.lineage) == ("one", ())


def test_who_repeats_a_text_that_they_were_given_is_another_writer_of_it(store: ChromaStore) -> None:
    first = store.remember(("n",), "one", provenance=by(Trust.USER), key="one")
    second = store.remember(("n",), "two", provenance=by(Trust.TOOL, first))
    assert store.remember(("n",), "one", provenance=by(Trust.USER, first)) == first
    assert store.remember(("n",), "one", provenance=by(Trust.USER, second)) == first
    item = store.item(first)
    assert item is not None
    assert (item.lineage, item.trust, len(item.writers)) == ((), Trust.TOOL, 2)


def test_two_steps_that_say_the_same_are_two_items_of_a_lineage(store: ChromaStore) -> None:
    store.remember(("n",), "done", provenance=by(Trust.USER), key="first")
    second = store.remember(("n",), "done", provenance=by(Trust.UNTRUSTED), key="second")
    made = store.remember(("n",), "a report", provenance=by(Trust.USER, store.id_of(("n",), "second")))
    assert [item and (item.id, item.trust) for *_, item in store.why(made)] == [
        (made, Trust.UNTRUSTED),
        (second, Trust.UNTRUSTED),
    ]


@pytest.mark.slow
def test_a_lineage_ten_thousand_deep_is_walked(store: ChromaStore) -> None:
    first = store.remember(("n",), "note -1", provenance=by(Trust.USER))
    ids = [first]
    for start in range(0, 10_000, 1000):
        notes = []
        for number in range(start, start + 1000):
            key = f"key {number}"
            notes.append(Note(f"note {number}", by(Trust.USER, ids[-1]), key))
            ids.append(row_id("default", ("n",), key))
        assert store.remember_all(("n",), notes) == ids[-1000:]
    store.remember(("n",), "note -1", provenance=by(Trust.UNTRUSTED))
    assert trust_of(store, ids[-1]) is Trust.UNTRUSTED
    assert [depth for depth, _, _ in store.why(ids[500])] == list(range(501))


def test_a_lineage_that_branches_and_meets_again_is_walked_edge_by_edge(store: ChromaStore) -> None:
    keys = [str(number) for number in range(150)]
    ids = [store.id_of(("n",), key) for key in keys]
    notes = [Note(f"fact {n}", by(Trust.TOOL, *ids[max(0, n - 20) : n]), key) for n, key in enumerate(keys)]
    store.remember_all(("n",), notes)
    thousands = 0

    def counted() -> int:
        nonlocal thousands
        thousands += 1
        return 0

    with store._database.reading() as db:
        db.set_progress_handler(counted, 1000)  # instructions of SQLite's machine
        steps = ancestry(db, table.encoded("default"), ids[-1])
        db.set_progress_handler(None, 1000)
    assert [depth for _, depth in steps] == [0, *sorted((149 - n + 19) // 20 for n in range(149))]
    assert thousands < 500, "edges are followed once"


def test_an_id_of_another_tenant_in_a_lineage_reaches_nothing(tmp_path: Path) -> None:
    with (
        ChromaStore(tmp_path, HashingEmbedder(), tenant="ours") as ours,
        ChromaStore(tmp_path, HashingEmbedder(), tenant="theirs") as theirs,
    ):
        bad = theirs.remember(("n",), "theirs", provenance=by(Trust.UNTRUSTED))
        made = ours.remember(("n",), "ours", provenance=by(Trust.USER, bad))
        assert trust_of(ours, made) is Trust.USER
        assert ours.item(bad) is None
        assert [item for _, i, item in ours.why(made) if i == bad] == [None]
        again = theirs.remember(("n",), "theirs", provenance=by(Trust.UNTRUSTED, made))
        assert trust_of(ours, made) is Trust.USER
        assert again == bad


@pytest.mark.slow
@given(st.lists(st.tuples(TRUSTS, st.sets(st.integers(0, 6), max_size=3)), min_size=1, max_size=7))
def test_trust_is_the_lowest_over_the_whole_lineage(graph: list[tuple[Trust, set[int]]]) -> None:
    with ChromaStore(None, HashingEmbedder(4)) as store:
        ids: list[str] = []
        lowest: list[Trust] = []
        for number, (trust, parents) in enumerate(graph):
            named = [parent for parent in parents if parent < number]
            ids.append(store.remember(("n",), f"note {number}", provenance=by(trust, *(ids[p] for p in named))))
            lowest.append(min([trust, *(lowest[p] for p in named)]))
        assert [trust_of(store, item_id) for item_id in ids] == lowest
