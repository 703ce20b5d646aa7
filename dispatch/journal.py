"""`Journal`: what a run keeps of its calls and acts for the case that it is cut off, and what earlier parts kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables.config import var_child_runnable_config

from ..configs.errors import PointsmanError
from ..ledger.rows import EffectRow, KeptRow
from ..tools.threads import in_thread
from .sealing import user_seal

if TYPE_CHECKING:
    from ..ledger.ledger import Ledger

__all__ = ["Journal", "is_kept_by_graph", "task_now"]

_MOST: Final = 1_000_000
"""Characters of one text that is kept, at most."""
_RUNTIME: Final = "__pregel_runtime"
"""Where LangGraph says which attempt at its task a node is (`langgraph._internal._constants`)."""
_AGENT: Final = "lc_agent_name"
_MODEL_NODE: Final = "model"
"""LangChain's agents: the node in which each call of theirs is made, and its mark in the metadata."""


class Journal:
    """The calls and acts of one part of a run, by their places.

    A place names what is asked for, the task of the graph that asks, and which of the equal things it is that the task
    asks for. LangGraph names a task by the checkpoint it starts from, so a task that is done again after a kill, a
    failure or a person's answer asks for the same things at the same places, and nothing else ever does.

    Args:
        ledger: Keeps it.
        run: Id of the run.
        token: The fencing token of whoever works on the run.
        names: Names of what earlier parts have kept.
        acts: The acts that earlier parts began, in order.

    Attributes:
        acts: Place -> the last act there, with its outcome as far as it is known.
    """

    def __init__(
        self, ledger: Ledger, run: str, token: int, *, names: Iterable[str] = (), acts: Iterable[EffectRow] = ()
    ) -> None:
        self.run = run
        self.token = token
        self.acts = {act.place: act for act in acts if act.place is not None}
        self._ledger = ledger
        self._names = set(names)
        self._asked: Counter[tuple[str, int, str]] = Counter()

    @property
    def used(self) -> bool:
        """Whether anything is kept."""
        return bool(self._names)

    def place(self, what: str) -> str | None:
        """The place of what is asked for now; to be asked once each time.

        Args:
            what: Digest of what is asked for.

        Returns:
            None outside the tasks of a graph, which nobody does again.
        """
        task = task_now()
        if task is None:
            return None
        name, attempt = task
        number = self._asked[name, attempt, what]
        self._asked[name, attempt, what] += 1
        return hashlib.sha256(f"{name} {what} {number}".encode()).hexdigest()[:24]

    async def get(self, name: str) -> str | None:
        """What was kept under a name; None where nothing was.

        Raises:
            ConfigError: It cannot be decrypted.
        """
        return await in_thread(self.read, name) if name in self._names else None

    def read(self, name: str) -> str | None:
        """The same, from synchronous code."""
        row = self._ledger.kept.get(self.run, name) if name in self._names else None
        return None if row is None else user_seal().open(row.sealed)

    def keep(self, name: str, text: str) -> Future[None] | None:
        """Keep a text under a name.

        Args:
            name: Its name; what was kept under it before is replaced.
            text: At most a million characters; a longer one is not kept.

        Returns:
            Ends when it outlives the end of this process; None where it was not kept.
        """
        if len(text) > _MOST:
            return None
        self._ledger.record(KeptRow(self.run, name, user_seal().close(text)))
        self._names.add(name)
        return self._ledger.soon()

    async def kept(self, name: str, text: str) -> None:
        """Keep a text, and return once it outlives the end of this process, or cannot be kept."""
        # A ledger that cannot be written is told to whoever is about to do something.
        with suppress(PointsmanError):
            written = self.keep(name, text)
            if written is not None:
                await asyncio.wrap_future(written)


def task_now() -> tuple[str, int] | None:
    """The name of the graph's task that the running code belongs to, and which attempt at it; None outside any."""
    configurable = _config().get("configurable") or {}
    name = configurable.get("checkpoint_ns")
    if not name:
        return None
    known = getattr(configurable.get(_RUNTIME), "execution_info", None)
    return name, getattr(known, "node_attempt", 1)


def is_kept_by_graph() -> bool:
    """Whether the call is all that its task does, so that the graph keeps the answer as soon as it is there."""
    config = _config()
    name = (config.get("configurable") or {}).get("checkpoint_ns") or ""
    node = name.rpartition("|")[2].partition(":")[0]
    return node == _MODEL_NODE and _AGENT in (config.get("metadata") or {})


def _config() -> Mapping[str, Any]:
    return var_child_runnable_config.get() or {}
