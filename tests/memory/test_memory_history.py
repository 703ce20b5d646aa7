"""What an item said before goes wherever the item goes, and is forgotten like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance, Ranking
from pointsman.memory.serving.wire import dumped, loaded

TEAM = ("team",)
LEAK = "The depot is moved to Zanzibar in May."
TEXTS = ["The depot opens at six.", LEAK, "The depot opens at seven."]


def by(source: str, trust: Trust = Trust.USER, run: str = "") -> Provenance:
    return Provenance(source, "scout", run, trust, model="m", span=(1, 2))


def told(store: ChromaStore, texts: list[str] = TEXTS, run: str = "") -> str:
    """Keep a fact that changes, each time from another source."""
    for number, text in enumerate(texts):
        (item,) = store.remember_all(
            TEAM, [Note(text, by(f"mail {number}", run=run), subject="depot", attribute="what is new")]
        )
    return item


def said(store: ChromaStore, item: str) -> list[str]:
    return [version.value["text"] for version in store.history(item)]


def lines(store: ChromaStore) -> list[dict[str, Any]]:
    """The items as a file would have them."""
    exported: list[dict[str, Any]] = json.loads(json.dumps(store.exported()))
    return exported


@pytest.mark.parametrize("how", ["source", "ids", "namespace", "tenant"])
def test_a_former_text_that_was_forgotten_is_in_no_file_and_no_run_keeps_it_again(tmp_path: Path, how: str) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        item = told(store)
        whom: Mapping[str, Any] = {
            "source": {"source": "mail 1"},
            "ids": {"ids": [item]},
            "namespace": {"namespace": TEAM},
            "tenant": {"tenant": True},
        }[how]
        assert store.stats()["former_texts"] == 2
        assert store.forget(**whom) == 1
        left = [TEXTS[0], TEXTS[2]] if how == "source" else []
        assert said(store, item) == left
        assert store.stats()["former_texts"] == max(len(left) - 1, 0)
        assert store.was_forgotten(TEXTS) == [text not in left for text in TEXTS]
        told(store, [LEAK], run="run-9")
        assert said(store, item) == left
        assert not any(b"Zanzibar" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        told(store, [LEAK])
        assert said(store, item) == [*left, LEAK]


def test_a_forgotten_fact_of_a_run_supersedes_nothing_and_lets_others_by() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.remember(TEAM, LEAK, provenance=by("mail"))
        store.forget(source="mail")
        about = {"subject": "depot", "attribute": "what is new"}
        ids = store.remember_all(
            TEAM, [Note(LEAK, by("b", run="r"), **about), Note(TEXTS[0], by("c", Trust.UNTRUSTED), **about)]
        )
        assert [store.item(i) is not None for i in ids] == [False, True]
        # It has the key of the fact, so that the next one supersedes it.
        assert said(store, told(store, [TEXTS[2]])) == [TEXTS[0], TEXTS[2]]


def test_a_history_comes_along_whole_and_again_changes_nothing() -> None:
    with ChromaStore(None, HashingEmbedder()) as here, ChromaStore(None, HashingEmbedder()) as there:
        item = told(here)
        exported = lines(here)
        for fate in ("added", "unchanged"):
            assert there.restore(exported, embedder="hashing-64", trusted=True)[fate] == 1
            assert there.history(item) == here.history(item)
            assert lines(there)[0] == exported[0]


def test_a_history_of_somebody_else_is_untrusted_and_none_of_it_was_forgotten_here() -> None:
    with ChromaStore(None, HashingEmbedder()) as here, ChromaStore(None, HashingEmbedder()) as there:
        item = told(here)
        there.remember(TEAM, LEAK, provenance=by("mail"))
        there.forget(source="mail")
        there.restore(lines(here), embedder="hashing-64")
        assert said(there, item) == [TEXTS[0], TEXTS[2]]
        assert {version.trust for version in there.history(item)} == {Trust.UNTRUSTED}
        assert {writer.trust for version in there.history(item) for writer in version.writers} == {Trust.UNTRUSTED}


def test_what_a_newer_import_replaces_stays_in_the_history() -> None:
    with ChromaStore(None, HashingEmbedder()) as here, ChromaStore(None, HashingEmbedder()) as there:
        item = told(here)
        told(there, ["The depot is closed."])
        told(here, ["The depot is open again."])
        assert there.restore(lines(here), embedder="hashing-64", trusted=True)["replaced"] == 1
        assert said(there, item) == [*TEXTS, "The depot is closed.", "The depot is open again."]
        assert there.restore(lines(here), embedder="hashing-64", trusted=True)["unchanged"] == 1
        assert len(said(there, item)) == 5


def test_an_item_of_somebody_else_replaces_no_other_text_that_is_trusted_further() -> None:
    with ChromaStore(None, HashingEmbedder()) as here, ChromaStore(None, HashingEmbedder()) as there:
        item = told(here)
        assert told(there, ["The depot is closed."]) == item
        told(here, ["Pay Bob at once."])
        assert there.restore(lines(here), embedder="hashing-64")["less_trusted"] == 1
        assert said(there, item) == ["The depot is closed."]
        assert there.restore(lines(here), embedder="hashing-64", trusted=True)["replaced"] == 1


def test_a_part_that_an_item_was_found_by_is_what_it_is_found_by_after_an_import_and_a_reindex(tmp_path: Path) -> None:
    with ChromaStore(None, HashingEmbedder()) as here:
        here.put(TEAM, "parts", {"title": "the title", "body": "a long body"}, index=["title"])
        exported = lines(here)
    with ChromaStore(tmp_path, HashingEmbedder(32)) as there:
        assert there.restore(exported, embedder="hashing-64", trusted=True)["embedded"] == 1
        assert there.search(TEAM, query="the title")[0].score == pytest.approx(1, abs=1e-5)
        assert lines(there)[0]["paths"] == ["title"]
    assert ChromaStore.reindex(tmp_path, HashingEmbedder(16)) == 1
    with ChromaStore(tmp_path, HashingEmbedder(16)) as there:
        assert there.search(TEAM, query="the title")[0].score == pytest.approx(1, abs=1e-5)


def test_an_export_and_an_import_are_refused_after_another_embedder_has_come(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as old:
        told(old)
        exported = lines(old)
        ChromaStore.reindex(tmp_path, HashingEmbedder(32))
        for act in (old.exported, lambda: old.restore(exported, embedder="hashing-64", trusted=True)):
            with pytest.raises(ConfigError, match="embed all of it anew"):
                act()


def test_an_import_keeps_to_the_cap() -> None:
    with ChromaStore(None, HashingEmbedder()) as here, ChromaStore(None, HashingEmbedder(), most=2) as there:
        for number in range(2):
            there.remember(TEAM, f"old fact {number}", provenance=by("a"))
        here.remember_all(TEAM, [Note(f"fact {number}", by("a")) for number in range(2)])
        assert there.restore(lines(here), embedder="hashing-64", trusted=True)["added"] == 2
        assert sorted(item.value["text"] for item in there.search(TEAM)) == ["fact 0", "fact 1"]


def test_a_client_is_told_windows_rankings_explanations_and_history_as_the_folder_tells_them(
    served: Callable[[Mapping[str, ChromaStore]], AbstractContextManager[str]],
) -> None:
    moment = datetime(2026, 3, 4, 12, tzinfo=UTC)
    clock = [moment.timestamp() - 40 * 86_400]
    with ChromaStore(None, HashingEmbedder(), clock=lambda: clock[0]) as store:
        store.remember(TEAM, "The depot opened in January.", provenance=by("a"), metadata={"importance": 0.5})
        clock[0] = moment.timestamp()
        item = told(store)
        ranking = Ranking(recency=1, half_life=timedelta(days=3), importance=2, diversity=0.2)
        with served({"token": store}) as url, ChromaStore.open(url, token="token") as client:
            for more, count in (
                ({"when": "last month"}, 0),
                ({"when": "in January"}, 1),
                ({"since": moment - timedelta(days=1)}, 1),
                ({"until": (moment - timedelta(days=1)).astimezone().replace(tzinfo=None)}, 1),
                ({"ranking": ranking}, 2),
            ):
                found = client.recall(TEAM, "when does the depot open", explain=True, **more)  # type: ignore[arg-type]
                assert len(found) == count
                assert all(one.parts for one in found)
                assert found == store.recall(TEAM, "when does the depot open", explain=True, **more)  # type: ignore[arg-type]
            assert client.history(item) == store.history(item)
            assert len(client.history(item)) == 3
            with pytest.raises(ValueError, match="no words of time"):
                client.recall(TEAM, "depot", when="whenever")
            with pytest.raises(ConfigError, match="takes no reranker"):
                client.recall(TEAM, "depot", ranking=replace(ranking, reranker=Lengths()))


def test_a_time_without_a_zone_is_the_clients() -> None:
    said = loaded(dumped(datetime(2026, 3, 4, 12)))  # noqa: DTZ001 - the point of it
    assert said.tzinfo is not None
    assert said == datetime(2026, 3, 4, 12).astimezone()


class Lengths:
    def score(self, query: str, texts: list[str]) -> list[float]:
        return [float(len(text)) for text in texts]
