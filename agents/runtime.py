"""`Runtime`: what agents run on: the dispatcher, the shared memory, the tools and the workspace of one project."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..configs.loader import environment, load
from ..configs.schema import Settings

if TYPE_CHECKING:
    from ..dispatch.dispatcher import Dispatcher
    from ..ledger.ledger import Ledger
    from ..memory.store import ChromaStore
    from ..tools.registry import ToolRegistry

__all__ = ["Runtime"]


class Runtime:
    """One project's dispatcher, memory and tools, each made at its first use.

    Args:
        settings: The configuration.
        workspace: The folder that file and shell tools may touch; the project itself when absent.
    """

    def __init__(self, settings: Settings, *, workspace: Path | None = None) -> None:
        self._settings = settings
        self.workspace = workspace or settings.project

    @classmethod
    def default(cls) -> Runtime:
        """The runtime of the project in the working directory; the same one for each project."""
        project = Path.cwd()
        if project not in _defaults:
            _defaults[project] = cls(load(project, environ=environment()))
        return _defaults[project]

    @property
    def settings(self) -> Settings:
        """The configuration as it is now: a policy whose file changes is taken up by whoever dispatches."""
        return self.dispatcher.settings if "dispatcher" in self.__dict__ else self._settings

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Chooses and calls models."""
        from ..dispatch.dispatcher import Dispatcher

        return Dispatcher(self._settings)

    @property
    def ledger(self) -> Ledger:
        """Where every decision and call is recorded."""
        return self.dispatcher.ledger

    @cached_property
    def store(self) -> ChromaStore:
        """The memory all agents share."""
        from ..backends.ondevice import WordLlamaEmbeddings
        from ..memory.store import ChromaStore

        return ChromaStore(self.settings.state / "memory", WordLlamaEmbeddings())

    @cached_property
    def tools(self) -> ToolRegistry:
        """The tools agents may name."""
        from ..tools.registry import ToolRegistry

        return ToolRegistry.for_workspace(self.workspace)

    def close(self) -> None:
        """Write what is still waiting and let go of files. The runtime is not to be used afterwards."""
        if "dispatcher" in self.__dict__:
            self.dispatcher.close()
        if "store" in self.__dict__:
            self.store.close()


_defaults: dict[Path, Runtime] = {}
