"""A folder takes another embedder by having everything embedded anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Provenance

TEAM = ("team",)
BY = Provenance("a page", "scout", "", Trust.TOOL)
SMALL, LARGE = HashingEmbedder(16), HashingEmbedder(128)


def filled(path: Path) -> list[str]:
    with ChromaStore(path, SMALL) as store:
        ids = [store.remember(TEAM, f"signal {n} is tested", provenance=BY, metadata={"n": n}) for n in range(30)]
        store.put(
            TEAM, "parts", {"title": "the title", "rows": ["first row", "second row"]}, index=["title", "rows[*]"]
        )
        store.put(TEAM, "whole", {"text": "all of it"})
        store.put(TEAM, "plain", {"text": "signal 3 is tested"}, index=False)
        store.forget(ids=ids[20:])
    with ChromaStore(path, SMALL, tenant="other") as store:
        store.put(TEAM, "theirs", {"text": "theirs"})
    return ids[:20]


def test_all_vectors_are_made_anew_and_everything_else_stays(
    tmp_path: Path, in_chroma: Callable[[Path], list[str]]
) -> None:
    ids = filled(tmp_path)
    with pytest.raises(ConfigError, match="embed all of it anew by 'pointsman memory reindex'"):
        ChromaStore(tmp_path, LARGE)
    with ChromaStore(tmp_path, SMALL) as store:
        before = [store.item(i) for i in ids]
        listed = {(item.key, str(item.value), item.updated_at) for item in store.search(TEAM, limit=99)}
    assert ChromaStore.reindex(tmp_path, LARGE) == 22
    with pytest.raises(ConfigError, match="hashing-128"):
        ChromaStore(tmp_path, SMALL)
    with ChromaStore(tmp_path, LARGE) as store:
        assert [store.item(i) for i in ids] == before
        assert {(item.key, str(item.value), item.updated_at) for item in store.search(TEAM, limit=99)} == listed
        for query, key in [("second row", "parts"), ("the title", "parts")]:
            first = store.search(TEAM, query=query)[0]
            assert (first.key, first.score) == (key, pytest.approx(1.0, abs=1e-5))
        assert store.search(TEAM, query="signal 3 is tested", limit=99)[-1].key == "plain"
        assert store.recall(TEAM, "signal 7 is tested")[0].text == "signal 7 is tested"
        store._folder.index.feed()  # type: ignore[union-attr]
    assert len(in_chroma(tmp_path)) == 20 + 3 + 1 + 1
    with ChromaStore(tmp_path, SMALL, tenant="other") as store:
        assert [item.key for item in store.search(TEAM, query="theirs")] == ["theirs"]


def test_a_store_that_is_open_with_the_old_embedder_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    with ChromaStore(tmp_path, SMALL) as old:
        assert len(old.recall(TEAM, "signal")) == 5
        ChromaStore.reindex(tmp_path, LARGE)
        for act in (
            lambda: old.recall(TEAM, "signal"),
            lambda: old.put(TEAM, "late", {"text": "late"}),
            lambda: old.remember(TEAM, "late", provenance=BY),
        ):
            with pytest.raises(ConfigError, match="use that embedder, or embed all of it anew"):
                act()
    with ChromaStore(tmp_path, LARGE) as store:
        assert store.get(TEAM, "late") is None
        assert len(store.search(TEAM, query="signal", limit=99)) == 23


def test_an_embedder_that_fails_half_way_leaves_the_old_vectors(tmp_path: Path) -> None:
    class Failing(HashingEmbedder):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return super().embed_documents(texts)[:-1]

    filled(tmp_path)
    with pytest.raises(ConfigError, match="gave 23 vectors for 24 texts"):
        ChromaStore.reindex(tmp_path, Failing(128))
    with ChromaStore(tmp_path, SMALL) as store:
        assert store.recall(TEAM, "signal 7 is tested")[0].text == "signal 7 is tested"
    with pytest.raises(ConfigError, match="there is no memory"):
        ChromaStore.reindex(tmp_path / "nothing", LARGE)
