"""A memory that one process has open and serves to others: the same promises as over the folder itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from langgraph.store.base import InvalidNamespaceError, PutOp
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance

Serve = Callable[[Mapping[str, ChromaStore]], AbstractContextManager[str]]
TOKEN = "a-token-of-the-test"
BY = Provenance("s", "a", "r", Trust.TOOL, model="m", span=(1, 2))

SERVER = """
import asyncio, sys
from pathlib import Path
from pointsman.memory import ChromaStore, HashingEmbedder
from pointsman.memory.serving.server import serve
folder, token, port = sys.argv[1:]
store = ChromaStore(Path(folder), HashingEmbedder())
said = lambda url: print(url, flush=True)
asyncio.run(serve({token: store}, "127.0.0.1", int(port), ready=said, stop=asyncio.Event()))
"""

CLIENT = """
import sys
from langgraph.store.base import PutOp
from pointsman.memory import ChromaStore, Provenance
from pointsman.configs.words import Trust
url, token, name, rounds = sys.argv[1:]
store = ChromaStore.open(url, token=token)
for n in range(int(rounds)):
    key = f"{name} {n}"
    store.batch([PutOp(("n", name), f"{key} {i}", {"text": f"note {key} {i}"}) for i in range(5)])
    store.remember(("shared",), f"fact {n}", provenance=Provenance("s", name, "r", Trust.TOOL))
    assert store.search(("n", name), query=f"note {key} 3", limit=1)[0].value["text"] == f"note {key} 3"
    print(n, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChromaStore]:
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:
        yield store


@pytest.fixture
def client(store: ChromaStore, served: Serve) -> Iterator[ChromaStore]:
    with served({TOKEN: store}) as url, ChromaStore.open(url, token=TOKEN) as client:
        yield client


def test_a_client_sees_what_the_folder_holds_and_the_other_way_round(store: ChromaStore, client: ChromaStore) -> None:
    value = {"text": "some words", "ü": [1, None, 2.5], "$": {"$": "tuple", "of": []}, "odd": "\ud800", "x": "\x00"}
    client.put(("n", "deep"), "k", value, ttl=5)
    assert store.get(("n", "deep"), "k") == client.get(("n", "deep"), "k")
    assert store.get(("n", "deep"), "k").value == value  # type: ignore[union-attr]
    page = store.remember(("n",), "The office opens at nine.", provenance=BY)
    note = client.remember(("n",), "Call after nine.", provenance=Provenance("t", "b", "", Trust.USER, (page,)))
    for ask in (
        lambda of: of.recall((), "office", limit=2, min_trust=Trust.TOOL, sources=["s"]),
        lambda of: of.search(("n",), query="office", filter={"text": {"$ne": "x"}}),
        lambda of: of.list_namespaces(prefix=("n",), max_depth=2),
        lambda of: of.why(note),
        lambda of: (of.item(note), of.item("none"), of.id_of(("n",), "k")),
        lambda of: of.batch([PutOp(("n",), "gone", None)]),
    ):
        assert ask(client) == ask(store)
    assert client.forget(source="s") == 1
    assert store.was_forgotten(["the office opens at nine"]) == client.was_forgotten(["the office opens at nine"])
    assert client.sweep_ttl() == 0


async def test_many_tasks_of_a_client_write_a_few_batches(store: ChromaStore, client: ChromaStore) -> None:
    import asyncio

    before = _version(store)
    await asyncio.gather(*(client.aput(("n",), str(n), {"text": str(n)}) for n in range(100)))
    assert len(await client.asearch(("n",), limit=1000)) == 100
    assert _version(store) - before < 20
    assert await client.arecall((), "7", limit=1) == store.recall((), "7", limit=1)


def _version(store: ChromaStore) -> int:
    with store._database.reading() as db:
        number: int = db.execute("SELECT version FROM state").fetchone()[0]
        return number


def test_what_the_store_refuses_is_refused_at_the_client(client: ChromaStore) -> None:
    with pytest.raises(InvalidNamespaceError, match="periods"):
        client.put(("a.b",), "k", {})
    with pytest.raises(ValueError, match="regex"):
        client.search((), filter={"a": {"$regex": "x"}})
    with pytest.raises(TypeError, match="must be strings"):
        client.put(("n",), "k", {1: "x"})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="name what to forget"):
        client.forget()
    with pytest.raises(ValueError, match="a note needs a text"):
        client.remember_all(("n",), [Note(" ", BY)])
    assert client.search(()) == []


@pytest.mark.parametrize("token", ["another", "a token", TOKEN[:-1]])
def test_another_token_opens_nothing(store: ChromaStore, served: Serve, token: str) -> None:
    with served({TOKEN: store}) as url, pytest.raises(ConfigError, match="refuses the token"):
        ChromaStore.open(url, token=token)


