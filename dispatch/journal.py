"""`Journal`: what a run keeps of its calls and acts for the case that it is cut off, and what earlier parts kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables.config import var_child_runnable_config

from ..configs.errors import PointsmanError
from ..ledger.rows import EffectRow, KeptRow
from ..tools.threads import in_thread
from .sealing import Seal, user_seal

if TYPE_CHECKING:
    from ..ledger.ledger import Ledger

__all__ = ["ANSWERS", "CALLS", "INPUT", "Journal", "attempt_of", "in_task", "inside_node", "is_kept_by_graph"]

CALLS: Final = "call "
"""What the names of calls begin with."""
ANSWERS: Final = "answer "
"""What the names of a person's answers begin with."""
INPUT: Final = "input"
"""The name of what a run was given at its start."""


_MOST: Final = 1_000_000
"""Characters of one text that is kept, at most."""
_RUNTIME: Final = "__pregel_runtime"
"""Where LangGraph says which attempt at its task a node is (`langgraph._internal._constants`)."""
_AGENT: Final = "lc_agent_name"
_MODEL_NODE: Final = "model"
"""LangChain's agents: the node in which each call of theirs is made, and its mark in the metadata."""


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Journal:
    """The calls and acts of one part of a run, by their places.

    A place names what is asked for, the task of the graph that asks, and which of the equal things it is that the task
    asks for. LangGraph names a task by the checkpoint it starts from, so a task that is done again after a kill, a
    failure or a person's answer asks for the same things at the same places, and nothing else ever does.

    Args:
        ledger: Keeps it.
        run: Id of the run.
        token: The fencing token of whoever works on the run.
        names: Name of what was kept before -> the run that did.
        acts: The acts that earlier parts began, in order.

    Attributes:
        acts: Place -> the last act there, with its outcome as far as it is known.
        acted: Whether this part of the run has asked for an act.
        unknown: Place -> how many acts were begun there without a known outcome.
        unplaced: Step and digest -> each act without a known outcome of version 0.1, which kept no places.
    """

    def __init__(
        self,
        ledger: Ledger,
        run: str,
        token: int,
        *,
        names: Mapping[str, str] = _NOTHING,
        acts: Iterable[EffectRow] = (),
    ) -> None:
        self.run = run
        self.token = token
        acts = tuple(acts)
        self.acts = {act.place: act for act in acts if act.place is not None}
        self.unknown = Counter(act.place for act in acts if act.place is not None and not act.outcome)
        self.unplaced = {(act.step, act.digest): act for act in acts if act.place is None and not act.outcome}
        self._ledger = ledger
        self._names = dict(names)
        self.acted = False
        self._asked: Counter[tuple[object, ...]] = Counter()
        self._fresh: set[tuple[str, int] | None] = set()
        self._seal: Seal | None = None

    def act(self, what: str) -> str | None:
        """The place of an act that is asked for now; to be asked once each time.

        In each attempt at a node, its agents go on from where they were and it calls its own tools anew, so the acts of
        each attempt are counted from the first.

        Args:
            what: Digest of what is asked for.

        Returns:
            None outside the tasks of a graph, which nobody does again.
        """
        task = _task_now()
        if task is None:
            return None
        self.acted = True
        attempt, within = _NODE.get() or (task[1], None)
        name = within or task[0]
        return _hash(name, what, self._counted(name, f"acts of {attempt}", what))

    def call(self, what: str) -> str | None:
        """The place of a model call, as `act`; another attempt at a node asks its models anew.

        Args:
            what: Digest of what is asked.
        """
        task = _task_now()
        return None if task is None else _hash(*task, what, self._counted(*task, what))

    def _counted(self, *what: object) -> int:
        """How often it was asked for before."""
        number = self._asked[what]
        self._asked[what] += 1
        return number

    def has(self, names: str) -> bool:
        """Whether anything is kept under names that begin so."""
        return any(name.startswith(names) for name in self._names)

    async def get(self, name: str) -> str | None:
        """What was kept under a name; None where nothing was.

        Raises:
            ConfigError: It cannot be decrypted.
        """
        return await in_thread(self.read, name) if name in self._names else None

    def read(self, name: str) -> str | None:
        """The same, from synchronous code."""
        row = self._ledger.kept.get(self._names[name], name) if name in self._names else None
        return None if row is None else user_seal().open(row.sealed)

    def keep(self, name: str, text: str) -> None:
        """Keep a text under a name; it is written a moment later, and before anything that is committed after it.

        Args:
            name: Its name; what was kept under it before is replaced.
            text: At most a million characters; a longer one is not kept, unless it is the input.
        """
        if len(text) > _MOST and name != INPUT:
            return
        # A ledger that cannot be written is told to whoever is about to do something.
        with suppress(PointsmanError):
            self._seal = self._seal or user_seal()
            self._ledger.record(KeptRow(self.run, name, self._seal.close(text)))
            self._names[name] = self.run
            self._fresh.add(_task_now())

    def settle(self, act: EffectRow, name: str, result: str | None) -> None:
        """Keep what a person says of an act of which nobody knew, and return once that is on the disk.

        Args:
            act: The act, with its outcome.
            name: The name of its result.
            result: The result; None keeps none.

        Raises:
            ConfigError: It cannot be written.
        """
        if result is not None:
            self.keep(name, result)
        self._ledger.record(KeptRow(self.run, _said(act), sealed=""))
        self._names[_said(act)] = self.run
        self._ledger.commit(act)
        if act.place is not None:
            self.acts[act.place] = act
            self.unknown[act.place] -= 1

    def doubt(self, act: EffectRow) -> None:
        """Take note that nobody knows whether an act of this part happened.

        Args:
            act: The act.
        """
        if act.place is not None:
            self.acts[act.place] = act
            self.unknown[act.place] += 1

    def answered(self, place: str) -> int:
        """How often a person has answered whether an act was to be done that is settled now.

        Args:
            place: Its place.
        """
        return self.unknown[place] + (_said(self.acts[place]) in self._names)

    async def caught_up(self) -> None:
        """Return once what this task has kept outlives the end of this process: it is about to go on from there.

        A task that does nothing more after it is kept by the graph as soon as that, so most calls need no such wait.
        """
        if self._is_behind():
            with suppress(PointsmanError):
                await asyncio.wrap_future(self._ledger.soon())

    def catch_up(self) -> None:
        """The same, from synchronous code."""
        if self._is_behind():
            with suppress(PointsmanError):
                self._ledger.soon().result()

    def _is_behind(self) -> bool:
        """Whether this task has kept something since it last caught up."""
        task = _task_now()
        behind = task in self._fresh
        self._fresh.discard(task)
        return behind


