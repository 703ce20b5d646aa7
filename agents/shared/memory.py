"""The shared memory as agents reach it: as a graph's store, and by tools bound to an agent's namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.store.base import BaseStore, Op, Result

from ...configs.words import Trust
from ...dispatch.context import current
from ...memory.base import Provenance
from ...tools.memory import memory_tools
from ..approval.acts import account_of
from ..approval.taint import SEEN, View

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool

    from ..runtime import Runtime

__all__ = ["SharedMemory", "bound_to_memory"]


class SharedMemory(BaseStore):
    """The memory of a runtime, which costs nothing until a tool uses it.

    Args:
        runtime: Runtime whose memory it is.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime.store, name)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations."""
        return self._runtime.store.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations."""
        return await self._runtime.store.abatch(ops)


def bound_to_memory(
    runtime: Runtime, agent: str, namespace: tuple[str, ...], view: Callable[[Sequence[BaseMessage]], View]
) -> dict[str, BaseTool]:
    """Return ``remember``, ``recall`` and ``forget`` for the namespace of an agent, by name.

    What the agent remembers is trusted no more than the least trusted text in its conversation and in that of whoever
    asked it, and is made from the notes in its own.

    Args:
        runtime: Runtime whose memory it is.
        agent: Name of the agent.
        namespace: Its namespace.
        view: Returns what a conversation of its shows.
    """
    memory = SharedMemory(runtime)

    def provenance() -> Provenance:
        here, seen = current(), SEEN.get()
        shown = view(seen)
        made_from = tuple(one for one in shown.evidence if memory.item(one) is not None)
        models = [account["model"] for message in seen if (account := account_of(message)) and account.get("model")]
        return Provenance(
            f"agent:{agent}",
            agent,
            here.run.id,
            min(shown.trust, here.trust, Trust.TOOL),
            lineage=made_from,
            model=models[-1] if models else "",
            step=here.step,
        )

    return {tool.name: tool for tool in memory_tools(memory, namespace, provenance=provenance)}