def test_only_the_methods_of_a_memory_can_be_asked_for_and_only_in_its_words(store: ChromaStore, served: Serve) -> None:
    known = {"authorization": f"Bearer {TOKEN}"}
    with served({TOKEN: store}) as url:
        asked = [
            httpx2.post(f"{url}/v1/{method}", content=body, headers=headers).status_code
            for method, body, headers in (
                ("recall", b"{}", {}),
                ("recall", b"{}", {"authorization": TOKEN}),
                ("close", b"{}", known),
                ("__init__", b"{}", known),
                ("_database", b"{}", known),
                ("recall", b"{}", known),
                ("recall", b"nonsense", known),
                ("recall", b'{"$": "Path", "of": {}}', known),
                ("recall", b"[" * 100_000, known),
                ("item", b'{"item_id": "x"}', known),
            )
        ]
    assert asked == [401, 401, 404, 404, 404, 400, 400, 400, 400, 200]


ODD_BODIES = [
    ("batch", b"{}"),
    ("batch", b'{"ops": [{"$": "SearchOp", "of": {"namespace_prefix": [], "filter": [1]}}]}'),
    ("batch", b'{"ops": [{"$": "SearchOp", "of": {"namespace_prefix": [], "query": 5}}]}'),
    ("recall", b'{"namespace": [], "query": 5}'),
    ("recall", b'{"namespace": [], "query": "x", "since": 5}'),
    ("recall", b'{"namespace": [], "query": "x", "ranking": {"$": "timedelta", "of": 1e300}}'),
    ("remember_all", b'{"namespace": ["n"], "notes": [5]}'),
    ("remember_all", b'{"namespace": ["n"], "notes": [{"$": "Note", "of": {"text": "x", "provenance": null}}]}'),
]


def test_arguments_that_a_method_does_not_take_are_told_as_such(store: ChromaStore, served: Serve) -> None:
    known = {"authorization": f"Bearer {TOKEN}"}
    with served({TOKEN: store}) as url:
        answers = [httpx2.post(f"{url}/v1/{method}", content=body, headers=known) for method, body in ODD_BODIES]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(400, "TypeError")] * len(answers)


def test_a_token_opens_the_memory_of_its_tenant_alone(tmp_path: Path, served: Serve) -> None:
    with (
        ChromaStore(tmp_path, HashingEmbedder(), tenant="ours") as ours,
        ChromaStore(tmp_path, HashingEmbedder(), tenant="theirs") as theirs,
        served({"one": ours, "two": theirs}) as url,
    ):
        with ChromaStore.open(url, tenant="ours", token="one") as client:
            client.put(("n",), "k", {"text": "ours"})
        with ChromaStore.open(url, tenant="theirs", token="two") as client:
            assert client.search(()) == []
        with pytest.raises(ConfigError, match="tenant 'theirs'"):
            ChromaStore.open(url, tenant="ours", token="two")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://memory.example", "must be https"),
        ("http://127.0.0.1:9", "cannot be reached"),
        ("https://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_an_address_that_others_can_read_or_where_nobody_is_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ChromaStore.open(url, token=TOKEN)
    with pytest.raises(ConfigError, match="needs a token"):
        ChromaStore.open("http://127.0.0.1:9")


@contextmanager
def running(programs: Any, folder: Path, port: str) -> Iterator[tuple[str, Any]]:
    with programs.start(["-c", SERVER, folder, TOKEN, port], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip(), server
        finally:
            server.kill()


@pytest.mark.slow
def test_eight_processes_lose_nothing_though_the_server_is_killed_between(programs: Any, tmp_path: Path) -> None:
    rounds, ends = 6, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    clients: list[Any] = []
    try:
        with running(programs, tmp_path, "0") as (url, server):
            assert url
            clients += [programs.start(["-c", CLIENT, url, TOKEN, str(n), str(rounds)], **ends) for n in range(8)]
            for _ in range(rounds // 2):
                _one_round(clients)
            # Before it is killed they have their answers, and afterwards ask for nothing until the next is there.
            answers = [client.stdout.readline() for client in clients]
            server.kill()
            server.wait()
        with running(programs, tmp_path, url.rpartition(":")[2]) as (again, _):
            assert (again, all(answers)) == (url, True)
            _go_on(clients)
            for _ in range(rounds // 2 - 1):
                _one_round(clients)
            with ChromaStore.open(url, token=TOKEN) as store:
                keys = {item.key for item in store.search(("n",), limit=10_000)}
                facts = store.recall(("shared",), "fact", limit=100)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert keys == {f"{name} {n} {i}" for name in range(8) for n in range(rounds) for i in range(5)}
    assert [len({writer.author for writer in fact.writers}) for fact in facts] == [8] * rounds
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        assert {item.key for item in store.search(("n",), limit=10_000)} == keys


def _one_round(clients: list[Any]) -> None:
    answers = [client.stdout.readline() for client in clients]
    assert all(answers), [client.poll() for client in clients]
    _go_on(clients)


def _go_on(clients: list[Any]) -> None:
    for client in clients:
        client.stdin.write("\n")
        client.stdin.flush()