_NODE: ContextVar[tuple[int, str | None] | None] = ContextVar("pointsman_node", default=None)
"""Which attempt it is at the outermost task in which an agent runs, as LangGraph does not tell within the agent; and
what its acts are placed by, where its own tasks have other names when it is asked again."""


@contextmanager
def inside_node(within: str | None) -> Iterator[None]:
    """Say that an agent's own graph runs inside the block.

    Args:
        within: What its acts are placed by where its state is not kept by the graph around; None for its own tasks.
    """
    task = _task_now()
    attempt, around = _NODE.get() or (1 if task is None else task[1], None)
    token = _NODE.set((attempt, around or within))
    try:
        yield
    finally:
        _NODE.reset(token)


def _said(act: EffectRow) -> str:
    """The name of the mark that a person said of an act that it was done."""
    return f"said {act.id}"


def _hash(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:24]


def _task_now() -> tuple[str, int] | None:
    """The name of the graph's task that the running code belongs to, and which attempt at it; None outside any."""
    configurable = _config().get("configurable") or {}
    name = configurable.get("checkpoint_ns")
    if not name:
        return None
    return name, attempt_of(configurable)


def attempt_of(configurable: Mapping[str, Any]) -> int:
    """Which attempt at its task a node is, counted from 1.

    Args:
        configurable: What LangGraph hands it.
    """
    known = getattr(configurable.get(_RUNTIME), "execution_info", None)
    return getattr(known, "node_attempt", 1)


def in_task() -> bool:
    """Whether a task of a graph asks, so that its calls and acts have places."""
    return _task_now() is not None


def is_kept_by_graph() -> bool:
    """Whether the call is all that its task does, so that the graph keeps the answer as soon as it is there."""
    config = _config()
    name = (config.get("configurable") or {}).get("checkpoint_ns") or ""
    node = name.rpartition("|")[2].partition(":")[0]
    return node == _MODEL_NODE and _AGENT in (config.get("metadata") or {})


def _config() -> Mapping[str, Any]:
    return var_child_runnable_config.get() or {}
