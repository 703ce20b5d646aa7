"""`Journal`: the calls and acts that a run records so that it can be resumed, and those that earlier parts recorded."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables.config import var_child_runnable_config

from ..configs.errors import PointsmanError
from ..configs.process.variables import set_to
from ..ledger.rows import EffectRow, KeptRow
from ..tools.threads import in_thread
from .state.sealing import Seal, user_seal

if TYPE_CHECKING:
    from ..ledger.ledger import Ledger

__all__ = ["ANSWERS", "CALLS", "INPUT", "Journal", "attempt_of", "in_task", "inside_node", "is_kept_by_graph"]

CALLS: Final = "call "
"""Prefix of the names of calls."""
ANSWERS: Final = "answer "
"""Prefix of the names of a person's answers."""
INPUT: Final = "input"
"""Name of a run's input."""


_MOST: Final = 1_000_000
"""The most characters a kept text may have."""
_RUNTIME: Final = "__pregel_runtime"
"""The key under which LangGraph reports a node's attempt number (`langgraph._internal._constants`)."""
_AGENT: Final = "lc_agent_name"
_MODEL_NODE: Final = "model"
"""LangChain's agents: the node that makes each of their calls, and the metadata key that marks it."""


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Journal:
    """The calls and acts of one part of a run, by their places.

    A place identifies a request by its content, the graph task that makes it, and a count among equal requests of that
    task. LangGraph names a task by the checkpoint it starts from, so a task that is run again after a kill, a failure
    or a person's answer makes the same requests at the same places, and nothing else ever does.

    Args:
        ledger: Stores the journal.
        run: Id of the run.
        token: The fencing token of the process that works on the run.
        names: Name of an item kept before -> the run that kept it.
        acts: The acts that earlier parts began, in order.

    Attributes:
        acts: Place -> the last act there, with its outcome as far as known.
        acted: Whether this part of the run has requested an act.
        unknown: Place -> how many acts were begun there whose outcome is unknown.
        unplaced: Step and digest -> each act of unknown outcome from version 0.1, which recorded no places.
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
        """Return the place of an act that is requested now; call this once for each request.

        In each attempt at a node, its agents continue where they were and the node calls its own tools again, so the
        acts of each attempt are counted from zero.

        Args:
            what: Digest of the act.

        Returns:
            The place; None outside the tasks of a graph, since such code is never run again.
        """
        task = _task_now()
        if task is None:
            return None
        self.acted = True
        attempt, within = _NODE.get() or (task[1], None)
        name = within or task[0]
        return _hash(name, what, self._counted(name, f"acts of {attempt}", what))

    def call(self, what: str) -> str | None:
        """Return the place of a model call, as `act` does; another attempt at a node asks its models again.

        Args:
            what: Digest of the request.
        """
        task = _task_now()
        return None if task is None else _hash(*task, what, self._counted(*task, what))

    def _counted(self, *what: object) -> int:
        """Return how often it was requested before, and count this request."""
        number = self._asked[what]
        self._asked[what] += 1
        return number

    def has(self, names: str) -> bool:
        """Return whether anything is kept under a name with this prefix."""
        return any(name.startswith(names) for name in self._names)

    async def get(self, name: str) -> str | None:
        """Return the text kept under a name; None if there is none.

        Raises:
            ConfigError: It cannot be decrypted.
        """
        return await in_thread(self.read, name) if name in self._names else None

    def read(self, name: str) -> str | None:
        """Do the same as `get`, from synchronous code."""
        row = self._ledger.kept.get(self._names[name], name) if name in self._names else None
        return None if row is None else user_seal().open(row.sealed)

    def keep(self, name: str, text: str) -> None:
        """Keep a text under a name; it is written shortly after, and before anything committed later.

        Args:
            name: Its name; a text already kept under it is replaced.
            text: At most a million characters; a longer text is not kept, unless it is the input.
        """
        if len(text) > _MOST and name != INPUT:
            return
        # If the ledger cannot be written, the next act reports that.
        with suppress(PointsmanError):
            self._seal = self._seal or user_seal()
            self._ledger.record(KeptRow(self.run, name, self._seal.close(text)))
            self._names[name] = self.run
            self._fresh.add(_task_now())

    def settle(self, act: EffectRow, name: str, result: str | None) -> None:
        """Keep a person's answer about an act of unknown outcome, and return once it is on disk.

        Args:
            act: The act, with its outcome.
            name: The name of its result.
            result: The result; None to keep none.

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
        """Record that it is unknown whether an act of this part happened.

        Args:
            act: The act.
        """
        if act.place is not None:
            self.acts[act.place] = act
            self.unknown[act.place] += 1

    def answered(self, place: str) -> int:
        """Return how many times a person has answered about a settled act.

        Args:
            place: The place of the act.
        """
        return self.unknown[place] + (_said(self.acts[place]) in self._names)

    async def caught_up(self) -> None:
        """Wait until what this task has kept is safe if the process ends; called before the task goes on from there.

        If a task does nothing more afterwards, the graph saves it just as soon, so most calls need no such wait.
        """
        if self._is_behind():
            with suppress(PointsmanError):
                await asyncio.wrap_future(self._ledger.soon())

    def catch_up(self) -> None:
        """Do the same as `caught_up`, from synchronous code."""
        if self._is_behind():
            with suppress(PointsmanError):
                self._ledger.soon().result()

    def _is_behind(self) -> bool:
        """Return whether this task has kept something since it last caught up."""
        task = _task_now()
        behind = task in self._fresh
        self._fresh.discard(task)
        return behind


_NODE: ContextVar[tuple[int, str | None] | None] = ContextVar("pointsman_node", default=None)
"""The attempt number of the outermost task in which an agent runs, which LangGraph does not report inside the agent;
and the name by which its acts are placed if its own tasks get other names when it runs again."""


def inside_node(within: str | None) -> AbstractContextManager[None]:
    """Mark that an agent's own graph runs inside the block.

    Args:
        within: The name by which its acts are placed if the enclosing graph does not keep its state; None to use its
            own tasks.
    """
    task = _task_now()
    attempt, around = _NODE.get() or (1 if task is None else task[1], None)
    return set_to(_NODE, (attempt, around or within))


def _said(act: EffectRow) -> str:
    """Return the name of the mark that records a person's answer about an act."""
    return f"said {act.id}"


def _hash(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:24]


def _task_now() -> tuple[str, int] | None:
    """Return the name of the current graph task and its attempt number; None outside any task."""
    configurable = _config().get("configurable") or {}
    name = configurable.get("checkpoint_ns")
    if not name:
        return None
    return name, attempt_of(configurable)


def attempt_of(configurable: Mapping[str, Any]) -> int:
    """Return a node's attempt number, counted from 1.

    Args:
        configurable: The node's ``configurable`` mapping from LangGraph.
    """
    known = getattr(configurable.get(_RUNTIME), "execution_info", None)
    return getattr(known, "node_attempt", 1)


def in_task() -> bool:
    """Return whether the running code belongs to a graph task, so that its calls and acts have places."""
    return _task_now() is not None


def is_kept_by_graph() -> bool:
    """Return whether the call is all that its task does, so that the graph saves the answer right away."""
    config = _config()
    name = (config.get("configurable") or {}).get("checkpoint_ns") or ""
    node = name.rpartition("|")[2].partition(":")[0]
    return node == _MODEL_NODE and _AGENT in (config.get("metadata") or {})


def _config() -> Mapping[str, Any]:
    return var_child_runnable_config.get() or {}
