"""The runtime that is used where none is named: one for each resolved configuration."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, RoutedChatModel, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.configs import Effect, environment, load
from pointsman.configs.errors import ConfigError
from pointsman.configs.loading.trust import TrustStore
from pointsman.dispatch.defaults import default_dispatcher
from pointsman.dispatch.reload import Reload
from pointsman.simulator import Simulator

Ends = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> Iterator[Path]:
    for vendor in ("anthropic", "openai", "google"):
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", "not-a-real-key")
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    Runtime.default().close()


def test_a_model_an_agent_and_a_workflow_share_one_dispatcher(project: Path) -> None:
    home = default_dispatcher()
    assert Runtime.default().dispatcher is home
    RoutedChatModel(kind="transform").invoke("hello")
    Agent("one").invoke("hello")
    Workflow("two", agents=[Agent("two")]).run("hello")
    assert len(home.ledger.calls()) == 3


def test_threads_that_ask_at_once_get_the_same(project: Path, ends: Ends) -> None:
    start = threading.Barrier(8)
    runtimes: list[Runtime] = []
    dispatchers: list[Any] = []

    def ask(number: int) -> None:
        start.wait(240)
        if number % 2:
            dispatchers.append(default_dispatcher())
        runtimes.append(Runtime.default())
        dispatchers.append(runtimes[-1].dispatcher)

    def all_at_once() -> None:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ends(all_at_once)
    assert (len(runtimes), len(set(map(id, runtimes)))) == (8, 1)
    assert (len(dispatchers), len(set(map(id, dispatchers)))) == (12, 1)


def test_the_parts_of_a_runtime_are_made_once_whoever_asks(project: Path, ends: Ends) -> None:
    home = Runtime(Runtime.default().settings)
    start = threading.Barrier(8)
    parts: list[tuple[int, int, int, int]] = []

    def ask() -> None:
        start.wait(240)
        parts.append((id(home.store), id(home.tools), id(home.dispatcher), id(home.dispatcher.budgets)))

    def all_at_once() -> None:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ends(all_at_once)
    home.close()
    assert (len(parts), len(set(parts))) == (8, 1)


def test_the_same_folder_by_another_name_is_the_same_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Runtime.default()
    link = tmp_path / "link"
    link.symlink_to(project)
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    assert Runtime.default() is first


def test_another_folder_is_another_project(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Runtime.default()
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    second = Runtime.default()
    assert second is not first
    assert second.dispatcher is not first.dispatcher
    second.close()
    monkeypatch.chdir(project)
    assert Runtime.default() is first


def test_a_key_that_is_set_later_is_heeded_with_the_next_call(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    without = Runtime.default()
    assert "openai" in without.dispatcher.availability.providers
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-real-key")
    assert "openai" not in default_dispatcher().availability.providers
    assert Runtime.default() is not without
    monkeypatch.delenv("OPENAI_API_KEY")
    assert Runtime.default() is without
    without.close()


def test_a_variable_that_means_nothing_here_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, home = Runtime.default(), default_dispatcher()
    monkeypatch.setenv("SOMETHING_ELSE", str(time.time()))
    assert Runtime.default() is first
    assert default_dispatcher() is home


def test_another_state_folder_is_another_runtime(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Runtime.default()
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "elsewhere"))
    second = Runtime.default()
    assert second is not first
    assert second.ledger.path == tmp_path / "elsewhere" / "ledger.db"
    second.close()


def test_a_changed_catalogue_gives_another_runtime_and_a_wrong_one_is_named(project: Path) -> None:
    first = Runtime.default()
    file = project / "models.yaml"
    file.write_text("providers:\n  openai: {enabled: false}\n")
    second = Runtime.default()
    assert second is not first
    assert not second.settings.providers["openai"].enabled
    second.close()
    file.write_text("providers:\n  openai: {enabeld: false}\n")
    with pytest.raises(ConfigError, match=r"models\.yaml"):
        Runtime.default()
    file.unlink()
    assert Runtime.default() is first


def test_a_folder_that_is_not_trusted_makes_nothing_and_says_what_it_would_need(
    project: Path, simulator: Simulator
) -> None:
    file = project / "models.yaml"
    file.write_text(f"providers:\n  evil: {{backend: openai, base_url: '{simulator.url('openai')}', key: HOME}}\n")
    for ask in (Runtime.default, default_dispatcher, lambda: Agent("one").invoke("hello"), lambda: load(environ={})):
        with pytest.raises(ConfigError, match=r"models\.yaml:2: adds the provider evil .* 'pointsman trust'"):
            ask()
    assert len(simulator.log) == 0
    file.unlink()


def test_a_trusted_policy_that_changes_while_it_runs_is_not_taken_up(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = project / "risk.yaml"
    file.write_text("risk: {floors: {high: advanced}}\n")
    TrustStore(environment()).keep(file, file.read_text())
    home, now = Runtime.default(), [0.0]
    own = home.dispatcher
    cards = tuple(own.cards.values())
    own.reload = Reload(own.settings, own.policy, cards, own.put_in_force, clock=lambda: now[0])
    file.write_text("risk: {floors: {high: ondevice}, call: {destructive: low}}\n")
    for _ in range(3):
        now[0] += 2
        asyncio.run(home.dispatcher.reload.look())
    assert home.settings.risk.call[Effect.DESTRUCTIVE] == "critical"
    assert "pointsman trust" in str(home.dispatcher.reload.trouble)
    assert "is not taken up" in caplog.text
    file.unlink()


def _node(work: Callable[[], Any]) -> Callable[[Runtime], Any]:
    """A graph of one node that does this."""
    from langgraph.graph import START, MessagesState, StateGraph

    async def do(_: MessagesState) -> dict[str, Any]:
        found = work()
        return {"messages": [str(await found if asyncio.iscoroutine(found) else found)]}

    def build(_: Runtime) -> Any:
        graph = StateGraph(MessagesState)
        graph.add_node("do", do)
        graph.add_edge(START, "do")
        return graph

    return build


def _in_a_thread() -> str:
    with ThreadPoolExecutor(1) as pool:
        return str(pool.submit(lambda: Agent("inner").invoke("hello")).result())


@pytest.mark.parametrize(
    "ask",
    [
        lambda: Agent("inner").ainvoke("hello"),
        lambda: Agent("inner").arun("hello"),
        lambda: Workflow("inner", [Agent("inner")], plan="in_order").arun("hello"),
        lambda: RoutedChatModel(kind="transform").ainvoke("hello"),
        lambda: asyncio.to_thread(_in_a_thread),
    ],
    ids=["an agent", "a run of an agent", "a workflow", "a model", "a thread"],
)
def test_what_is_not_told_otherwise_runs_on_the_runtime_of_the_run_it_is_in(
    project: Path, tmp_path: Path, simulator: Simulator, ask: Callable[[], Any]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with contextlib.closing(Runtime(load(other, environ=environment()))) as home:
        result = Workflow("outer", graph=_node(ask)).run("go", runtime=home)
        assert (result.status, len(result.calls)) == ("done", 1), result.error
        assert [call.id for call in home.ledger.calls()] == [call.id for call in result.calls]
        assert not Runtime.default().ledger.calls()
        # What the call may cost is more than is left.
        capped = Workflow("outer", graph=_node(ask)).run("go", runtime=home, max_cost=result.cost / 1000)
        assert not capped.calls
    assert not Runtime.default().ledger.calls()


def test_a_thread_that_outlives_its_run_and_its_runtime_runs_on_the_projects(
    project: Path, tmp_path: Path, ends: Ends
) -> None:
    other, closed, found = tmp_path / "other", threading.Event(), []
    other.mkdir()

    def late() -> None:
        closed.wait(240)
        found.append(Runtime.default())

    thread = threading.Thread(target=late)
    with contextlib.closing(Runtime(load(other, environ=environment()))) as home:
        assert Workflow("outer", graph=_node(thread.start)).run("go", runtime=home).status == "done"
    closed.set()
    ends(thread.join)
    assert found == [Runtime.default()]


def test_one_that_is_closed_is_not_handed_out_again(project: Path) -> None:
    agent = Agent("one")
    agent.invoke("hello")
    first = Runtime.default()
    first.close()
    assert Runtime.default() is not first
    assert default_dispatcher() is not first.dispatcher
    agent.invoke("hello again")
    second = Runtime.default()
    default_dispatcher().close()
    assert Runtime.default() is not second
    agent.invoke("and again")
    assert len(Runtime.default().ledger.calls()) == 3


def test_asking_costs_next_to_nothing(project: Path) -> None:
    first = Runtime.default()
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    assert all(Runtime.default() is first for _ in range(1000))
    # What lingers of other tests is closed meanwhile.
    assert not before or len(list(Path("/proc/self/fd").iterdir())) < before + 100
